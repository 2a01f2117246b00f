package flight

import (
	"context"
	"sync"
	"time"
)

// Within is a context that ends some time after somebody first waits for it. Who
// never has to wait pays for no timer. [Within.Stop] must be called when it is no
// longer needed. The zero value does not work; [NewWithin] makes one.
type Within struct {
	context.Context
	patience time.Duration
	once     sync.Once
	begun    context.Context // nil if nobody has waited
	cancel   context.CancelFunc
}

// NewWithin makes a Within that has the values of ctx and ends no later.
func NewWithin(ctx context.Context, patience time.Duration) *Within {
	return &Within{Context: ctx, patience: patience}
}

func (w *Within) begin() context.Context {
	w.once.Do(func() { w.begun, w.cancel = context.WithTimeout(w.Context, w.patience) })
	if w.begun == nil {
		return w.Context // it was stopped before
	}
	return w.begun
}

// Done implements context.Context.
func (w *Within) Done() <-chan struct{} { return w.begin().Done() }

// Err implements context.Context.
func (w *Within) Err() error { return w.begin().Err() }

// Deadline implements context.Context.
func (w *Within) Deadline() (time.Time, bool) { return w.begin().Deadline() }

// Stop releases the timer.
func (w *Within) Stop() {
	w.once.Do(func() {})
	if w.cancel != nil {
		w.cancel()
	}
}
