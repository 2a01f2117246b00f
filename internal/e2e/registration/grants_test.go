package registration_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// grants is a GrantStore that lets the test look in.
type grants struct {
	mu  sync.Mutex
	raw []byte // of ana
}

func (g *grants) Grant(context.Context, string, string) ([]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.raw, nil
}

func (g *grants) SwapGrant(_ context.Context, _, _ string, old, next []byte) (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !bytes.Equal(g.raw, old) {
		return bytes.Equal(g.raw, next), nil
	}
	g.raw = next
	return true, nil
}

// change rewrites the stored grant as another build would have written it.
func (g *grants) change(t *testing.T, f func(map[string]any)) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	var m map[string]any
	if err := json.Unmarshal(g.raw, &m); err != nil {
		t.Fatal(err)
	}
	f(m)
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	g.raw = raw
}

func (g *grants) member(t *testing.T, name string) any {
	t.Helper()
	var value any
	g.change(t, func(m map[string]any) { value = m[name] })
	return value
}

// sharing is a site whose secrets end after 20 minutes, with an owner who has
// agreed at its first client.
type sharing struct {
	*site
	store  *grants
	grants *gatehouse.OwnerGrants
	ana    *world.Visitor
	first  string // the client at which ana has agreed
}

func newSharing(t *testing.T) *sharing {
	t.Helper()
	s := &sharing{site: newSite(t, opserver.RegistrationOptions{SecretLife: 20 * time.Minute}, 0, everyGrant), store: &grants{}}
	s.Options.Party = func(c *gatehouse.RelyingPartyConfig) {
		g, err := gatehouse.NewOwnerGrants(s.Provider(), gatehouse.OwnerGrantsConfig{Client: c.Client, Store: s.store})
		s.Must(err)
		t.Cleanup(func() { s.Must(g.Shutdown(context.Background())) })
		c.OwnerGrants, s.grants = g, g
	}
	s.Options.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
		mux.Handle("/share", login.With(gatehouse.OwnerGrant()).RequireLogin(world.WhoAmI))
	}
	s.AddReplica(s.Options)
	s.ana = s.Visitor("ana")
	s.agree()
	s.first = s.wantClients(1)[0]
	return s
}

// agree lets ana agree, if she has to.
func (s *sharing) agree() {
	s.T.Helper()
	s.ana.WantServed(s.ana.Visit("/share"))
}

// pass lets time go by, with a sign-in at its end so that the site looks after its
// client.
func (s *sharing) pass(d time.Duration) {
	s.T.Helper()
	s.Advance(d)
	s.Visitor("ben").SignIn()
	s.ShutdownAll()
	s.Must(s.reg(0).Shutdown(s.T.Context()))
}

// second brings the site to the time when a second client begins sign-ins, and the
// secret of the first still serves.
func (s *sharing) second() string {
	s.T.Helper()
	s.pass(16 * time.Minute)
	s.pass(time.Minute)
	for _, id := range s.wantClients(2) {
		if id != s.first {
			return id
		}
	}
	s.T.Fatal("no second client")
	return ""
}

// renewed asks for the token of the owner, and returns which clients sent a refresh
// token of hers for it.
func (s *sharing) renewed() (by []string, err error) {
	s.T.Helper()
	before := len(s.CallsTo("token_endpoint"))
	pat, err := s.grants.PAT(s.T.Context(), "ana-1", gatehouse.Secret{})
	s.Mint("PAT", pat.Reveal())
	for _, call := range s.CallsTo("token_endpoint")[before:] {
		if call.Form.Get("grant_type") == "refresh_token" {
			by = append(by, s.by(call))
		}
	}
	return by, err
}

// by returns the client that made a call.
func (s *site) by(call world.Call) string {
	s.T.Helper()
	plain, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(call.Auth, "Basic "))
	s.Must(err)
	id, _, _ := strings.Cut(string(plain), ":")
	id, err = url.QueryUnescape(id)
	s.Must(err)
	return id
}

// TestOwnerGrantOfOlderClient: a new client was registered beside the one at which
// the owner agreed. Her grant is renewed by the older one until its secret ends.
// Then her token serves as long as it lasts, and after that she agrees once more,
// at the new client.
func TestOwnerGrantOfOlderClient(t *testing.T) {
	s := newSharing(t)
	next := s.second() // minute 17
	by, err := s.renewed()
	if err != nil || len(by) != 1 || by[0] != s.first {
		t.Fatalf("renewed by %q, %v; want the first client, %q", by, err, s.first)
	}
	s.pass(4*time.Minute + 50*time.Second) // the secret has ended, and the token is due but good
	if by, err = s.renewed(); err != nil || len(by) != 0 {
		t.Errorf("a token that is still good: renewed by %q, %v", by, err)
	}
	s.pass(2 * time.Minute)
	by, err = s.renewed()
	if gatehouse.ErrorCode(err) != gatehouse.CodeOwnerGrantMissing || len(by) != 0 {
		t.Errorf("renewed by %q, %v; want %s", by, err, gatehouse.CodeOwnerGrantMissing)
	}
	if has, err := s.grants.Has(t.Context(), "ana-1"); has || err != nil {
		t.Errorf("Has %v, %v", has, err)
	}
	s.agree()
	s.Advance(world.Past)
	if by, err = s.renewed(); err != nil || len(by) != 1 || by[0] != next {
		t.Errorf("renewed by %q, %v; want %q", by, err, next)
	}
	s.WantQuiet()
}

// TestOwnerGrantWithoutClient: a grant of an earlier build does not say for which
// client it is. It is tried at the older one first, and says so afterwards.
func TestOwnerGrantWithoutClient(t *testing.T) {
	t.Run("of the older", func(t *testing.T) {
		s := newSharing(t)
		s.second()
		s.store.change(t, func(m map[string]any) { delete(m, "client") })
		if by, err := s.renewed(); err != nil || len(by) != 1 || by[0] != s.first || s.store.member(t, "client") != s.first {
			t.Errorf("renewed by %q, %v, of %v", by, err, s.store.member(t, "client"))
		}
		s.WantQuiet()
	})
	t.Run("of the newer", func(t *testing.T) {
		s := newSharing(t)
		next := s.second()
		s.Must(s.grants.Forget(t.Context(), "ana-1"))
		s.ana = s.Visitor("ana")
		s.agree()
		s.store.change(t, func(m map[string]any) { delete(m, "client") })
		s.Advance(2*time.Minute + 50*time.Second) // the older serves for some seconds
		pat, err := s.grants.PAT(t.Context(), "ana-1", gatehouse.NewSecret(s.store.member(t, "access").(string)))
		s.Mint("PAT", pat.Reveal())
		if err != nil || s.store.member(t, "client") != next {
			t.Errorf("%v, of %v; want %q", err, s.store.member(t, "client"), next)
		}
	})
}

// TestOwnerGrantLeft: bytes that the build before this one left are a grant, whose
// refresh token is sent.
func TestOwnerGrantLeft(t *testing.T) {
	s := newSharing(t)
	raw, err := os.ReadFile("../uma_rs/testdata/2026-11-29.json")
	s.Must(err)
	var left struct{ Grant string }
	s.Must(json.Unmarshal(raw, &left))
	s.store.mu.Lock()
	s.store.raw = []byte(left.Grant)
	s.store.mu.Unlock()
	s.Advance(world.Past)
	if has, err := s.grants.Has(t.Context(), "ana-1"); !has || err != nil {
		t.Errorf("Has %v, %v", has, err)
	}
	by, err := s.renewed() // the token of that file has expired, and nobody knows its refresh token
	if gatehouse.ErrorCode(err) != gatehouse.CodeOwnerGrantMissing || len(by) != 1 || by[0] != s.first {
		t.Errorf("renewed by %q, %v", by, err)
	}
}

// TestForgetGrantOfOlderClient: what the older client got is revoked by the older
// client.
func TestForgetGrantOfOlderClient(t *testing.T) {
	s := newSharing(t)
	s.second()
	s.Must(s.grants.Forget(t.Context(), "ana-1"))
	calls := s.CallsTo("revocation_endpoint")
	if len(calls) == 0 {
		t.Fatal("nothing was revoked")
	}
	for _, call := range calls {
		if got := s.by(call); got != s.first {
			t.Errorf("revoked by %q, want %q", got, s.first)
		}
	}
}

// TestSignOutAfterTheEnd: a session of a client whose secret has ended, and which is
// deleted at the provider, signs out there all the same: as the client of now, and
// without the ID Token, which is for the other.
func TestSignOutAfterTheEnd(t *testing.T) {
	s := newSharing(t)
	next := s.second()
	location := func(v *world.Visitor) url.Values {
		a := v.Post("/auth/logout", nil)
		return world.QueryOf(t, a.Location())
	}
	other := s.Visitor("ana") // at the new client
	other.SignIn()
	if q := location(other); q.Get("client_id") != next || q.Get("id_token_hint") == "" {
		t.Errorf("%v, want %q", q, next)
	}
	s.Advance(4 * time.Minute) // minute 21; nobody has come since, and the session's token is still good
	q := location(s.ana)
	if id := q.Get("client_id"); id == s.first || id == "" || q.Has("id_token_hint") {
		t.Errorf("%v, of a client that has ended: %q", q, s.first)
	}
	s.ShutdownAll()
	if got := s.EventsOf(gatehouse.EventTrouble); len(got) != 0 {
		t.Errorf("trouble %q", got)
	}
}

// TestRenewedWhileIdle: a replica where nobody was for long has an old secret in
// memory, which has ended. The session that comes first is refreshed with the one
// that another replica, or this one, gets now.
func TestRenewedWhileIdle(t *testing.T) {
	for name, elsewhere := range map[string]bool{"another replica": true, "nobody": false} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, opserver.RegistrationOptions{SecretLife: 20 * time.Minute, RenewOnRead: true}, 2)
			ana := s.Visitor("ana")
			ana.SignIn()
			s.Advance(25 * time.Minute)
			if elsewhere {
				s.Visitor("ben").On(1).SignIn()
			}
			ana.WantServed(ana.Get("/notes/"))
			s.wantClients(1)
			s.WantQuiet()
		})
	}
}

// TestRefreshAtAnIdleReplica: another replica has renewed a secret that has no end.
// One where nobody was for long looks before it sends the old one, with which a
// refresh token might be lost.
func TestRefreshAtAnIdleReplica(t *testing.T) {
	s := newSite(t, opserver.RegistrationOptions{RenewOnRead: true}, 2)
	ana := s.Visitor("ana")
	ana.SignIn()
	s.Advance(world.Past)
	if _, err := s.reg(1).Read(t.Context()); err != nil { // which renews it
		t.Fatal(err)
	}
	before := s.sent("token_endpoint", "refresh_token")
	ana.WantServed(ana.Get("/notes/"))
	if n := s.sent("token_endpoint", "refresh_token") - before; n != 1 {
		t.Errorf("%d requests, the first of them with the old secret", n)
	}
	s.WantQuiet()
}

// TestSignOutAtAnIdleReplica: another replica has registered the client of the
// session, and this one does not know that yet. The sign-out goes on to the
// provider.
func TestSignOutAtAnIdleReplica(t *testing.T) {
	s := newSite(t, opserver.RegistrationOptions{SecretLife: 20 * time.Minute}, 2)
	s.Visitor("ben").On(1).SignIn() // it knows the first client
	s.Advance(16 * time.Minute)
	s.Visitor("ben").SignIn()
	s.Must(s.reg(0).Shutdown(t.Context()))
	s.Advance(time.Minute)
	ana := s.Visitor("ana")
	ana.SignIn() // at the second client
	a := ana.On(1).Post("/auth/logout", nil)
	if !strings.HasPrefix(a.Location(), s.Endpoint("end_session_endpoint")) {
		t.Errorf("%v", a)
	}
	s.ShutdownAll()
	if n := len(s.CallsTo("revocation_endpoint")); n != 1 {
		t.Errorf("%d revocations", n)
	}
	s.WantQuiet()
}

// TestUMAClientAcrossTheChange: a UMA client goes on when a new client takes over,
// with the tokens that the old one got, and gets new ones as the new client.
func TestUMAClientAcrossTheChange(t *testing.T) {
	s := newSite(t, opserver.RegistrationOptions{SecretLife: 20 * time.Minute}, 1, everyGrant)
	api, shop := s.albums(), s.shop(0)
	defer func() { s.Must(api.Shutdown(context.Background())) }()
	for minute := range 25 {
		resp, err := shop.Get("https://photos.test/albums/")
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("minute %d: %v, %v\n%s", minute, resp, err, s.Log())
		}
		s.Must(s.reg(0).Shutdown(t.Context()))
		s.Advance(time.Minute)
	}
	if len(s.Registered()) == 0 || s.Count(opserver.EndpointRegister) < 2 {
		t.Error("no new client was registered")
	}
}
