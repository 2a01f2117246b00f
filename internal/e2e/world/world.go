package world

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/offline"
	"example.com/gatehouse/internal/testkit/opserver"
	"example.com/gatehouse/middlewaretest"
)

// Start is the time at which every world begins.
var Start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// Keys are the keys of all servers in these tests, because making an RSA key
// takes longer than most of the tests.
var Keys = sync.OnceValue(func() []jose.JSONWebKey { return made(opserver.KnownKeys()) })

// otherKeys take turns with Keys.
var otherKeys = sync.OnceValue(func() []jose.JSONWebKey { return made(opserver.MakeKeys()) })

func made(keys []jose.JSONWebKey, err error) []jose.JSONWebKey {
	if err != nil {
		panic(err)
	}
	return keys
}

// World is a provider, its clock, and the record of everything that was said.
// It is safe for concurrent use.
type World struct {
	*opserver.Server // the controls of the provider, more than the kit offers
	Kit              *middlewaretest.Server
	T                testing.TB

	wire     http.RoundTripper // to whoever answers
	metadata map[string]string // its texts

	mu      sync.Mutex
	between Wire
	log     bytes.Buffer
	events  []gatehouse.Event
	calls   []Call
	secrets map[string]string // minted so far, with their kind
	shown   []string          // what outsiders see
	turns   int               // of the keys
}

// Wire is between those who ask and those who answer. next passes a request on.
type Wire = func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error)

// Call is one request that left through [World.Transport].
type Call struct {
	Method, Address string // without the query
	Auth            string // Authorization
	Form            url.Values
	Proofs          []string // the values of DPoP
}

// New makes a world off the network. All traffic is in memory, so origins can
// be https, everything that is said is recorded, and the world fits in a bubble
// of testing/synctest.
func New(t testing.TB, issuer string) *World {
	t.Helper()
	op := middlewaretest.NewOffline(t, issuer)
	return from(t, op, op.Transport())
}

// NewKeycloak is [New] with a server that speaks UMA as Keycloak does.
func NewKeycloak(t testing.TB, issuer string) *World {
	t.Helper()
	op := middlewaretest.NewOfflineKeycloak(t, issuer)
	return from(t, op, op.Transport())
}

// NewListening makes a world over TCP on loopback, with a path in the issuer.
func NewListening(t testing.TB, path string) *World {
	t.Helper()
	tcp := &http.Transport{}
	t.Cleanup(tcp.CloseIdleConnections)
	return from(t, middlewaretest.NewServerAt(t, path), tcp)
}

func from(t testing.TB, op *middlewaretest.Server, wire http.RoundTripper) *World {
	t.Helper()
	w := &World{T: t, Kit: op, wire: wire, secrets: map[string]string{}}
	// The kit's transport reaches the server itself, which has more controls
	// than the kit needs.
	inside, ok := op.Transport().(*offline.Net)
	if ok {
		w.Server, ok = inside.Handler(OriginOf(t, op.Issuer())).(*opserver.Server)
	}
	if !ok {
		t.Fatal("world: the kit's transport leads to no provider")
	}
	w.SetKeys(Keys())
	w.readMetadata()
	op.Clock().Advance(Start.Sub(op.Clock().Now()))
	t.Cleanup(w.Server.Close) // otherwise Close would wait for requests that a fault holds
	return w
}

// Must fails the test if there is an error.
func (w *World) Must(err error) {
	w.T.Helper()
	if err != nil {
		w.T.Fatal(err)
	}
}

// Now is the current time in this world.
func (w *World) Now() time.Time { return w.Kit.Clock().Now() }

// Advance moves the clock.
func (w *World) Advance(d time.Duration) { w.Kit.Clock().Advance(d) }

// SetDown makes the provider refuse connections, or answer again.
func (w *World) SetDown(down bool) {
	w.T.Helper()
	if down {
		w.Kit.Stop()
		return
	}
	w.Kit.Start()
}

// Break switches a fault on, only at the named endpoints if there are any.
func (w *World) Break(f opserver.Fault, endpoints ...string) {
	w.T.Helper()
	w.Must(w.SetFaultAt(f, true, endpoints...))
}

// Mend switches a fault off.
func (w *World) Mend(f opserver.Fault) {
	w.T.Helper()
	w.Must(w.SetFault(f, false))
}

// RotateKeys makes the server sign with other keys. The previous keys stay in
// the key set until the next rotation.
func (w *World) RotateKeys() {
	w.mu.Lock()
	w.turns++
	turn, keys := w.turns, Keys()
	w.mu.Unlock()
	if turn%2 == 1 {
		keys = otherKeys()
	}
	keys = slices.Clone(keys)
	for i := range keys {
		keys[i].KeyID = fmt.Sprintf("turn-%d-%s", turn, keys[i].Algorithm)
	}
	w.RotateTo(keys)
}

// Serve lets a handler answer for an origin, off the network.
func (w *World) Serve(origin string, h http.Handler) {
	w.T.Helper()
	w.Kit.Serve(origin, h)
}

// Provider makes a process's view of the provider, with its own caches and the
// world's clock, log and events.
func (w *World) Provider(change ...func(*gatehouse.ProviderConfig)) *gatehouse.Provider {
	w.T.Helper()
	return w.ProviderOf(w.Issuer(), change...)
}

// ProviderOf is [World.Provider] for another issuer.
func (w *World) ProviderOf(issuer string, change ...func(*gatehouse.ProviderConfig)) *gatehouse.Provider {
	w.T.Helper()
	c := gatehouse.ProviderConfig{Transport: w.Transport(), Now: w.Now, Logger: w.Logger(), Events: w.Hear}
	for _, f := range change {
		f(&c)
	}
	p, err := gatehouse.NewProvider(issuer, &c)
	w.Must(err)
	return p
}

// Logger writes to the log of the world.
func (w *World) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(logWriter{w}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type logWriter struct{ w *World }

func (l logWriter) Write(b []byte) (int, error) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return l.w.log.Write(b)
}

// Log is what was logged so far.
func (w *World) Log() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

// Logged counts a text in the log.
func (w *World) Logged(text string) int { return strings.Count(w.Log(), text) }

// Hear records an event.
func (w *World) Hear(_ context.Context, e gatehouse.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// Events are all events so far.
func (w *World) Events() []gatehouse.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

// EventsOf lists the codes of the events of that name.
func (w *World) EventsOf(name gatehouse.EventName) (codes []string) {
	for _, e := range w.Events() {
		if e.Name == name {
			codes = append(codes, e.Code)
		}
	}
	return codes
}

// LastCode is the reason of the last refusal, or "".
func (w *World) LastCode() string {
	codes := w.EventsOf(gatehouse.EventRefusal)
	if len(codes) == 0 {
		return ""
	}
	return codes[len(codes)-1]
}

// Endpoint is the address of a provider's endpoint by its name in the OpenID or
// UMA metadata, or "".
func (w *World) Endpoint(member string) string { return w.metadata[member] }

// Metadata is the addresses and other texts in the provider's OpenID and UMA
// metadata.
func (w *World) Metadata() map[string]string { return maps.Clone(w.metadata) }

// Learn reads the provider's metadata once more, after a control has changed it.
// Nothing else may be going on.
func (w *World) Learn() { w.readMetadata() }

// readMetadata learns the provider's addresses. It does not count as a request.
func (w *World) readMetadata() {
	w.metadata = map[string]string{}
	for _, document := range []string{"/.well-known/uma2-configuration", "/.well-known/openid-configuration"} {
		rec := httptest.NewRecorder()
		w.Server.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, w.Issuer()+document, nil))
		var md map[string]any
		w.Must(json.Unmarshal(rec.Body.Bytes(), &md))
		for name, v := range md {
			if text, ok := v.(string); ok {
				w.metadata[name] = text
			}
		}
	}
	w.ResetCounts()
}

// Calls are the requests sent through the transport so far.
func (w *World) Calls() []Call {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.calls)
}

// CallsTo lists the calls to an endpoint of the OpenID metadata.
func (w *World) CallsTo(member string) (list []Call) {
	w.T.Helper()
	address := w.Endpoint(member)
	for _, c := range w.Calls() {
		if c.Address == address {
			list = append(list, c)
		}
	}
	return list
}

// Total counts all requests that reached the provider since the last reset.
func (w *World) Total() (n int) {
	for _, e := range opserver.Endpoints() {
		n += w.Count(e)
	}
	return n
}

// Reset forgets the requests and events so far, but no secret and no line of
// the log.
func (w *World) Reset() {
	w.ResetCounts()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls, w.events = nil, nil
}

// WantQuiet checks that the provider saw no violation.
func (w *World) WantQuiet() {
	w.T.Helper()
	if v := w.Violations(); len(v) != 0 {
		w.T.Errorf("the provider saw %q", v)
	}
}

// SetWire puts a wire between those who ask and those who answer; nil removes
// it.
func (w *World) SetWire(wire Wire) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.between = wire
}

// SlowMetadata makes the provider's metadata take that long.
func (w *World) SlowMetadata(d time.Duration) {
	w.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/openid-configuration") {
			select {
			case <-time.After(d):
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		}
		return next(r), nil
	})
}

// Transport carries the requests of everybody in this world. It records them,
// and the secrets in them and in their answers.
func (w *World) Transport() http.RoundTripper { return transport{w} }

type transport struct{ w *World }

func (tr transport) RoundTrip(r *http.Request) (*http.Response, error) {
	w := tr.w
	if r.URL == nil {
		return w.wire.RoundTrip(r) // a request to nowhere, which reveals nothing
	}
	var body []byte
	if r.Body != nil {
		read, err := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil {
			return nil, err
		}
		body = read
	}
	in := r.Clone(r.Context())
	in.Body = io.NopCloser(bytes.NewReader(body))
	w.noteRequest(in, body)
	var failed error
	next := func(r *http.Request) *http.Response {
		resp, err := w.wire.RoundTrip(r)
		if err != nil {
			failed = err
			return Answer(r, http.StatusBadGateway, "")
		}
		w.noteAnswer(resp)
		return resp
	}
	w.mu.Lock()
	between := w.between
	w.mu.Unlock()
	var resp *http.Response
	var err error
	if between != nil {
		resp, err = between(in, next)
	} else {
		resp = next(in)
	}
	if r.Context().Err() != nil {
		return nil, r.Context().Err()
	}
	if failed != nil {
		return nil, failed
	}
	return resp, err
}

// Answer makes an answer for a test.
func Answer(r *http.Request, status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}
