package world

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"example.com/gatehouse"
)

// PrintShop is a print shop that acts for people at a photo site, which has an
// album of Alice's.
type PrintShop struct {
	*Photoz
	Site    string                  // its origin
	AlbumID string                  // at the authorization server
	Person  *gatehouse.UMATransport // acts for the identity of the context
}

// ownersPAT gives the site a person's PAT, as a sign-in of hers would.
type ownersPAT struct{ w *World }

func (o ownersPAT) PAT(_ context.Context, owner string, _ gatehouse.Secret) (gatehouse.Secret, error) {
	token, err := o.w.AccessToken(owner, "photoz", "uma_protection")
	o.w.Mint("PAT", token)
	return gatehouse.NewSecret(token), err
}

// NewPrintShop makes a print shop off the network.
func NewPrintShop(t testing.TB) *PrintShop {
	t.Helper()
	return printShop(NewPhotoz(t))
}

// NewPrintShopListening is [NewPrintShop] over TCP: the authorization server
// and the photo site listen on loopback.
func NewPrintShopListening(t testing.TB) *PrintShop {
	t.Helper()
	return printShop(NewPhotozListening(t))
}

func printShop(w *Photoz) *PrintShop {
	w.T.Helper()
	s := &PrintShop{Photoz: w, Site: PhotozOrigin}
	album := gatehouse.Resource{Owner: "alice", Name: "album 7", Scopes: []string{"view", "delete"}}
	api := w.ResourceServer(gatehouse.ResourceServerConfig{PAT: ownersPAT{w.World}})
	registered, err := api.Register(w.T.Context(), album)
	w.Must(err)
	s.AlbumID = registered.ID
	site := Photos(api.UMAProtect(gatehouse.Rules{
		"GET /albums/7":    album.AllOf("view"),
		"DELETE /albums/7": album.AllOf("view", "delete"),
	}))
	if w.Listens() {
		server := httptest.NewServer(site)
		w.T.Cleanup(server.Close)
		s.Site = server.URL
	} else {
		w.Serve(PhotozOrigin, site)
	}
	c := w.ShopConfig("")
	c.Party = nil
	c.Claims = func(ctx context.Context) (gatehouse.ClaimToken, error) {
		token, err := w.IDToken(gatehouse.IdentityFrom(ctx).Subject, "printshop")
		return gatehouse.ClaimToken{Token: gatehouse.NewSecret(token)}, err
	}
	s.Person = w.Shop(c)
	w.T.Cleanup(w.WantQuiet)
	w.Reset()
	return s
}

// Listens reports whether the provider is reached over TCP.
func (w *World) Listens() bool {
	_, ok := w.wire.(*http.Transport)
	return ok
}

// As sends a request for the album on behalf of a person.
func (s *PrintShop) As(ctx context.Context, who, method string) (int, error) {
	s.T.Helper()
	ctx = gatehouse.WithIdentity(ctx, &gatehouse.Identity{Issuer: s.Issuer(), Subject: who})
	return s.ask(ctx, &http.Client{Transport: s.Person}, method, nil)
}

// Want fails the test unless the request is served (code "") or fails so.
func (s *PrintShop) Want(who, method, code string) {
	s.T.Helper()
	status, err := s.As(s.T.Context(), who, method)
	switch {
	case code == "" && (err != nil || status != http.StatusOK), code != "" && gatehouse.ErrorCode(err) != code:
		s.T.Errorf("%s as %s: %d, %v; want %q", method, who, status, err, code)
	}
}

// Client is an http.Client on a transport of the print shop with the config.
func (s *PrintShop) Client(c gatehouse.UMATransportConfig) *http.Client {
	s.T.Helper()
	return &http.Client{Transport: s.Shop(c)}
}

// Ask sends a request for the album and returns the status, or the error.
func (s *PrintShop) Ask(c *http.Client, method string, body io.Reader) (int, error) {
	s.T.Helper()
	return s.ask(s.T.Context(), c, method, body)
}

func (s *PrintShop) ask(ctx context.Context, c *http.Client, method string, body io.Reader) (int, error) {
	s.T.Helper()
	r, err := http.NewRequestWithContext(ctx, method, s.Site+"/albums/7", body)
	s.Must(err)
	resp, err := c.Do(r)
	if err != nil {
		return 0, err
	}
	s.Must(resp.Body.Close())
	return resp.StatusCode, nil
}

// WantServed fails the test unless the request is served.
func (s *PrintShop) WantServed(c *http.Client, method string) {
	s.T.Helper()
	if status, err := s.Ask(c, method, nil); status != http.StatusOK || err != nil {
		s.T.Fatalf("%s: %d %v", method, status, err)
	}
}
