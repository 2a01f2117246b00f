package middlewaretest_test

import (
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
	"example.com/gatehouse/middlewaretest"
)

// logoutSite is a service on two replicas that share a store and take turns. It
// tells whom it serves, and the sid of the session.
func logoutSite(t *testing.T, op *middlewaretest.Server, base string) (gatehouse.Client, http.Handler) {
	t.Helper()
	client := op.AddClient(base + "/auth/callback")
	store := gatehouse.NewMemoryStore(op.Clock().Now)
	var replicas []http.Handler
	for range 2 {
		sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{Store: store, Now: op.Clock().Now})
		must(t, err)
		login, err := gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{Client: client, RedirectURL: base + "/auth/callback", Sessions: sessions})
		must(t, err)
		mux := http.NewServeMux()
		mux.Handle("/auth/", login.Handler())
		mux.Handle("/notes", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id := gatehouse.IdentityFrom(r.Context())
			_, _ = io.WriteString(w, id.Subject+" "+id.ClaimString("sid"))
		})))
		mux.Handle("/open", login.OptionalLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if id := gatehouse.IdentityFrom(r.Context()); id != nil {
				_, _ = io.WriteString(w, id.Subject)
			}
		})))
		replicas = append(replicas, mux)
	}
	var turn atomic.Int64
	return client, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		replicas[turn.Add(1)%2].ServeHTTP(w, r)
	})
}

// logoutWorld is a server off the network, whose client is a site on two
// replicas.
func logoutWorld(t *testing.T) (*middlewaretest.Server, gatehouse.Client, string) {
	t.Helper()
	op := middlewaretest.NewOffline(t, "https://op.example.org")
	op.AddUser("ana", nil)
	op.AddUser("ben", nil)
	const base = "https://notes.example.org"
	client, site := logoutSite(t, op, base)
	op.Serve(base, site)
	return op, client, base
}

// enter signs a browser in and returns the sid.
func enter(t *testing.T, b *middlewaretest.Browser, base string) string {
	t.Helper()
	resp, err := b.Get(base + "/notes")
	_, sid, ok := strings.Cut(body(t, resp, err), " ")
	if !ok || sid == "" {
		t.Fatal("not signed in, or without a sid")
	}
	return sid
}

// inside reports whether somebody is signed in, as each replica sees it.
func signedInAt(t *testing.T, b *middlewaretest.Browser, base string) bool {
	t.Helper()
	var seen [2]bool
	for i := range seen {
		resp, err := b.Get(base + "/open")
		seen[i] = body(t, resp, err) != ""
	}
	if seen[0] != seen[1] {
		t.Fatalf("the replicas differ: %v", seen)
	}
	return seen[0]
}

// The server tells a client by the back channel when the session ends: at its
// end session endpoint, in another browser of the same person not, and by
// EndSessions everywhere.
func TestBackchannelLogout(t *testing.T) {
	op, client, base := logoutWorld(t)
	op.SetLogout(client, middlewaretest.LogoutURIs{Backchannel: base + "/auth/backchannel-logout"})
	laptop, phone, ben := op.Browser(t, "ana"), op.Browser(t, "ana"), op.Browser(t, "ben")
	enter(t, laptop, base)
	enter(t, phone, base)
	enter(t, ben, base)
	end := endpoint(t, op, "end_session_endpoint")
	resp, err := laptop.Get(end) // the person asks for it there, not here
	page := body(t, resp, err)
	form := regexp.MustCompile(`(?s)action="([^"]*)" id="sign-out".*name="form_token" value="([^"]*)"`).FindStringSubmatch(page)
	if form == nil {
		t.Fatalf("no form to sign out in %s", page)
	}
	resp, err = laptop.On(end).Submit(form[1], url.Values{"form_token": {form[2]}})
	if got := body(t, resp, err); !strings.Contains(got, "signed out") {
		t.Fatalf("sign-out at the provider: %s", got)
	}
	if signedInAt(t, laptop, base) || !signedInAt(t, phone, base) || !signedInAt(t, ben, base) {
		t.Error("not exactly the session of that browser has ended")
	}
	op.EndSessions("ana")
	if signedInAt(t, phone, base) || !signedInAt(t, ben, base) {
		t.Error("not exactly ana's sessions have ended")
	}
	enter(t, laptop, base)
	if !signedInAt(t, laptop, base) {
		t.Error("nobody can sign in again")
	}
}

// The page after logout shows the front channel in a frame, and goes on to the
// site.
func TestFrontchannelLogout(t *testing.T) {
	op, client, base := logoutWorld(t)
	const other = "https://wiki.example.org" // of another site, which is told by its frame alone
	second, wiki := logoutSite(t, op, other)
	op.Serve(other, wiki)
	op.SetLogout(client, middlewaretest.LogoutURIs{Frontchannel: base + "/auth/frontchannel-logout"})
	op.SetLogout(second, middlewaretest.LogoutURIs{Frontchannel: other + "/auth/frontchannel-logout?from=op"})
	ana := op.Browser(t, "ana")
	enter(t, ana, base)
	enter(t, ana, other)
	resp, err := ana.PostForm(base+"/auth/logout", nil)
	if got := body(t, resp, err); resp.Request.URL.Host != "notes.example.org" || !strings.Contains(got, "signed out") {
		t.Errorf("sign-out ends at %s", resp.Request.URL)
	}
	if signedInAt(t, ana, base) || signedInAt(t, ana, other) {
		t.Error("somebody is signed in")
	}
}

// TestLogoutFaults sends a logout token with each fault. None ends anything, and
// the same token without the fault does.
func TestLogoutFaults(t *testing.T) {
	op, client, base := logoutWorld(t)
	op.SetLogout(client, middlewaretest.LogoutURIs{Backchannel: base + "/auth/backchannel-logout"})
	ana := op.Browser(t, "ana")
	sid := enter(t, ana, base)
	faults := []middlewaretest.Fault{
		middlewaretest.UnsignedIDToken, middlewaretest.UnsignedOddCase, middlewaretest.EmptySignature, middlewaretest.HMACWithPublicKey,
		middlewaretest.HMACWithSecret, middlewaretest.WrongSignature, middlewaretest.UnknownCriticalHeader, middlewaretest.KeyInHeader,
		middlewaretest.KeyURLInHeader, middlewaretest.FivePartIDToken, middlewaretest.PaddedIDToken, middlewaretest.JSONSerializedIDToken,
		middlewaretest.UnknownKeyID, middlewaretest.RepeatedClaim, middlewaretest.OtherCaseClaim, middlewaretest.WrongIssuer,
		middlewaretest.IssuerSlash, middlewaretest.MissingIssuer, middlewaretest.WrongAudience, middlewaretest.MissingAudience,
		middlewaretest.EmptyAudience, middlewaretest.SecondAudience, middlewaretest.WrongAuthorizedParty, middlewaretest.EmptySubject,
		middlewaretest.SubjectNotString, middlewaretest.MissingIssuedAt, middlewaretest.IssuedLongAgo, middlewaretest.IssuedInFuture,
		middlewaretest.NotYetValid, middlewaretest.MissingExpiry, middlewaretest.ExpiredIDToken, middlewaretest.HugeIDToken,
	}
	for _, f := range opserver.LogoutFaults() {
		faults = append(faults, middlewaretest.Fault(f))
	}
	claims := middlewaretest.Claims{"sub": "ana", "sid": sid, "jti": "one"}
	for _, f := range faults {
		if status := op.SendLogout(t, client, op.LogoutToken(t, client, claims, f)); status != http.StatusBadRequest {
			t.Errorf("%s: %d", f, status)
		}
		if !signedInAt(t, ana, base) {
			t.Fatalf("%s ended the session", f)
		}
	}
	op.Break(middlewaretest.LogoutNonce) // in those that the server sends by itself too
	op.EndSessions("ana")
	if !signedInAt(t, ana, base) {
		t.Error("a token with a nonce ended the session")
	}
	op.Mend()
	for name, c := range map[string]struct {
		claims middlewaretest.Claims
		faults []middlewaretest.Fault
	}{
		"good":              {claims, nil},
		"expired in skew":   {middlewaretest.Claims{"sid": sid}, []middlewaretest.Fault{middlewaretest.ExpiredWithinSkew}},
		"no kid":            {middlewaretest.Claims{"sub": "ana"}, []middlewaretest.Fault{middlewaretest.NoKeyID}},
		"aud in an array":   {middlewaretest.Claims{"sub": "ana"}, []middlewaretest.Fault{middlewaretest.AudienceArray}},
		"time of your own":  {middlewaretest.Claims{"sub": "ana", "exp": op.Clock().Now().Add(time.Minute), "x": nil}, nil},
		"without a subject": {middlewaretest.Claims{"sub": "ana", "sid": sid}, []middlewaretest.Fault{middlewaretest.MissingSubject}},
	} {
		if status := op.SendLogout(t, client, op.LogoutToken(t, client, c.claims, c.faults...)); status != http.StatusOK {
			t.Errorf("%s: %d", name, status)
		}
	}
	if signedInAt(t, ana, base) {
		t.Error("the session goes on")
	}
	if v := op.Violations(); len(v) != 0 {
		t.Errorf("violations %q", v)
	}
}
