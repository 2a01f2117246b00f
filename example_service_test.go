package gatehouse_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// signIn makes a relying party for a site at base, or panics.
func signIn(op *middlewaretest.Server, base string) *gatehouse.RelyingParty {
	login, err := gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{
		Client: op.AddClient(base + "/auth/callback"), RedirectURL: base + "/auth/callback",
		Scopes: []string{"email"},
	})
	if err != nil {
		panic(err)
	}
	return login
}

// A script asks who is signed in. The answer to both is 200, so that no browser
// reports an error for somebody who is not.
func ExampleRelyingParty_SessionHandler() {
	t := newExampleTB()
	defer t.end()
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
	url := middlewaretest.NewApp(t, func(base string) http.Handler {
		login := signIn(op, base)
		mux := http.NewServeMux()
		mux.Handle("/auth/", login.Handler()) // has SessionHandler at /auth/session
		mux.Handle("/{$}", login.OptionalLogin(notes))
		return mux
	})
	ana := op.Browser(t, "ana")
	show(ana.Fetch(url + "/auth/session"))
	show(ana.Get(url + "/auth/login?return_to=/")) // the script opens this address as a page
	resp, err := ana.Fetch(url + "/auth/session")
	if err != nil {
		fmt.Println(err)
		return
	}
	var session struct {
		SignedIn bool   `json:"signed_in"`
		Subject  string `json:"subject"`
		Claims   struct {
			Email string `json:"email"`
		} `json:"claims"`
	}
	if err := readJSON(resp, &session); err != nil {
		fmt.Println(err)
	}
	fmt.Println(session.SignedIn, session.Subject, session.Claims.Email)
	// Output:
	// 200 {"signed_in":false,"login_url":"/auth/login"}
	//
	// 200 /: notes of ana@example.org
	// true ana ana@example.org
}

// A page calls an API on behalf of the person who is signed in. The token goes
// to the named origin and to no other.
func ExampleRelyingParty_HTTPClient() {
	t := newExampleTB()
	defer t.end()
	whatCame := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		fmt.Fprintf(w, "with %q", scheme)
	})
	api, stranger := httptest.NewServer(whatCame), httptest.NewServer(whatCame)
	defer api.Close()
	defer stranger.Close()
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	url := middlewaretest.NewApp(t, func(base string) http.Handler {
		login := signIn(op, base)
		mux := http.NewServeMux()
		mux.Handle("/auth/", login.Handler())
		mux.Handle("/", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			client, err := login.HTTPClient(r.Context(), api.URL)
			if err != nil {
				http.Error(w, gatehouse.ErrorCode(err), http.StatusBadGateway)
				return
			}
			for _, address := range []string{api.URL, stranger.URL} {
				resp, err := client.Get(address)
				if err != nil { // such as "token_unavailable", if the token has expired and the provider is down
					http.Error(w, gatehouse.ErrorCode(err), http.StatusBadGateway)
					return
				}
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				fmt.Fprintf(w, "%s\n", body)
			}
		})))
		return mux
	})
	show(op.Browser(t, "ana").Get(url + "/"))
	// Output:
	// 200 with "Bearer"
	// with ""
}

// A reverse proxy signs people in and tells its upstream who they are. What a
// client sends under the same name never arrives.
func ExampleIdentityHeaders() {
	t := newExampleTB()
	defer t.end()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s for %q", r.URL.Path, r.Header.Values("X-Auth-User"))
	}))
	defer upstream.Close()
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	site := middlewaretest.NewApp(t, func(base string) http.Handler {
		target, err := url.Parse(upstream.URL)
		if err != nil {
			panic(err)
		}
		proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Del("Cookie") // the session is ours alone
		}}
		tell := gatehouse.IdentityHeaders(map[string]func(*gatehouse.Identity) string{
			"X-Auth-User": func(id *gatehouse.Identity) string { return id.Subject },
		})
		login := signIn(op, base)
		mux := http.NewServeMux()
		mux.Handle("/auth/", login.Handler())
		mux.Handle("/", login.RequireLogin(tell(proxy)))
		mux.Handle("/public/", login.OptionalLogin(tell(proxy)))
		return mux
	})
	ana := op.Browser(t, "ana")
	forged, err := http.NewRequestWithContext(context.Background(), http.MethodGet, site+"/public/", nil)
	if err != nil {
		panic(err)
	}
	forged.Header.Set("X-Auth-User", "root")
	show(ana.Do(forged))
	show(ana.Get(site + "/notes/"))
	// Output:
	// 200 /public/ for []
	// 200 /notes/ for ["ana"]
}
