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

	// The budget of fetches: every fetch takes one, but only those that a
	// token with an unknown key asks for are refused by an empty budget. Two,
	// so that a rotation right after an ordinary fetch gets through at its
	// first token.
	budgetSize  = 2
	budgetEvery = 30 * time.Second

	// backOff follows a failed fetch, so that a flood does not hammer a
	// server in trouble. The server may ask for more, up to maxBackOff.
	backOff    = time.Second
	maxBackOff = 30 * time.Second
)

var (
	errNoBudget = errors.New("keyset: no fetch left")
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
	tokens     int       // left in the budget
	filled     time.Time // when the budget last grew, or when it was full
}

func (st *state) start(now time.Time) {
	st.tokens, st.filled = budgetSize, now
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

// mayFetch says whether a fetch may begin now, and counts it. The keys that
// the caller saw missing may have come since: then done is true.
func (st *state) mayFetch(now time.Time, generation int, must bool) (done bool, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.generation != generation {
		return true, nil
	}
	if wait := st.retryAt.Sub(now); st.failure != nil && wait > 0 {
		return false, &UnavailableError{RetryAfter: wait, Err: st.failure}
	}
	st.refill(now)
	if st.tokens == 0 && !must {
		if st.failure != nil {
			return false, &UnavailableError{RetryAfter: st.filled.Add(budgetEvery).Sub(now), Err: st.failure}
		}
		return false, errNoBudget
	}
	if st.tokens == budgetSize {
		st.filled = now // a full budget grows again from its first use
	}
	st.tokens = max(0, st.tokens-1)
	return false, nil
}

// refill is called with mu held.
func (st *state) refill(now time.Time) {
	n := int(now.Sub(st.filled) / budgetEvery)
	if n <= 0 {
		return
	}
	st.tokens = min(budgetSize, st.tokens+n)
	st.filled = st.filled.Add(time.Duration(n) * budgetEvery)
}

// calm reports whether a refresh in the background may begin now.
func (st *state) calm(now time.Time) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.refill(now)
	return st.tokens > 0 && (st.failure == nil || !now.Before(st.retryAt))
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
		s.flights.Start(struct{}{}, fetchTimeout, s.run(v, new(bool)))
	}
}

// fetch waits for the fetch under way, or for a new one. It reports whether
// the fetch began after the call did.
func (s *Set) fetch(ctx context.Context, v view) (mine bool, err error) {
	began := new(bool) // the run may still write it after ctx ended
	_, err = s.flights.Do(ctx, struct{}{}, fetchTimeout, s.run(v, began))
	switch {
	case err == nil:
		return *began, nil
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return false, err
	case errors.Is(err, errNoBudget) && v.keys == nil:
		// Joined a flight that was refused while there were keys.
		return false, &UnavailableError{RetryAfter: backOff, Err: err}
	case errors.As(err, new(*UnavailableError)), errors.Is(err, errNoBudget):
		return false, err
	}
	return false, s.state.fail(s.now(), err) // Config.URL panicked
}

// run gives the function of one flight for a caller that saw v. It sets began
// if it fetches.
func (s *Set) run(v view, began *bool) func(context.Context) (struct{}, error) {
	return func(ctx context.Context) (struct{}, error) {
		// Without keys nothing can be decided, so the budget does not count.
		if done, err := s.state.mayFetch(s.now(), v.generation, v.keys == nil); done || err != nil {
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
