package gatehouse_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"index/suffixarray"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

const (
	siteIssuer = "https://op.test/realm"
	siteSecret = "rp secret: %+/" // needs the form-encoding of RFC 6749 §2.3.1
	sitePass   = "pass-word-of-everybody"
)

// site is a web site under test: replicas that share one store, behind one
// origin, with a real provider. All of it talks in memory, so that origins can
// be https and everything that is said is seen.
type site struct {
	*opserver.Server
	t      testing.TB
	origin string
	store  gatehouse.Store
	opts   siteOptions

	replicas []*replica
	endpoint map[string]string // of the provider, by metadata member

	mu      sync.Mutex
	now     time.Time
	down    bool                                                                                   // the provider refuses connections
	wire    func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) // sits before the provider
	log     bytes.Buffer
	events  []gatehouse.Event
	secrets map[string]string // minted so far, with their kind
	signer  *signer           // of changed ID Tokens
	shown   []string          // bodies and Locations of the site
	calls   []call            // back-channel requests
}

// call is one request of a replica to the provider.
type call struct {
	path string
	auth string
	form url.Values
}

// replica is one process of the site.
type replica struct {
	provider *gatehouse.Provider
	sessions *gatehouse.Sessions
	login    *gatehouse.RelyingParty
	mux      *http.ServeMux
}

type siteOptions struct {
	origin   string
	replicas int
	store    gatehouse.Store
	wrap     func(gatehouse.Store) gatehouse.Store
	client   func(*opserver.Client)
	sessions func(*gatehouse.SessionsConfig)
	party    func(*gatehouse.RelyingPartyConfig)
	provider func(*gatehouse.ProviderConfig)
	mount    func(mux *http.ServeMux, login *gatehouse.RelyingParty)
}

func newSite(t testing.TB, change ...func(*siteOptions)) *site {
	t.Helper()
	o := siteOptions{origin: "https://notes.test", replicas: 1}
	for _, c := range change {
		c(&o)
	}
	s := &site{t: t, origin: o.origin, opts: o, now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC),
		secrets: map[string]string{siteSecret: "client secret", url.QueryEscape(siteSecret): "client secret", sitePass: "password"}}
	var err error
	s.Server, err = opserver.New(opserver.Config{Issuer: siteIssuer, Now: s.Now, Keys: providerKeys()})
	s.must(err)
	s.readMetadata()
	for _, name := range []string{"ana", "ben"} {
		s.must(s.AddUser(name, sitePass, map[string]any{"sub": name + "-1", "email": name + "@example.org", "name": strings.ToUpper(name)}))
	}
	// ES256: an RSA key takes long to make under the race detector, and one test has it.
	c := opserver.Client{ID: "notes", Secret: siteSecret, RedirectURIs: []string{o.origin + "/auth/callback"},
		PostLogoutRedirectURIs: []string{o.origin + "/auth/logout"}, IDTokenAlg: "ES256"}
	if o.client != nil {
		o.client(&c)
	}
	s.must(s.AddClient(c))
	s.store = o.store
	if s.store == nil {
		s.store = gatehouse.NewMemoryStore(s.Now)
	}
	if o.wrap != nil {
		s.store = o.wrap(s.store)
	}
	for range o.replicas {
		s.addReplica(o)
	}
	t.Cleanup(func() {
		s.Server.Close()
		for _, r := range s.replicas {
			s.must(r.sessions.Shutdown(context.Background()))
		}
		s.checkSilence()
	})
	return s
}

func (s *site) addReplica(o siteOptions) *replica {
	s.t.Helper()
	pc := gatehouse.ProviderConfig{
		Transport: backChannel{s}, Now: s.Now,
		Logger: slog.New(slog.NewTextHandler(siteLog{s}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Events: func(_ context.Context, e gatehouse.Event) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.events = append(s.events, e)
		},
	}
	if o.provider != nil {
		o.provider(&pc)
	}
	provider, err := gatehouse.NewProvider(siteIssuer, &pc)
	s.must(err)
	sc := gatehouse.SessionsConfig{Store: s.store, Now: s.Now}
	if o.sessions != nil {
		o.sessions(&sc)
	}
	sessions, err := gatehouse.NewSessions(sc)
	s.must(err)
	c := gatehouse.RelyingPartyConfig{
		Client:      gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret(siteSecret)},
		RedirectURL: s.origin + "/auth/callback", Scopes: []string{"profile", "email"},
		Sessions: sessions, LoginURL: "/auth/login",
	}
	if o.party != nil {
		o.party(&c)
	}
	login, err := gatehouse.NewRelyingParty(provider, c)
	s.must(err)
	r := &replica{provider: provider, sessions: sessions, login: login, mux: http.NewServeMux()}
	r.mux.Handle("/auth/callback", login.CallbackHandler())
	r.mux.Handle("/auth/logout", login.LogoutHandler())
	r.mux.Handle("/auth/login", login.LoginHandler())
	r.mux.Handle("/notes/", login.RequireLogin(whoAmI))
	r.mux.Handle("/open", login.OptionalLogin(whoAmI))
	if o.mount != nil {
		o.mount(r.mux, login)
	}
	s.replicas = append(s.replicas, r)
	return r
}

// whoAmI says whom it serves.
var whoAmI = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	id := gatehouse.IdentityFrom(r.Context())
	if id == nil {
		fmt.Fprint(w, "served nobody")
		return
	}
	fmt.Fprintf(w, "served %s by %s", id.Subject, id.Via)
})

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *site) advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

func (s *site) setDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

func (s *site) breakIt(f opserver.Fault, endpoints ...string) {
	s.t.Helper()
	s.must(s.SetFaultAt(f, true, endpoints...))
}

func (s *site) mend(f opserver.Fault) {
	s.t.Helper()
	s.must(s.SetFault(f, false))
}

// readMetadata learns the provider's addresses and counts as no request.
func (s *site) readMetadata() {
	s.endpoint = map[string]string{}
	w := httptest.NewRecorder()
	s.Server.ServeHTTP(w, httptest.NewRequest(http.MethodGet, siteIssuer+"/.well-known/openid-configuration", nil))
	var md map[string]any
	s.must(json.Unmarshal(w.Body.Bytes(), &md))
	for name, v := range md {
		if address, ok := v.(string); ok {
			s.endpoint[name] = address
		}
	}
	s.ResetCounts()
}

// eventsOf lists the codes of the events of that name.
func (s *site) eventsOf(name gatehouse.EventName) (codes []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.Name == name {
			codes = append(codes, e.Code)
		}
	}
	return codes
}

func (s *site) logged(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.log.String(), text)
}

// callsTo lists the back-channel requests to an endpoint of the metadata.
func (s *site) callsTo(member string) (list []call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if c.path == s.endpoint[member] {
			list = append(list, c)
		}
	}
	return list
}

func (s *site) shutdown(i int) {
	s.t.Helper()
	s.must(s.replicas[i].sessions.Shutdown(context.Background()))
}

type siteLog struct{ s *site }

func (l siteLog) Write(b []byte) (int, error) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	return l.s.log.Write(b)
}

// backChannel carries the replicas' requests to the provider.
type backChannel struct{ s *site }

func (b backChannel) RoundTrip(r *http.Request) (*http.Response, error) {
	s := b.s
	var body []byte
	if r.Body != nil {
		defer r.Body.Close()
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	in := r.Clone(r.Context())
	in.Body, in.RequestURI = io.NopCloser(bytes.NewReader(body)), r.URL.RequestURI()
	s.noteRequest(in, body)
	s.mu.Lock()
	down, wire := s.down, s.wire
	s.mu.Unlock()
	if down || r.URL.Host != "op.test" {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	next := func(r *http.Request) *http.Response {
		w := httptest.NewRecorder()
		s.Server.ServeHTTP(w, r)
		resp := w.Result()
		s.noteAnswer(w.Body.Bytes())
		resp.Request = r
		return resp
	}
	var resp *http.Response
	var err error
	if wire != nil {
		resp, err = wire(in, next)
	} else {
		resp = next(in)
	}
	if r.Context().Err() != nil {
		return nil, r.Context().Err()
	}
	return resp, err
}

func (s *site) setWire(wire func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wire = wire
}

// mint remembers a secret, which must never show.
func (s *site) mint(kind, value string) {
	if len(value) < 8 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[value] = kind
}

func (s *site) noteRequest(r *http.Request, body []byte) {
	form, _ := url.ParseQuery(string(body))
	for _, name := range []string{"code", "code_verifier", "refresh_token", "token", "client_secret"} {
		s.mint(name, form.Get(name))
	}
	_, credentials, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	s.mint("credentials", credentials)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call{r.URL.Scheme + "://" + r.URL.Host + r.URL.Path, r.Header.Get("Authorization"), form})
}

func (s *site) noteAnswer(body []byte) {
	var m map[string]any
	if json.Unmarshal(body, &m) != nil {
		return
	}
	for _, name := range []string{"access_token", "refresh_token", "id_token"} {
		if v, ok := m[name].(string); ok {
			s.mint(name, v)
		}
	}
}

// noteShown keeps what a browser, a proxy or a log of addresses gets to see.
func (s *site) noteShown(w *httptest.ResponseRecorder) {
	for _, c := range w.Result().Cookies() {
		s.mint("cookie", c.Value)
		for part := range strings.SplitSeq(c.Value, ".") {
			s.mint("cookie", part)
		}
	}
	location := w.Header().Get("Location")
	if strings.HasPrefix(location, s.endpoint["end_session_endpoint"]) { // the one place of an ID Token: id_token_hint
		u, err := url.Parse(location)
		s.must(err)
		q := u.Query()
		q.Del("id_token_hint")
		q.Del("state") // it has a cookie of the same value
		u.RawQuery = q.Encode()
		location = u.String()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shown = append(s.shown, "Location: "+location, w.Body.String(), strings.Join(w.Header().Values("WWW-Authenticate"), " "))
}

// checkSilence looks for every secret that was minted in the log, the events,
// the pages and the addresses, and for verifiers and tokens in cookies (R13).
func (s *site) checkSilence() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	texts := append([]string{s.log.String()}, s.shown...)
	for _, e := range s.events {
		texts = append(texts, fmt.Sprintf("%+v %v", e, e.Err))
	}
	var cookies []string
	for value, kind := range s.secrets {
		if kind == "cookie" {
			cookies = append(cookies, value)
		}
	}
	const between = "\x00" // in no secret
	shown := []byte(strings.Join(texts, between))
	inShown, inCookies := suffixarray.New(shown), suffixarray.New([]byte(strings.Join(cookies, between)))
	for value, kind := range s.secrets {
		for _, at := range inShown.Lookup([]byte(value), 1) {
			s.t.Errorf("a %s shows in %q", kind, shown[max(0, at-80):min(len(shown), at+8)])
		}
		if kind != "cookie" && len(inCookies.Lookup([]byte(value), 1)) > 0 {
			s.t.Errorf("a %s is in a cookie in clear", kind)
		}
	}
}

// wantRefusal checks a page or body of ours: status, no-store, no handler run.
func (s *site) wantRefusal(a *answer, status int) {
	s.t.Helper()
	if a.Code != status || strings.Contains(a.Body.String(), "served") {
		s.t.Fatalf("got %v; want %d", a, status)
	}
	if got := a.Header().Get("Cache-Control"); got != "no-store" {
		s.t.Errorf("Cache-Control %q on a refusal, want no-store", got)
	}
	if retry := a.Header().Get("Retry-After"); (retry != "") != (status == http.StatusServiceUnavailable) {
		s.t.Errorf("Retry-After %q with status %d", retry, status)
	}
}

// wantNo is CB-NO: 400, nothing set, the token endpoint as often asked as said.
func (s *site) wantNo(b *visitor, a *answer, tokenRequests int) {
	s.t.Helper()
	s.wantRefusal(a, http.StatusBadRequest)
	if b.sessionName() != "" {
		s.t.Error("a session cookie came with the refusal")
	}
	if got := s.Count(opserver.EndpointToken); got != tokenRequests {
		s.t.Errorf("the token endpoint was asked %d times, want %d", got, tokenRequests)
	}
	codes := s.eventsOf(gatehouse.EventRefusal)
	if len(codes) == 0 || codes[len(codes)-1] == "" {
		s.t.Errorf("refused events %q, want one with a reason code", codes)
	}
}

// code is the reason of the last refusal.
func (s *site) lastCode() string {
	codes := s.eventsOf(gatehouse.EventRefusal)
	if len(codes) == 0 {
		return ""
	}
	return codes[len(codes)-1]
}

// withQuery changes the query of an address.
func withQuery(t testing.TB, raw string, change func(url.Values)) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	change(q)
	u.RawQuery = q.Encode()
	return u.String()
}

func queryOf(t testing.TB, raw string) url.Values {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

// tokenClaims reads the claims of a token without judging it.
func tokenClaims(t testing.TB, raw string) map[string]any {
	t.Helper()
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		t.Fatal("not a compact token")
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{}
	if err := json.Unmarshal(b, &claims); err != nil {
		t.Fatal(err)
	}
	return maps.Clone(claims)
}
