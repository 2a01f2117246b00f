package main

import (
	"crypto/rand"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/testkit/opserver"
	"example.com/gatehouse/internal/testkit/ports"
)

// foreign starts another provider, and registers the clients of the example
// there once their redirect URLs are known.
func foreign(t *testing.T, now func() time.Time) *opserver.Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := opserver.KnownKeys()
	if err != nil {
		t.Fatal(err)
	}
	op, err := opserver.New(opserver.Config{Issuer: "http://" + l.Addr().String() + "/realms/demo", Now: now, Title: "Elsewhere", Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice", "bob"} {
		if err := op.AddUser(name, name, map[string]any{"sub": "sub-of-" + name, "email": name + "@example.org"}); err != nil {
			t.Fatal(err)
		}
	}
	s := &server{address: l.Addr().String(), handler: op, failed: make(chan error, 1)}
	s.serve(l)
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	return op
}

func (s *stage) register(op *opserver.Server, c credentials, base string) {
	s.t.Helper()
	err := op.AddClient(opserver.Client{ID: c.id, Secret: c.secret,
		RedirectURIs: []string{base + "/auth/callback"}, PostLogoutRedirectURIs: []string{base + "/auth/logout"}})
	if err != nil {
		s.t.Fatal(err)
	}
}

// People sign in elsewhere, but share here. The owner connects an account of
// the embedded server, and Bob is identified by the other issuer's ID Token.
func TestForeignSignIn(t *testing.T) {
	var op *opserver.Server
	site := credentials{"both-there", rand.Text()}
	s := newStage(t, func(o *options) {
		op = foreign(t, o.now)
		o.issuer, o.client = op.Issuer(), site
	})
	err := op.AddClient(opserver.Client{ID: site.id, Secret: site.secret,
		RedirectURIs: []string{s.photosURL + "/auth/callback", s.shopURL + "/auth/callback"}})
	if err != nil {
		t.Fatal(err)
	}
	p := s.get(s.photosURL+"/").want(200, "takes the ID Tokens of that issuer")
	p = s.get(p.link("Sign in")).want(200, "Elsewhere").signIn("alice").want(200, "First, connect your account")
	p = s.get(p.link("Connect")).want(200, "Keyring").signIn("alice").want(200, "A new album", "Turns the code into a PAT")
	share := p.submit("Create album", url.Values{"title": {"Far away"}}).want(200, "Puts the album under protection").link("Share…")
	if got := s.op.Resources("alice"); len(got) != 1 || !strings.Contains(got[0].Name, "Far away") {
		t.Fatalf("registered: %+v", got)
	}
	s.get(s.shopURL+"/sign-in").want(200, "Elsewhere").signIn("bob")
	s.order().want(202, "The owner has been asked")
	s.decide(share, url.Values{"person": {"bob@example.org"}, "new": {"view"}})
	s.order().want(200, "lets you view this album")
}

// UMA moves to an issuer that has it, and there is no embedded server.
func TestForeignUMA(t *testing.T) {
	var op *opserver.Server
	site, shop := credentials{"photoz", rand.Text()}, credentials{"printshop", rand.Text()}
	s := newStage(t, func(o *options) {
		op = foreign(t, o.now)
		o.issuer, o.client, o.shopClient = op.Issuer(), site, shop
	})
	s.register(op, site, s.photosURL)
	s.register(op, shop, s.shopURL)
	if s.op != nil || len(s.servers) != 3 {
		t.Fatal("the embedded server runs, though nobody needs it")
	}
	p := s.get(s.photosURL+"/").want(200, "which is the authorization server too")
	if strings.Contains(p.text, "Stop it") {
		t.Error("a button for a server that is not ours")
	}
	p = s.get(p.link("Sign in")).signIn("alice").submit("Create album", url.Values{"title": {"There"}})
	share := p.want(200, "Share…").link("Share…")
	s.get(s.shopURL + "/sign-in").signIn("bob")
	s.order().want(202, "The owner has been asked")
	s.decide(share, url.Values{"person": {"bob"}, "new": {"view", "print"}})
	s.order().submit(`action="/order/print"`, nil).want(200, "Printed")
}

func TestIssuerWithoutUMA(t *testing.T) {
	l, err := ports.Listen()
	if err != nil {
		t.Fatal(err)
	}
	plain := &server{address: l.Addr().String(), handler: http.NotFoundHandler(), failed: make(chan error, 1)}
	plain.serve(l)
	defer plain.stop()
	uma, console, err := umaAt(t.Context(), http.DefaultClient, "http://"+plain.address)
	if uma || console || err != nil {
		t.Errorf("uma %v, console %v, error %v", uma, console, err)
	}
	if err := plain.stop(); err != nil {
		t.Fatal(err)
	}
	o := options{
		issuer: "http://" + plain.address, client: credentials{id: "a"}, shopClient: credentials{id: "b"}, logger: slog.New(slog.DiscardHandler),
		photos: place{address: "127.0.0.1:0"}, shop: place{address: "127.0.0.1:0"}, server: place{address: "127.0.0.1:0"},
	}
	if _, err := start(t.Context(), o); err == nil || !strings.Contains(err.Error(), "uma2-configuration") {
		t.Errorf("started although nobody could be asked: %v", err)
	}
}
