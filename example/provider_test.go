package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

// A program that is configured with what -only provider prints signs people in,
// protects an API and gets access to it.
func TestOnlyProvider(t *testing.T) {
	var app http.Handler
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { app.ServeHTTP(w, r) }))
	defer site.Close()
	o, err := parseFlags([]string{"-only", "provider", "-server", "0", "-redirect-uri", site.URL + "/auth/callback", "-user", "ana:groups=staff,admin"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if o.keys, err = opserver.KnownKeys(); err != nil {
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
	if got := said("people"); !strings.HasPrefix(got, "alice, bob, carol, ana;") {
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

	newBrowser(t).get(site.URL+"/admin").signIn("ana").want(200, "hello ana@example.org")
	newBrowser(t).get(site.URL + "/admin").signIn("bob").want(403)

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
	mux.Handle("/auth/", login.Handler())
	mux.Handle("/api", api.UMAProtect(gatehouse.Resource{Name: "notes", Scopes: []string{"read"}}.AllOf("read"))(http.NotFoundHandler()))
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "hello "+gatehouse.IdentityFrom(r.Context()).ClaimString("email"))
	})
	mux.Handle("/", login.RequireLogin(hello))
	mux.Handle("/admin", login.With(gatehouse.Claim("groups", "admin")).RequireLogin(hello))
	return mux, nil
}

// People of the command line have the claims that it gives them, in the ID
// Token and in what a program asks of them.
func TestOnlyProviderPeople(t *testing.T) {
	tests := []struct {
		users []string
		name  string
		want  map[string]any
	}{
		{[]string{"ana:groups=staff,admin"}, "ana", map[string]any{"groups": []any{"staff", "admin"}, "name": "Ana", "email": "ana@example.org"}},
		{[]string{"ana:groups=staff,"}, "ana", map[string]any{"groups": []any{"staff"}}},
		{[]string{"ana:dept=print;email=a@b.example;email_verified=false"}, "ana", map[string]any{"dept": "print", "email": "a@b.example", "email_verified": false}},
		{[]string{"ana:a=1", "ana:b=http://x/?y=z", "ana:a=2"}, "ana", map[string]any{"a": "2", "b": "http://x/?y=z"}},
		{[]string{"ben"}, "ben", map[string]any{"name": "Ben"}},
		{[]string{"élise:groups=staff"}, "élise", map[string]any{"name": "Élise", "groups": "staff"}},
		{[]string{"alice:groups=staff,admin"}, "alice", map[string]any{"groups": []any{"staff", "admin"}, "name": "Alice"}},
	}
	for _, test := range tests {
		args := []string{"-only", "provider", "-server", "0"}
		for _, user := range test.users {
			args = append(args, "-user", user)
		}
		o, err := parseFlags(args, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if o.keys, err = opserver.KnownKeys(); err != nil {
			t.Fatal(err)
		}
		d, err := startProvider(o)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := d.op.IDToken(test.name, devClient)
		if err != nil {
			t.Fatal(err)
		}
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(payload, &got); err != nil {
			t.Fatal(err)
		}
		for claim, want := range test.want {
			if !reflect.DeepEqual(got[claim], want) {
				t.Errorf("%q: %s of %s is %#v, want %#v", test.users, claim, test.name, got[claim], want)
			}
		}
		var printed bytes.Buffer
		d.announce(&printed)
		names, _, _ := strings.Cut(printed.String()[strings.Index(printed.String(), "people "):], ";")
		if !slices.Contains(strings.FieldsFunc(names, func(c rune) bool { return c == ' ' || c == ',' }), test.name) {
			t.Errorf("%q: %s is not among: %s", test.users, test.name, names)
		}
		if err := d.close(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// The README shows what a newcomer sees.
func TestReadmeShowsWhatOnlyProviderPrints(t *testing.T) {
	d := &devProvider{issuer: "http://127.0.0.1:8082"}
	if err := d.build(); err != nil {
		t.Fatal(err)
	}
	defer d.op.Close()
	var printed bytes.Buffer
	d.announce(&printed)
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "$ go run ./example -only provider\n"+printed.String()+"```\n") {
		t.Errorf("README.md does not show what -only provider prints:\n%s", printed.String())
	}
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
