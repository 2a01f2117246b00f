package gatehouse_test

import (
	"fmt"
	"net/http"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

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
