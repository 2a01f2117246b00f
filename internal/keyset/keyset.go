// Package keyset verifies signatures with the keys that an issuer publishes. It
// bounds the fetches that a stranger's token can cause.
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

// maxTries bounds the signature checks for one token with keys that its kid does
// not name: without a kid, or with keys that have none.
const maxTries = 8

var (
	// ErrMalformed means that no key could make the token valid: its algorithm
	// is not asymmetric, it has "crit", or go-jose rejects its form.
	ErrMalformed = errors.New("keyset: malformed token")

	// ErrUnknownKey means that the token's key is not in the issuer's set as
	// last fetched.
	ErrUnknownKey = errors.New("keyset: unknown key")

	// ErrBadSignature means that no fitting key verifies the token.
	ErrBadSignature = errors.New("keyset: bad signature")
)

// UnavailableError means that the token could not be judged, because the keys
// could not be fetched.
type UnavailableError struct {
	RetryAfter time.Duration // when a fetch may be tried again; more than 0
	Err        error         // why the last fetch failed
}

func (e *UnavailableError) Error() string { return "keyset: keys unavailable: " + e.Err.Error() }
func (e *UnavailableError) Unwrap() error { return e.Err }

// Unusable reports whether the server has answered, but with nothing that could
// ever serve: no document, one that is not a key set, or a set without a key
// that may verify. Somebody has to mend that.
func (e *UnavailableError) Unusable() bool {
	if status, ok := errors.AsType[*outbound.StatusError](e.Err); ok {
		return status.Lasting()
	}
	return errors.Is(e.Err, errEmptySet) || errors.Is(e.Err, outbound.ErrNotJSON) || errors.Is(e.Err, outbound.ErrTooLarge)
}

// Config says where keys come from. [New] copies it.
type Config struct {
	// Client makes the fetches; nil means outbound.NewClient(nil, false).
	Client *http.Client

	// URL returns the jwks_uri. It is called for each fetch, with the context
	// of the fetch. It is required unless Static or Read is set.
	URL func(context.Context) (string, error)

	// Read, if not nil, is called for each fetch instead. It returns what
	// [Parse] reads.
	Read func(context.Context) ([]byte, error)

	// Static, if not nil, is the whole set, and nothing is ever fetched. Keys
	// that may not verify are left out, and private keys are reduced to their
	// public half.
	Static []jose.JSONWebKey

	// Skipped is called after each fetch of a set with entries that are not
	// used. It may hang: sets in the meantime are not reported. It may be nil.
	Skipped func(ctx context.Context, skipped []Skipped)

	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Set is a set of keys. It is safe for concurrent use. The goroutines of its
// fetches end within fetchTimeout; [Set.Wait] waits for them.
type Set struct {
	client *http.Client
	url    func(context.Context) (string, error)
	read   func(context.Context) ([]byte, error)
	now    func() time.Time
	static bool

	skipped func(context.Context, []Skipped)

	flights flight.Group[struct{}, struct{}]
	reports flight.Group[struct{}, struct{}]
	state   state
}

// New makes a set. It fetches nothing yet.
func New(c Config) *Set {
	s := &Set{client: c.Client, url: c.URL, read: c.Read, now: c.Now, static: c.Static != nil, skipped: c.Skipped}
	if s.now == nil {
		s.now = time.Now
	}
	if s.client == nil {
		s.client = outbound.NewClient(nil, false)
	}
	if s.static {
		keys, _ := static(c.Static)
		s.state.published.Store(&published{keys: keys})
	}
	return s
}

// Unusable returns the keys of Config.Static that New leaves out, with reasons.
func Unusable(keys []jose.JSONWebKey) []Skipped {
	_, skipped := static(keys)
	return skipped
}

func static(all []jose.JSONWebKey) (keys []key, skipped []Skipped) {
	for i, j := range all {
		if k, why := fromJWK(j); why == nil {
			keys = append(keys, k)
		} else {
			skipped = append(skipped, Skipped{i, outbound.Clip(j.KeyID), why.reason, why.other})
		}
	}
	return keys, skipped
}

// Verify returns the payload of a compact JWS signed by a key of the set. It
// does not check the payload. The error is [ErrMalformed], [ErrUnknownKey],
// [ErrBadSignature], a [*UnavailableError], or the error of ctx if that ended
// while keys were fetched.
//
// The kid, kty and alg of the token select its key (RP-K4). Then the fitting
// keys that have no kid are tried (RFC 7517 §4.5). For a token without kid each
// fitting key is tried. Keys in the token's header are never used.
func (s *Set) Verify(ctx context.Context, parsed compact.Token) ([]byte, error) {
	t, err := parse(parsed)
	if err != nil {
		return nil, err
	}
	if s.static {
		payload, _, err := t.verify(s.state.last().keys)
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
	// The signing key may be newer than our set. A fetch that was already under
	// way may have begun before that key was published, but a fetch that this
	// call begins will see it. So there are at most two.
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

// Wait returns when no fetch is under way and all are reported, or with the
// error of ctx.
func (s *Set) Wait(ctx context.Context) error {
	return errors.Join(s.flights.Wait(ctx), s.reports.Wait(ctx))
}

// verify tries the fitting keys. A result is final if other keys could not
// change it. That is so if the token is good, or if its kid is known: a bad
// signature or a wrong algorithm is then the token's own fault and no reason to
// fetch (M1).
func (t token) verify(keys []key) (payload []byte, final bool, err error) {
	err = ErrUnknownKey
	for _, k := range keys {
		if t.kid == "" || k.id != t.kid {
			continue
		}
		final = true
		if payload, verr := t.try(k); verr == nil {
			return payload, true, nil
		} else if verr != errUnfit {
			err = verr
		}
	}
	tries := 0
	for _, k := range keys {
		if t.kid != "" && k.id != "" {
			continue
		}
		payload, verr := t.try(k)
		if verr == nil {
			return payload, true, nil
		}
		if verr == errUnfit {
			continue
		}
		err = verr
		if tries++; tries == maxTries {
			break
		}
	}
	return nil, final, err
}
