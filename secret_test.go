package gatehouse_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"text/template"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

const (
	printedSecret = "printed-client-secret"
	printedKey    = "printed-session-key-of-32-bytes!"
)

// printings formats v in every way in which programs print values carelessly.
func printings(v any) map[string]string {
	out := map[string]string{}
	for _, verb := range []string{
		"%v", "%+v", "%#v", "%T", "%s", "%q", "%+q", "%#q", "%x", "% x", "%X", "%#x", "%d", "%+d", "%b", "%o", "%O",
		"%c", "%U", "%#U", "%e", "%E", "%f", "%F", "%g", "%G", "%t", "%p", "%w", "%z", "%10.3v", "%-40s|",
	} {
		out[verb] = fmt.Sprintf(verb, v)
	}
	out["Sprint"], out["Sprintln"] = fmt.Sprint(v), fmt.Sprintln("x", v)
	out["Errorf"] = fmt.Errorf("x: %v", v).Error()
	hidden := struct{ inside any }{v} // fmt calls no methods on unexported fields (M22)
	out["%+v of an unexported field"] = fmt.Sprintf("%+v %#v", hidden, hidden)
	out["in a map and a slice"] = fmt.Sprintf("%+v %#v", map[string]any{"k": v}, []any{v})
	if b, err := json.Marshal(v); err == nil { // functions cannot be marshalled
		out["json"] = string(b)
	}
	if b, err := json.Marshal(map[string]any{"k": v}); err == nil {
		out["json in a map"] = string(b)
	}
	if b, err := xml.Marshal(v); err == nil {
		out["xml"] = string(b)
	}
	for how, source := range map[string]string{"template": "{{.V}}", "template, printf": `{{printf "%s %v" .V .V}}`, "template, in a list": "{{.L}}"} {
		var page bytes.Buffer
		// A value that cannot be printed shows nothing.
		_ = template.Must(template.New("").Parse(source)).Execute(&page, map[string]any{"V": v, "L": []any{v}})
		out[how] = page.String()
	}
	var text, structured bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).With("w", v).Info("x", "v", v, slog.Group("g", "v", v), "in", map[string]any{"k": v})
	slog.New(slog.NewJSONHandler(&structured, nil)).With("w", v).Info("x", "v", v, slog.Group("g", "v", v), "in", map[string]any{"k": v})
	out["slog text"], out["slog json"] = text.String(), structured.String()
	return out
}

// wantHidden checks that no printing of v contains one of the secrets, not
// even in hex.
func wantHidden(t testing.TB, name string, v any, secrets ...string) {
	t.Helper()
	for how, text := range printings(v) {
		for _, s := range secrets {
			if strings.Contains(text, s) || strings.Contains(text, hex.EncodeToString([]byte(s))) {
				t.Errorf("%s printed by %s shows a secret: %.200s", name, how, text)
			}
		}
	}
}

func TestSecret(t *testing.T) {
	s := gatehouse.NewSecret(printedSecret)
	wantHidden(t, "Secret", s, printedSecret)
	wantHidden(t, "*Secret", &s, printedSecret)
	wantHidden(t, "map key", map[gatehouse.Secret]int{s: 1}, printedSecret)
	wantHidden(t, "unexported", struct{ s gatehouse.Secret }{s}, printedSecret)
	for how, text := range printings(s) {
		if how[0] == '%' && how != "%T" && how != "%p" && how != "%w" && !strings.Contains(text, "redacted") && !strings.Contains(how, "field") {
			t.Errorf("%s gives %q, want a word that says so", how, text)
		}
	}
	if s.Reveal() != printedSecret || s.IsZero() {
		t.Error("Reveal does not give the text")
	}
	var zero gatehouse.Secret
	if zero.Reveal() != "" || !zero.IsZero() || !gatehouse.NewSecret("").IsZero() {
		t.Error("the zero Secret is not empty")
	}
}

// Every printer that can reach the secret shows the same word and nothing
// else.
func TestSecretShowsOneWord(t *testing.T) {
	type config struct {
		S gatehouse.Secret
		P *gatehouse.Secret
	}
	s := gatehouse.NewSecret(printedSecret)
	c := config{s, &s}
	text, err := json.Marshal(c)
	if want := `{"S":"[redacted]","P":"[redacted]"}`; err != nil || string(text) != want {
		t.Errorf("json %s, %v, want %s", text, err, want)
	}
	text, err = json.Marshal(map[gatehouse.Secret]int{s: 1})
	if want := `{"[redacted]":1}`; err != nil || string(text) != want {
		t.Errorf("json %s, %v, want %s", text, err, want)
	}
	text, err = xml.Marshal(c)
	if want := `<config><S>[redacted]</S><P>[redacted]</P></config>`; err != nil || string(text) != want {
		t.Errorf("xml %s, %v, want %s", text, err, want)
	}
	var page bytes.Buffer
	if err := template.Must(template.New("").Parse("{{.S}} {{.P}}")).Execute(&page, c); err != nil || page.String() != "[redacted] [redacted]" {
		t.Errorf("template %s, %v", page.String(), err)
	}
	var lines bytes.Buffer
	plain := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	slog.New(slog.NewTextHandler(&lines, plain)).Info("x", "s", s, "p", &s)
	slog.New(slog.NewJSONHandler(&lines, plain)).Info("x", "s", s, "p", &s, "c", c)
	const want = "level=INFO msg=x s=[redacted] p=[redacted]\n" +
		`{"level":"INFO","msg":"x","s":"[redacted]","p":"[redacted]","c":{"S":"[redacted]","P":"[redacted]"}}` + "\n"
	if lines.String() != want {
		t.Errorf("slog:\n%swant:\n%s", lines.String(), want)
	}
	if got, want := fmt.Sprintf("%+v %#v %s", c.S, c.S, []gatehouse.Secret{s}), "[redacted] [redacted] [[redacted]]"; got != want {
		t.Errorf("fmt %s, want %s", got, want)
	}
}

// No config and no value of the package prints the secret it holds (CF7).
func TestCF7_ConfigsAndValues(t *testing.T) {
	secret := gatehouse.NewSecret(printedSecret)
	client := gatehouse.Client{ID: "notes", Secret: secret}
	provider := goodProvider(t)
	sc := gatehouse.SessionsConfig{Keys: []gatehouse.Secret{gatehouse.NewSecret(printedKey)}}
	sessions, err := gatehouse.NewSessions(sc)
	if err != nil {
		t.Fatal(err)
	}
	rc := gatehouse.RelyingPartyConfig{Client: client, RedirectURL: "https://notes.example.org/cb", Sessions: sessions}
	login, err := gatehouse.NewRelyingParty(provider, rc)
	if err != nil {
		t.Fatal(err)
	}
	gc := gatehouse.OwnerGrantsConfig{Client: client}
	grants, err := gatehouse.NewOwnerGrants(provider, gc)
	if err != nil {
		t.Fatal(err)
	}
	ac := gatehouse.ResourceServerConfig{Client: client}
	api, err := gatehouse.NewResourceServer(provider, ac)
	if err != nil {
		t.Fatal(err)
	}
	uc := gatehouse.UMATransportConfig{Client: client}
	transport, err := gatehouse.NewUMATransport(provider, uc)
	if err != nil {
		t.Fatal(err)
	}
	nc := gatehouse.RegistrationConfig{Metadata: gatehouse.ClientMetadata{RedirectURIs: []string{"https://notes.example.org/cb"}}, Store: gatehouse.NewMemoryRegistrationStore(),
		InitialAccessToken: secret, Keys: sc.Keys}
	registration, err := gatehouse.NewRegistration(provider, nc)
	if err != nil {
		t.Fatal(err)
	}
	lc := gatehouse.LoginsConfig{Paths: map[string]*gatehouse.RelyingParty{"/": login}}
	logins, err := gatehouse.NewLogins(lc, login)
	if err != nil {
		t.Fatal(err)
	}
	expiring := gatehouse.Client{ID: "notes", SecretFunc: func(context.Context) (gatehouse.Secret, time.Time, error) { return secret, time.Time{}, nil }}
	for name, v := range map[string]any{
		"RegistrationConfig": nc, "*RegistrationConfig": &nc, "Registration": registration, "Client with a Registration": gatehouse.Client{Registration: registration},
		"LoginsConfig": lc, "Logins": logins, "Client with a SecretFunc": expiring, "RPTRequest": gatehouse.RPTRequest{Ticket: secret, Refused: secret},
		"Client": client, "*Client": &client, "RelyingPartyConfig": rc, "*RelyingPartyConfig": &rc, "RelyingParty": login,
		"SessionsConfig": sc, "*SessionsConfig": &sc, "Sessions": sessions, "OwnerGrantsConfig": gc, "OwnerGrants": grants,
		"ResourceServerConfig": ac, "ResourceServer": api, "UMATransportConfig": uc, "UMATransport": transport,
		"ClaimToken": gatehouse.ClaimToken{Token: secret}, "Provider": provider,
		"NeedInfoError": &gatehouse.NeedInfoError{Ticket: secret}, "derived RelyingParty": login.With(gatehouse.MaxAge(time.Hour)),
	} {
		wantHidden(t, name, v, printedSecret, printedKey)
	}
}

// Nothing that a request carries prints a secret (CF7).
func TestCF7_Identity(t *testing.T) {
	var id *gatehouse.Identity
	var ctx context.Context
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/who", login.RequireLogin(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				id, ctx = gatehouse.IdentityFrom(r.Context()), r.Context()
			})))
		}
	})
	ana := s.Visitor("ana")
	ana.Visit("/who")
	token, err := s.Replicas[0].Login.Token(ctx)
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{token.AccessToken, ana.SessionCookie(), strings.Split(ana.SessionCookie(), ".")[0]}
	for value, kind := range s.Secrets() {
		if strings.Contains(kind, "token") {
			secrets = append(secrets, value)
		}
	}
	wantHidden(t, "*Identity", id, secrets...)
	wantHidden(t, "Identity", *id, secrets...)
	wantHidden(t, "its context", ctx, secrets...)
}

// No error that leaves the package prints a secret, and no error in its chain
// does (CF7).
func TestCF7_Errors(t *testing.T) {
	var got []error
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) {
			c.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, e *gatehouse.Error) {
				got = append(got, e)
				w.WriteHeader(e.Status)
			}
		}
	})
	s.Mint("upstream body", "marker-of-upstream")
	ana := s.Visitor("ana")
	for _, body := range []string{"marker-of-upstream", `{"error":"invalid_grant","error_description":"marker-of-upstream"}`, `{"access_token":"marker-of-upstream"`} {
		for _, code := range []int{200, 302, 400, 401, 500} {
			callback := ana.ToCallback("/notes/")
			s.SetWire(func(r *http.Request, _ func(*http.Request) *http.Response) (*http.Response, error) {
				resp := world.Answer(r, code, body)
				resp.Header.Set("Location", "https://evil.example/?code=marker-of-upstream")
				return resp, nil
			})
			ana.Get(callback)
			s.SetWire(nil)
		}
	}
	for _, f := range []opserver.Fault{
		opserver.WrongNonce, opserver.WrongIssuer, opserver.WrongAudience, opserver.WrongSignature, opserver.UnsignedIDToken,
		opserver.ExpiredIDToken, opserver.MissingSubject, opserver.WrongAccessTokenHash, opserver.MissingIDToken,
		opserver.UserInfoWrongSubject, opserver.WrongState, opserver.WrongResponseIssuer, opserver.MissingResponseIssuer,
		opserver.TokenEndpointDown, opserver.HTMLAnswer,
	} {
		s.Break(f)
		if a := ana.Get("/auth/login"); a.Location() != "" {
			if a = ana.Follow(a, func(u *url.URL) bool { return u.Path == "/auth/callback" }); a.Location() != "" {
				ana.Get(a.Location())
			}
		}
		s.Mend(f)
		s.Advance(time.Minute)
	}
	s.Shutdown(0) // wait for the revocations of the sign-ins
	if len(got) < 20 {
		t.Fatalf("only %d errors", len(got))
	}
	var secrets []string
	for value := range s.Secrets() {
		secrets = append(secrets, value)
	}
	seen := map[string]bool{} // check each sentence once
	for _, err := range got {
		everyCause(err, func(err error) {
			if what := fmt.Sprintf("%T %v", err, err); !seen[what] {
				seen[what] = true
				wantHidden(t, what, err, secrets...)
			}
		})
	}
}

// everyCause visits err and all errors that it wraps.
func everyCause(err error, visit func(error)) {
	if err == nil {
		return
	}
	visit(err)
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		everyCause(e.Unwrap(), visit)
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			everyCause(one, visit)
		}
	}
}

// Addresses are logged without user and query (CF7).
func TestCF7_URLs(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Provider = func(c *gatehouse.ProviderConfig) {
			c.Metadata = &gatehouse.Metadata{
				AuthorizationEndpoint: "https://op.test/realm/ep/az-3f", TokenEndpoint: "https://op.test/tok?apikey=marker-of-a-query",
				UserInfoEndpoint: "https://op.test/who?apikey=marker-of-a-query", JWKSURI: "https://op.test/keys?apikey=marker-of-a-query",
			}
		}
	})
	ana := s.Visitor("ana")
	callback := ana.ToCallback("/notes/")
	s.SetDown(true)
	s.WantRefusal(ana.Get(callback), http.StatusServiceUnavailable)
	if s.Logged("op.test") == 0 && s.Logged("token endpoint") == 0 {
		t.Error("the log does not say which server could not be reached")
	}
	if n := s.Logged("marker-of-a-query"); n != 0 {
		t.Errorf("a query occurs %d times in the log", n)
	}
}
