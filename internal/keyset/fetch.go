package keyset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/strictjson"
)

const (
	// MaxAge is how long keys are used without fetching again. A withdrawn key
	// therefore lives that long on a busy server.
	MaxAge = 10 * time.Minute

	// StaleLimit is how long keys are used if no fetch succeeds.
	StaleLimit = 24 * time.Hour

	// maxDocument caps a key set in bytes.
	maxDocument = 512 << 10

	// fetchTimeout bounds one fetch. Several requests may wait for it.
	fetchTimeout = 5 * time.Second

	// askEvery is the least time between fetches caused by tokens with an
	// unknown key, so that a flood of such tokens causes two fetches a minute.
	// Ordinary fetches do not count: a rotation right after one is noticed at
	// its first token. If a stranger's token came first, the rotation is
	// noticed within this time.
	askEvery = 30 * time.Second

	// backOff is the pause after a failed fetch, so that a flood does not
	// hammer a server in trouble. The server may ask for more, up to
	// maxBackOff.
	backOff    = time.Second
	maxBackOff = 30 * time.Second
)

var (
	errNotYet   = errors.New("keyset: no fetch yet")
	errEmptySet = errors.New("keyset: the key set has no usable key")
	errNoURL    = errors.New("keyset: no key set URL")
)

// view is the state that one verification works with.
type view struct {
	keys        []key // never modified; nil if no keys may be used
	generation  int   // counts successful fetches
	withdrawals int
	aged        bool // older than MaxAge
}

// state is what a Set knows about its keys.
type state struct {
	// published is replaced whole under mu. Every request reads it, so it is
	// read without.
	published atomic.Pointer[published]

	mu      sync.Mutex
	failure error     // error of the last fetch, nil if it succeeded
	retryAt time.Time // no fetch before then
	tried   time.Time // start of the last fetch
	asked   time.Time // start of the last fetch caused by an unknown key
}

// published is what the last successful fetch brought. It is never modified.
type published struct {
	keys        []key
	aged, stale time.Time // MaxAge and StaleLimit after the fetch
	generation  int
	withdrawals int // fetches without a key of the fetch before
}

// last returns what the last successful fetch brought; before the first, that is
// nothing.
func (st *state) last() *published {
	if p := st.published.Load(); p != nil {
		return p
	}
	return new(published)
}

func (st *state) view(now time.Time) view {
	p := st.last()
	v := view{generation: p.generation, withdrawals: p.withdrawals, aged: now.After(p.aged)}
	if !now.After(p.stale) {
		v.keys = p.keys
	}
	return v
}

// mayFetch decides whether a fetch may begin now, and records that it does.
// asked means that a token with an unknown key is the reason. If the keys that
// the caller was missing have arrived since, done is true.
func (st *state) mayFetch(now time.Time, generation int, asked bool) (done bool, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.last().generation != generation {
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

// calm reports whether a background refresh may begin now.
func (st *state) calm(now time.Time) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return !now.Before(st.tried.Add(askEvery)) && (st.failure == nil || !now.Before(st.retryAt))
}

// succeed replaces the whole set, so that a withdrawn key disappears (F34).
func (st *state) succeed(now time.Time, keys []key) {
	st.mu.Lock()
	defer st.mu.Unlock()
	p := *st.last()
	if slices.ContainsFunc(p.keys, func(old key) bool { return !slices.ContainsFunc(keys, old.equals) }) {
		p.withdrawals++
	}
	p.keys, p.aged, p.stale = keys, now.Add(MaxAge), now.Add(StaleLimit)
	p.generation++
	st.published.Store(&p)
	st.failure = nil
}

// Standing says whether a token that the set has verified before would still be
// verified. It is so as long as ok is true and withdrawals is the same: no key
// has left the set since, and the set is not too old. Standing starts a fetch if
// the keys are due for one, and does not wait. It takes no lock, because every
// request with a known token calls it. now is the time by the clock of the set.
func (s *Set) Standing(now time.Time) (withdrawals int, ok bool) {
	if s.static {
		return 0, true
	}
	p := s.state.last()
	if p.keys != nil && now.After(p.aged) { // without keys only a token that needs one begins a fetch
		s.refreshAged(s.state.view(now))
	}
	return p.withdrawals, p.keys != nil && !now.After(p.stale)
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

// refreshAged starts a fetch if the keys are due for one. It does not wait.
func (s *Set) refreshAged(v view) {
	if v.aged && s.state.calm(s.now()) {
		s.flights.Start(struct{}{}, fetchTimeout, s.run(v, false, new(bool)))
	}
}

// fetch waits for the fetch under way, or for a new one. It reports whether
// that fetch began after the call.
func (s *Set) fetch(ctx context.Context, v view) (mine bool, err error) {
	began := new(bool) // the run may still write it after ctx has ended
	// Without keys nothing can be decided, so this fetch does not count as
	// caused by an unknown key.
	_, err = s.flights.Do(ctx, struct{}{}, fetchTimeout, s.run(v, v.keys != nil, began))
	switch {
	case err == nil:
		return *began, nil
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return false, err
	case errors.Is(err, errNotYet) && v.keys == nil:
		// The call joined a flight that was not allowed to fetch while there
		// were keys.
		return false, &UnavailableError{RetryAfter: backOff, Err: err}
	case errors.As(err, new(*UnavailableError)), errors.Is(err, errNotYet):
		return false, err
	}
	return false, s.state.fail(s.now(), err) // Config.URL panicked
}

// run returns the function of one flight for a caller that saw v. It sets began
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
	keys, skipped, from, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	if s.skipped != nil && len(skipped) > 0 {
		// This runs in a separate flight, so that nobody waits for it.
		s.reports.Start(struct{}{}, fetchTimeout, func(ctx context.Context) (struct{}, error) {
			s.skipped(ctx, skipped)
			return struct{}{}, nil
		})
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w among its %d, from %s", errEmptySet, len(skipped), from)
	}
	return keys, nil
}

// load asks for the set where it comes from.
func (s *Set) load(ctx context.Context) (keys []key, skipped []Skipped, from string, err error) {
	if s.read != nil {
		data, err := s.read(ctx)
		if err != nil {
			return nil, nil, "", err
		}
		keys, skipped, err = decode(data)
		return keys, skipped, "a file", err
	}
	if s.url == nil {
		return nil, nil, "", errNoURL
	}
	url, err := s.url(ctx)
	if err != nil {
		return nil, nil, "", err
	}
	var d document
	if _, err := outbound.GetJSON(ctx, s.client, url, maxDocument, &d); errors.Is(err, strictjson.ErrType) {
		return nil, nil, "", fmt.Errorf("keys is not an array: %w", err)
	} else if err != nil {
		return nil, nil, "", err
	}
	keys, skipped = d.usable()
	return keys, skipped, outbound.Address(url), nil
}
