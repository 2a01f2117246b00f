// Package attempt is a sign-in under way: what it asks for, and how it travels
// in the browser that began it. The server stores nothing for it, so a million
// attempts cost no memory, and tabs do not disturb each other (decision 5).
//
// It knows a ring of keys and its own format. It must not know cookies,
// handlers or providers: its caller decides which cookie holds the value and
// what the value is bound to.
package attempt

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// Life is how long a person may take at the provider (R2: an attempt must
	// expire).
	Life = 10 * time.Minute
	// maxRestarts is how often an attempt may start over because of a logout.
	maxRestarts = 2
	// maxAnswer bounds Answer, in bytes: it is a set of flags.
	maxAnswer = 8
	// longestAge bounds MaxAge: no session lives longer.
	longestAge = 400 * 24 * time.Hour

	seedSize     = 32
	stateSize    = 16
	nonceSize    = 16
	verifierSize = 32
)

// The errors of attempts.
var (
	ErrUnknown  = errors.New("not an attempt of this browser") // a state or value that is not ours, or that do not belong together
	ErrExpired  = errors.New("the attempt has expired")        // under way for longer than Life
	ErrRestarts = errors.New("too many logouts in between")    // it has already started over twice, or cannot ask for the same
)

// Attempt is one sign-in under way. State, nonce and PKCE verifier are all
// derived from its seed, which never leaves the seal. An attempt that starts
// over keeps its seed and gets a new state, nonce and verifier.
type Attempt struct {
	seed     [seedSize]byte
	mac      hash.Hash // keyed with seed, once it is needed
	state    string    // derived from seed
	restarts byte
	retried  bool   // it has started over because the provider was unavailable
	same     bool   // it has started over with the seed of the first attempt
	carried  []Mark // of the previous attempt

	Begin    time.Time     // to the millisecond
	Grant    bool          // it asks for the owner's grant and creates no session
	Aged     bool          // max_age was requested
	MaxAge   time.Duration // whole seconds
	Scopes   string        // requested beyond the configured ones
	ACR      string        // acr_values: the ways to authenticate of which one is asked for
	Asked    []byte        // identifies the requirements to meet, and those of the sign-ins just before
	From     []byte        // identifies the session it started from
	ReturnTo string        // the path to return to

	// Of what the application asks for besides, in the words of the caller:
	Silent    bool   // the provider may not show a page (prompt=none)
	Params    string // parameters, to ask for the same if it starts over; "" if there are none or too many
	Essential string // what has to be checked when the answer comes

	Answer string // what the answer has to be, in the words of the caller; at most maxAnswer bytes
	Beside string // what the browser will not bring along with the answer
}

// Mark names a logout that happened before the attempt began, so the attempt
// need not start over because of it.
type Mark struct {
	Name   string // 16 bytes in base64url
	Number uint64
}

// New begins an attempt.
func New(now time.Time) *Attempt {
	a := &Attempt{Begin: now.Truncate(time.Millisecond)}
	rand.Read(a.seed[:])
	a.state = a.derive("state", stateSize)
	return a
}

// State is what the provider's answer must contain (RFC 6749 §10.12).
func (a *Attempt) State() string { return a.state }

// Nonce is what the ID Token must contain.
func (a *Attempt) Nonce() string { return a.derive("nonce", nonceSize) }

// Verifier proves that the client redeeming the code is the one that requested
// it (RFC 7636 §4.1).
func (a *Attempt) Verifier() string { return a.derive("code_verifier", verifierSize) }

// SessionID is the id of the session that the attempt may end in: 256 bits that
// only who opens the seal knows. So a sign-out in this browser can end that
// session even before it exists, and also if the attempt is just starting over.
func (a *Attempt) SessionID() [sha256.Size]byte { return a.sum("session id") }

func (a *Attempt) derive(label string, size int) string {
	if a.same {
		label += " " + strconv.Itoa(a.starts())
	}
	sum := a.sum(label)
	return base64.RawURLEncoding.EncodeToString(sum[:size])
}

// starts is how often the attempt has started over. It only grows.
func (a *Attempt) starts() int {
	n := int(a.restarts)
	if a.retried {
		n++
	}
	return n
}

func (a *Attempt) sum(label string) (sum [sha256.Size]byte) {
	if a.mac == nil {
		a.mac = hmac.New(sha256.New, a.seed[:])
	} else {
		a.mac.Reset()
	}
	a.mac.Write([]byte(label))
	a.mac.Sum(sum[:0])
	return sum
}

// ValidState reports whether state has the form of our states.
func ValidState(state string) bool {
	b, err := base64.RawURLEncoding.DecodeString(state)
	return err == nil && len(b) == stateSize && len(state) == base64.RawURLEncoding.EncodedLen(stateSize)
}

// Check reports whether state belongs to the attempt and the attempt is still
// under way. The error is [ErrUnknown] or [ErrExpired].
func (a *Attempt) Check(state string, now time.Time) error {
	if !hmac.Equal([]byte(a.State()), []byte(state)) {
		return because("state does not belong to the attempt")
	}
	if !now.Before(a.Ends()) {
		return fmt.Errorf("%w: it began at %s, and now it is %s", ErrExpired, a.Begin.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// FirstBegin is when the person began the sign-in, or the zero time if that is not
// known: an attempt that has started over knows only when that was.
func (a *Attempt) FirstBegin() time.Time {
	if a.same {
		return time.Time{}
	}
	return a.Begin
}

// Ends is when the attempt expires.
func (a *Attempt) Ends() time.Time { return a.Begin.Add(Life) }

// Latest is when the last callback can be done that may end in the session of the
// attempt, however often that starts over. An answer that asks for a new start may
// come late by the given time, and a callback takes at most as long as given.
func (a *Attempt) Latest(late, callback time.Duration) time.Time {
	starts, latest := maxRestarts-int(a.restarts), a.Ends().Add(callback)
	if !a.retried {
		starts++
		latest = latest.Add(late)
	}
	return latest.Add(time.Duration(starts) * (Life + callback))
}

// AskAge requests an authentication that is no older than age. If called
// several times, the shortest age counts.
func (a *Attempt) AskAge(age time.Duration) {
	age = min(age, longestAge).Truncate(time.Second)
	if !a.Aged || age < a.MaxAge {
		a.Aged, a.MaxAge = true, age
	}
}

// AskScopes requests more scopes.
func (a *Attempt) AskScopes(scopes ...string) {
	all := append(strings.Fields(a.Scopes), scopes...)
	a.Scopes = strings.Join(slices.Compact(slices.Sorted(slices.Values(all))), " ")
}

// Carries reports whether the attempt began with knowledge of m.
func (a *Attempt) Carries(m Mark) bool { return slices.Contains(a.carried, m) }

// Again starts over with knowledge of the marks. The new attempt asks for the
// same as a and may end in the same session. The error is [ErrRestarts].
func (a *Attempt) Again(now time.Time, marks ...Mark) (*Attempt, error) {
	if a.restarts >= maxRestarts || a.forgot() {
		return nil, ErrRestarts
	}
	next := *a
	next.Grant = false // an attempt for a grant makes no session that a logout could end
	next.restarts, next.carried = a.restarts+1, slices.Clone(marks)
	return next.begun(now), nil
}

// Retry is Again after the provider was unavailable, once. Of an attempt that has
// expired only the return path is left, and the session that a sign-out may know
// already; From is for the caller to set.
func (a *Attempt) Retry(now time.Time) (*Attempt, error) {
	late := a.Ends().Compare(now) <= 0
	if a.retried || a.forgot() && !late {
		return nil, ErrRestarts
	}
	next := *a
	if late {
		next = Attempt{seed: a.seed, restarts: a.restarts, ReturnTo: a.ReturnTo, Answer: a.Answer}
	}
	next.retried = true
	return next.begun(now), nil
}

// forgot reports whether the attempt cannot ask again for what has to be
// checked, because its cookie had no room for that.
func (a *Attempt) forgot() bool { return a.Essential != "" && a.Params == "" }

// begun gives an attempt that starts over its time and its state.
func (a Attempt) begun(now time.Time) *Attempt {
	a.Begin, a.same = now.Truncate(time.Millisecond), true
	a.state = a.derive("state", stateSize)
	return &a
}
