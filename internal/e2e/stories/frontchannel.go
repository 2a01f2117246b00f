package stories

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

const frontchannelPath = "/auth/frontchannel-logout"

// frame loads an address of the front channel as the provider's page does in a
// frame: from another site, so without Lax cookies.
func frame(s *world.Site, at int, query string) *world.Page {
	s.T.Helper()
	return frameOf(s.Visitor(""), at, query)
}

// frameOf is frame in somebody's browser, where the cookies arrive.
func frameOf(b *world.Visitor, at int, query string) *world.Page {
	s := b.Site
	s.T.Helper()
	a := b.On(at).Get(frontchannelPath+"?"+query, "Sec-Fetch-Dest", "iframe", "Sec-Fetch-Site", "cross-site")
	if got := a.Header().Get("Cache-Control"); got != "no-store" {
		s.T.Errorf("%v has Cache-Control %q", a, got)
	}
	return a
}

func frontQuery(iss, sid string) string { return url.Values{"iss": {iss}, "sid": {sid}}.Encode() }

// LO14: the exact iss and sid end that session, on both replicas and without a
// cookie. Nothing else does, and nobody sees the difference.
func LO14FrontChannel(t *testing.T, on On) {
	s := LogoutSite(t, on)
	ana, sid := SignedIn(s, "ana", world.ReplicaA)
	other, _ := SignedIn(s, "ana", world.ReplicaB)
	good := frontQuery(world.SiteIssuer, sid)
	var first *world.Page
	for name, query := range map[string]string{
		"nothing":                 "",
		"no sid":                  url.Values{"iss": {world.SiteIssuer}}.Encode(),
		"no iss":                  url.Values{"sid": {sid}}.Encode(),
		"empty sid":               frontQuery(world.SiteIssuer, ""),
		"empty iss":               frontQuery("", sid),
		"sid=*":                   frontQuery(world.SiteIssuer, "*"),
		"sid=%":                   "iss=" + url.QueryEscape(world.SiteIssuer) + "&sid=%",
		"wrong iss":               frontQuery("https://other.test", sid),
		"iss with a slash":        frontQuery(world.SiteIssuer+"/", sid),
		"iss in another case":     frontQuery(strings.ToUpper(world.SiteIssuer), sid),
		"sid in another case":     frontQuery(world.SiteIssuer, strings.ToLower(sid)),
		"sid with a blank":        frontQuery(world.SiteIssuer, sid+" "),
		"part of the sid":         frontQuery(world.SiteIssuer, sid[:len(sid)-1]),
		"sid twice":               good + "&sid=" + sid,
		"another sid before":      "sid=x&" + good,
		"iss twice":               good + "&iss=" + url.QueryEscape(world.SiteIssuer),
		"the subject":             frontQuery(world.SiteIssuer, "ana-1"),
		"a long sid":              frontQuery(world.SiteIssuer, strings.Repeat("s", 10<<10)),
		"longer than any address": good + "&x=" + strings.Repeat("x", 20<<10),
		"names in another case":   strings.Replace(good, "sid=", "SID=", 1),
		"a fragment of JSON":      frontQuery(world.SiteIssuer, `{"sid":"`+sid+`"}`),
		"semicolons":              strings.Replace(good, "&", ";", 1),
	} {
		t.Run(name, func(t *testing.T) {
			a := frame(s, world.ReplicaB, query)
			if a.Code != http.StatusOK || len(a.Result().Cookies()) != 0 {
				t.Errorf("got %v, cookies %v", a, a.Result().Cookies())
			}
			if first == nil {
				first = a
			}
			if a.Body.String() != first.Body.String() {
				t.Errorf("the answer differs: %v", a)
			}
			Everywhere(s, func(at int) { ana.WantServed(ana.On(at).Get("/notes/")) })
		})
	}
	if got := s.EventsOf(gatehouse.EventLogout); len(got) != 0 {
		t.Errorf("logout events %q", got)
	}
	a := frame(s, world.ReplicaB, good)
	if a.Code != http.StatusOK || a.Body.String() != first.Body.String() || len(a.Result().Cookies()) != 0 {
		t.Errorf("got %v", a)
	}
	Everywhere(s, func(at int) {
		ana.WantOut(ana.On(at).Get("/notes/"))
		other.WantServed(other.On(at).Get("/notes/"))
	})
	if got := s.EventsOf(gatehouse.EventLogout); len(got) != 1 || got[0] != "frontchannel" {
		t.Errorf("logout events %q", got)
	}
	s.ShutdownAll()
	if got := s.Count(opserver.EndpointRevoke); got != 0 { // nobody has signed the request
		t.Errorf("%d revocations", got)
	}
	ana.SignIn()
	ana.WantServed(ana.On(world.ReplicaB).Get("/notes/"))
}

// LO14: only the provider's origins may show the answer in a frame, whatever
// middleware around us says.
func LO14WhoMayFrame(t *testing.T, on On) {
	elsewhere := func(o *world.SiteOptions) {
		o.Provider = func(c *gatehouse.ProviderConfig) {
			c.Metadata = &gatehouse.Metadata{AuthorizationEndpoint: "https://op.test/a", TokenEndpoint: "https://op.test/t", JWKSURI: "https://op.test/k", EndSessionEndpoint: "https://bye.test:8443/out"}
		}
	}
	strange := func(o *world.SiteOptions) {
		o.Provider = func(c *gatehouse.ProviderConfig) {
			c.Metadata = &gatehouse.Metadata{AuthorizationEndpoint: "https://op.test/a", TokenEndpoint: "https://op.test/t", JWKSURI: "https://op.test/k", EndSessionEndpoint: "https://a;script-src/out"}
		}
	}
	for name, c := range map[string]struct {
		change []func(*world.SiteOptions)
		warm   bool
		want   string
	}{
		"nothing known":         {nil, false, "https://op.test"},
		"metadata known":        {nil, true, "https://op.test"},
		"end session elsewhere": {[]func(*world.SiteOptions){elsewhere}, false, "https://op.test https://bye.test:8443"},
		"no host at all":        {[]func(*world.SiteOptions){strange}, false, "https://op.test"},
	} {
		t.Run(name, func(t *testing.T) {
			s := LogoutSite(t, append([]On{on}, c.change...)...)
			if c.warm {
				s.Visitor("ana").Get("/notes/")
			}
			inner := s.Replicas[0].Mux
			s.Replicas[0].Mux = http.NewServeMux()
			s.Replicas[0].Mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Frame-Options", "DENY")
				w.Header().Set("Content-Security-Policy", "frame-ancestors 'none'")
				inner.ServeHTTP(w, r)
			})
			asked := s.Total()
			for _, query := range []string{"", frontQuery(world.SiteIssuer, "x")} {
				a := frame(s, world.ReplicaA, query)
				_, ancestors, _ := strings.Cut(a.Header().Get("Content-Security-Policy"), "frame-ancestors ")
				if ancestors != c.want || a.Header().Get("X-Frame-Options") != "" || len(a.Header().Values("Content-Security-Policy")) != 1 {
					t.Errorf("policy %q, X-Frame-Options %q", a.Header().Values("Content-Security-Policy"), a.Header().Get("X-Frame-Options"))
				}
			}
			if s.Total() != asked {
				t.Error("a stranger's request asks the provider")
			}
		})
	}
}

// Where the cookie arrives, because the provider is of the same site, it goes. A
// cookie of another session stays.
func FrontChannelClearsItsCookie(t *testing.T, on On) {
	s := LogoutSite(t, on)
	ana, sid := SignedIn(s, "ana", world.ReplicaA)
	ben, _ := SignedIn(s, "ben", world.ReplicaA)
	frameOf(ben, world.ReplicaB, frontQuery(world.SiteIssuer, sid))
	ben.WantServed(ben.Get("/notes/"))
	ana.WantOut(ana.Get("/notes/"))
	frameOf(ana, world.ReplicaB, frontQuery(world.SiteIssuer, sid))
	if ana.SessionName() != "" {
		t.Error("the cookie is still there")
	}
}

// Strangers store nothing, and use no other method. If the store fails, a logout
// is not answered as if it had happened.
func LO14FrontChannelInTrouble(t *testing.T, on On) {
	s := LogoutSite(t, on, world.Watched)
	ana, sid := SignedIn(s, "ana", world.ReplicaA)
	before := len(s.Watched().Keys())
	frame(s, world.ReplicaB, frontQuery(world.SiteIssuer, "unknown"))
	if got := len(s.Watched().Keys()); got != before {
		t.Errorf("%d keys more", got-before)
	}
	for _, method := range []string{http.MethodPost, http.MethodHead, http.MethodPut, http.MethodOptions} {
		b := s.Visitor("")
		a := b.Do(b.Request(method, frontchannelPath+"?"+frontQuery(world.SiteIssuer, sid), nil))
		if a.Code != http.StatusMethodNotAllowed || a.Header().Get("Allow") != "GET" || a.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", method, a)
		}
	}
	for name, hang := range map[string]bool{"fails": false, "hangs": true} {
		t.Run(name, func(t *testing.T) {
			s.Watched().Fail(errors.New("the store is down"), hang)
			a := frame(s, world.ReplicaB, frontQuery(world.SiteIssuer, sid))
			if a.Code != http.StatusServiceUnavailable || a.Header().Get("Retry-After") == "" || len(a.Result().Cookies()) != 0 || s.LastCode() != "store_unavailable" {
				t.Errorf("got %v, code %s", a, s.LastCode())
			}
			s.Watched().Fail(nil, false)
			ana.WantServed(ana.Get("/notes/"))
		})
	}
	if a := frame(s, world.ReplicaB, frontQuery(world.SiteIssuer, sid)); a.Code != http.StatusOK {
		t.Errorf("got %v", a)
	}
	ana.WantOut(ana.Get("/notes/"))
}
