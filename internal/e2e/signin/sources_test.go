package signin_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// The claims providers of these tests. Only bank and school are listed.
const (
	bank    = "https://bank.test"
	school  = "https://school.test"
	unknown = "https://unknown.test"
)

// sourcing is a site whose provider refers to claims providers.
type sourcing struct {
	*world.Site
	keys   map[string]*world.Signer // by issuer
	mu     sync.Mutex
	asked  []string             // requests to the claims providers, with their Authorization
	answer http.HandlerFunc     // of all of them
	point  func(map[string]any) // changes the document
}

// lateTransport is that of a site that is not made yet.
type lateTransport struct{ s *sourcing }

func (l lateTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return l.s.Transport().RoundTrip(r)
}

// newSourcing makes the site. The document that refers elsewhere is the "ID Token"
// or the "user info".
func newSourcing(t *testing.T, where string, change ...func(*gatehouse.RelyingPartyConfig)) *sourcing {
	t.Helper()
	s := &sourcing{keys: map[string]*world.Signer{}, answer: http.NotFound, point: func(map[string]any) {}}
	for _, issuer := range []string{bank, school, unknown} {
		s.keys[issuer] = world.NewSigner(t)
	}
	listed := func(issuer string) gatehouse.ClaimsProvider {
		p, err := gatehouse.NewProvider(issuer, &gatehouse.ProviderConfig{Keys: []jose.JSONWebKey{s.keys[issuer].Key.Public()}, SigningAlgorithms: []string{"ES256"},
			Transport: lateTransport{s}, Now: func() time.Time { return s.Now() }})
		if err != nil {
			t.Fatal(err)
		}
		return gatehouse.ClaimsProvider{Provider: p, Transport: lateTransport{s}, InsecureInnerAddresses: true}
	}
	s.Site = world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) {
			c.ClaimsProviders = []gatehouse.ClaimsProvider{listed(bank), listed(school)}
			for _, f := range change {
				f(c)
			}
		}
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/claims", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var all map[string]any
				if err := gatehouse.IdentityFrom(r.Context()).Claims(&all); err != nil {
					t.Error(err)
				}
				if all["_claim_sources"] != nil { // with tokens
					all["_claim_sources"] = "not shown"
				}
				_ = json.NewEncoder(w).Encode(all)
			})))
			mux.Handle("/by-hand", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				id, err := login.UserInfo(r.Context())
				if err != nil {
					t.Error(err)
					return
				}
				var all map[string]any
				if err := id.Claims(&all); err != nil {
					t.Error(err)
				}
				_ = json.NewEncoder(w).Encode(all)
			})))
		}
	})
	for _, issuer := range []string{bank, school, unknown} {
		s.Serve(issuer, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.mu.Lock()
			s.asked = append(s.asked, strings.TrimSpace(r.Method+" "+issuer+r.URL.RequestURI()+" "+r.Header.Get("Authorization")))
			s.mu.Unlock()
			s.answer(w, r)
		}))
	}
	switch where {
	case "ID Token":
		s.Retoken(t, func(_, claims map[string]any) { s.point(claims) })
	default:
		s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
			resp := next(r)
			if strings.HasSuffix(s.Endpoint("userinfo_endpoint"), r.URL.Path) {
				resp = world.RewriteJSON(t, resp, s.point)
			}
			return resp, nil
		})
	}
	return s
}

// says is a JWT of a claims provider.
func (s *sourcing) says(issuer string, claims map[string]any) string {
	all := map[string]any{"iss": issuer}
	maps.Copy(all, claims)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	payload, err := json.Marshal(all)
	s.Must(err)
	return s.keys[issuer].Sign(nil, payload)
}

// elsewhere changes a document: the claims are said to be at the source of one
// name.
func elsewhere(document, source map[string]any, claims ...string) {
	names := map[string]any{}
	for _, c := range claims {
		names[c] = "src1"
	}
	document["_claim_names"], document["_claim_sources"] = names, map[string]any{"src1": source}
}

// claimsOf signs somebody in and returns what a page reads.
func (s *sourcing) claimsOf(page string) map[string]any {
	s.T.Helper()
	ana := s.Visitor("ana")
	ana.SignIn()
	return s.read(ana, page)
}

func (s *sourcing) read(v *world.Visitor, page string) (all map[string]any) {
	s.T.Helper()
	s.Must(json.Unmarshal(v.Get(page).Body.Bytes(), &all))
	return all
}

// troubles are the log lines about sources.
func (s *sourcing) troubles() (lines []string) {
	for _, e := range s.Events() {
		if e.Name == gatehouse.EventTrouble && e.Code == "claim_source" {
			lines = append(lines, e.Err.Error())
		}
	}
	return lines
}

var documents = []string{"ID Token", "user info"}

// RP-U4: aggregated claims of a listed issuer are claims like any other, and what
// was used of them is named no longer.
func TestRPU4_AggregatedClaims(t *testing.T) {
	for _, where := range documents {
		t.Run(where, func(t *testing.T) {
			s := newSourcing(t, where)
			s.point = func(m map[string]any) {
				elsewhere(m, map[string]any{"JWT": s.says(bank, map[string]any{
					"credit_score": 650, "address": map[string]any{"country": "IS"}, "sub": "account-9", "aud": []string{"other", "notes"}, "not_asked": true, "acr": "gold",
				}), "hint": "not understood"}, "credit_score", "address")
			}
			got := s.claimsOf("/claims")
			if fmt.Sprint(got["credit_score"], got["address"]) != "650 map[country:IS]" || got["sub"] != "ana-1" || got["not_asked"] != nil || got["acr"] == "gold" {
				t.Errorf("claims %v", got)
			}
			if got["_claim_names"] != nil || got["_claim_sources"] != nil {
				t.Errorf("still elsewhere: %v, %v", got["_claim_names"], got["_claim_sources"])
			}
			if len(s.asked) != 0 || len(s.troubles()) != 0 {
				t.Errorf("asked %q, troubles %q", s.asked, s.troubles())
			}
		})
	}
}

// RL6 switched on: a distributed claim is fetched from a listed origin, with the
// source's token or without one.
func TestRL6_DistributedClaims(t *testing.T) {
	for _, where := range documents {
		for _, token := range []string{"", "token-of-the-source"} {
			t.Run(where+" "+token, func(t *testing.T) {
				s := newSourcing(t, where)
				want := "GET " + bank + "/claims?of=7"
				source := map[string]any{"endpoint": bank + "/claims?of=7"}
				if token != "" {
					s.Mint("token of a source", token)
					source["access_token"] = token
					want += " Bearer " + token
				}
				s.answer = func(w http.ResponseWriter, r *http.Request) {
					if accept := r.Header.Get("Accept"); accept != "application/jwt" {
						t.Errorf("Accept: %s", accept)
					}
					fmt.Fprintln(w, s.says(bank, map[string]any{"credit_score": 650}))
				}
				s.point = func(m map[string]any) { elsewhere(m, source, "credit_score") }
				got := s.claimsOf("/claims")
				if got["credit_score"] != 650.0 || got["_claim_sources"] != nil {
					t.Errorf("claims %v", got)
				}
				if !slices.Equal(s.asked, []string{want}) || len(s.troubles()) != 0 {
					t.Errorf("asked %q, troubles %q", s.asked, s.troubles())
				}
			})
		}
	}
}

// RL6: what is not listed, not verified or not there costs its own claims alone.
// Nothing is sent to an origin that is not listed, and the person is signed in.
func TestRL6_SourcesRefused(t *testing.T) {
	jwt := func(issuer string, claims map[string]any) func(*sourcing) map[string]any {
		return func(s *sourcing) map[string]any { return map[string]any{"JWT": s.says(issuer, claims)} }
	}
	at := func(endpoint string) func(*sourcing) map[string]any {
		return func(*sourcing) map[string]any {
			return map[string]any{"endpoint": endpoint, "access_token": "token-of-the-source"}
		}
	}
	score := map[string]any{"score": 650}
	with := func(more map[string]any) map[string]any {
		all := maps.Clone(score)
		maps.Copy(all, more)
		return all
	}
	answer := func(status int, header, value string, body func(*sourcing) string) func(*sourcing, http.ResponseWriter) {
		return func(s *sourcing, w http.ResponseWriter) {
			w.Header().Set(header, value)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body(s)))
		}
	}
	of := func(issuer string) func(*sourcing) string {
		return func(s *sourcing) string { return s.says(issuer, score) }
	}
	for name, c := range map[string]struct {
		source func(*sourcing) map[string]any
		answer func(*sourcing, http.ResponseWriter)
		asked  int
		says   string // in the log
	}{
		"an issuer that is not listed": {jwt(unknown, score), nil, 0, "none of ClaimsProviders"},
		"no iss":                       {jwt(bank, with(map[string]any{"iss": nil})), nil, 0, "no readable iss"},
		"signed by another": {func(s *sourcing) map[string]any {
			return map[string]any{"JWT": s.keys[school].Sign(nil, []byte(`{"iss":"https://bank.test","score":650}`))}
		}, nil, 0, "signature not valid"},
		"not signed": {func(*sourcing) map[string]any {
			return map[string]any{"JWT": "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2JhbmsudGVzdCIsInNjb3JlIjo2NTB9."}
		}, nil, 0, "no readable iss"},
		"another audience": {jwt(bank, with(map[string]any{"aud": "other"})), nil, 0, "another audience"},
		"no audience":      {jwt(bank, with(map[string]any{"aud": []string{}})), nil, 0, "another audience"},
		"expired":          {jwt(bank, with(map[string]any{"exp": 1})), nil, 0, "expired"},
		"not yet":          {jwt(bank, with(map[string]any{"nbf": 4e9})), nil, 0, "times do not fit"},
		"a logout token":   {jwt(bank, with(map[string]any{"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}})), nil, 0, "another kind"},
		"an access token": {func(s *sourcing) map[string]any {
			return map[string]any{"JWT": s.keys[bank].Sign(map[string]any{"typ": "at+jwt"}, []byte(`{"iss":"https://bank.test","score":650}`))}
		}, nil, 0, "another kind"},
		"without the claim":            {jwt(bank, map[string]any{"rating": 1}), nil, 0, "it lacks"},
		"a JWT of more than 16 KiB":    {jwt(bank, map[string]any{"score": strings.Repeat("x", 16<<10)}), nil, 0, "no readable iss"},
		"an origin that is not listed": {at(unknown + "/claims"), nil, 0, "no origin of ClaimsProviders"},
		"another port":                 {at(bank + ":8443/claims"), nil, 0, "no origin of ClaimsProviders"},
		"http":                         {at("http://bank.test/claims"), nil, 0, "neither https nor"},
		"http on loopback":             {at("http://127.0.0.1:7/claims"), nil, 0, "no origin of ClaimsProviders"},
		"a name before the host":       {at("https://bank.test@unknown.test/claims"), nil, 0, "user information"},
		"a fragment":                   {at(bank + "/claims#x"), nil, 0, "fragment"},
		"no address":                   {at("claims"), nil, 0, "not an absolute URL"},
		"a token of two lines": {func(*sourcing) map[string]any {
			return map[string]any{"endpoint": bank + "/", "access_token": "a\r\nX: y"}
		}, nil, 0, "access token has characters"},
		"404":                           {at(bank + "/claims"), answer(404, "X", "y", of(bank)), 1, "404"},
		"500":                           {at(bank + "/claims"), answer(500, "X", "y", of(bank)), 1, "500"},
		"a redirect":                    {at(bank + "/claims"), answer(302, "Location", school+"/claims", of(bank)), 1, "302"},
		"the JWT of another one listed": {at(bank + "/claims"), answer(200, "X", "y", of(school)), 1, "signature not valid"},
		"a page":                        {at(bank + "/claims"), answer(200, "X", "y", func(*sourcing) string { return "<html>" }), 1, "malformed"},
		"nothing":                       {at(bank + "/claims"), answer(200, "X", "y", func(*sourcing) string { return "" }), 1, "malformed"},
		"too much":                      {at(bank + "/claims"), answer(200, "X", "y", func(*sourcing) string { return strings.Repeat("x", 1<<20) }), 1, "16384"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSourcing(t, "user info")
			if c.answer != nil {
				s.answer = func(w http.ResponseWriter, _ *http.Request) { c.answer(s, w) }
			}
			s.point = func(m map[string]any) {
				elsewhere(m, c.source(s), "score")
				names, _ := m["_claim_names"].(map[string]any)
				names["rating"] = "src2"
				sources, _ := m["_claim_sources"].(map[string]any)
				sources["src2"] = map[string]any{"JWT": s.says(school, map[string]any{"rating": "good"})}
			}
			got := s.claimsOf("/claims")
			if got["score"] != nil || got["rating"] != "good" || fmt.Sprint(got["_claim_names"]) != "map[score:src1]" || got["email"] != "ana@example.org" {
				t.Errorf("claims %v", got)
			}
			lines := s.troubles()
			if len(lines) != 1 || !strings.HasPrefix(lines[0], `source "src1": `) || !strings.Contains(lines[0], c.says) || strings.Contains(lines[0], "token-of-the-source") {
				t.Errorf("log %q, want %s", lines, c.says)
			}
			if len(s.asked) != c.asked {
				t.Errorf("asked %q", s.asked)
			}
			for _, call := range s.Calls() {
				if !strings.HasPrefix(call.Address, "https://op.test/") && !strings.HasPrefix(call.Address, bank+"/") {
					t.Errorf("a request went to %s", call.Address)
				}
			}
		})
	}
}

// A source never says who the person is, nor what the ID Token or the user info
// says, in whatever letters, nor anything about the token or the sign-in.
func TestRL6_SourcesOverwriteNothing(t *testing.T) {
	for _, where := range documents {
		t.Run(where, func(t *testing.T) {
			s := newSourcing(t, where)
			names := []string{"sub", "iss", "aud", "acr", "amr", "auth_time", "nonce", "sid", "azp", "exp", "cnf", "Sub", "ACR", "email", "Email", "_claim_names", "_claim_sources", "Groups", "groups", "gro\u017fs"}
			s.point = func(m map[string]any) {
				m["email"] = "ana@provider.test"
				said := map[string]any{}
				for _, name := range names {
					said[name] = "other"
				}
				said["iss"], said["aud"], said["exp"], said["groups"], said["Groups"] = bank, "notes", 4e9, "lower", "upper"
				said["cnf"] = map[string]any{}
				elsewhere(m, map[string]any{"JWT": s.says(bank, said)}, names...)
			}
			got := s.claimsOf("/claims")
			for _, name := range names {
				if v := got[name]; v == "other" && name != "gro\u017fs" {
					t.Errorf("%s is %v", name, v)
				}
			}
			if got["sub"] != "ana-1" || got["email"] != "ana@provider.test" && where == "ID Token" || got["acr"] == "other" {
				t.Errorf("claims %v", got)
			}
			if (got["groups"] != nil) == (got["Groups"] != nil) {
				t.Errorf("of two names of the same letters: %v, %v", got["groups"], got["Groups"])
			}
		})
	}
}

// What makes no sense refers to nothing.
func TestRL6_MalformedSources(t *testing.T) {
	for _, document := range []string{
		`{"_claim_names":7}`, `{"_claim_names":["score"]}`, `{"_claim_names":"score","_claim_sources":{}}`, `{"_claim_names":{"score":"src1"},"_claim_sources":[]}`,
		`{"_claim_names":{"score":"src1"},"_claim_sources":{"src1":7}}`, `{"_claim_names":{"score":7},"_claim_sources":{"7":{"endpoint":"https://bank.test/"}}}`,
		`{"_claim_names":{"score":"src1"},"_claim_sources":{"src2":{"endpoint":"https://bank.test/"}}}`, `{"_claim_names":{"score":"src1"}}`, `{"_claim_names":{"score":null}}`,
		`{"_claim_names":{"score":"src1"},"_claim_sources":{"src1":{"endpoint":["https://bank.test/"]}}}`, `{"_claim_names":{"score":"src1"},"_claim_sources":{"src1":{"Endpoint":"https://bank.test/","jwt":"a.b.c"}}}`,
		`{"_claim_sources":{"src1":{"endpoint":"https://bank.test/"}}}`, `{"_claim_names":null,"_claim_sources":null}`, `{"_claim_names":{},"_claim_sources":{}}`,
	} {
		for _, where := range documents {
			s := newSourcing(t, where)
			s.point = func(m map[string]any) { s.Must(json.Unmarshal([]byte(document), &m)) }
			if got := s.claimsOf("/claims"); got["score"] != nil || got["email"] != "ana@example.org" || len(s.asked) != 0 {
				t.Errorf("%s in the %s: claims %v, asked %q", document, where, got, s.asked)
			}
		}
	}
}

// At most eight sources are asked, side by side, and all that they bring has a
// bound.
func TestRL6_ManySources(t *testing.T) {
	s := newSourcing(t, "user info")
	s.answer = func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(s.says(bank, map[string]any{"c" + r.URL.Path[1:]: strings.Repeat("x", 5<<10)})))
	}
	s.point = func(m map[string]any) {
		names, sources := map[string]any{}, map[string]any{}
		for i := range 30 {
			name := fmt.Sprintf("%02d", i)
			names["c"+name], sources[name] = name, map[string]any{"endpoint": bank + "/" + name}
		}
		m["_claim_names"], m["_claim_sources"] = names, sources
	}
	got := s.claimsOf("/claims")
	slices.Sort(s.asked)
	if len(s.asked) != 8 || s.asked[7] != "GET "+bank+"/07" {
		t.Errorf("asked %q", s.asked)
	}
	if got["c00"] == nil || got["c02"] == nil || got["c03"] != nil || len(s.troubles()) != 5 {
		t.Errorf("%d troubles, first %q", len(s.troubles()), s.troubles()[0])
	}
}

// A claims provider that hangs holds a sign-in for two seconds, and harms no other.
func TestRL6_SourceHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSourcing(t, "user info")
		s.answer = func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/hangs") {
				<-r.Context().Done()
				return
			}
			_, _ = w.Write([]byte(s.says(bank, map[string]any{"score": 650})))
		}
		s.point = func(m map[string]any) {
			m["_claim_names"] = map[string]any{"a": "a", "score": "b", "c": "c"}
			m["_claim_sources"] = map[string]any{"a": map[string]any{"endpoint": bank + "/hangs"}, "b": map[string]any{"endpoint": bank + "/"}, "c": map[string]any{"endpoint": bank + "/hangs"}}
		}
		ana := s.Visitor("ana")
		begin := time.Now()
		ana.SignIn()
		if took := time.Since(begin); took < 2*time.Second || took > 3*time.Second {
			t.Errorf("the sign-in took %v", took)
		}
		if got := s.read(ana, "/claims"); got["score"] != 650.0 || fmt.Sprint(got["_claim_names"]) != "map[a:a c:c]" || len(s.troubles()) != 2 {
			t.Errorf("claims %v, troubles %q", got, s.troubles())
		}
	})
}

// panicking is a transport of the application.
type panicking struct{}

func (panicking) RoundTrip(*http.Request) (*http.Response, error) { panic("secret of the transport") }

// RL8: a transport that panics while a source is asked costs its claims alone.
func TestRL6_SourcePanics(t *testing.T) {
	s := newSourcing(t, "user info", func(c *gatehouse.RelyingPartyConfig) { c.ClaimsProviders[0].Transport = panicking{} })
	s.point = func(m map[string]any) { elsewhere(m, map[string]any{"endpoint": bank + "/"}, "score") }
	if got := s.claimsOf("/claims"); got["score"] != nil || got["email"] != "ana@example.org" || len(s.EventsOf(gatehouse.EventPanic)) != 1 || len(s.troubles()) != 1 {
		t.Errorf("claims %v, troubles %q", got, s.troubles())
	}
}

// The address is judged that is dialled, whatever is listed (RL6).
func TestRL6_SourceAtAnInnerAddress(t *testing.T) {
	for _, inner := range []bool{false, true} {
		s := newSourcing(t, "user info", func(c *gatehouse.RelyingPartyConfig) {
			p := &c.ClaimsProviders[0]
			p.Origins, p.Transport, p.InsecureInnerAddresses = []string{"https://localhost:1", "http://127.0.0.1:1"}, nil, inner
			if inner {
				p.InnerNetworks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
			}
		})
		s.point = func(m map[string]any) {
			m["_claim_names"] = map[string]any{"score": "a", "rating": "b"}
			m["_claim_sources"] = map[string]any{"a": map[string]any{"endpoint": "https://localhost:1/"}, "b": map[string]any{"endpoint": "http://127.0.0.1:1/"}}
		}
		s.claimsOf("/claims")
		lines := s.troubles()
		if len(lines) != 2 || !strings.Contains(lines[0], "is an inner address") || !strings.Contains(lines[1], "is an inner address") {
			t.Errorf("log %q", lines)
		}
	}
}

// UserInfo by hand brings them too, and an essential claim may lie elsewhere.
func TestRPU4_SourcesByHand(t *testing.T) {
	s := newSourcing(t, "user info", func(c *gatehouse.RelyingPartyConfig) {
		c.AuthParams = map[string][]string{"claims": {`{"userinfo":{"score":{"essential":true,"value":650}}}`}}
	})
	s.point = func(m map[string]any) {
		elsewhere(m, map[string]any{"JWT": s.says(bank, map[string]any{"score": 650})}, "score")
	}
	if got := s.claimsOf("/by-hand"); got["score"] != 650.0 || got["_claim_names"] != nil {
		t.Errorf("claims %v", got)
	}
}

// RP-U4: without a list nothing is fetched or unpacked, also of a JWT that would be good.
func TestRPU4_SourcesOff(t *testing.T) {
	s := newSourcing(t, "ID Token", func(c *gatehouse.RelyingPartyConfig) { c.ClaimsProviders = nil })
	s.point = func(m map[string]any) {
		elsewhere(m, map[string]any{"JWT": s.says(bank, map[string]any{"score": 650})}, "score")
	}
	if got := s.claimsOf("/claims"); got["score"] != nil || fmt.Sprint(got["_claim_names"]) != "map[score:src1]" || got["_claim_sources"] == nil || len(s.troubles()) != 0 {
		t.Errorf("claims %v, troubles %q", got, s.troubles())
	}
}

// With Origins empty, only what comes along counts.
func TestRPU4_AggregatedAlone(t *testing.T) {
	s := newSourcing(t, "user info", func(c *gatehouse.RelyingPartyConfig) { c.ClaimsProviders[0].Origins = []string{} })
	s.point = func(m map[string]any) { elsewhere(m, map[string]any{"endpoint": bank + "/"}, "score") }
	if got := s.claimsOf("/claims"); got["score"] != nil || len(s.asked) != 0 || len(s.troubles()) != 1 {
		t.Errorf("claims %v, asked %q", got, s.asked)
	}
}

// Wrong settings are one error of the constructor.
func TestClaimsProvidersConfig(t *testing.T) {
	op, err := gatehouse.NewProvider("https://op.test", nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := gatehouse.NewProvider(bank, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = gatehouse.NewRelyingParty(op, gatehouse.RelyingPartyConfig{
		Client: gatehouse.Client{ID: "notes"}, RedirectURL: "https://notes.test/auth/callback",
		ClaimsProviders: []gatehouse.ClaimsProvider{
			{}, {Provider: &gatehouse.Provider{}}, {Provider: p, Origins: []string{"https://bank.test/", "http://bank.test", "bank.test"}},
			{Provider: p, Transport: http.DefaultTransport, InnerNetworks: []netip.Prefix{{}}},
		},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"ClaimsProviders[0].Provider: provider: nil", "ClaimsProviders[1].Provider: provider: it was not made by NewProvider",
		`ClaimsProviders[2].Origins: "https://bank.test/" is no origin, such as "https://bank.test"`, `ClaimsProviders[2].Origins: "http://bank.test": URL is neither`,
		`ClaimsProviders[2].Origins: "bank.test": not an absolute`, `ClaimsProviders[3].Provider: the issuer "https://bank.test" is there twice`,
		"ClaimsProviders[3].InnerNetworks[0]", "ClaimsProviders[3].InsecureInnerAddresses: it is set with",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %s", err, want)
		}
	}
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		t.Error("not one error of all")
	}
}
