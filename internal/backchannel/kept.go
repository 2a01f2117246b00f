package backchannel

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"example.com/gatehouse/internal/flight"
)

// Kept is one value that is fetched on first use, by one flight for all who
// wait, and then kept. A caller starts its renewal in another flight and does
// not wait for it. If the renewal fails, the old value serves until it expires.
// After a failure nobody asks the server until a pause is over.
//
// A Kept holds no lock while it calls the functions of its config. They may do
// what they want, even hang, without blocking callers that need only the kept
// value.
type Kept[T comparable] struct {
	config  KeptConfig[T]
	state   atomic.Pointer[state[T]] // only the flight writes it
	flights flight.Group[struct{}, T]
	reports flight.Group[struct{}, struct{}]
}

// KeptConfig is what differs from one Kept to another.
type KeptConfig[T comparable] struct {
	// Fetch gets the value.
	Fetch func(ctx context.Context) (T, Life, error)
	// Fetched is called after each successful fetch, under the same rules as
	// Failed. It may be nil.
	Fetched func(ctx context.Context, value T)
	// Failed is called after each failed fetch. It may hang: failures in the
	// meantime are not reported. It may be nil.
	Failed func(ctx context.Context, err error)
	// Now is the clock.
	Now func() time.Time
	// Timeout ends a flight.
	Timeout time.Duration
	// Wait is the longest time that one caller waits for a flight. With 0 a
	// caller waits until its context ends. After a failure callers wait no
	// longer than a moment: the flight goes on for those who come later.
	Wait time.Duration
	// Pause is how long nobody asks after a failure. It doubles with each
	// further failure, up to MaxPause.
	Pause, MaxPause time.Duration
}

// againWait is how long one caller waits for a fetch after one that failed, if
// the Kept has a Wait. A server that is back answers within that time; one that
// hangs must not hold up every page (G5: 503 within 50 ms while it is away).
const againWait = 40 * time.Millisecond

// Life returns how long a value serves. Zero times mean forever.
type Life struct {
	RenewAt time.Time // when a call starts to fetch it again
	Expires time.Time // when it is no longer returned
}

// state is the result of the last flight. It is never modified.
type state[T comparable] struct {
	value   T
	has     bool
	fetched time.Time
	life    Life
	err     error
	retryAt time.Time
	pause   time.Duration
}

// NewKept makes a Kept. It fetches nothing yet.
func NewKept[T comparable](c KeptConfig[T]) *Kept[T] {
	k := &Kept[T]{config: c}
	k.state.Store(&state[T]{})
	return k
}

// Always makes a Kept of a value that is known and need not be fetched.
func Always[T comparable](value T) *Kept[T] {
	k := &Kept[T]{config: KeptConfig[T]{Now: time.Now}}
	k.state.Store(&state[T]{value: value, has: true})
	return k
}

// Get returns the kept value, fetching it if need be. The error is *Paused
// before the next try, the error of the fetch, or that of ctx.
func (k *Kept[T]) Get(ctx context.Context) (T, error) {
	var none T
	return k.Instead(ctx, none)
}

// Instead is Get for a caller whose value the server has just refused. The
// value is thrown away and fetched again, unless another caller has done so
// already. The zero value refuses nothing.
func (k *Kept[T]) Instead(ctx context.Context, refused T) (T, error) {
	return k.get(ctx, refused, k.config.Wait)
}

// Await is Get for a caller that waits for a flight until its context ends.
func (k *Kept[T]) Await(ctx context.Context) (T, error) {
	var none T
	return k.get(ctx, none, 0)
}

// Newer is Get for a caller that can do nothing with what is kept, because
// somebody has to correct it at the server. It fetches the value again if it is
// at least that old. If the fetch fails, the old value goes on serving.
func (k *Kept[T]) Newer(ctx context.Context, age time.Duration) (T, error) {
	var none T
	now, s := k.config.Now(), k.state.Load()
	if !s.has || !s.aged(now, age) || s.paused(now) || k.config.Fetch == nil {
		return k.Get(ctx)
	}
	return k.wait(ctx, k.config.Wait, func(ctx context.Context) (T, error) { return k.fetch(ctx, none, age) })
}

func (k *Kept[T]) get(ctx context.Context, refused T, wait time.Duration) (T, error) {
	var none T
	now, s := k.config.Now(), k.state.Load()
	switch {
	case s.serves(now) && !s.is(refused):
		if s.due(now) && !s.paused(now) {
			k.flights.Start(struct{}{}, k.config.Timeout, func(ctx context.Context) (T, error) { return k.fetch(ctx, none, 0) })
		}
		return s.value, nil
	case s.paused(now):
		return none, &Paused{s.retryAt.Sub(now), s.err}
	}
	return k.wait(ctx, wait, func(ctx context.Context) (T, error) { return k.fetch(ctx, refused, 0) })
}

// wait waits for the flight under way, or for a new one that runs fetch.
func (k *Kept[T]) wait(ctx context.Context, wait time.Duration, fetch func(context.Context) (T, error)) (T, error) {
	if wait > 0 {
		if k.state.Load().err != nil {
			wait = min(wait, againWait)
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, wait)
		defer cancel()
	}
	return k.flights.Do(ctx, struct{}{}, k.config.Timeout, fetch)
}

// Known returns what is kept, or the zero value. It fetches nothing.
func (k *Kept[T]) Known() T { return k.state.Load().value }

// Held returns what is kept, and how long it serves. It fetches nothing.
func (k *Kept[T]) Held() (T, Life) {
	s := k.state.Load()
	return s.value, s.life
}

// Shutdown waits until the flights that callers have started are over and
// reported, or until ctx ends.
func (k *Kept[T]) Shutdown(ctx context.Context) error {
	return errors.Join(k.flights.Wait(ctx), k.reports.Wait(ctx))
}

// fetch is the flight. Only one runs at a time. A value of that age is fetched
// again in any case; 0 is no age.
func (k *Kept[T]) fetch(ctx context.Context, refused T, age time.Duration) (T, error) {
	var none T
	now, before := k.config.Now(), k.state.Load()
	switch { // a flight that ended just before this one began
	case before.serves(now) && !before.is(refused) && !before.due(now) && (age == 0 || !before.aged(now, age)):
		return before.value, nil
	case before.paused(now):
		return none, &Paused{before.retryAt.Sub(now), before.err}
	}
	value, life, err := k.config.Fetch(ctx)
	if err == nil {
		k.state.Store(&state[T]{value: value, has: true, fetched: now, life: life})
		if k.config.Fetched != nil {
			k.report(func(ctx context.Context) { k.config.Fetched(ctx, value) })
		}
		return value, nil
	}
	after := *before
	if before.is(refused) {
		after.value, after.has = none, false
	}
	after.err, after.pause = err, min(max(2*before.pause, k.config.Pause), k.config.MaxPause)
	after.retryAt = k.config.Now().Add(after.pause)
	k.state.Store(&after)
	if k.config.Failed != nil {
		k.report(func(ctx context.Context) { k.config.Failed(ctx, err) })
	}
	return none, err
}

// report calls f in a separate flight, so that nobody waits for it.
func (k *Kept[T]) report(f func(context.Context)) {
	k.reports.Start(struct{}{}, k.config.Timeout, func(ctx context.Context) (struct{}, error) {
		f(ctx)
		return struct{}{}, nil
	})
}

// serves reports whether there is a value that may be returned.
func (s *state[T]) serves(now time.Time) bool {
	return s.has && (s.life.Expires.IsZero() || now.Before(s.life.Expires))
}

// due reports whether the value should be renewed.
func (s *state[T]) due(now time.Time) bool {
	return !s.life.RenewAt.IsZero() && !now.Before(s.life.RenewAt)
}

// aged reports whether the value is at least that old.
func (s *state[T]) aged(now time.Time, age time.Duration) bool {
	return !now.Before(s.fetched.Add(age))
}

// is reports whether the value is the one that was refused.
func (s *state[T]) is(refused T) bool {
	var none T
	return s.has && s.value == refused && refused != none
}

func (s *state[T]) paused(now time.Time) bool { return s.err != nil && now.Before(s.retryAt) }
