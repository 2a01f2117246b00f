package gatehouse_test

import (
	"fmt"
	"net/http"
	"net/url"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// Two buttons sign out. Both are forms that post, because any other site could
// open a link: one signs out here and at the provider, the other one here alone.
func ExampleRelyingParty_LogoutHandler() {
	t := newExampleTB()
	defer t.end()
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
	base := middlewaretest.NewApp(t, func(base string) http.Handler {
		login, err := gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{
			Client:       op.AddClient(base + "/auth/callback"),
			RedirectURL:  base + "/auth/callback",
			LogoutURL:    base + "/auth/logout", // where the provider sends people back to
			LoggedOutURL: "/bye",
			Scopes:       []string{"email"},
		})
		if err != nil {
			panic(err)
		}
		mux := http.NewServeMux()
		mux.Handle("/auth/logout", login.LogoutHandler()) // is part of login.Handler()
		mux.Handle("/auth/callback", login.CallbackHandler())
		mux.Handle("/notes/", login.RequireLogin(notes))
		mux.HandleFunc("GET /bye", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "bye") })
		return mux
	})
	ana := op.Browser(t, "ana")
	show(ana.Get(base + "/notes/"))

	// <form method="post" action="/auth/logout"><button>Sign out</button></form>
	show(ana.PostForm(base+"/auth/logout", nil))
	fmt.Println("asked to end the session there:", op.Count("end_session"))

	// <form method="post" action="/auth/logout"><button name="local" value="1">Sign out here alone</button></form>
	show(ana.Get(base + "/notes/"))
	show(ana.PostForm(base+"/auth/logout", url.Values{"local": {"1"}}))
	fmt.Println("asked to end the session there:", op.Count("end_session"))
	// Output:
	// 200 /notes/: notes of ana@example.org
	// 200 bye
	// asked to end the session there: 1
	// 200 /notes/: notes of ana@example.org
	// 200 bye
	// asked to end the session there: 1
}

// A person signs out at the provider, or an administrator ends their sessions
// there. The provider calls the address that is registered as
// backchannel_logout_uri, and the session here has ended when it has its answer.
func ExampleRelyingParty_BackchannelLogoutHandler() {
	t := newExampleTB()
	defer t.end()
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
	base := middlewaretest.NewApp(t, func(base string) http.Handler {
		client := op.AddClient(base + "/auth/callback")
		op.SetLogout(client, middlewaretest.LogoutURIs{Backchannel: base + "/auth/backchannel-logout"})
		return newNotesApp(op.Provider(), client, base) // login.Handler() serves that address
	})
	ana := op.Browser(t, "ana")
	show(ana.Get(base + "/notes/"))
	op.EndSessions("ana")
	show(ana.Fetch(base + "/notes/"))
	// Output:
	// 200 /notes/: notes of ana@example.org
	// 401 {"error":"login_required","message":"You need to sign in first."}
}

// A handler that asks for fresh claims, one that signs out by hand, and one to
// which the provider comes back.
func ExampleRelyingParty_LogoutURL() {
	t := newExampleTB()
	defer t.end()
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
	base := middlewaretest.NewApp(t, func(base string) http.Handler {
		login, err := gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{
			Client:      op.AddClient(base+"/auth/callback", base+"/bye"),
			RedirectURL: base + "/auth/callback",
			Scopes:      []string{"email"},
		})
		if err != nil {
			panic(err)
		}
		mux := http.NewServeMux()
		mux.Handle("/auth/", login.Handler())
		mux.Handle("GET /me", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, err := login.UserInfo(r.Context())
			if err != nil {
				login.Refuse(w, r, err)
				return
			}
			fmt.Fprint(w, "now ", id.ClaimString("email"))
		})))
		mux.HandleFunc("POST /leave", func(w http.ResponseWriter, r *http.Request) {
			location, err := login.LogoutURL(w, r, gatehouse.LogoutRequest{ReturnTo: base + "/bye", State: "cart=7"})
			if err != nil {
				login.Refuse(w, r, err)
				return
			}
			http.Redirect(w, r, location, http.StatusSeeOther)
		})
		mux.HandleFunc("GET /bye", func(w http.ResponseWriter, r *http.Request) {
			state, err := login.LogoutState(w, r)
			fmt.Fprintf(w, "bye %q %q", state, gatehouse.ErrorCode(err))
		})
		return mux
	})
	ana := op.Browser(t, "ana")
	show(ana.Get(base + "/me"))
	show(ana.PostForm(base+"/leave", nil))
	show(ana.Get(base + "/bye?state=cart=7"))
	// Output:
	// 200 now ana@example.org
	// 200 bye "cart=7" ""
	// 200 bye "" "state_unknown"
}
