package gatehouse_test

import (
	"fmt"
	"net/http"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// A handler that is a page for its owner and an API for everybody the owner
// shares with. Ana opens it with her session. A program without a session gets
// a ticket.
func ExampleEither() {
	t := newExampleTB()
	defer t.end()
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
	op.AddUser("bob", middlewaretest.Claims{"email": "bob@example.org"})
	url := middlewaretest.NewApp(t, func(base string) http.Handler {
		return newAlbumApp(op.Provider(), op.AddClient(base+"/auth/callback"), base)
	})
	ana, bob := op.Browser(t, "ana"), op.Browser(t, "bob")
	show(ana.Get(url + "/mine/ana/photos/7"))
	page, err := bob.Get(url + "/mine/ana/photos/7")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(page.StatusCode) // signed in, but not the owner
	program, err := http.Get(url + "/mine/ana/photos/7")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer program.Body.Close()
	fmt.Println(program.StatusCode, program.Header.Get("WWW-Authenticate")[:10])
	// Output:
	// 200 /mine/ana/photos/7: notes of ana@example.org
	// 403
	// 401 UMA realm=
}

func newAlbumApp(provider *gatehouse.Provider, client gatehouse.Client, base string) http.Handler {
	login, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{Client: client, RedirectURL: base + "/auth/callback", Scopes: []string{"email"}})
	if err != nil {
		panic(err)
	}
	api, err := gatehouse.NewResourceServer(provider, gatehouse.ResourceServerConfig{Client: client})
	if err != nil {
		panic(err)
	}
	isOwner := func(r *http.Request, id *gatehouse.Identity) (bool, error) {
		return id.Subject == r.PathValue("user"), nil
	}
	viewPhoto := func(r *http.Request) (gatehouse.Permission, error) {
		photo := gatehouse.Resource{Name: "photo " + r.PathValue("photo"), Scopes: []string{"view"}}
		return photo.AllOf("view"), nil
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", login.Handler())
	mine := gatehouse.Either(login.With(gatehouse.RequirementFunc("owner", isOwner)), api.UMAGuard(gatehouse.NeedFunc(viewPhoto)))
	mux.Handle("/mine/{user}/photos/{photo}", gatehouse.Require(mine)(notes))
	return mux
}
