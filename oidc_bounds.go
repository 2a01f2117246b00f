package gatehouse

// Tested in internal/e2e/signin.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"

	"example.com/gatehouse/internal/navigation"
)

// Limits on requests to our own handlers, besides those of the body.
const (
	// maxHeader bounds the header without our attempts, in bytes. Common servers
	// and proxies accept 8 to 32 KiB.
	maxHeader = 32 << 10
	// maxAtOnce is how many bytes of attempts are not counted: those of two dozen
	// tabs that were opened at once with the longest paths. The first answer
	// brings them under maxAttempts.
	maxAtOnce = 24 * (3<<10 + 64)
	// maxQuery bounds the query, in bytes, before it is parsed. It leaves room
	// for a code and for the parameters that providers add.
	maxQuery = 16 << 10
)

// ownHandler wraps one of our own handlers. It keeps the response out of
// caches (CK8), refuses a request that is too large before reading it (RL2) and
// a prefetch, and answers a panic in code of the application (RL8).
func (rp *RelyingParty) ownHandler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		perBrowser(w.Header())
		defer rp.recovered(w, r)
		r = rp.bodies.Bound(w, r, maxForm, bodyTimeout)
		if err := rp.checkSize(r); err != nil {
			rp.refuse(w, r, err)
			return
		}
		if navigation.IsPrefetch(r) { // perhaps nobody will see the answer, and a state or a cookie would be spent for it
			rp.refuse(w, r, errNoNavigation.because(errors.New("a prefetch")))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// checkSize refuses a request whose announced size is too large.
func (rp *RelyingParty) checkSize(r *http.Request) error {
	if r.ContentLength > maxForm {
		return errBodyTooLarge.because(fmt.Errorf("body of %d bytes", r.ContentLength))
	}
	if n := len(r.URL.RawQuery); n > maxQuery {
		return errQueryTooLong.because(fmt.Errorf("query of %d bytes", n))
	}
	return rp.checkHeaderSize(r)
}

func (rp *RelyingParty) checkHeaderSize(r *http.Request) error {
	size := 0
	for name, values := range r.Header {
		for _, v := range values {
			size += len(name) + len(v) + len(": \r\n")
		}
	}
	if size > maxHeader {
		size -= min(sizes(rp.attemptCookies(r)), maxAtOnce)
	}
	if size > maxHeader {
		return errHeaderTooLarge.because(fmt.Errorf("header of %d bytes", size))
	}
	return nil
}

// Hooks, stores, loggers and requirements belong to the application and may
// panic. We hold no lock while they run, so nothing stays locked, and the
// request is answered with 500. A panic of the handler behind a guard is not
// ours to handle and goes on to the server.

// panicIn reports a panic and returns the error to answer it with (RL8).
// http.ErrAbortHandler is passed on.
func (p *Provider) panicIn(ctx context.Context, value any) error {
	if value == http.ErrAbortHandler {
		panic(value)
	}
	p.emitPanic(ctx, value, debug.Stack())
	return errInternal.because(panicked(value))
}

// safely calls f. A panic becomes its error, so that what is known about the
// request by then, such as the person, stays known.
func (p *Provider) safely(ctx context.Context, f func(context.Context) error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = p.panicIn(ctx, value)
		}
	}()
	return f(ctx)
}

// recovered answers a panic with 500 (RL8). http.ErrAbortHandler is passed on.
// Use it with defer.
func (rp *RelyingParty) recovered(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	perBrowser(w.Header())
	defer lastAnswer(w)
	rp.refuse(w, r, rp.provider.panicIn(r.Context(), p))
}

// lastAnswer answers with 500 if the logger, the Events hook or ErrorHandler
// has panicked too. Use it with defer.
func lastAnswer(w http.ResponseWriter) {
	if recover() != nil {
		w.Header().Set("Cache-Control", noStore)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
	}
}
