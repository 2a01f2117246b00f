package stories

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

const (
	backchannelPath = "/auth/backchannel-logout"
	FormType        = "application/x-www-form-urlencoded"
)

// LogoutSite is a site of two replicas whose page /sid tells the sid of the
// session.
func LogoutSite(t testing.TB, change ...func(*world.SiteOptions)) *world.Site {
	t.Helper()
	return world.NewSite(t, append([]func(*world.SiteOptions){world.TwoReplicas, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/sid", login.RequireLogin(sidOf))
		}
	}}, change...)...)
}

// SignedIn is a browser that has signed in, and the sid of its session.
func SignedIn(s *world.Site, user string, at int) (*world.Visitor, string) {
	s.T.Helper()
	b := s.Visitor(user).On(at)
	b.SignIn()
	sid := b.Get("/sid").Body.String()
	if sid == "" {
		s.T.Fatal("the ID Token has no sid")
	}
	return b, sid
}

// LogoutToken is a logout token of the provider for the site.
func LogoutToken(s *world.Site, claims map[string]any, faults ...opserver.Fault) string {
	s.T.Helper()
	token, err := s.LogoutToken("notes", claims, faults...)
	s.Must(err)
	s.Mint("logout token", token)
	return token
}

// LogoutForm is the body with which a provider sends a token.
func LogoutForm(token string) string { return url.Values{"logout_token": {token}}.Encode() }

// SendLogout sends a body to the back channel of a replica.
func SendLogout(s *world.Site, at int, method, contentType, body string, header ...string) *world.Page {
	s.T.Helper()
	provider := s.Visitor("").On(at)
	r := provider.Request(method, backchannelPath, strings.NewReader(body), header...)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	a := provider.Do(r)
	if got := a.Header().Get("Cache-Control"); got != "no-store" {
		s.T.Errorf("%v has Cache-Control %q", a, got)
	}
	if len(a.Result().Cookies()) != 0 || a.Location() != "" {
		s.T.Errorf("%v sets cookies or redirects", a)
	}
	return a
}

// LogOut sends a logout token that has to be accepted.
func LogOut(s *world.Site, at int, token string) {
	s.T.Helper()
	if a := SendLogout(s, at, http.MethodPost, FormType, LogoutForm(token)); a.Code != http.StatusOK || a.Body.Len() != 0 {
		s.T.Fatalf("got %v, want 200 without a body", a)
	}
}

// WantRefusedLogout checks the answer to a logout that ended nothing (§2.8).
func WantRefusedLogout(s *world.Site, a *world.Page, status int, code string) {
	s.T.Helper()
	var body struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		ID          string `json:"id"`
	}
	if err := json.Unmarshal(a.Body.Bytes(), &body); err != nil || a.Code != status || body.Error != "invalid_request" || body.Description == "" || a.Header().Get("Content-Type") != "application/json" {
		s.T.Errorf("got %v, %v; want %d", a, err, status)
	}
	if s.LastCode() != code || s.Logged("id="+body.ID) != 1 {
		s.T.Errorf("code %q, want %q; the log has %d lines with the id", s.LastCode(), code, s.Logged("id="+body.ID))
	}
}

func Everywhere(s *world.Site, check func(at int)) {
	for at := range s.Replicas {
		check(at)
	}
}

// LO3: a token with a sid ends that session alone, on both replicas.
func LO3SIDEndsOneSession(t *testing.T, on On) {
	for name, claims := range map[string]map[string]any{"sid alone": {}, "sid and sub": {"sub": "ana-1"}} {
		t.Run(name, func(t *testing.T) {
			s := LogoutSite(t, on)
			one, sid := SignedIn(s, "ana", world.ReplicaA)
			two, _ := SignedIn(s, "ana", world.ReplicaB)
			claims["sid"] = sid
			LogOut(s, world.ReplicaB, LogoutToken(s, claims))
			Everywhere(s, func(at int) {
				one.WantOut(one.On(at).Get("/notes/"))
				two.WantServed(two.On(at).Get("/notes/"))
			})
			if got := s.EventsOf(gatehouse.EventLogout); len(got) != 1 || got[0] != "backchannel" {
				t.Errorf("logout events %q", got)
			}
			s.ShutdownAll()
			if got := s.Count(opserver.EndpointRevoke); got != 0 {
				t.Errorf("%d revocations: the provider has ended the session itself", got)
			}
		})
	}
}

// LO4: a token with a sub alone ends all sessions of the person at this issuer,
// those with a sid and those without, and nobody else's.
func LO4SubjectEndsAll(t *testing.T, on On) {
	s := LogoutSite(t, on)
	var anas []*world.Visitor
	for at := range 3 {
		b, _ := SignedIn(s, "ana", at%2)
		anas = append(anas, b)
	}
	ben, _ := SignedIn(s, "ben", world.ReplicaA)
	s.Retoken(t, func(_, claims map[string]any) { delete(claims, "sid") })
	nameless := s.Visitor("ana")
	nameless.SignIn()
	s.SetWire(nil)
	anas = append(anas, nameless)
	LogOut(s, world.ReplicaA, LogoutToken(s, map[string]any{"sub": "ana-1"}))
	Everywhere(s, func(at int) {
		for _, b := range anas {
			b.WantOut(b.On(at).Get("/notes/"))
		}
		ben.WantServed(ben.On(at).Get("/notes/"))
	})
	if list, err := s.Replicas[0].Sessions.List(t.Context(), world.SiteIssuer, "ana-1"); err != nil || len(list) != 0 {
		t.Errorf("%d sessions, %v", len(list), err)
	}
}

// LO4: the person with the same subject at another provider stays signed in, at
// the same site and in the same store. That provider can end no session of the
// first.
func LO4SameSubjectElsewhere(t *testing.T, on On) {
	s := LogoutSite(t, on)
	ana, sid := SignedIn(s, "ana", world.ReplicaA)
	other := world.New(t, "https://op2.test")
	other.Advance(s.Now().Sub(other.Now()))
	other.Must(other.AddUser("ana", world.SitePass, map[string]any{"sub": "ana-1"}))
	other.Must(other.AddClient(opserver.Client{ID: "notes", Secret: world.SiteSecret, RedirectURIs: []string{s.Origin + "/second/callback"}, IDTokenAlg: "ES256"}))
	for _, r := range s.Replicas {
		second, err := gatehouse.NewRelyingParty(other.Provider(), gatehouse.RelyingPartyConfig{
			Client:      gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret(world.SiteSecret)},
			RedirectURL: s.Origin + "/second/callback", Sessions: r.Sessions,
		})
		s.Must(err)
		r.Mux.Handle("/second/", second.Handler())
	}
	theirs, err := other.LogoutToken("notes", map[string]any{"sub": "ana-1", "sid": sid})
	s.Must(err)
	a := SendLogout(s, world.ReplicaA, http.MethodPost, FormType, LogoutForm(theirs)) // at the handler of the first
	WantRefusedLogout(s, a, http.StatusBadRequest, "logout_token_invalid")
	b := s.Visitor("").On(world.ReplicaB)
	a = b.Do(b.Request(http.MethodPost, "/second/backchannel-logout", strings.NewReader(LogoutForm(theirs)), "Content-Type", FormType))
	if a.Code != http.StatusOK {
		t.Errorf("at its own handler: %v", a)
	}
	Everywhere(s, func(at int) { ana.WantServed(ana.On(at).Get("/notes/")) })
}

// LO7: what is no logout token ends nothing and is not remembered.
func LO7NoLogoutToken(t *testing.T, on On) {
	s := LogoutSite(t, on)
	ana, sid := SignedIn(s, "ana", world.ReplicaA)
	for name, token := range map[string]string{
		"nonce":                 LogoutToken(s, map[string]any{"sid": sid, "jti": "j"}, opserver.LogoutNonce),
		"nonce null":            LogoutToken(s, map[string]any{"sid": sid, "jti": "j"}, opserver.LogoutNonceNull),
		"ID Token":              LogoutToken(s, map[string]any{"sub": "ana-1", "sid": sid, "jti": "j"}, opserver.IDTokenForLogoutToken),
		"no event":              LogoutToken(s, map[string]any{"sid": sid, "jti": "j"}, opserver.MissingLogoutEvent),
		"another event":         LogoutToken(s, map[string]any{"sid": sid, "jti": "j"}, opserver.WrongLogoutEvent),
		"an event of no object": LogoutToken(s, map[string]any{"sid": sid, "jti": "j"}, opserver.LogoutEventNoObject),
		"no jti":                LogoutToken(s, map[string]any{"sid": sid}, opserver.MissingLogoutID),
		"nobody":                LogoutToken(s, map[string]any{"jti": "j"}, opserver.MissingLogoutPerson),
		"typ JWT":               LogoutToken(s, map[string]any{"sid": sid, "jti": "j"}, opserver.OldLogoutType),
	} {
		t.Run(name, func(t *testing.T) {
			WantRefusedLogout(s, SendLogout(s, world.ReplicaB, http.MethodPost, FormType, LogoutForm(token)), http.StatusBadRequest, "logout_token_invalid")
			Everywhere(s, func(at int) { ana.WantServed(ana.On(at).Get("/notes/")) })
		})
	}
	id, err := s.IDToken("ana", "notes")
	s.Must(err)
	s.Mint("id token", id)
	WantRefusedLogout(s, SendLogout(s, world.ReplicaB, http.MethodPost, FormType, LogoutForm(id)), http.StatusBadRequest, "logout_token_invalid")
	ana.WantServed(ana.Get("/notes/"))
	LogOut(s, world.ReplicaB, LogoutToken(s, map[string]any{"sid": sid, "jti": "j"})) // the jti is not used up
	ana.WantOut(ana.Get("/notes/"))
}

// LO9: a token that another could have made, or for another, or of another time.
func LO9NotForUsOrNotOfNow(t *testing.T, on On) {
	s := LogoutSite(t, on)
	ana, sid := SignedIn(s, "ana", world.ReplicaA)
	claims := func(more ...any) map[string]any {
		m := map[string]any{"sub": "ana-1", "sid": sid, "jti": "j"}
		for i := 0; i < len(more); i += 2 {
			m[more[i].(string)] = more[i+1]
		}
		return m
	}
	for name, token := range map[string]string{
		"alg none":                  LogoutToken(s, claims(), opserver.UnsignedIDToken),
		"alg None":                  LogoutToken(s, claims(), opserver.UnsignedOddCase),
		"HS256 with the public key": LogoutToken(s, claims(), opserver.HMACWithPublicKey),
		"wrong signature":           LogoutToken(s, claims(), opserver.WrongSignature),
		"no signature":              LogoutToken(s, claims(), opserver.EmptySignature),
		"key in the header":         LogoutToken(s, claims(), opserver.KeyInHeader),
		"address in the header":     LogoutToken(s, claims(), opserver.KeyURLInHeader),
		"crit":                      LogoutToken(s, claims(), opserver.UnknownCriticalHeader),
		"unknown key":               LogoutToken(s, claims(), opserver.UnknownKeyID),
		"five parts":                LogoutToken(s, claims(), opserver.FivePartIDToken),
		"padding":                   LogoutToken(s, claims(), opserver.PaddedIDToken),
		"a claim twice":             LogoutToken(s, claims(), opserver.RepeatedClaim),
		"AUD for aud":               LogoutToken(s, claims(), opserver.OtherCaseClaim),
		"aud other":                 LogoutToken(s, claims("aud", "other")),
		"aud other in an array":     LogoutToken(s, claims("aud", []string{"other"})),
		"two aud":                   LogoutToken(s, claims("aud", []string{"notes", "other"})),
		"no aud":                    LogoutToken(s, claims("aud", nil)),
		"iss other":                 LogoutToken(s, claims("iss", "https://other.test")),
		"iss with a slash":          LogoutToken(s, claims("iss", world.SiteIssuer+"/")),
		"exp past":                  LogoutToken(s, claims("exp", s.Now().Add(-time.Minute))),
		"no exp":                    LogoutToken(s, claims("exp", nil)),
		"no iat":                    LogoutToken(s, claims("iat", nil)),
		"iat an hour ago":           LogoutToken(s, claims("iat", s.Now().Add(-time.Hour))),
		"iat in an hour":            LogoutToken(s, claims("iat", s.Now().Add(time.Hour), "exp", s.Now().Add(2*time.Hour))),
		"sid is a number":           LogoutToken(s, claims("sid", 7)),
		"huge":                      LogoutToken(s, claims("padding", strings.Repeat("x", 20<<10))),
		"nothing":                   "",
		"junk":                      "x.y.z",
	} {
		t.Run(name, func(t *testing.T) {
			WantRefusedLogout(s, SendLogout(s, world.ReplicaB, http.MethodPost, FormType, LogoutForm(token)), http.StatusBadRequest, "logout_token_invalid")
			Everywhere(s, func(at int) { ana.WantServed(ana.On(at).Get("/notes/")) })
		})
	}
	if got := s.Count(opserver.EndpointJWKS); got > 4 { // one at each replica, and one more each for the unknown key
		t.Errorf("%d fetches of keys", got)
	}
	LogOut(s, world.ReplicaB, LogoutToken(s, claims()))
	ana.WantOut(ana.Get("/notes/"))
	s.WantQuiet() // nobody followed the address in a header
}

// LO11: the same token once more, at another replica and after the person has
// signed in again, ends nothing new: neither a session with another sid nor one
// with the same.
func LO11Replay(t *testing.T, on On) {
	for name, c := range map[string]struct {
		claims func(sid string) map[string]any
		again  bool // the provider's session goes on, so the sid is the same
	}{
		"sid, other sid":          {func(sid string) map[string]any { return map[string]any{"sid": sid} }, false},
		"sid, same sid":           {func(sid string) map[string]any { return map[string]any{"sid": sid} }, true},
		"sid and sub, same sid":   {func(sid string) map[string]any { return map[string]any{"sid": sid, "sub": "ana-1"} }, true},
		"sub alone":               {func(string) map[string]any { return map[string]any{"sub": "ana-1"} }, false},
		"sub alone, and same sid": {func(string) map[string]any { return map[string]any{"sub": "ana-1"} }, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := LogoutSite(t, on)
			ana, sid := SignedIn(s, "ana", world.ReplicaA)
			token := LogoutToken(s, c.claims(sid))
			LogOut(s, world.ReplicaA, token)
			ana.WantOut(ana.Get("/notes/"))
			if !c.again {
				s.EndSessions("ana")
			}
			for _, wait := range []time.Duration{0, 2 * time.Second, 30 * time.Second} {
				s.Advance(wait)
				ana.SignIn()
				if got := ana.Get("/sid").Body.String(); (got == sid) != c.again {
					t.Fatalf("the sid is the same: %v", got == sid)
				}
				LogOut(s, world.ReplicaB, token)
				Everywhere(s, func(at int) { ana.WantServed(ana.On(at).Get("/notes/")) })
			}
			s.Advance(3 * time.Minute) // it may be forgotten now, and is too old
			ana.SignIn()
			WantRefusedLogout(s, SendLogout(s, world.ReplicaB, http.MethodPost, FormType, LogoutForm(token)), http.StatusBadRequest, "logout_token_invalid")
			ana.WantServed(ana.Get("/notes/"))
		})
	}
}

// A logout that could not be stored is 400, and may be sent again.
func FA6BackchannelInTrouble(t *testing.T, on On) {
	s := LogoutSite(t, on, world.Watched)
	ana, sid := SignedIn(s, "ana", world.ReplicaA)
	token := LogoutToken(s, map[string]any{"sid": sid, "sub": "ana-1"})
	for name, hang := range map[string]bool{"fails": false, "hangs": true} {
		t.Run(name, func(t *testing.T) {
			s.Watched().Fail(errors.New("the store is down"), hang)
			a := SendLogout(s, world.ReplicaB, http.MethodPost, FormType, LogoutForm(token))
			WantRefusedLogout(s, a, http.StatusBadRequest, "store_unavailable")
			if !strings.Contains(a.Body.String(), "send it again") {
				t.Errorf("got %v", a)
			}
			if all := s.Events(); all[len(all)-1].Subject != "ana-1" { // whose session goes on
				t.Errorf("the event is about %q", all[len(all)-1].Subject)
			}
			s.Watched().Fail(nil, false)
			ana.WantServed(ana.Get("/notes/"))
		})
	}
	LogOut(s, world.ReplicaB, token)
	ana.WantOut(ana.Get("/notes/"))
}

// A sign-in that is under way when the logout comes does not end in a session of
// before it: it starts over.
func BackchannelBeatsACallback(t *testing.T, on On) {
	for n := 0; ; n++ {
		s := LogoutSite(t, on, world.Watched)
		s.Visitor("ben").On(world.ReplicaB).SignIn() // both replicas are warm
		SendLogout(s, world.ReplicaA, http.MethodPost, FormType, LogoutForm(LogoutToken(s, map[string]any{"sub": "nobody"})))
		ana := s.Visitor("ana")
		callback := ana.ToCallback("/notes/")
		s.Advance(3 * time.Second)
		token := LogoutToken(s, map[string]any{"sub": "ana-1"})
		reached := Interrupt(s, n, func() { LogOut(s, world.ReplicaA, token) })
		a := ana.On(world.ReplicaB).Get(callback)
		if !reached() {
			if n < 5 {
				t.Errorf("a callback made %d store calls: the test no longer tests anything", n)
			}
			return
		}
		if cookie := ana.SessionCookie(); cookie != "" {
			ana.WantOut(ana.Get("/notes/"))
		} else if !strings.HasPrefix(a.Location(), s.Endpoint("authorization_endpoint")) {
			t.Errorf("call %d: %v", n, a)
		}
		ana.WantServed(ana.Visit("/notes/"))
	}
}
