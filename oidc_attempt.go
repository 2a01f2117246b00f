package gatehouse

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/gatehouse/internal/seal"
)

const (
	// attemptLife is how long a person may take at the provider (R2).
	attemptLife = 10 * time.Minute
	// maxAttempts is how many sign-ins one browser may have under way; the
	// oldest goes first.
	maxAttempts = 8
	// maxAttemptCookie bounds the value of an attempt cookie. Eight of them
	// stay below the header limits of common proxies.
	maxAttemptCookie = 512
	// maxReturnPath bounds the path to return to after sign-in.
	maxReturnPath = 256
	// maxRestarts is how often a callback may start over because of a logout.
	maxRestarts = 2

	seedSize   = 32
	digestSize = 8 // enough to recognise, not to be secure
	stateLen   = 22
)

// attempt is one sign-in under way. It travels in a sealed cookie of its own,
// so that the server stores nothing for it and tabs do not disturb each other
// (decision 5). State, nonce and PKCE verifier are all derived from its
// seed, which never leaves the seal.
type attempt struct {
	seed     [seedSize]byte
	begin    time.Time
	restarts byte
	grant    bool          // asks for the owner's grant, makes no session
	aged     bool          // max_age was asked
	maxAge   time.Duration // seconds
	scopes   string        // asked beyond the configured ones
	asked    []byte        // digest of the requirements to meet
	from     []byte        // digest of the session it started from
	returnTo string
	carried  []mark // marks with the numbers read, of the attempt before
}

func newAttempt(now time.Time) *attempt {
	a := &attempt{begin: now.Truncate(time.Millisecond)}
	rand.Read(a.seed[:])
	return a
}

func (a *attempt) derive(label string, size int) string {
	mac := hmac.New(sha256.New, a.seed[:])
	mac.Write([]byte(label))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:size])
}

func (a *attempt) state() string    { return a.derive("state", 16) }
func (a *attempt) nonce() string    { return a.derive("nonce", 16) }
func (a *attempt) verifier() string { return a.derive("code_verifier", 32) } // RFC 7636 §4.1

const (
	attemptGrant = 1 << iota
	attemptAged
)

// encode gives the plain form: fixed fields, then those that vary.
func (a *attempt) encode() []byte {
	out := append([]byte{}, a.seed[:]...)
	out = binary.BigEndian.AppendUint64(out, uint64(a.begin.UnixMilli()))
	var flags byte
	if a.grant {
		flags |= attemptGrant
	}
	if a.aged {
		flags |= attemptAged
	}
	out = append(out, a.restarts, flags)
	out = binary.AppendUvarint(out, uint64(a.maxAge/time.Second))
	for _, s := range []string{a.scopes, string(a.asked), string(a.from), a.returnTo} {
		out = binary.AppendUvarint(out, uint64(len(s)))
		out = append(out, s...)
	}
	for _, m := range a.carried {
		out = append(out, rawMarkName(m.name)...)
		out = binary.BigEndian.AppendUint64(out, m.number)
	}
	return out
}

// carriedSize is the size of a carried mark: its name and its number.
const carriedSize = markNameSize + 8

func decodeAttempt(b []byte) (*attempt, error) {
	bad := errors.New("not a sign-in attempt")
	if len(b) < seedSize+8+2 {
		return nil, bad
	}
	a := new(attempt)
	copy(a.seed[:], b)
	b = b[seedSize:]
	a.begin = time.UnixMilli(int64(binary.BigEndian.Uint64(b)))
	a.restarts, a.grant, a.aged = b[8], b[9]&attemptGrant != 0, b[9]&attemptAged != 0
	b = b[10:]
	seconds, n := binary.Uvarint(b)
	if n <= 0 || seconds > uint64(maxLifetime/time.Second) {
		return nil, bad
	}
	a.maxAge, b = time.Duration(seconds)*time.Second, b[n:]
	var varying [4]string
	for i := range varying {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return nil, bad
		}
		varying[i], b = string(b[n:n+int(size)]), b[n+int(size):]
	}
	a.scopes, a.asked, a.from, a.returnTo = varying[0], []byte(varying[1]), []byte(varying[2]), varying[3]
	if len(b)%carriedSize != 0 {
		return nil, bad
	}
	for m := range slices.Chunk(b, carriedSize) {
		a.carried = append(a.carried, mark{base64.RawURLEncoding.EncodeToString(m[:markNameSize]), binary.BigEndian.Uint64(m[markNameSize:])})
	}
	return a, nil
}

// carries reports whether the attempt was begun in knowledge of m.
func (a *attempt) carries(m mark) bool { return slices.Contains(a.carried, m) }

const attemptDomain = "gatehouse/attempt"

// attemptName is the name of the cookie of the attempt with that state.
func (rp *RelyingParty) attemptName(state string) string {
	return rp.attemptPrefix + state[:8]
}

// writeAttempt sets the attempt's cookie and takes away the oldest ones beyond
// maxAttempts.
func (rp *RelyingParty) writeAttempt(w http.ResponseWriter, r *http.Request, a *attempt) error {
	ring, err := rp.sessions.ring(r.Context())
	if err != nil {
		return err
	}
	name := rp.attemptName(a.state())
	sealed := func() string {
		return base64.RawURLEncoding.EncodeToString(ring.Seal(attemptDomain, []byte(rp.binding+name), a.encode()))
	}
	value := sealed()
	if len(value) > maxAttemptCookie {
		// The scopes are needed only for a provider that does not say which it
		// granted, though they are not the ones asked for.
		a.scopes = ""
		value = sealed()
	}
	if len(value) > maxAttemptCookie {
		a.returnTo = ""
		value = sealed()
	}
	rp.dropOldAttempts(w, r)
	rp.setCookie(w, name, value, attemptLife)
	return nil
}

// readAttempt opens the attempt that state belongs to. The cookie is bound to
// this relying party by the additional data of its seal (RFC 9700 §4.7).
func (rp *RelyingParty) readAttempt(r *http.Request, state string) (*attempt, error) {
	if len(state) != stateLen || strings.Trim(state, base64URL) != "" {
		return nil, errStateUnknown.because(errors.New("state is not one of ours"))
	}
	name := rp.attemptName(state)
	value, found := sentCookie(r, name)
	if !found {
		return nil, errStateUnknown.because(errors.New("no attempt cookie for this state"))
	}
	a, err := rp.openAttempt(r, name, value)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal([]byte(a.state()), []byte(state)) {
		return nil, errStateUnknown.because(errors.New("state does not belong to the attempt"))
	}
	if now := rp.sessions.now(); !now.Before(a.begin.Add(attemptLife)) {
		return nil, errAttemptExpired.because(nil)
	}
	return a, nil
}

func (rp *RelyingParty) openAttempt(r *http.Request, name, value string) (*attempt, error) {
	ring, err := rp.sessions.ring(r.Context())
	if err != nil {
		return nil, err
	}
	if len(value) > maxAttemptCookie {
		return nil, errStateUnknown.because(errors.New("attempt cookie too long"))
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(value)
	if err != nil {
		return nil, errStateUnknown.because(errors.New("attempt cookie is not base64url"))
	}
	plain, err := ring.Open(attemptDomain, []byte(rp.binding+name), sealed)
	if errors.Is(err, seal.ErrUnknownKey) {
		if again, ok := rp.sessions.reread(r.Context()); ok {
			plain, err = again.Open(attemptDomain, []byte(rp.binding+name), sealed)
		}
	}
	if err != nil {
		return nil, errStateUnknown.because(err)
	}
	a, err := decodeAttempt(plain)
	if err != nil {
		return nil, errStateUnknown.because(err)
	}
	return a, nil
}

// dropOldAttempts makes room for one more attempt: what cannot be opened goes
// first, then the oldest.
func (rp *RelyingParty) dropOldAttempts(w http.ResponseWriter, r *http.Request) {
	type known struct {
		name  string
		begin time.Time
	}
	var have []known
	for _, c := range r.Cookies() {
		if !strings.HasPrefix(c.Name, rp.attemptPrefix) || len(have) >= maxAttemptsSeen {
			continue
		}
		k := known{name: c.Name}
		if a, err := rp.openAttempt(r, c.Name, c.Value); err == nil {
			k.begin = a.begin
		}
		have = append(have, k)
	}
	slices.SortFunc(have, func(x, y known) int { return y.begin.Compare(x.begin) })
	for i := maxAttempts - 1; i < len(have); i++ {
		rp.clearCookie(w, have[i].name)
	}
}

// maxAttemptsSeen bounds how many attempt cookies of one request are opened.
const maxAttemptsSeen = 4 * maxAttempts

func digest(parts ...string) []byte {
	return []byte(storeKey("gatehouse/digest", parts...)[:digestSize])
}
