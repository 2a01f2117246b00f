package gatehouse_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// newGoogleApp is a site for people of one Google Workspace. Google gives a refresh
// token for parameters of its own, and says in hd whose domain an account is of.
func newGoogleApp(provider *gatehouse.Provider, client gatehouse.Client, base string) http.Handler {
	login, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{
		Client:      client,
		RedirectURL: base + "/auth/callback",
		Scopes:      []string{"profile", "email"},
		AuthParams:  url.Values{"access_type": {"offline"}, "prompt": {"consent"}},
	})
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", login.Handler())
	mux.Handle("/notes/", login.With(gatehouse.Claim("hd", "example.org")).RequireLogin(notes))
	return mux
}

// Sign-in with Google, for the people of one domain.
func ExampleNewRelyingParty_google() {
	provider, err := gatehouse.NewProvider("https://accounts.google.com", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	client := gatehouse.Client{ID: "1234-abcd.apps.googleusercontent.com", Secret: gatehouse.NewSecret(os.Getenv("GOOGLE_SECRET"))}
	app := newGoogleApp(provider, client, "https://notes.example.org")
	w := httptest.NewRecorder()
	app.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "https://notes.example.org/auth/session", nil))
	fmt.Println(w.Code, w.Body)
	// Output:
	// 200 {"signed_in":false,"login_url":"/auth/login"}
}

// Cognito's logout endpoint wants other parameters than OpenID Connect has. They
// stand in its address, in metadata that is written by hand.
func ExampleNewProvider_cognito() {
	const pool = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEf123"
	const domain = "https://notes.auth.eu-central-1.amazoncognito.com"
	provider, err := gatehouse.NewProvider(pool, &gatehouse.ProviderConfig{Metadata: &gatehouse.Metadata{
		AuthorizationEndpoint: domain + "/oauth2/authorize",
		TokenEndpoint:         domain + "/oauth2/token",
		UserInfoEndpoint:      domain + "/oauth2/userInfo",
		RevocationEndpoint:    domain + "/oauth2/revoke",
		JWKSURI:               pool + "/.well-known/jwks.json",
		EndSessionEndpoint:    domain + "/logout?" + url.Values{"logout_uri": {"https://notes.example.org/auth/logout"}}.Encode(),
	}})
	fmt.Println(provider.Issuer(), err)
	// Output:
	// https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEf123 <nil>
}

// appleUser is what Apple says about a person beside its answer, the first time
// alone. Nobody has signed it.
type appleUser struct {
	Name struct {
		First string `json:"firstName"`
		Last  string `json:"lastName"`
	} `json:"name"`
}

// appleKey is where the context has an appleUser.
type appleKey struct{}

// withAppleUser puts the field "user" of Apple's form onto the context of OnSignIn,
// and passes the form on as it came.
func withAppleUser(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		form, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
		if err != nil {
			http.Error(w, "The form could not be read.", http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(form))
		var said appleUser
		if fields, err := url.ParseQuery(string(form)); err == nil && json.Unmarshal([]byte(fields.Get("user")), &said) == nil {
			r = r.WithContext(context.WithValue(r.Context(), appleKey{}, said))
		}
		next.ServeHTTP(w, r)
	})
}

// newAppleApp is a site that takes the name of a person from Apple's form.
func newAppleApp(provider *gatehouse.Provider, client gatehouse.Client, base string) http.Handler {
	login, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{
		Client:       client,
		RedirectURL:  base + "/auth/callback",
		Scopes:       []string{"name", "email"},
		ResponseMode: "form_post", // Apple wants it for these scopes
		OnSignIn: func(ctx context.Context, id *gatehouse.Identity) error {
			said, ok := ctx.Value(appleKey{}).(appleUser)
			if !ok {
				return nil // not the first time: we have kept the name, by issuer and subject
			}
			return id.SetClaim("typed_name", said.Name.First+" "+said.Name.Last)
		},
	})
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", login.Handler())
	mux.Handle("POST /auth/callback", withAppleUser(login.Handler()))
	mux.Handle("/notes/", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := gatehouse.IdentityFrom(r.Context())
		fmt.Fprintf(w, "notes of %s, who is %q", id.ClaimString("email"), id.ClaimString("typed_name"))
	})))
	return mux
}

// The name of a person comes with Apple's form, once.
func ExampleRelyingParty_Handler_apple() {
	t := newExampleTB()
	defer t.end()
	op := middlewaretest.NewOffline(t, "https://appleid.example.org")
	op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
	const base = "https://notes.example.org"
	app := newAppleApp(op.Provider(), op.AddClient(base+"/auth/callback"), base)
	op.Serve(base, asApple(app, `{"name":{"firstName":"Ana","lastName":"Noor"},"email":"ana@example.org"}`))
	ana := op.Browser(t, "ana")
	show(ana.Get(base + "/notes/"))
	show(ana.Get(base + "/auth/login?return_to=/notes/")) // a later sign-in
	// Output:
	// 200 notes of ana@example.org, who is "Ana Noor"
	// 200 notes of ana@example.org, who is ""
}

// asApple adds the field "user" to the first answer, as Apple does.
func asApple(app http.Handler, user string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.URL.Path == "/auth/callback" && user != "" {
			r.Body = io.NopCloser(io.MultiReader(r.Body, strings.NewReader("&user="+url.QueryEscape(user))))
			r.ContentLength, user = -1, ""
		}
		app.ServeHTTP(w, r)
	})
}

// What stands in the form beside Apple's answer is not believed, whatever it is,
// and does not stop a sign-in unless it is too long.
func TestAppleUser(t *testing.T) {
	for name, c := range map[string]struct{ user, want string }{
		"a name":      {`{"name":{"firstName":"Ana","lastName":"<b>"}}`, `notes of ana@example.org, who is "Ana <b>"`},
		"no JSON":     {`{"name":`, `notes of ana@example.org, who is ""`},
		"other types": {`{"name":["a"]}`, `notes of ana@example.org, who is ""`},
		"an address":  {`{"name":{},"email":"ben@example.org","sub":"ben"}`, `notes of ana@example.org, who is " "`},
		"too long":    {strings.Repeat("x", 65<<10), "The form could not be read.\n"},
	} {
		op := middlewaretest.NewOffline(t, "https://appleid.example.org")
		op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
		const base = "https://notes.example.org"
		op.Serve(base, asApple(newAppleApp(op.Provider(), op.AddClient(base+"/auth/callback"), base), c.user))
		if got := read(t, op.Browser(t, "ana"), base+"/notes/"); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// read returns the page that a browser ends at.
func read(t *testing.T, b *middlewaretest.Browser, address string) string {
	t.Helper()
	resp, err := b.Get(address)
	return textOf(t, resp, err)
}

func textOf(t *testing.T, resp *http.Response, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// lacking is a transport whose metadata lacks a member.
type lacking struct {
	base   http.RoundTripper
	member string
}

func (l lacking) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.base.RoundTrip(r)
	if err != nil || !strings.Contains(r.URL.Path, "/.well-known/") {
		return resp, err
	}
	var members map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&members); err != nil {
		return nil, err
	}
	delete(members, l.member)
	changed, err := json.Marshal(members)
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(changed)), int64(len(changed))
	resp.Header.Set("Content-Length", strconv.Itoa(len(changed)))
	return resp, err
}

// The recipe for Google: its parameters are sent, nobody of another domain gets in,
// and without end_session_endpoint people are signed out here.
func TestGoogleRecipe(t *testing.T) {
	op := middlewaretest.NewOffline(t, "https://accounts.example.org")
	op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org", "hd": "example.org"})
	op.AddUser("ben", middlewaretest.Claims{"email": "ben@gmail.example", "hd": "other.example"})
	provider, err := gatehouse.NewProvider(op.Issuer(), &gatehouse.ProviderConfig{
		Transport: lacking{op.Transport(), "end_session_endpoint"}, Now: op.Clock().Now})
	if err != nil {
		t.Fatal(err)
	}
	const base = "https://notes.example.org"
	op.Serve(base, newGoogleApp(provider, op.AddClient(base+"/auth/callback"), base))
	var asked url.Values
	op.OnRequest("authorize", func(r *http.Request) { asked = r.URL.Query() })
	ana := op.Browser(t, "ana")
	if got := read(t, ana, base+"/notes/"); got != "/notes/: notes of ana@example.org" {
		t.Fatal(got)
	}
	if asked.Get("access_type") != "offline" || asked.Get("prompt") != "consent" || asked.Get("scope") != "openid profile email" {
		t.Errorf("asked for %v", asked)
	}
	if got := read(t, op.Browser(t, "ben"), base+"/notes/"); !strings.Contains(got, "You are not allowed to do this.") {
		t.Errorf("ben got %s", got)
	}
	op.Clock().Advance(20 * time.Minute)
	if got := read(t, ana, base+"/notes/"); got != "/notes/: notes of ana@example.org" || op.CountToken("refresh_token") != 1 {
		t.Errorf("later: %s after %d refreshes", got, op.CountToken("refresh_token"))
	}
	resp, err := ana.PostForm(base+"/auth/logout", url.Values{"local": {"1"}})
	if got := textOf(t, resp, err); !strings.Contains(got, "You are signed out") || resp.Request.URL.Host != "notes.example.org" {
		t.Errorf("after the sign-out: %v %s", resp.Request.URL, got)
	}
	if err := gatehouse.Shutdown(t.Context(), provider); err != nil || op.Count("revoke") != 0 || op.Count("end_session") != 0 {
		t.Errorf("%d revocations, %d sign-outs there, %v", op.Count("revoke"), op.Count("end_session"), err)
	}
}

// The recipe for Cognito: with logout_uri in the address of the metadata, its logout
// endpoint sends the person back. With that of discovery, they end at its error.
func TestCognitoRecipe(t *testing.T) {
	const domain, base = "https://notes.auth.example.org", "https://notes.example.org"
	for _, c := range []struct{ endpoint, want string }{
		{domain + "/logout?" + url.Values{"logout_uri": {base + "/auth/logout"}}.Encode(), "You are signed out"},
		{domain + "/logout", "Required String parameter 'redirect_uri' is not present"},
	} {
		op := middlewaretest.NewOffline(t, "https://cognito-idp.example.org/pool_1")
		op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
		client := op.AddClient(base + "/auth/callback")
		var asked url.Values
		op.Serve(domain, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked = r.URL.Query(); !asked.Has("logout_uri") || asked.Get("client_id") != client.ID {
				http.Error(w, "Required String parameter 'redirect_uri' is not present", http.StatusBadRequest)
				return
			}
			http.Redirect(w, r, asked.Get("logout_uri"), http.StatusFound)
		}))
		md, err := op.Provider().Metadata(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		provider, err := gatehouse.NewProvider(op.Issuer(), &gatehouse.ProviderConfig{
			Transport: op.Transport(), Now: op.Clock().Now,
			Metadata: &gatehouse.Metadata{AuthorizationEndpoint: md.AuthorizationEndpoint, TokenEndpoint: md.TokenEndpoint,
				UserInfoEndpoint: md.UserInfoEndpoint, JWKSURI: md.JWKSURI, EndSessionEndpoint: c.endpoint},
		})
		if err != nil {
			t.Fatal(err)
		}
		op.Serve(base, newNotesApp(provider, client, base))
		ana := op.Browser(t, "ana")
		if got := read(t, ana, base+"/notes/"); got != "/notes/: notes of ana@example.org" {
			t.Fatal(got)
		}
		resp, err := ana.PostForm(base+"/auth/logout", nil)
		if got := textOf(t, resp, err); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", c.endpoint, got)
		}
		if n := len(asked["client_id"]); n != 1 {
			t.Errorf("%s: client_id is there %d times", c.endpoint, n)
		}
		if got := read(t, ana, base+"/"); got != "/: notes of nobody" {
			t.Errorf("after the sign-out: %s", got)
		}
	}
}

// The recipe for Auth0: its issuer ends with a slash, and one without is another.
func TestAuth0Issuer(t *testing.T) {
	const base = "https://notes.example.org"
	op := middlewaretest.NewOffline(t, "https://tenant.eu.example.org/")
	op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
	client := op.AddClient(base + "/auth/callback")
	client.Auth = gatehouse.AuthPost
	op.Serve(base, newNotesApp(op.Provider(), client, base))
	if got := read(t, op.Browser(t, "ana"), base+"/notes/"); got != "/notes/: notes of ana@example.org" {
		t.Error(got)
	}
	bare, err := gatehouse.NewProvider(strings.TrimSuffix(op.Issuer(), "/"), &gatehouse.ProviderConfig{Transport: op.Transport()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bare.Metadata(t.Context()); gatehouse.ErrorCode(err) != "metadata_issuer_mismatch" || !strings.Contains(err.Error(), `"https://tenant.eu.example.org/"`) {
		t.Errorf("without the slash: %v", err)
	}
}
