package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"example.com/gatehouse"
)

// A program that is configured with what -only provider prints signs people in,
// protects an API and gets access to it.
func TestOnlyProvider(t *testing.T) {
	var app http.Handler
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { app.ServeHTTP(w, r) }))
	defer site.Close()
	o, err := parseFlags([]string{"-only", "provider", "-server", "0", "-redirect-uri", site.URL + "/auth/callback"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	d, err := startProvider(o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	var printed bytes.Buffer
	d.announce(&printed)
	said := func(label string) string {
		m := regexp.MustCompile(`(?m)^` + label + ` +(.+)$`).FindStringSubmatch(printed.String())
		if m == nil {
			t.Fatalf("no %q in:\n%s", label, printed.String())
		}
		return m[1]
	}
	if got := said("people"); !strings.HasPrefix(got, "alice, bob, carol;") {
		t.Errorf("people: %s", got)
	}
	client := gatehouse.Client{ID: said("client id"), Secret: gatehouse.NewSecret(said("client secret"))}
	provider, err := gatehouse.NewProvider(said("issuer"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if app, err = newApp(provider, client, said("redirect URI")); err != nil {
		t.Fatal(err)
	}
	newBrowser(t).get(site.URL+"/").want(200, "Who are you?").signIn("carol").want(200, "hello carol@example.org")

	stranger := &http.Client{}
	resp, err := stranger.Get(site.URL + "/api")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 401 || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "UMA ") {
		t.Errorf("a stranger gets %d %q", resp.StatusCode, resp.Header.Get("WWW-Authenticate"))
	}
}

// newApp is a program such as a developer would write.
func newApp(provider *gatehouse.Provider, client gatehouse.Client, redirect string) (http.Handler, error) {
	login, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{
		Client: client, RedirectURL: redirect, Scopes: []string{"email"},
	})
	if err != nil {
		return nil, err
	}
	api, err := gatehouse.NewResourceServer(provider, gatehouse.ResourceServerConfig{Client: client})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/callback", login.CallbackHandler())
	mux.Handle("/api", api.UMAProtect(gatehouse.Resource{Name: "notes", Scopes: []string{"read"}}.AllOf("read"))(http.NotFoundHandler()))
	mux.Handle("/", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "hello "+gatehouse.IdentityFrom(r.Context()).ClaimString("email"))
	})))
	return mux, nil
}

// The defaults fit the README's program.
func TestOnlyProviderDefaults(t *testing.T) {
	out := &printed{}
	ctx, cancel := context.WithCancel(t.Context())
	out.done = cancel
	if err := run(ctx, []string{"-only", "provider", "-server", "0"}, out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"redirect URI   http://127.0.0.1:8080/auth/callback", "client secret  ", "after logout   http://127.0.0.1:8080/\n", "go run ./example/login"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}
