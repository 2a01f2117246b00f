package session_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/stories"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

const (
	backchannelPath = "/auth/backchannel-logout"
	formType        = "application/x-www-form-urlencoded"
)

// logoutSite is a site of two replicas whose page /sid tells the sid of the
// session.
func logoutSite(t testing.TB, change ...func(*world.SiteOptions)) *world.Site {
	t.Helper()
	return world.NewSite(t, append([]func(*world.SiteOptions){world.TwoReplicas, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/sid", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, gatehouse.IdentityFrom(r.Context()).ClaimString("sid"))
			})))
		}
	}}, change...)...)
}

// signedIn is a browser that has signed in, and the sid of its session.
func signedIn(s *world.Site, user string, at int) (*world.Visitor, string) {
	s.T.Helper()
	b := s.Visitor(user).On(at)
	b.SignIn()
	sid := b.Get("/sid").Body.String()
	if sid == "" {
		s.T.Fatal("the ID Token has no sid")
	}
	return b, sid
}

// logoutToken is a logout token of the provider for the site.
func logoutToken(s *world.Site, claims map[string]any, faults ...opserver.Fault) string {
	s.T.Helper()
	token, err := s.LogoutToken("notes", claims, faults...)
	s.Must(err)
	s.Mint("logout token", token)
	return token
}

// logoutForm is the body with which a provider sends a token.
func logoutForm(token string) string { return url.Values{"logout_token": {token}}.Encode() }

// send sends a body to the back channel of a replica.
func send(s *world.Site, at int, method, contentType, body string, header ...string) *world.Page {
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

// logOut sends a logout token that has to be accepted.
func logOut(s *world.Site, at int, token string) {
	s.T.Helper()
	if a := send(s, at, http.MethodPost, formType, logoutForm(token)); a.Code != http.StatusOK || a.Body.Len() != 0 {
		s.T.Fatalf("got %v, want 200 without a body", a)
	}
}

// refused checks the answer to a logout that ended nothing (§2.8).
func refused(s *world.Site, a *world.Page, status int, code string) {
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

func everywhere(s *world.Site, check func(at int)) {
	for at := range s.Replicas {
		check(at)
	}
}

// LO3: a token with a sid ends that session alone, on both replicas.
func TestLO3_SIDEndsOneSession(t *testing.T) {
	for name, claims := range map[string]map[string]any{"sid alone": {}, "sid and sub": {"sub": "ana-1"}} {
		t.Run(name, func(t *testing.T) {
			s := logoutSite(t)
			one, sid := signedIn(s, "ana", world.ReplicaA)
			two, _ := signedIn(s, "ana", world.ReplicaB)
			claims["sid"] = sid
			logOut(s, world.ReplicaB, logoutToken(s, claims))
			everywhere(s, func(at int) {
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
func TestLO4_SubjectEndsAll(t *testing.T) {
	s := logoutSite(t)
	var anas []*world.Visitor
	for at := range 3 {
		b, _ := signedIn(s, "ana", at%2)
		anas = append(anas, b)
	}
	ben, _ := signedIn(s, "ben", world.ReplicaA)
	s.Retoken(t, func(_, claims map[string]any) { delete(claims, "sid") })
	nameless := s.Visitor("ana")
	nameless.SignIn()
	s.SetWire(nil)
	anas = append(anas, nameless)
	logOut(s, world.ReplicaA, logoutToken(s, map[string]any{"sub": "ana-1"}))
	everywhere(s, func(at int) {
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
func TestLO4_SameSubjectElsewhere(t *testing.T) {
	s := logoutSite(t)
	ana, sid := signedIn(s, "ana", world.ReplicaA)
	other := world.New(t, "https://op2.test")
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
	a := send(s, world.ReplicaA, http.MethodPost, formType, logoutForm(theirs)) // at the handler of the first
	refused(s, a, http.StatusBadRequest, "logout_token_invalid")
	b := s.Visitor("").On(world.ReplicaB)
	a = b.Do(b.Request(http.MethodPost, "/second/backchannel-logout", strings.NewReader(logoutForm(theirs)), "Content-Type", formType))
	if a.Code != http.StatusOK {
		t.Errorf("at its own handler: %v", a)
	}
	everywhere(s, func(at int) { ana.WantServed(ana.On(at).Get("/notes/")) })
}

// LO7: what is no logout token ends nothing and is not remembered.
func TestLO7_NoLogoutToken(t *testing.T) {
	s := logoutSite(t)
	ana, sid := signedIn(s, "ana", world.ReplicaA)
	for name, token := range map[string]string{
		"nonce":                 logoutToken(s, map[string]any{"sid": sid, "jti": "j"}, opserver.LogoutNonce),
		"nonce null":            logoutToken(s, map[string]any{"sid": sid, "jti": "j"}, opserver.LogoutNonceNull),
		"ID Token":              logoutToken(s, map[string]any{"sub": "ana-1", "sid": sid, "jti": "j"}, opserver.IDTokenForLogoutToken),
		"no event":              logoutToken(s, map[string]any{"sid": sid, "jti": "j"}, opserver.MissingLogoutEvent),
		"another event":         logoutToken(s, map[string]any{"sid": sid, "jti": "j"}, opserver.WrongLogoutEvent),
		"an event of no object": logoutToken(s, map[string]any{"sid": sid, "jti": "j"}, opserver.LogoutEventNoObject),
		"no jti":                logoutToken(s, map[string]any{"sid": sid}, opserver.MissingLogoutID),
		"nobody":                logoutToken(s, map[string]any{"jti": "j"}, opserver.MissingLogoutPerson),
		"typ JWT":               logoutToken(s, map[string]any{"sid": sid, "jti": "j"}, opserver.OldLogoutType),
	} {
		t.Run(name, func(t *testing.T) {
			refused(s, send(s, world.ReplicaB, http.MethodPost, formType, logoutForm(token)), http.StatusBadRequest, "logout_token_invalid")
			everywhere(s, func(at int) { ana.WantServed(ana.On(at).Get("/notes/")) })
		})
	}
	id, err := s.IDToken("ana", "notes")
	s.Must(err)
	s.Mint("id token", id)
	refused(s, send(s, world.ReplicaB, http.MethodPost, formType, logoutForm(id)), http.StatusBadRequest, "logout_token_invalid")
	ana.WantServed(ana.Get("/notes/"))
	logOut(s, world.ReplicaB, logoutToken(s, map[string]any{"sid": sid, "jti": "j"})) // the jti is not used up
	ana.WantOut(ana.Get("/notes/"))
}

// LO9: a token that another could have made, or for another, or of another time.
func TestLO9_NotForUsOrNotOfNow(t *testing.T) {
	s := logoutSite(t)
	ana, sid := signedIn(s, "ana", world.ReplicaA)
	claims := func(more ...any) map[string]any {
		m := map[string]any{"sub": "ana-1", "sid": sid, "jti": "j"}
		for i := 0; i < len(more); i += 2 {
			m[more[i].(string)] = more[i+1]
		}
		return m
	}
	for name, token := range map[string]string{
		"alg none":                  logoutToken(s, claims(), opserver.UnsignedIDToken),
		"alg None":                  logoutToken(s, claims(), opserver.UnsignedOddCase),
		"HS256 with the public key": logoutToken(s, claims(), opserver.HMACWithPublicKey),
		"wrong signature":           logoutToken(s, claims(), opserver.WrongSignature),
		"no signature":              logoutToken(s, claims(), opserver.EmptySignature),
		"key in the header":         logoutToken(s, claims(), opserver.KeyInHeader),
		"address in the header":     logoutToken(s, claims(), opserver.KeyURLInHeader),
		"crit":                      logoutToken(s, claims(), opserver.UnknownCriticalHeader),
		"unknown key":               logoutToken(s, claims(), opserver.UnknownKeyID),
		"five parts":                logoutToken(s, claims(), opserver.FivePartIDToken),
		"padding":                   logoutToken(s, claims(), opserver.PaddedIDToken),
		"a claim twice":             logoutToken(s, claims(), opserver.RepeatedClaim),
		"AUD for aud":               logoutToken(s, claims(), opserver.OtherCaseClaim),
		"aud other":                 logoutToken(s, claims("aud", "other")),
		"aud other in an array":     logoutToken(s, claims("aud", []string{"other"})),
		"two aud":                   logoutToken(s, claims("aud", []string{"notes", "other"})),
		"no aud":                    logoutToken(s, claims("aud", nil)),
		"iss other":                 logoutToken(s, claims("iss", "https://other.test")),
		"iss with a slash":          logoutToken(s, claims("iss", world.SiteIssuer+"/")),
		"exp past":                  logoutToken(s, claims("exp", s.Now().Add(-time.Minute))),
		"no exp":                    logoutToken(s, claims("exp", nil)),
		"no iat":                    logoutToken(s, claims("iat", nil)),
		"iat an hour ago":           logoutToken(s, claims("iat", s.Now().Add(-time.Hour))),
		"iat in an hour":            logoutToken(s, claims("iat", s.Now().Add(time.Hour), "exp", s.Now().Add(2*time.Hour))),
		"sid is a number":           logoutToken(s, claims("sid", 7)),
		"huge":                      logoutToken(s, claims("padding", strings.Repeat("x", 20<<10))),
		"nothing":                   "",
		"junk":                      "x.y.z",
	} {
		t.Run(name, func(t *testing.T) {
			refused(s, send(s, world.ReplicaB, http.MethodPost, formType, logoutForm(token)), http.StatusBadRequest, "logout_token_invalid")
			everywhere(s, func(at int) { ana.WantServed(ana.On(at).Get("/notes/")) })
		})
	}
	if got := s.Count(opserver.EndpointJWKS); got > 4 { // one at each replica, and one more each for the unknown key
		t.Errorf("%d fetches of keys", got)
	}
	logOut(s, world.ReplicaB, logoutToken(s, claims()))
	ana.WantOut(ana.Get("/notes/"))
	s.WantQuiet() // nobody followed the address in a header
}

// LO11: the same token once more, at another replica and after the person has
// signed in again, ends nothing new: neither a session with another sid nor one
// with the same.
func TestLO11_Replay(t *testing.T) {
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
			s := logoutSite(t)
			ana, sid := signedIn(s, "ana", world.ReplicaA)
			token := logoutToken(s, c.claims(sid))
			logOut(s, world.ReplicaA, token)
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
				logOut(s, world.ReplicaB, token)
				everywhere(s, func(at int) { ana.WantServed(ana.On(at).Get("/notes/")) })
			}
			s.Advance(3 * time.Minute) // it may be forgotten now, and is too old
			ana.SignIn()
			refused(s, send(s, world.ReplicaB, http.MethodPost, formType, logoutForm(token)), http.StatusBadRequest, "logout_token_invalid")
			ana.WantServed(ana.Get("/notes/"))
		})
	}
}

// The form is one logout_token in the usual encoding, whatever else it holds.
func TestBackchannelForms(t *testing.T) {
	s := logoutSite(t)
	ana, sid := signedIn(s, "ana", world.ReplicaA)
	token := logoutToken(s, map[string]any{"sid": sid})
	form := logoutForm(token)
	var many strings.Builder
	for i := 0; many.Len() < 60<<10; i++ {
		fmt.Fprintf(&many, "f%d&", i)
	}
	var zipped bytes.Buffer
	zip := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(zip, form)
	s.Must(zip.Close())
	var parts bytes.Buffer
	multi := multipart.NewWriter(&parts)
	s.Must(multi.WriteField("logout_token", token))
	s.Must(multi.Close())
	for name, c := range map[string]struct {
		method, kind, body string
		header             []string
		status             int
		code               string
	}{
		"GET":                    {http.MethodGet, formType, form, nil, 405, "method_not_allowed"},
		"HEAD":                   {http.MethodHead, "", "", nil, 405, "method_not_allowed"},
		"PUT":                    {http.MethodPut, formType, form, nil, 405, "method_not_allowed"},
		"OPTIONS":                {http.MethodOptions, "", "", nil, 405, "method_not_allowed"},
		"JSON":                   {http.MethodPost, "application/json", `{"logout_token":"` + token + `"}`, nil, 400, "logout_request_malformed"},
		"the bare token":         {http.MethodPost, "application/logout+jwt", token, nil, 400, "logout_request_malformed"},
		"multipart":              {http.MethodPost, multi.FormDataContentType(), parts.String(), nil, 400, "logout_request_malformed"},
		"no type":                {http.MethodPost, "", form, nil, 400, "logout_request_malformed"},
		"malformed type":         {http.MethodPost, formType + "; charset", form, nil, 400, "logout_request_malformed"},
		"another charset":        {http.MethodPost, formType + "; charset=utf-16", form, nil, 400, "logout_request_malformed"},
		"gzip":                   {http.MethodPost, formType, zipped.String(), []string{"Content-Encoding", "gzip"}, 400, "logout_request_malformed"},
		"says gzip":              {http.MethodPost, formType, form, []string{"Content-Encoding", "gzip"}, 400, "logout_request_malformed"},
		"two tokens":             {http.MethodPost, formType, form + "&" + form, nil, 400, "logout_request_malformed"},
		"two, one of them empty": {http.MethodPost, formType, "logout_token=&" + form, nil, 400, "logout_request_malformed"},
		"two, one encoded":       {http.MethodPost, formType, "logout%5Ftoken=x&" + form, nil, 400, "logout_request_malformed"},
		"none":                   {http.MethodPost, formType, "token=" + token, nil, 400, "logout_request_malformed"},
		"another case":           {http.MethodPost, formType, strings.Replace(form, "logout_token", "Logout_Token", 1), nil, 400, "logout_request_malformed"},
		"empty body":             {http.MethodPost, formType, "", nil, 400, "logout_request_malformed"},
		"malformed value":        {http.MethodPost, formType, "logout_token=%zz", nil, 400, "logout_request_malformed"},
		"many fields, no token":  {http.MethodPost, formType, many.String(), nil, 400, "logout_request_malformed"},
		"too large":              {http.MethodPost, formType, form + "&x=" + strings.Repeat("x", 64<<10), nil, 400, "request_too_large"},
		"a million fields":       {http.MethodPost, formType, strings.Repeat("a&", 1_000_000) + form, nil, 400, "request_too_large"},
	} {
		t.Run(name, func(t *testing.T) {
			a := send(s, world.ReplicaB, c.method, c.kind, c.body, c.header...)
			refused(s, a, c.status, c.code)
			if allow := a.Header().Get("Allow"); (allow == "POST") != (c.status == 405) {
				t.Errorf("Allow %q", allow)
			}
			everywhere(s, func(at int) { ana.WantServed(ana.On(at).Get("/notes/")) })
		})
	}
	if a := send(s, world.ReplicaB, http.MethodPost, formType, form, "Cookie", "x=y"); a.Code != 200 {
		t.Errorf("the token: %v", a)
	}
	for name, good := range map[string]func(token string) (kind, body string){
		"other fields": func(token string) (string, string) {
			return formType, "x=%zz&client_id=other&" + logoutForm(token) + "&=&x;y"
		},
		"with a charset": func(token string) (string, string) {
			return "Application/X-WWW-Form-URLEncoded; charset=UTF-8", logoutForm(token)
		},
		"many fields":     func(token string) (string, string) { return formType, many.String() + logoutForm(token) },
		"an encoded name": func(token string) (string, string) { return formType, "logout%5ftoken=" + token },
		"each dot is encoded": func(token string) (string, string) {
			return formType, "logout_token=" + strings.ReplaceAll(token, ".", "%2E")
		},
	} {
		t.Run(name, func(t *testing.T) {
			ana, sid := signedIn(s, "ana", world.ReplicaA)
			kind, body := good(logoutToken(s, map[string]any{"sid": sid}))
			if a := send(s, world.ReplicaB, http.MethodPost, kind, body); a.Code != http.StatusOK {
				t.Errorf("got %v", a)
			}
			ana.WantOut(ana.Get("/notes/"))
		})
	}
}

// A logout that could not be stored is 400, and so is one whose token cannot be
// judged now. Both may be sent again.
func TestFA6_BackchannelInTrouble(t *testing.T) {
	s := logoutSite(t, world.Watched)
	ana, sid := signedIn(s, "ana", world.ReplicaA)
	token := logoutToken(s, map[string]any{"sid": sid})
	for name, hang := range map[string]bool{"fails": false, "hangs": true} {
		t.Run(name, func(t *testing.T) {
			s.Watched().Fail(errors.New("the store is down"), hang)
			a := send(s, world.ReplicaB, http.MethodPost, formType, logoutForm(token))
			refused(s, a, http.StatusBadRequest, "store_unavailable")
			if !strings.Contains(a.Body.String(), "send it again") {
				t.Errorf("got %v", a)
			}
			s.Watched().Fail(nil, false)
			ana.WantServed(ana.Get("/notes/"))
		})
	}
	logOut(s, world.ReplicaB, token)
	ana.WantOut(ana.Get("/notes/"))

	cold := logoutSite(t)
	cold.SetDown(true)
	token = logoutToken(cold, map[string]any{"sid": sid})
	refused(cold, send(cold, world.ReplicaB, http.MethodPost, formType, logoutForm(token)), http.StatusBadRequest, "provider_unavailable")
	cold.SetDown(false)
	cold.Advance(time.Minute)
	logOut(cold, world.ReplicaB, token)
}

// The sid need not be known, and who is signed out already is so (§2.7).
func TestBackchannelWithoutSession(t *testing.T) {
	s := logoutSite(t)
	logOut(s, world.ReplicaA, logoutToken(s, map[string]any{"sid": "unknown"}))
	logOut(s, world.ReplicaB, logoutToken(s, map[string]any{"sub": "nobody", "sid": "unknown"}))
}

// A sign-in that is under way when the logout comes does not end in a session of
// before it: it starts over.
func TestBackchannelBeatsACallback(t *testing.T) {
	for n := 0; ; n++ {
		s := logoutSite(t, world.Watched)
		s.Visitor("ben").On(world.ReplicaB).SignIn() // both replicas are warm
		send(s, world.ReplicaA, http.MethodPost, formType, logoutForm(logoutToken(s, map[string]any{"sub": "nobody"})))
		ana := s.Visitor("ana")
		callback := ana.ToCallback("/notes/")
		s.Advance(3 * time.Second)
		token := logoutToken(s, map[string]any{"sub": "ana-1"})
		reached := stories.Interrupt(s, n, func() { logOut(s, world.ReplicaA, token) })
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

// A provider that is older than the final specification needs a setting.
func TestBackchannelOfAnOlderProvider(t *testing.T) {
	s := logoutSite(t, func(o *world.SiteOptions) {
		o.Provider = func(c *gatehouse.ProviderConfig) { c.InsecureLogoutTokens = true }
	})
	if s.Logged("insecure_logout_tokens") != 2 { // once at each replica
		t.Error("the setting is not in the log")
	}
	ana, sid := signedIn(s, "ana", world.ReplicaA)
	for name, faults := range map[string][]opserver.Fault{
		"nonce":    {opserver.OldLogoutType, opserver.LogoutNonce},
		"no event": {opserver.OldLogoutType, opserver.MissingLogoutEvent},
		"ID Token": {opserver.IDTokenForLogoutToken},
	} {
		a := send(s, world.ReplicaB, http.MethodPost, formType, logoutForm(logoutToken(s, map[string]any{"sid": sid}, faults...)))
		refused(s, a, http.StatusBadRequest, "logout_token_invalid")
		if page := ana.Get("/notes/"); page.Code != http.StatusOK {
			t.Errorf("%s: %v", name, page)
		}
	}
	logOut(s, world.ReplicaB, logoutToken(s, map[string]any{"sid": sid, "exp": nil}, opserver.OldLogoutType))
	ana.WantOut(ana.Get("/notes/"))
}
