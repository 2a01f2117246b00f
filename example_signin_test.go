package gatehouse_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// notes is a small application: a page that shows who requests it.
var notes = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if id := gatehouse.IdentityFrom(r.Context()); id != nil {
		fmt.Fprintf(w, "%s: notes of %s", r.URL.Path, id.ClaimString("email"))
		return
	}
	fmt.Fprintf(w, "%s: notes of nobody", r.URL.Path)
})

// newNotesApp is a site with sign-in. Nothing here does I/O, so the provider
// may be down when the process starts.
func newNotesApp(provider *gatehouse.Provider, client gatehouse.Client, base string) http.Handler {
	login, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{
		Client:      client,
		RedirectURL: base + "/auth/callback",
		Scopes:      []string{"profile", "email"},
	})
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", login.Handler()) // callback, login, logout and session
	mux.Handle("/notes/", login.RequireLogin(notes))
	mux.Handle("/billing/", login.With(gatehouse.MaxAge(5*time.Minute)).RequireLogin(notes))
	mux.Handle("/{$}", login.OptionalLogin(notes))
	return mux
}

// A site with sign-in, and a person who uses it.
func ExampleNewRelyingParty() {
	t := newExampleTB()
	defer t.end()
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
	url := middlewaretest.NewApp(t, func(base string) http.Handler {
		return newNotesApp(op.Provider(), op.AddClient(base+"/auth/callback"), base)
	})
	ana := op.Browser(t, "ana")
	show(ana.Get(url + "/"))
	show(ana.Fetch(url + "/notes/7")) // a script gets 401 and no redirect
	show(ana.Get(url + "/notes/7"))   // a navigation goes to sign-in and comes back
	show(ana.Get(url + "/"))
	_, _ = ana.PostForm(url+"/auth/logout", nil)
	show(ana.Get(url + "/"))
	// Output:
	// 200 /: notes of nobody
	// 401 {"error":"login_required","message":"You need to sign in first."}
	// 200 /notes/7: notes of ana@example.org
	// 200 /: notes of ana@example.org
	// 200 /: notes of nobody
}

// A stricter guard for a part of the site: the person must have authenticated
// within the last five minutes. Otherwise they are sent to do so again, once.
func ExampleRelyingParty_With() {
	t := newExampleTB()
	defer t.end()
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
	url := middlewaretest.NewApp(t, func(base string) http.Handler {
		return newNotesApp(op.Provider(), op.AddClient(base+"/auth/callback"), base)
	})
	ana := op.Browser(t, "ana")
	show(ana.Get(url + "/billing/"))
	op.Clock().Advance(10 * time.Minute)
	op.ResetCounts()
	show(ana.Get(url + "/notes/"))
	fmt.Println("sign-ins for the notes:", op.Count("authorize"))
	show(ana.Get(url + "/billing/"))
	fmt.Println("sign-ins for the bill:", op.Count("authorize"))
	// Output:
	// 200 /billing/: notes of ana@example.org
	// 200 /notes/: notes of ana@example.org
	// sign-ins for the notes: 0
	// 200 /billing/: notes of ana@example.org
	// sign-ins for the bill: 1
}

// If signing in again cannot help, the answer is 403 and never a redirect
// loop.
func ExampleRequirementFunc() {
	t := newExampleTB()
	defer t.end()
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
	op.AddUser("ben", nil)
	isOwner := func(r *http.Request, id *gatehouse.Identity) (bool, error) {
		return strings.HasPrefix(r.URL.Path, "/of/"+id.Subject+"/"), nil
	}
	url := middlewaretest.NewApp(t, func(base string) http.Handler {
		login, err := gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{
			Client: op.AddClient(base + "/auth/callback"), RedirectURL: base + "/auth/callback",
		})
		if err != nil {
			panic(err)
		}
		mux := http.NewServeMux()
		mux.Handle("/auth/", login.Handler())
		mux.Handle("/of/", login.With(gatehouse.RequirementFunc("owner", isOwner)).RequireLogin(notes))
		return mux
	})
	for _, name := range []string{"ana", "ben"} {
		resp, err := op.Browser(t, name).Get(url + "/of/ana/diary")
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(name, resp.StatusCode)
	}
	// Output:
	// ana 200
	// ben 403
}

// A public page that knows who is signed in.
func ExampleRelyingParty_OptionalLogin() {
	t := newExampleTB()
	defer t.end()
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
	url := middlewaretest.NewApp(t, func(base string) http.Handler {
		return newNotesApp(op.Provider(), op.AddClient(base+"/auth/callback"), base)
	})
	ana := op.Browser(t, "ana")
	show(ana.Get(url + "/"))
	_, _ = ana.Get(url + "/notes/") // signs in
	show(ana.Get(url + "/"))
	// Output:
	// 200 /: notes of nobody
	// 200 /: notes of ana@example.org
}

// Sessions with keys set by the application: records are sealed at rest, and
// all processes with the same store and keys share the sign-ins. To rotate,
// add the new key last, deploy, then move it first.
func ExampleNewSessions() {
	t := newExampleTB()
	defer t.end()
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
	store := gatehouse.NewMemoryStore(op.Clock().Now) // several processes need a store that they share
	key := gatehouse.NewSecret(rand.Text() + rand.Text())
	sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{
		Store: store, Keys: []gatehouse.Secret{key},
		Lifetime: 8 * time.Hour, IdleTimeout: time.Hour, Now: op.Clock().Now,
	})
	if err != nil {
		panic(err)
	}
	defer func() { _ = sessions.Shutdown(context.Background()) }()
	url := middlewaretest.NewApp(t, func(base string) http.Handler {
		login, err := gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{
			Client: op.AddClient(base + "/auth/callback"), RedirectURL: base + "/auth/callback",
			Scopes: []string{"email"}, Sessions: sessions,
		})
		if err != nil {
			panic(err)
		}
		mux := http.NewServeMux()
		mux.Handle("/auth/", login.Handler())
		mux.Handle("/", login.OptionalLogin(notes))
		mux.Handle("/notes/", login.RequireLogin(notes))
		return mux
	})
	ana := op.Browser(t, "ana")
	show(ana.Get(url + "/notes/"))
	list, err := sessions.List(context.Background(), op.Issuer(), "ana")
	fmt.Println(len(list), "session,", list[0].Ends.Sub(list[0].Began), err)

	// She has lost her phone, so end all her sessions on every replica.
	fmt.Println(sessions.RevokeAll(context.Background(), op.Issuer(), "ana"))
	show(ana.Get(url + "/"))
	// Output:
	// 200 /notes/: notes of ana@example.org
	// 1 session, 8h0m0s <nil>
	// <nil>
	// 200 /: notes of nobody
}

func show(resp *http.Response, err error) {
	if err != nil {
		fmt.Println(err)
		return
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		fmt.Println(err)
	}
	text, _, _ := strings.Cut(string(body), `,"id"`) // the id of the log line, which differs each time
	if text != string(body) {
		text += "}"
	}
	fmt.Println(resp.StatusCode, text)
}

// exampleTB replaces the *testing.T that an example does not have. In your own
// tests, pass t.
type exampleTB struct {
	testing.TB
	cleanups []func()
}

func newExampleTB() *exampleTB { return &exampleTB{} }

func (t *exampleTB) Cleanup(f func())             { t.cleanups = append(t.cleanups, f) }
func (t *exampleTB) Context() context.Context     { return context.Background() }
func (t *exampleTB) Output() io.Writer            { return io.Discard } // the log of the provider
func (t *exampleTB) Helper()                      {}
func (t *exampleTB) Name() string                 { return "example" }
func (t *exampleTB) Log(...any)                   {}
func (t *exampleTB) Logf(string, ...any)          {}
func (t *exampleTB) Error(args ...any)            { fmt.Println(args...) }
func (t *exampleTB) Errorf(f string, args ...any) { fmt.Printf(f+"\n", args...) }
func (t *exampleTB) Fatal(args ...any)            { panic(fmt.Sprint(args...)) }
func (t *exampleTB) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }

// end runs what a test runs at its end.
func (t *exampleTB) end() {
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		t.cleanups[i]()
	}
}

// events is an event stream. It ends when the person signs out, on whatever
// replica. A WebSocket ends in the same way.
func events(w http.ResponseWriter, r *http.Request) {
	ctx := gatehouse.Live(r.Context())
	stream := http.NewResponseController(w)
	_ = stream.SetWriteDeadline(time.Time{}) // it goes on for longer than WriteTimeout of the server
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprintf(w, "data: hello %s\n\n", gatehouse.IdentityFrom(ctx).Subject)
	_ = stream.Flush()
	for {
		select {
		case <-time.After(15 * time.Second): // or news
			fmt.Fprint(w, ": still here\n\n")
			_ = stream.Flush()
		case <-ctx.Done():
			fmt.Fprintf(w, "event: end\ndata: %s\n\n", gatehouse.ErrorCode(context.Cause(ctx)))
			return
		}
	}
}

// An event stream that ends within five seconds of the sign-out.
func ExampleLive() {
	t := newExampleTB()
	defer t.end()
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	opened := make(chan struct{})
	url := middlewaretest.NewApp(t, func(base string) http.Handler {
		login, err := gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{
			Client: op.AddClient(base + "/auth/callback"), RedirectURL: base + "/auth/callback",
		})
		if err != nil {
			panic(err)
		}
		mux := http.NewServeMux()
		mux.Handle("/auth/", login.Handler())
		mux.Handle("/events", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(opened)
			events(w, r)
		})))
		return mux
	})
	ana := op.Browser(t, "ana")
	go func() { // in another tab
		<-opened
		_, _ = ana.PostForm(url+"/auth/logout", nil)
	}()
	stream, err := ana.Get(url + "/events") // until it ends
	if err != nil {
		panic(err)
	}
	_, _ = io.Copy(os.Stdout, stream.Body)
	// Output:
	// data: hello ana
	//
	// event: end
	// data: login_required
}

// A provider that wants the hybrid flow, answers by a form, and is asked by one.
func ExampleRelyingPartyConfig_responseType() {
	t := newExampleTB()
	defer t.end()
	op := middlewaretest.NewOffline(t, "https://op.example.org")
	op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
	provider, client := op.Provider(), op.AddClient("https://notes.example.org/auth/callback")
	login, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{
		Client: client, RedirectURL: "https://notes.example.org/auth/callback",
		Scopes:          []string{"email"},
		ResponseType:    "code id_token", // or "id_token", "id_token token"; the order of the words does not matter
		ResponseMode:    "form_post",     // or "fragment"; "" is the default of the type
		AuthorizeByPOST: true,            // the request is a form too
	})
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", login.Handler())
	mux.Handle("/notes/", login.RequireLogin(notes))
	op.Serve("https://notes.example.org", mux)
	show(op.Browser(t, "ana").Get("https://notes.example.org/notes/7"))
	fmt.Println(op.Count("token"), "token request")
	// Output:
	// 200 /notes/7: notes of ana@example.org
	// 1 token request
}

// The implicit flow, as pyoidc had it: the access token comes through the browser,
// and where it ends, a page signs the person in again.
func ExampleRelyingPartyConfig_implicit() {
	t := newExampleTB()
	defer t.end()
	op := middlewaretest.NewOffline(t, "https://op.example.org")
	op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
	const base = "https://notes.example.org"
	login, err := gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{
		Client: op.AddClient(base + "/auth/callback"), RedirectURL: base + "/auth/callback",
		Scopes: []string{"email"}, ResponseType: "id_token token",
	})
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", login.Handler())
	mux.Handle("/notes/", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := login.Token(r.Context())
		if err != nil {
			login.Refuse(w, r, err)
			return
		}
		fmt.Fprintf(w, "notes of %s, with a token: %t", gatehouse.IdentityFrom(r.Context()).ClaimString("email"), token.AccessToken != "")
	})))
	op.Serve(base, mux)
	ana := op.Browser(t, "ana")
	show(ana.Get(base + "/notes/"))
	op.Clock().Advance(6 * time.Minute) // the session goes on, the token has ended
	show(ana.Fetch(base + "/notes/"))
	show(ana.Get(base + "/notes/"))
	fmt.Println(op.Count("token"), "token requests")
	// Output:
	// 200 notes of ana@example.org, with a token: true
	// 401 {"error":"token_ended","message":"Your access has ended. You need to sign in again."}
	// 200 notes of ana@example.org, with a token: true
	// 0 token requests
}
