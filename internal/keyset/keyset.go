// Package keyset verifies signatures with the keys that an issuer publishes,
// and bounds what a stranger's token can make it fetch.
package keyset

import (
	"context"
	"errors"
	"net/http"
	"time"

	"example.com/gatehouse/internal/compact"
	"example.com/gatehouse/internal/flight"
	"example.com/gatehouse/internal/outbound"
	"github.com/go-jose/go-jose/v4"
)

// maxTries bounds the signature checks for one token without kid.
const maxTries = 8

var (
	// ErrMalformed is the error of a token that no key could make good: an
	// algorithm that is not asymmetric, "crit", a form that go-jose refuses.
	ErrMalformed = errors.New("keyset: malformed token")

	// ErrUnknownKey is the error of a token whose key the issuer's set, as
	// last fetched, does not have.
	ErrUnknownKey = errors.New("keyset: unknown key")

	// ErrBadSignature is the error of a token that no fitting key verifies.
	ErrBadSignature = errors.New("keyset: bad signature")
)

// UnavailableError says that the token could be judged neither good nor bad,
// because the keys could not be fetched.
type UnavailableError struct {
	RetryAfter time.Duration // when a fetch may be tried again; more than 0
	Err        error         // why the last fetch failed
}

func (e *UnavailableError) Error() string { return "keyset: keys unavailable: " + e.Err.Error() }
func (e *UnavailableError) Unwrap() error { return e.Err }

// Config says where keys come from. It is copied by [New].
type Config struct {
	// Client makes the fetches; nil means outbound.NewClient(nil, false).
	Client *http.Client

	// URL gives the jwks_uri. It is asked at each fetch, with the context of
	// the fetch. Required unless Static is set.
	URL func(context.Context) (string, error)

	// Static, if not nil, is the whole set, and nothing is ever fetched. Keys
	// that may not verify are left out, private ones reduced to public.
	Static []jose.JSONWebKey

	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Set is a set of keys. It is safe for concurrent use. The goroutines of its
// fetches end by themselves within fetchTimeout; [Set.Wait] waits for them.
type Set struct {
	client *http.Client
	url    func(context.Context) (string, error)
	now    func() time.Time
	static bool

	flights flight.Group[struct{}, struct{}]
	state   state
}

// New makes a set. It fetches nothing yet.
func New(c Config) *Set {
	s := &Set{client: c.Client, url: c.URL, now: c.Now, static: c.Static != nil}
	if s.now == nil {
		s.now = time.Now
	}
	if s.client == nil {
		s.client = outbound.NewClient(nil, false)
	}
	for _, j := range c.Static {
		if k, ok := fromJWK(j); ok {
			s.state.keys = append(s.state.keys, k)
		}
	}
	return s
}

// Verify gives the payload of a compact JWS that a key of the set signed. It
// checks nothing in the payload. The error is [ErrMalformed], [ErrUnknownKey],
// [ErrBadSignature], a [*UnavailableError], or ctx's error when ctx ended while
// keys were fetched.
//
// A key is chosen by the kid, kty and alg of the token (RP-K4); without kid
// each fitting key is tried, up to maxTries. Keys in the token's header are
// never used.
func (s *Set) Verify(ctx context.Context, parsed compact.Token) ([]byte, error) {
	t, err := parse(parsed)
	if err != nil {
		return nil, err
	}
	if s.static {
		payload, _, err := t.verify(s.state.keys)
		return payload, err
	}
	v := s.state.view(s.now())
	err = ErrUnknownKey
	if v.keys != nil {
		var payload []byte
		var final bool
		if payload, final, err = t.verify(v.keys); final {
			s.refreshAged(v)
			return payload, err
		}
	}
	// Perhaps signed by a key that is newer than our set. A fetch that was
	// under way may have begun before that key was published; one that this
	// call began has seen it. Hence at most two.
	for range 2 {
		mine, ferr := s.fetch(ctx, v)
		if errors.Is(ferr, errNotYet) {
			return nil, err
		}
		if ferr != nil {
			return nil, ferr
		}
		v = s.state.view(s.now())
		payload, final, verr := t.verify(v.keys)
		if final || mine {
			return payload, verr
		}
		err = verr
	}
	return nil, err
}

// Wait returns when no fetch is under way, or with ctx's error.
func (s *Set) Wait(ctx context.Context) error { return s.flights.Wait(ctx) }

// token is a parsed token, not verified.
type token struct {
	kid string
	alg jose.SignatureAlgorithm
	jws *jose.JSONWebSignature
}

func parse(t compact.Token) (token, error) {
	h := t.Header()
	alg := jose.SignatureAlgorithm(h.Alg)
	// No extension is understood, so crit is always an error (RFC 7515
	// §4.1.11), and b64 stands only beside it (RFC 7797 §6).
	if h.Crit || h.B64 || !Asymmetric(h.Alg) {
		return token{}, ErrMalformed
	}
	jws, err := jose.ParseSignedCompact(t.Raw(), []jose.SignatureAlgorithm{alg})
	if err != nil {
		return token{}, ErrMalformed
	}
	return token{kid: h.Kid, alg: alg, jws: jws}, nil
}

// verify tries the fitting keys. A result is final if other keys could not
// change it: the token is good, or its kid is known, so that a bad signature
// or a wrong algorithm is the token's own fault and no reason to fetch (M1).
func (t token) verify(keys []key) (payload []byte, final bool, err error) {
	err = ErrUnknownKey
	tries := 0
	for _, k := range keys {
		if t.kid != "" && k.id != t.kid {
			continue
		}
		final = final || t.kid != ""
		if k.alg != "" && k.alg != string(t.alg) || !fits(t.alg, k.public) {
			continue
		}
		if tries++; t.kid == "" && tries > maxTries {
			break
		}
		if payload, verr := t.jws.Verify(k.public); verr == nil {
			return payload, true, nil
		}
		err = ErrBadSignature
	}
	return nil, final, err
}
