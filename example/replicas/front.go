//go:build unix

package replicas

import (
	"context"
	"embed"
	"errors"
	"html/template"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"example.com/gatehouse/example/internal/look"
)

//go:embed pages/*.html
var pages embed.FS

// front passes each request to the next replica that is running, and has the
// buttons. It is safe for concurrent use.
type front struct {
	replicas []*replica
	look     *look.Look
	proxy    *httputil.ReverseProxy
	base     http.RoundTripper
	control  http.Handler
	logger   *slog.Logger
	// Pages and everything else take turns of their own: a page with an even
	// number of pictures would come from one replica for ever.
	pages, rest atomic.Uint64
}

func newFront(all []*replica, logger *slog.Logger) (*front, error) {
	f := &front{replicas: all, logger: logger}
	var err error
	f.look, err = look.New(look.Config{
		Name: "Photoz", Role: "photo site · the front", Theme: "photos", Home: "/",
		Aside: func(*http.Request) template.HTML { return panel(0) + lamps(0, 0, readStates(writeStates(f.replicas))) },
	}, pages)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // replicas are on loopback
	f.base = transport
	f.control = http.NewCrossOriginProtection().Handler(http.HandlerFunc(f.press))
	f.proxy = &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme = "http"
			p.Out.URL.RawQuery = p.In.URL.RawQuery // what is odd about it is for the site to judge
			p.Out.Host = p.In.Host
			p.SetXForwarded()
			p.Out.Header.Set(statesHeader, writeStates(f.replicas))
		},
		Transport:    f,
		ErrorHandler: f.fail,
		ErrorLog:     slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	return f, nil
}

// ServeHTTP implements http.Handler. It looks at the path itself, because a
// ServeMux redirects paths that the site has to judge.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == look.StylePath && r.Method == http.MethodGet: // the pages of the front need it as well
		look.Style(w, r)
	case strings.HasPrefix(r.URL.Path, controlPath):
		f.control.ServeHTTP(w, r)
	default:
		t := &trip{}
		defer t.leave()
		f.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), tripKey{}, t)))
	}
}

// trip is the way of one request. Its replica is busy until it is answered, or
// until its stream or WebSocket ends.
type trip struct{ replica *replica }

type tripKey struct{}

func (t *trip) leave() {
	if t.replica != nil {
		t.replica.release()
		t.replica = nil
	}
}

var errNobody = errors.New("no replica is running")

// RoundTrip implements http.RoundTripper. If a replica takes no connection, the
// next one gets the request. A request that only reads goes to the next one also
// if the connection broke.
func (f *front) RoundTrip(r *http.Request) (*http.Response, error) {
	t := r.Context().Value(tripKey{}).(*trip)
	if r.Body != nil {
		defer r.Body.Close()
	}
	turn := &f.rest
	if look.WantsPage(r) {
		turn = &f.pages
	}
	var last error // of a replica that had the request
	first := turn.Add(1) - 1
	for i := range uint64(len(f.replicas)) {
		next := f.replicas[(first+i)%uint64(len(f.replicas))]
		at, ok := next.acquire()
		if !ok {
			continue
		}
		t.replica = next
		out := r.WithContext(r.Context())
		to := *r.URL
		to.Host = at
		out.URL = &to
		if r.Body != nil && r.Body != http.NoBody {
			out.Body = io.NopCloser(r.Body) // the next try needs it
		}
		resp, err := f.base.RoundTrip(out)
		if err == nil || r.Context().Err() != nil || !refused(err) && !reads(r) {
			return resp, err
		}
		if !refused(err) {
			last = err
		}
		t.leave()
	}
	if last != nil {
		return nil, last
	}
	return nil, errNobody
}

// refused reports whether nobody took the connection.
func refused(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// reads reports whether a request may be sent twice.
func reads(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && (r.Body == nil || r.Body == http.NoBody)
}

// fail answers a request that no replica has answered.
func (f *front) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, title := http.StatusBadGateway, "The replica has gone"
	message := "It ended before it answered, so it is not known what became of the request."
	if errors.Is(err, errNobody) {
		status, title, message = http.StatusServiceUnavailable, "Nobody is here", "All replicas have ended. Start one with its button: whoever is signed in stays signed in."
		w.Header().Set("Retry-After", "5")
	}
	w.Header().Set("Cache-Control", "no-store")
	if !look.WantsPage(r) {
		http.Error(w, title+".", status)
		return
	}
	retry := ""
	if r.Method == http.MethodGet {
		retry = r.URL.RequestURI()
	}
	f.look.Write(w, r, status, "down", look.Page{Title: title, Data: look.Problem{Status: status, Message: message, Retry: retry}})
}

// press handles the buttons.
func (f *front) press(w http.ResponseWriter, r *http.Request) {
	number, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, controlPath))
	if err != nil || number < 1 || number > len(f.replicas) {
		http.Error(w, "There is no such replica.", http.StatusNotFound)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "This address takes only forms.", http.StatusMethodNotAllowed)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	switch state(r.PostFormValue("to")) {
	case ended:
		f.replicas[number-1].end()
	case running:
		if err := f.replicas[number-1].start(r.Context()); err != nil {
			f.logger.Error("a replica does not start", "replica", number, "error", err)
			http.Error(w, "The replica does not start; the terminal says why.", http.StatusServiceUnavailable)
			return
		}
	default:
		http.Error(w, "The form does not say what to do.", http.StatusBadRequest)
		return
	}
	f.tell(r.Context())
	http.Redirect(w, r, cameFrom(r), http.StatusSeeOther)
}

// tell tells every replica how all are, for its event streams. They hear it with
// each request, but the next one of a replica may be far away.
func (f *front) tell(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	states := writeStates(f.replicas)
	_ = everywhere(f.replicas, func(to *replica) error {
		at, ok := to.acquire()
		if !ok {
			return nil
		}
		defer to.release()
		r, err := http.NewRequestWithContext(ctx, http.MethodHead, "http://"+at+look.StylePath, nil)
		if err != nil {
			return err
		}
		r.Header.Set(statesHeader, states)
		resp, err := f.base.RoundTrip(r)
		if err != nil {
			return err // it hears later
		}
		return resp.Body.Close()
	})
}

// tellTime bounds that.
const tellTime = time.Second

// maxForm bounds the form of a button.
const maxForm = 1 << 10

// cameFrom is the page of this site that the button was pressed on.
func cameFrom(r *http.Request) string {
	from, err := url.Parse(r.Referer())
	if err != nil || from.Host != r.Host {
		return "/"
	}
	back := from.RequestURI()
	if !strings.HasPrefix(back, "/") || strings.HasPrefix(back, "//") || strings.HasPrefix(back, "/auth/") { // an answer that came once
		return "/"
	}
	return back
}
