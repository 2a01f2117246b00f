package gatehouse

import (
	"net/http"
	"runtime/debug"
)

// What the application gives us (hooks, store, logger, requirements) may panic.
// We hold no lock while it runs, so nothing stays locked; here the request gets
// its answer. A panic of the handler behind a guard is not ours and goes on to
// the server.

// panicAnswerer is a guard that answers panics of its own parts.
type panicAnswerer interface {
	panicked(w http.ResponseWriter, r *http.Request, p any)
}

// recovered is deferred where a panic is to be answered.
func (rp *RelyingParty) recovered(w http.ResponseWriter, r *http.Request) {
	if p := recover(); p != nil {
		rp.panicked(w, r, p)
	}
}

// panicked answers a panic with 500 (RL8).
func (rp *RelyingParty) panicked(w http.ResponseWriter, r *http.Request, p any) {
	if p == http.ErrAbortHandler {
		panic(p)
	}
	perBrowser(w.Header())
	defer func() {
		if recover() == nil {
			return
		}
		// The logger, the Events hook or ErrorHandler is what panics.
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
	}()
	rp.provider.emitPanic(r.Context(), p, debug.Stack())
	rp.refuse(w, r, errInternal.because(panicked(p)))
}
