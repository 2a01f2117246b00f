package middlewaretest_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

const selfMade = "https://notes.example.org"

// selfMadeApp is an application that registers itself at a server off the network.
func selfMadeApp(t *testing.T, o middlewaretest.RegistrationOptions, token string) (*middlewaretest.Server, *gatehouse.Registration) {
	t.Helper()
	op := middlewaretest.NewOffline(t, "https://op.example.org")
	op.AddUser("ana", nil)
	op.SetRegistration(o)
	r, err := gatehouse.NewRegistration(op.Provider(), gatehouse.RegistrationConfig{
		Metadata: gatehouse.ClientMetadata{
			RedirectURIs: []string{selfMade + "/auth/callback"}, ClientName: "Notes", IDTokenSignedResponseAlg: "ES256",
			PostLogoutRedirectURIs: []string{selfMade + "/auth/logout"},
		},
		Store: gatehouse.NewMemoryRegistrationStore(), InitialAccessToken: gatehouse.NewSecret(token),
	})
	must(t, err)
	sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{Now: op.Clock().Now})
	must(t, err)
	login, err := gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{
		Client: gatehouse.Client{Registration: r}, RedirectURL: selfMade + "/auth/callback", Sessions: sessions,
	})
	must(t, err)
	t.Cleanup(func() { must(t, gatehouse.Shutdown(context.Background(), login, r)) })
	mux := http.NewServeMux()
	mux.Handle("/auth/", login.Handler())
	mux.Handle("/notes/", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "notes of "+gatehouse.IdentityFrom(r.Context()).Subject)
	})))
	op.Serve(selfMade, mux)
	return op, r
}

// visit opens the notes as ana and returns the status.
func visit(t *testing.T, op *middlewaretest.Server) int {
	t.Helper()
	resp, err := op.Browser(t, "ana").Get(selfMade + "/notes/")
	must(t, err)
	must(t, resp.Body.Close())
	return resp.StatusCode
}

// TestSelfRegisteringApp: the application registers with its initial access token,
// signs in, signs out, and finds another client when the server has lost it.
func TestSelfRegisteringApp(t *testing.T) {
	op, r := selfMadeApp(t, middlewaretest.RegistrationOptions{InitialAccessToken: "let-me-in"}, "let-me-in")
	ana := op.Browser(t, "ana")
	resp, err := ana.Get(selfMade + "/notes/")
	must(t, err)
	if ids := op.Registered(); resp.StatusCode != http.StatusOK || len(ids) != 1 || op.Count("register") != 1 {
		t.Errorf("%s, %d clients, %d requests", resp.Status, len(ids), op.Count("register"))
	}
	resp, err = ana.PostForm(selfMade+"/auth/logout", nil)
	must(t, err)
	if resp.StatusCode != http.StatusOK || resp.Request.URL.Host != "notes.example.org" {
		t.Errorf("signed out: %s at %s", resp.Status, resp.Request.URL)
	}
	must(t, r.Shutdown(t.Context()))
	_, err = ana.Get(selfMade + "/notes/")
	must(t, err)
	op.ForgetClient(op.Registered()[0])
	op.Clock().Advance(10 * time.Minute)
	_, err = ana.Get(selfMade + "/notes/") // the server refuses the refresh, and the next client is registered
	must(t, err)
	if ids := op.Registered(); visit(t, op) != http.StatusOK || len(ids) != 1 {
		t.Errorf("%d clients", len(ids))
	}
	if v := op.Violations(); len(v) != 0 {
		t.Error(v)
	}
}

// TestRegistrationRefused: without the initial access token nobody registers.
func TestRegistrationRefused(t *testing.T) {
	op, r := selfMadeApp(t, middlewaretest.RegistrationOptions{InitialAccessToken: "let-me-in"}, "let-me-out")
	if err := r.Register(t.Context()); gatehouse.ErrorCode(err) != "client_registration_refused" || len(op.Registered()) != 0 {
		t.Errorf("%v, %d clients", err, len(op.Registered()))
	}
}

// TestRegistrationSecretsThatEnd: by a read, by an update, and by a new client.
func TestRegistrationSecretsThatEnd(t *testing.T) {
	for name, c := range map[string]struct {
		options middlewaretest.RegistrationOptions
		clients int
	}{
		"read":      {middlewaretest.RegistrationOptions{RenewOnRead: true, RotateToken: true}, 1},
		"update":    {middlewaretest.RegistrationOptions{RenewOnUpdate: true}, 1},
		"neither":   {middlewaretest.RegistrationOptions{}, 2},
		"unmanaged": {middlewaretest.RegistrationOptions{Unmanaged: true}, 2},
	} {
		c.options.SecretLifetime = time.Hour
		op, r := selfMadeApp(t, c.options, "")
		if got := visit(t, op); got != http.StatusOK {
			t.Errorf("%s: %d", name, got)
		}
		op.Clock().Advance(50 * time.Minute)
		visit(t, op)
		must(t, r.Shutdown(t.Context()))
		if n := len(op.Registered()); n != c.clients {
			t.Errorf("%s: %d clients, want %d", name, n, c.clients)
		}
		op.Clock().Advance(15 * time.Minute)
		if got := visit(t, op); got != http.StatusOK {
			t.Errorf("%s: %d after the end of the first secret", name, got)
		}
	}
}

// TestRegistrationFaults: every way in which the server can lie, fail or hang at
// registration, what it costs, and that the application comes back afterwards.
func TestRegistrationFaults(t *testing.T) {
	at := func(f middlewaretest.Fault) func(*middlewaretest.Server) {
		return func(op *middlewaretest.Server) { op.BreakAt(f, "register") }
	}
	lies := func(f middlewaretest.Fault) func(*middlewaretest.Server) {
		return func(op *middlewaretest.Server) { op.Break(f) }
	}
	const unavailable = "provider_unavailable"
	for name, c := range map[string]struct {
		fault func(*middlewaretest.Server)
		code  string // "" if the client can serve
	}{
		"other redirect URIs": {lies(middlewaretest.OtherRedirectURIs), "client_registration_unusable"},
		"no secret":           {lies(middlewaretest.MissingClientSecret), "client_registration_unusable"},
		"another method":      {lies(middlewaretest.UnknownClientAuth), "client_registration_unusable"},
		"managed elsewhere":   {lies(middlewaretest.ClientManagedElsewhere), "client_registration_unusable"},
		"another name":        {lies(middlewaretest.OtherClientName), ""},
		"gone":                {at(middlewaretest.EndpointGone), "endpoint_missing"},
		"500":                 {at(middlewaretest.EndpointFails), unavailable},
		"503":                 {at(middlewaretest.EndpointDown), unavailable},
		"a page":              {at(middlewaretest.HTMLAnswer), "client_registration_unusable"},
		"cut off":             {at(middlewaretest.TruncatedAnswer), unavailable},
		"8 MiB":               {at(middlewaretest.HugeAnswer), unavailable},
		"a redirect":          {at(middlewaretest.RedirectingAnswer), unavailable},
		"hangs":               {at(middlewaretest.AuthorizationServerHangs), unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				op, r := selfMadeApp(t, middlewaretest.RegistrationOptions{}, "")
				c.fault(op)
				status, want := visit(t, op), http.StatusServiceUnavailable
				if c.code == "" {
					want = http.StatusOK
				}
				err := r.Register(t.Context())
				if status != want || gatehouse.ErrorCode(err) != c.code {
					t.Errorf("%d, %v; want %d, %q", status, err, want, c.code)
				}
				op.Mend()
				op.Clock().Advance(time.Hour)
				if got := visit(t, op); got != http.StatusOK {
					t.Errorf("%d after the fault", got)
				}
				if v := op.Violations(); len(v) != 0 {
					t.Error(v)
				}
			})
		})
	}
}

// TestRegisteredAreThose: a client that did not register itself is none of them.
func TestRegisteredAreThose(t *testing.T) {
	op, r := selfMadeApp(t, middlewaretest.RegistrationOptions{}, "")
	op.AddClient(selfMade + "/other")
	if ids := op.Registered(); len(ids) != 0 {
		t.Errorf("%q", ids)
	}
	id, err := r.ID(t.Context())
	if must(t, err); !slices.Equal(op.Registered(), []string{id}) {
		t.Errorf("%q, want %q", op.Registered(), id)
	}
}
