package keyset

import (
	"context"
	"errors"
	"sync"
	"time"

	"example.com/gatehouse/internal/outbound"
)

const (
	// MaxAge is how long keys are used without asking again, and so the life
	// of a withdrawn key on a busy server.
	MaxAge = 10 * time.Minute

	// StaleLimit is how long keys are used when no fetch succeeds.
	StaleLimit = 24 * time.Hour

	// maxDocument caps a key set in bytes.
	maxDocument = 512 << 10

	// fetchTimeout bounds one fetch, which several requests may wait for.
	fetchTimeout = 5 * time.Second

	// askEvery spaces the fetches that tokens with an unknown key ask for, so
	// that a flood of them causes two in a minute. Ordinary fetches do not
	// count: a rotation right after one gets through at its first token. Where
	// a stranger was faster it gets through within this time.
	askEvery = 30 * time.Second

	// backOff follows a failed fetch, so that a flood does not hammer a
	// server in trouble. The server may ask for more, up to maxBackOff.
	backOff    = time.Second
	maxBackOff = 30 * time.Second
)

var (
	errNotYet   = errors.New("keyset: no fetch yet")
	errEmptySet = errors.New("keyset: the key set has no usable key")
	errNoURL    = errors.New("keyset: no key set URL")
)

// view is what one verification works with.
type view struct {
	keys       []key // not modified after it was set; nil if none may be used
	generation int   // counts successful fetches
	aged       bool  // older than MaxAge
}

// state is what a Set knows about its keys.
type state struct {
	mu         sync.Mutex
	keys       []key     // of the last good fetch
	fetched    time.Time // when that was
	generation int
	failure    error     // of the last fetch, nil if it succeeded
	retryAt    time.Time // no fetch before this
	tried      time.Time // begin of the last fetch
	asked      time.Time // begin of the last one that an unknown key asked for
}

func (st *state) view(now time.Time) view {
	st.mu.Lock()
	defer st.mu.Unlock()
	age := now.Sub(st.fetched)
	v := view{generation: st.generation, aged: age > MaxAge}
	if age <= StaleLimit {
		v.keys = st.keys
	}
	return v
}

// mayFetch says whether a fetch may begin now, and notes that it does. asked
// says that a token with an unknown key is the reason. The keys that the caller
// saw missing may have come since: then done is true.
func (st *state) mayFetch(now time.Time, generation int, asked bool) (done bool, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.generation != generation {
		return true, nil
	}
	if wait := st.retryAt.Sub(now); st.failure != nil && wait > 0 {
		return false, &UnavailableError{RetryAfter: wait, Err: st.failure}
	}
	if asked {
		if wait := st.asked.Add(askEvery).Sub(now); wait > 0 && st.failure != nil {
			return false, &UnavailableError{RetryAfter: wait, Err: st.failure}
		} else if wait > 0 {
			return false, errNotYet
		}
		st.asked = now
	}
	st.tried = now
	return false, nil
}

// calm reports whether a refresh in the background may begin now.
func (st *state) calm(now time.Time) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return !now.Before(st.tried.Add(askEvery)) && (st.failure == nil || !now.Before(st.retryAt))
}

// succeed replaces the whole set, so that a withdrawn key is gone (F34).
func (st *state) succeed(now time.Time, keys []key) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.keys, st.fetched, st.failure = keys, now, nil
	st.generation++
}

// fail keeps the last good set (M2).
func (st *state) fail(now time.Time, err error) *UnavailableError {
	wait := backOff
	var status *outbound.StatusError
	if errors.As(err, &status) {
		wait = min(max(wait, status.RetryAfter), maxBackOff)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.failure, st.retryAt = err, now.Add(wait)
	return &UnavailableError{RetryAfter: wait, Err: err}
}

// refreshAged starts a fetch if the keys are due for one, without waiting.
func (s *Set) refreshAged(v view) {
	if v.aged && s.state.calm(s.now()) {
		s.flights.Start(struct{}{}, fetchTimeout, s.run(v, false, new(bool)))
	}
}

// fetch waits for the fetch under way, or for a new one. It reports whether
// the fetch began after the call did.
func (s *Set) fetch(ctx context.Context, v view) (mine bool, err error) {
	began := new(bool) // the run may still write it after ctx ended
	// Without keys nothing can be decided: then it does not count as asked for.
	_, err = s.flights.Do(ctx, struct{}{}, fetchTimeout, s.run(v, v.keys != nil, began))
	switch {
	case err == nil:
		return *began, nil
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return false, err
	case errors.Is(err, errNotYet) && v.keys == nil:
		// Joined a flight that was refused while there were keys.
		return false, &UnavailableError{RetryAfter: backOff, Err: err}
	case errors.As(err, new(*UnavailableError)), errors.Is(err, errNotYet):
		return false, err
	}
	return false, s.state.fail(s.now(), err) // Config.URL panicked
}

// run gives the function of one flight for a caller that saw v. It sets began
// if it fetches.
func (s *Set) run(v view, asked bool, began *bool) func(context.Context) (struct{}, error) {
	return func(ctx context.Context) (struct{}, error) {
		if done, err := s.state.mayFetch(s.now(), v.generation, asked); done || err != nil {
			return struct{}{}, err
		}
		*began = true
		keys, err := s.get(ctx)
		if err != nil {
			return struct{}{}, s.state.fail(s.now(), err)
		}
		s.state.succeed(s.now(), keys)
		return struct{}{}, nil
	}
}

func (s *Set) get(ctx context.Context) ([]key, error) {
	if s.url == nil {
		return nil, errNoURL
	}
	url, err := s.url(ctx)
	if err != nil {
		return nil, err
	}
	var d document
	if _, err := outbound.GetJSON(ctx, s.client, url, maxDocument, &d); err != nil {
		return nil, err
	}
	keys := d.usable()
	if len(keys) == 0 {
		return nil, errEmptySet
	}
	return keys, nil
}
