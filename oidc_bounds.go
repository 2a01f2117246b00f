package gatehouse

// Tested in internal/e2e/signin.

import (
	"fmt"
	"net/http"
	"runtime/debug"
)

// What our own handlers take of a request. None of them needs a body; the
// largest that a browser honestly sends is the form of a button.
const (
	// maxForm bounds the body of a request to one of our handlers.
	maxForm = 64 << 10
	// maxHeader bounds its header: common servers and proxies take 8 to 32 KiB.
	maxHeader = 32 << 10
	// maxQuery bounds its query before that is parsed: room for a code and what
	// providers add.
	maxQuery = 16 << 10
)

// ownHandler is one of our own handlers: what it answers belongs to one browser
// (CK8), what is too large is refused unread (RL2), and a panic of what the
// application gave us is answered (RL8).
func (rp *RelyingParty) ownHandler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		perBrowser(w.Header())
		defer rp.recovered(w, r)
		if err := checkSize(r); err != nil {
			rp.refuse(w, r, err)
			return
		}
		if r.Body != nil && r.Body != http.NoBody {
			capped := *r // the request is the caller's
			capped.Body = http.MaxBytesReader(w, r.Body, maxForm)
			r = &capped
		}
		next.ServeHTTP(w, r)
	})
}

// checkSize judges a request by its announced size.
func checkSize(r *http.Request) error {
	if r.ContentLength > maxForm {
		return errBodyTooLarge.because(fmt.Errorf("body of %d bytes", r.ContentLength))
	}
	if n := len(r.URL.RawQuery); n > maxQuery {
		return errQueryTooLong.because(fmt.Errorf("query of %d bytes", n))
	}
	return checkHeaderSize(r)
}

func checkHeaderSize(r *http.Request) error {
	size := 0
	for name, values := range r.Header {
		for _, v := range values {
			size += len(name) + len(v) + len(": \r\n")
		}
	}
	if size > maxHeader {
		return errHeaderTooLarge.because(fmt.Errorf("header of %d bytes", size))
	}
	return nil
}

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
