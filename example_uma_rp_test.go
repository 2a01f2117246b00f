package gatehouse_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
	"example.com/gatehouse/middlewaretest"
)

// An http.Client that obtains the permission it needs.
func ExampleNewUMATransport() {
	site := startPhotoSite("printshop") // Alice shares her album with the print shop
	defer site.Close()

	provider, err := gatehouse.NewProvider(site.Issuer, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	printshop := gatehouse.Client{ID: "printshop", Secret: gatehouse.NewSecret("shop-secret")}
	transport, err := gatehouse.NewUMATransport(provider, gatehouse.UMATransportConfig{Client: printshop})
	if err != nil {
		fmt.Println(err)
		return
	}
	photos := &http.Client{Transport: transport}

	resp, err := photos.Get(site.URL + "/albums/7")
	if err != nil {
		fmt.Println(err)
		return
	}
	resp.Body.Close()
	fmt.Println(resp.Status)
	// Output: 200 OK
}

// A client that acts on behalf of the people who use it. It proves who they
// are, and tells them if the owner has to be asked.
func ExampleSubmittedError() {
	site := startPhotoSite() // shared with nobody yet
	defer site.Close()

	provider, err := gatehouse.NewProvider(site.Issuer, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	transport, err := gatehouse.NewUMATransport(provider, gatehouse.UMATransportConfig{
		Client: gatehouse.Client{ID: "printshop", Secret: gatehouse.NewSecret("shop-secret")},
		Claims: site.ClaimToken, // with a RelyingParty: login.ClaimToken
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	photos := &http.Client{Transport: transport}

	// In a handler behind RequireLogin, r.Context() identifies the person.
	ctx := gatehouse.WithIdentity(context.Background(), &gatehouse.Identity{Issuer: site.Issuer, Subject: "bob"})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, site.URL+"/albums/7", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = photos.Do(r)
	var submitted *gatehouse.SubmittedError
	var needInfo *gatehouse.NeedInfoError
	switch {
	case errors.As(err, &submitted):
		fmt.Println("We asked the owner; look again in", submitted.Interval)
	case errors.As(err, &needInfo):
		fmt.Println("Please tell the authorization server who you are:", needInfo.RedirectUser)
	case gatehouse.ErrorCode(err) == gatehouse.CodeUMADenied:
		fmt.Println("You have no access to this album.")
	}
	// Output: We asked the owner; look again in 5s
}

// A print shop whose page needs an album of Alice's. The authorization server
// asks Bob what the pictures are for, and he comes back to the page.
func ExampleRelyingParty_ClaimsRedirect() {
	t := newExampleTB()
	defer t.end()
	op := middlewaretest.NewServer(t)
	op.AddUser("alice", nil)
	op.AddUser("bob", nil)
	album := startAlbum(t, op) // Alice's, shared with Bob if he says what for

	shop := middlewaretest.NewApp(t, func(base string) http.Handler {
		client := op.AddClient(base + "/auth/callback")
		op.SetClaimsRedirect(client, base+"/auth/claims")
		login, err := gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{Client: client, RedirectURL: base + "/auth/callback"})
		if err != nil {
			panic(err)
		}
		transport, err := gatehouse.NewUMATransport(op.Provider(), gatehouse.UMATransportConfig{Client: client, Login: login})
		if err != nil {
			panic(err)
		}
		photos := &http.Client{Transport: transport}
		mux := http.NewServeMux()
		mux.Handle("/auth/", login.Handler()) // has ClaimsRedirectHandler at /auth/claims
		mux.Handle("/print", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ask, err := http.NewRequestWithContext(r.Context(), http.MethodGet, album, nil)
			if err != nil {
				http.Error(w, "no album", http.StatusInternalServerError)
				return
			}
			resp, err := photos.Do(ask)
			if need, ok := errors.AsType[*gatehouse.NeedInfoError](err); ok {
				login.ClaimsRedirect(w, r, need, "") // and come back to this page
				return
			}
			if err != nil {
				http.Error(w, "The pictures are not there right now.", http.StatusBadGateway)
				return
			}
			resp.Body.Close()
			fmt.Fprintf(w, "The photo site answers %s.\n", resp.Status)
		})))
		return mux
	})

	bob := op.Browser(t, "bob")
	bob.Say("purpose", "a calendar")
	show(bob.Get(shop + "/print"))
	// Output: 200 The photo site answers 200 OK.
}

// startAlbum starts a photo site with one album and returns its address.
func startAlbum(t *exampleTB, op *middlewaretest.Server) string {
	var api *gatehouse.ResourceServer
	site := middlewaretest.NewApp(t, func(base string) http.Handler {
		var err error
		api, err = gatehouse.NewResourceServer(op.Provider(), gatehouse.ResourceServerConfig{Client: op.AddClient(base + "/auth/callback")})
		if err != nil {
			panic(err)
		}
		album := gatehouse.Resource{Name: "album 7", Scopes: []string{"view"}}
		if _, err := api.Register(t.Context(), album); err != nil {
			panic(err)
		}
		pictures := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "pictures") })
		return api.UMAProtect(gatehouse.Rules{"GET /albums/7": album.AllOf("view")})(pictures)
	})
	owner := op.As("client-1") // the site itself
	owner.Share("album 7", "bob", "view")
	owner.NeedClaims("album 7", middlewaretest.NeededClaim{Name: "purpose", Label: "What are the pictures for?"})
	return site + "/albums/7"
}

// photoSite is Alice's photo site and its authorization server, on loopback.
type photoSite struct {
	URL, Issuer string
	op          *opserver.Server
	listeners   []*httptest.Server
}

// startPhotoSite starts the site and shares Alice's album with the given
// people.
func startPhotoSite(friends ...string) *photoSite {
	s := &photoSite{}
	as := s.listen(func(w http.ResponseWriter, r *http.Request) { s.op.ServeHTTP(w, r) })
	s.Issuer = as
	op, err := opserver.New(opserver.Config{Issuer: as})
	exampleMust(err)
	s.op = op
	for _, name := range []string{"alice", "bob"} {
		exampleMust(op.AddUser(name, "password", nil))
	}
	exampleMust(op.AddClient(opserver.Client{ID: "photoz", Secret: "photoz-secret", RedirectURIs: []string{"http://127.0.0.1/cb"}}))
	exampleMust(op.AddClient(opserver.Client{ID: "printshop", Secret: "shop-secret", RedirectURIs: []string{"http://127.0.0.1/cb"}}))

	provider, err := gatehouse.NewProvider(as, nil)
	exampleMust(err)
	api, err := gatehouse.NewResourceServer(provider, gatehouse.ResourceServerConfig{
		Client: gatehouse.Client{ID: "photoz", Secret: gatehouse.NewSecret("photoz-secret")}, PAT: s,
	})
	exampleMust(err)
	album, err := api.Register(context.Background(), gatehouse.Resource{Owner: "alice", Name: "album 7", Scopes: []string{"view"}})
	exampleMust(err)
	for _, friend := range friends {
		exampleMust(op.Share("alice", album.ID, friend, "view"))
	}
	protect := api.UMAProtect(gatehouse.Rules{"GET /albums/7": album.AllOf("view")})
	s.URL = s.listen(protect(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "pictures") })).ServeHTTP)
	return s
}

func (s *photoSite) listen(h http.HandlerFunc) string {
	l := httptest.NewServer(h)
	s.listeners = append(s.listeners, l)
	return l.URL
}

// Close stops the servers.
func (s *photoSite) Close() {
	for _, l := range s.listeners {
		l.Close()
	}
	s.op.Close()
}

// PAT implements gatehouse.PATSource with the owner's grant.
func (s *photoSite) PAT(_ context.Context, owner string, _ gatehouse.Secret) (gatehouse.Secret, error) {
	token, err := s.op.AccessToken(owner, "photoz", "uma_protection")
	return gatehouse.NewSecret(token), err
}

// ClaimToken returns the ID Token of the person on whose behalf a request is
// made.
func (s *photoSite) ClaimToken(ctx context.Context) (gatehouse.ClaimToken, error) {
	token, err := s.op.IDToken(gatehouse.IdentityFrom(ctx).Subject, "printshop")
	return gatehouse.ClaimToken{Token: gatehouse.NewSecret(token)}, err
}

// exampleMust panics if the setup of an example fails.
func exampleMust(err error) {
	if err != nil {
		panic(err)
	}
}

// A caller that is no http.Client, such as one that speaks another protocol. It
// asks for a permission token as a value.
func ExampleUMATransport_RPT() {
	site := startPhotoSite("printshop") // Alice shares her album with the print shop
	defer site.Close()

	provider, err := gatehouse.NewProvider(site.Issuer, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	printshop := gatehouse.Client{ID: "printshop", Secret: gatehouse.NewSecret("shop-secret")}
	transport, err := gatehouse.NewUMATransport(provider, gatehouse.UMATransportConfig{Client: printshop})
	if err != nil {
		fmt.Println(err)
		return
	}
	want := gatehouse.RPTRequest{URL: site.URL + "/albums/7"}
	token, err := transport.RPT(context.Background(), want) // what is kept
	if gatehouse.ErrorCode(err) == gatehouse.CodeRPTTicketRequired {
		want.Challenge = knock(want.URL, "") // WWW-Authenticate of the answer
		token, err = transport.RPT(context.Background(), want)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("challenged again:", len(knock(want.URL, token.Reveal())) > 0)
	// Output: challenged again: false
}

// knock sends a request in its own way, and returns the lines of the challenge.
func knock(address, token string) []string {
	r, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		return nil
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil
	}
	resp.Body.Close()
	return resp.Header.Values("WWW-Authenticate")
}
