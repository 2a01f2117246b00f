package uma_rs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// TestOwnerGrants: a person's resource is registered with that person's PAT,
// and strangers are answered while the person is away, however long.
func TestOwnerGrants(t *testing.T) {
	w := world.NewPhotoz(t)
	w.SetTokenLifetime(10 * time.Minute)
	g := w.Grants(nil)
	rs := w.ResourceServer(gatehouse.ResourceServerConfig{MaxTicketCalls: 100, PAT: g})
	h := world.Photos(rs.UMAProtect(album7.AllOf("view")))

	// Nobody has let us in yet.
	world.WantUnreachable(t, world.Send(h, "GET", "/", ""))
	if _, err := rs.Register(t.Context(), album7); gatehouse.ErrorCode(err) != "owner_grant_missing" {
		t.Errorf("Register without a grant: %v", err)
	}
	if has, err := g.Has(t.Context(), "alice"); has || err != nil {
		t.Errorf("Has: %v, %v", has, err)
	}

	w.Agree(g, "alice")
	out, err := rs.Register(t.Context(), album7)
	w.Must(err)
	if got := w.Resources("alice"); len(got) != 1 || got[0].ID != out.ID || out.PolicyURI == "" {
		t.Errorf("registered %+v, alice has %+v", out, got)
	}
	token := w.RPT(h, "GET", "/", "alice", "view")
	if answer := world.Send(h, "GET", "/", token); answer.Body.String() != `served via uma sub "bob" granted [view]` {
		t.Errorf("bob: %d %s", answer.Code, answer.Body)
	}
	// The PAT is renewed a minute before it expires. A shorter-lived one is
	// renewed in the last part of its life.
	w.Reset()
	w.Advance(9*time.Minute - time.Second)
	w.WantTicket(world.Send(h, "GET", "/", ""))
	if n := w.CountToken("refresh_token"); n != 0 {
		t.Errorf("renewed too early, %d times", n)
	}
	w.Advance(time.Second)
	for _, a := range world.Together(100, func(int) *httptest.ResponseRecorder { return world.Send(h, "GET", "/", "") }) {
		w.WantTicket(a)
	}
	if n := w.CountToken("refresh_token"); n != 1 {
		t.Errorf("%d refreshes for 100 requests, want 1", n)
	}
	// If it is lost at the server it is renewed, once.
	w.Reset()
	w.ExpirePATs()
	for _, a := range world.Together(100, func(int) *httptest.ResponseRecorder { return world.Send(h, "GET", "/", "") }) {
		w.WantTicket(a)
	}
	if n := w.CountToken("refresh_token"); n != 1 {
		t.Errorf("%d refreshes after the PAT was lost, want 1", n)
	}
	if got := w.Violations(); len(got) > 0 {
		t.Errorf("the server complains: %v", got)
	}
	w.CheckSilence()
}

// TestOwnerGrantsReplicas: replicas that share a store send a rotating refresh
// token only once.
func TestOwnerGrantsReplicas(t *testing.T) {
	w := world.NewPhotoz(t)
	store := &grantStore{}
	var replicas []*gatehouse.OwnerGrants
	for range 4 {
		w.Restart()
		replicas = append(replicas, w.Grants(store))
	}
	w.Agree(replicas[0], "alice")
	for round := range 3 {
		w.Reset()
		w.Advance(2 * time.Hour)
		var mu sync.Mutex
		i, tokens := 0, map[string]bool{}
		world.Together(40, func(int) error {
			mu.Lock()
			g := replicas[i%len(replicas)]
			i++
			mu.Unlock()
			pat, err := g.PAT(t.Context(), "alice", gatehouse.Secret{})
			mu.Lock()
			defer mu.Unlock()
			tokens[pat.Reveal()] = true
			if err != nil {
				t.Errorf("round %d: %v", round, err)
			}
			return err
		})
		if n := w.CountToken("refresh_token"); n != 1 || len(tokens) != 1 {
			t.Errorf("round %d: %d refreshes, %d different tokens; want 1 and 1", round, n, len(tokens))
		}
	}
	if got := w.Violations(); len(got) > 0 {
		t.Errorf("the server complains: %v", got)
	}
}

// TestOwnerGrantsEnd: a grant that the owner ended at the server is deleted,
// and strangers get the same answer as whenever there is no ticket.
func TestOwnerGrantsEnd(t *testing.T) {
	w := world.NewPhotoz(t)
	store := &grantStore{}
	g := w.Grants(store)
	h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{PAT: g}).UMAProtect(album7.AllOf("view")))
	w.Agree(g, "alice")
	w.WantTicket(world.Send(h, "GET", "/", ""))
	w.RevokeGrants("alice")
	answer := world.Send(h, "GET", "/", "")
	world.WantUnreachable(t, answer)
	if has, err := g.Has(t.Context(), "alice"); has || err != nil || len(store.values) != 0 {
		t.Errorf("Has: %v, %v, store %d", has, err, len(store.values))
	}
	if _, err := g.PAT(t.Context(), "alice", gatehouse.Secret{}); gatehouse.ErrorCode(err) != "owner_grant_missing" {
		t.Errorf("PAT: %v", err)
	}
	// She signs in again.
	w.Advance(time.Second)
	w.Agree(g, "alice")
	w.WantTicket(world.Send(h, "GET", "/", ""))
}

func TestOwnerGrantsForget(t *testing.T) {
	w := world.NewPhotoz(t)
	store := &grantStore{}
	g := w.Grants(store)
	w.Agree(g, "alice")
	backup := maps.Clone(store.values)
	w.Must(g.Forget(t.Context(), "alice"))
	if has, err := g.Has(t.Context(), "alice"); has || err != nil {
		t.Errorf("Has: %v, %v", has, err)
	}
	// RFC 7009: the tokens are dead at the server too, whoever has kept them.
	store.values = maps.Clone(backup)
	w.Advance(2 * time.Hour)
	if _, err := g.PAT(t.Context(), "alice", gatehouse.Secret{}); gatehouse.ErrorCode(err) != "owner_grant_missing" {
		t.Errorf("the refresh token still works: %v", err)
	}
	w.Must(g.Forget(t.Context(), "nobody"))
	store.values = maps.Clone(backup)
	w.SetDown(true)
	if err := g.Forget(t.Context(), "alice"); gatehouse.ErrorCode(err) != "provider_unavailable" {
		t.Errorf("server down: %v", err)
	}
	if has, _ := g.Has(t.Context(), "alice"); has {
		t.Error("kept although it should be forgotten")
	}
}

// answerOf changes the token answers to a grant type.
func answerOf(t *testing.T, grantType string, change func(map[string]any)) world.Wire {
	return func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		resp := next(r)
		if form, err := url.ParseQuery(string(body)); err != nil || form.Get("grant_type") != grantType {
			return resp, err
		}
		return world.RewriteJSON(t, resp, change), nil
	}
}

// TestOwnerGrantsKeep: what a sign-in requests, what counts as a grant, and
// what does not.
func TestOwnerGrantsKeep(t *testing.T) {
	for name, c := range map[string]struct {
		told func(map[string]any) // of the scope
		kept bool
	}{
		"agreed":       {func(m map[string]any) { m["scope"] = "openid uma_protection offline_access" }, true},
		"not told":     {func(m map[string]any) { delete(m, "scope") }, true},
		"declined":     {func(m map[string]any) { m["scope"] = "openid offline_access" }, false},
		"other prefix": {func(m map[string]any) { m["scope"] = "openid uma_protection2" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := world.NewPhotoz(t)
			var asked []string
			w.OnRequest(opserver.EndpointAuthorize, func(r *http.Request) { asked = append(asked, r.FormValue("scope")) })
			w.SetWire(answerOf(t, "authorization_code", c.told))
			g := w.Grants(nil)
			resp := w.AskToAgree(g, "alice")
			if has, err := g.Has(t.Context(), "alice"); has != c.kept || err != nil || (resp.StatusCode == 200) != c.kept {
				t.Errorf("kept %v, %v, and the page says %s; want %v", has, err, resp.Status, c.kept)
			}
			if want := []string{"openid", "openid uma_protection offline_access"}; !slices.Equal(slices.Compact(asked), want) {
				t.Errorf("scopes %q, want %q", asked, want)
			}
		})
	}
}

// TestOwnerGrantsKeepAccessToken: an access token alone is a grant while it is
// valid.
func TestOwnerGrantsKeepAccessToken(t *testing.T) {
	w := world.NewPhotoz(t)
	w.SetTokenLifetime(time.Hour)
	var access any
	w.SetWire(answerOf(t, "authorization_code", func(m map[string]any) { delete(m, "refresh_token"); access = m["access_token"] }))
	g := w.Grants(nil)
	w.Agree(g, "bob")
	if pat, err := g.PAT(t.Context(), "bob", gatehouse.Secret{}); err != nil || pat.Reveal() != access {
		t.Errorf("access token alone: %v", err)
	}
	w.Advance(59*time.Minute + 30*time.Second)
	if pat, err := g.PAT(t.Context(), "bob", gatehouse.Secret{}); err != nil || pat.Reveal() != access {
		t.Errorf("access token alone, near its end: %v", err)
	}
	w.Advance(30 * time.Second)
	if has, _ := g.Has(t.Context(), "bob"); has {
		t.Error("an access token that ended is a grant")
	}
	if _, err := g.PAT(t.Context(), "bob", gatehouse.Secret{}); gatehouse.ErrorCode(err) != "owner_grant_missing" {
		t.Errorf("access token ended: %v", err)
	}
}

// TestOwnerGrantsKeepsRefreshToken: a sign-in without a new refresh token does
// not lose the old one. This happens when two sign-ins are under way at once.
func TestOwnerGrantsKeepsRefreshToken(t *testing.T) {
	w := world.NewPhotoz(t)
	store := &grantStore{}
	g := w.Grants(store)
	w.Agree(g, "alice")
	first := maps.Clone(store.values)
	clear(store.values)
	answers := 0
	w.SetWire(answerOf(t, "authorization_code", func(m map[string]any) {
		delete(m, "refresh_token")
		if answers++; answers == 2 { // the first signs her in, this one is the grant
			store.put(first)
		}
	}))
	w.Agree(g, "alice")
	w.Advance(2 * time.Hour)
	if _, err := g.PAT(t.Context(), "alice", gatehouse.Secret{}); err != nil {
		t.Error(err)
	}
}

// TestOwnerGrantsTrouble: nothing is lost when the server or the store is in
// trouble.
func TestOwnerGrantsTrouble(t *testing.T) {
	t.Parallel() // it waits
	w := world.NewPhotoz(t)
	store := &grantStore{}
	g := w.Grants(store)
	h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{PAT: g}).UMAProtect(album7.AllOf("view")))
	w.Agree(g, "alice")
	w.WantTicket(world.Send(h, "GET", "/", ""))

	w.Advance(2 * time.Hour)
	w.Must(w.SetFault(opserver.TokenEndpointDown, true))
	world.WantUnreachable(t, world.Send(h, "GET", "/", ""))
	asked := len(w.CallsTo("token_endpoint"))
	for range 20 {
		world.WantUnreachable(t, world.Send(h, "GET", "/", "")) // strangers cannot make us hammer a server in trouble
	}
	if n := len(w.CallsTo("token_endpoint")); n != asked {
		t.Errorf("20 strangers caused %d token requests during the pause", n-asked)
	}
	w.Must(w.SetFault(opserver.TokenEndpointDown, false))
	w.Advance(20 * time.Second)
	w.WantTicket(world.Send(h, "GET", "/", "")) // the grant is there, and no lease is left

	store.err = errors.New("db: password of user photoz is wrong")
	answer := world.Send(h, "GET", "/", "")
	world.WantTrouble(t, answer)
	if !strings.Contains(answer.Body.String(), "grant_store_unavailable") || strings.Contains(answer.Body.String(), "password") {
		t.Errorf("body %s", answer.Body)
	}
	for name, err := range map[string]error{
		"Forget": g.Forget(t.Context(), "alice"),
		"Has":    func() error { _, err := g.Has(t.Context(), "alice"); return err }(),
	} {
		if gatehouse.ErrorCode(err) != "grant_store_unavailable" {
			t.Errorf("%s: %v", name, err)
		}
	}
	store.err = nil

	// A sign-in fails if its grant cannot be stored.
	w.SetWire(answerOf(t, "authorization_code", func(map[string]any) { store.err = errors.New("db: gone away") }))
	if resp := w.AskToAgree(g, "bob"); resp.StatusCode != http.StatusServiceUnavailable || w.LastCode() != "grant_store_unavailable" {
		t.Errorf("a grant that cannot be kept: %s, %s", resp.Status, w.LastCode())
	}
	w.SetWire(nil)
	store.err = nil

	// Swaps whose answer is lost have still happened.
	w.Reset()
	w.Advance(2 * time.Hour)
	store.lose = 2
	w.WantTicket(world.Send(h, "GET", "/", ""))
	w.Advance(2 * time.Hour)
	w.WantTicket(world.Send(h, "GET", "/", ""))
	if n := w.CountToken("refresh_token"); n != 2 {
		t.Errorf("%d refreshes, want 2", n)
	}
	if got := w.Violations(); len(got) > 0 {
		t.Errorf("the server complains: %v", got)
	}
}

// dying is the store as seen by a replica that dies after a number of writes.
type dying struct {
	*grantStore
	writes int
}

func (d *dying) SwapGrant(ctx context.Context, issuer, owner string, old, new []byte) (bool, error) {
	if d.writes--; d.writes < 0 {
		return false, errors.New("no route to host")
	}
	return d.grantStore.SwapGrant(ctx, issuer, owner, old, new)
}

// TestOwnerGrantsReset: a lost reply does not cost anybody the grant. The
// refresh token has rotated, so the server refuses it after the take-over. An
// access token that still serves is kept, and the owner has to agree again only
// when it has expired.
func TestOwnerGrantsReset(t *testing.T) {
	w := world.NewPhotoz(t)
	w.SetTokenLifetime(time.Hour)
	g := w.Grants(nil)
	w.Agree(g, "alice")
	first, err := g.PAT(t.Context(), "alice", gatehouse.Secret{})
	w.Must(err)
	lose := true
	w.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		resp := next(r)
		if lose && strings.HasSuffix(w.Endpoint("token_endpoint"), r.URL.Path) {
			return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
		}
		return resp, nil
	})
	w.Advance(59*time.Minute + 10*time.Second) // within the last minute of its life
	w.Reset()
	if _, err := g.PAT(t.Context(), "alice", gatehouse.Secret{}); err == nil {
		t.Error("the lost reply was taken for an answer")
	}
	if pat, err := g.PAT(t.Context(), "alice", gatehouse.Secret{}); err != nil || pat.Reveal() != first.Reveal() {
		t.Errorf("while the token lives: %v", err)
	}
	lose = false
	w.Advance(25 * time.Second) // the lease and the pause are over, the token is not
	if pat, err := g.PAT(t.Context(), "alice", gatehouse.Secret{}); err != nil || pat.Reveal() != first.Reveal() {
		t.Errorf("after the take-over: %v; want the token that still serves", err)
	}
	if has, err := g.Has(t.Context(), "alice"); !has || err != nil {
		t.Errorf("the grant is lost while its token serves: %v", err)
	}
	w.Advance(time.Minute)
	if _, err := g.PAT(t.Context(), "alice", gatehouse.Secret{}); gatehouse.ErrorCode(err) != gatehouse.CodeOwnerGrantMissing {
		t.Errorf("after its end: %v", err)
	}
}

// TestOwnerGrantsCrash: a replica that died while renewing delays others only
// for the life of its lease, and a token that is still valid serves meanwhile.
func TestOwnerGrantsCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.NewPhotoz(t)
		w.SetTokenLifetime(time.Hour)
		store := &grantStore{}
		w.Agree(w.Grants(store), "alice")
		die := func() { // with the lease in the store, and before the token request arrived
			w.Restart()
			w.Break(opserver.TokenEndpointDown)
			if _, err := w.Grants(&dying{store, 1}).PAT(t.Context(), "alice", gatehouse.Secret{}); err == nil {
				t.Error("the dead replica has renewed the grant")
			}
			w.Mend(opserver.TokenEndpointDown)
			w.Reset()
		}
		const lease = 12 * time.Second
		w.Restart()
		g := w.Grants(store)
		w.Advance(59*time.Minute + 30*time.Second)
		die()
		if pat, err := g.PAT(t.Context(), "alice", gatehouse.Secret{}); err != nil || pat.IsZero() || w.CountToken("refresh_token") != 0 {
			t.Errorf("while the token lives: %v, %d refreshes", err, w.CountToken("refresh_token"))
		}
		w.Advance(lease)
		if _, err := g.PAT(t.Context(), "alice", gatehouse.Secret{}); err != nil || w.CountToken("refresh_token") != 1 {
			t.Errorf("after the lease: %v, %d refreshes", err, w.CountToken("refresh_token"))
		}
		// The token has expired and the lease has not: wait, but not past ctx.
		w.Advance(2 * time.Hour)
		die()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := g.PAT(ctx, "alice", gatehouse.Secret{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("under a foreign lease: %v", err)
		}
		w.Advance(lease) // lets the flight under way find that the lease is over
		if _, err := g.PAT(t.Context(), "alice", gatehouse.Secret{}); err != nil {
			t.Errorf("after the second lease: %v", err)
		}
	})
}

// TestOwnerGrantsService: the owner "" is the service itself.
func TestOwnerGrantsService(t *testing.T) {
	w := world.NewPhotoz(t)
	g := w.Grants(nil)
	h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{PAT: g}).UMAProtect(world.AlbumRules()))
	w.WantTicket(world.Send(h, "GET", "/albums/", ""))
	if w.CountToken("client_credentials") != 1 || len(w.Resources("photoz")) != 1 {
		t.Errorf("%d client credentials, resources %v", w.CountToken("client_credentials"), w.Resources("photoz"))
	}
	if _, err := gatehouse.NewOwnerGrants(nil, gatehouse.OwnerGrantsConfig{}); err == nil || !strings.Contains(err.Error(), "Client.ID") || !strings.Contains(err.Error(), "provider: nil") {
		t.Errorf("constructor: %v", err)
	}
}

// TestOwnerGrantsSameRefreshToken tests RFC 6749 §6: without a new refresh
// token in the answer the old one stays in use.
func TestOwnerGrantsSameRefreshToken(t *testing.T) {
	w := world.NewPhotoz(t)
	g := w.Grants(nil)
	var refresh any
	w.SetWire(answerOf(t, "authorization_code", func(m map[string]any) { refresh = m["refresh_token"] }))
	w.Agree(g, "alice")
	var sent []any
	w.SetWire(func(r *http.Request, _ func(*http.Request) *http.Response) (*http.Response, error) {
		if grant := r.PostFormValue("grant_type"); grant != "refresh_token" {
			t.Errorf("a request of %s to %s", grant, r.URL)
		}
		sent = append(sent, r.PostFormValue("refresh_token"))
		return world.Answer(r, http.StatusOK, fmt.Sprintf(`{"access_token":"pat%d","token_type":"Bearer"}`, len(sent))), nil
	})
	refused, err := g.PAT(t.Context(), "alice", gatehouse.Secret{})
	w.Must(err)
	for _, want := range []string{"pat1", "pat2"} {
		pat, err := g.PAT(t.Context(), "alice", refused)
		if err != nil || pat.Reveal() != want {
			t.Fatalf("%q, %v; want %q", pat.Reveal(), err, want)
		}
		refused = pat
	}
	if !slices.Equal(sent, []any{refresh, refresh}) {
		t.Error("a refresh token other than the stored one was sent")
	}
}

// foreignPAT is a PATSource that says whose tokens it has.
type foreignPAT struct {
	gatehouse.PATSource
	issuer string
}

func (f foreignPAT) Issuer() string { return f.issuer }

// TestOwnerGrantsOfAnother: wherever an OwnerGrants is given, it must be of the
// same issuer and client. Otherwise one server's tokens would go to another.
func TestOwnerGrantsOfAnother(t *testing.T) {
	w, other := world.TwoServers(t, opserver.RPTOptions{})
	make := func(p *gatehouse.Provider, c gatehouse.Client) *gatehouse.OwnerGrants {
		g, err := gatehouse.NewOwnerGrants(p, gatehouse.OwnerGrantsConfig{Client: c})
		w.Must(err)
		return g
	}
	p := w.Process()
	ours := make(p, world.PhotozClient)
	for name, c := range map[string]struct {
		pat  gatehouse.PATSource
		want string
	}{
		"ours":                       {ours, ""},
		"made from another Provider": {make(w.Provider(), world.PhotozClient), ""},
		"another issuer":             {make(other.Process(), world.PhotozClient), "as-b.test"},
		"another client":             {make(p, world.ShopClient), "printshop"},
		"zero":                       {&gatehouse.OwnerGrants{}, "NewOwnerGrants"},
		"nil in an interface":        {(*gatehouse.OwnerGrants)(nil), "NewOwnerGrants"},
		"no issuer":                  {struct{ gatehouse.PATSource }{ours}, ""},
		"source of ours":             {foreignPAT{ours, w.Issuer()}, ""},
		"source of another":          {foreignPAT{ours, other.Issuer()}, "as-b.test"},
		"around another":             {struct{ *gatehouse.OwnerGrants }{make(other.Process(), world.PhotozClient)}, "as-b.test"},
	} {
		_, err := gatehouse.NewResourceServer(p, gatehouse.ResourceServerConfig{Client: world.PhotozClient, PAT: c.pat})
		wantProblem(t, name, err, "PAT: ", c.want)
		grants, is := c.pat.(*gatehouse.OwnerGrants)
		if !is || grants == nil { // nil means none
			continue
		}
		_, err = gatehouse.NewRelyingParty(p, gatehouse.RelyingPartyConfig{Client: world.PhotozClient, RedirectURL: world.PhotozOrigin + "/auth/callback", OwnerGrants: grants})
		wantProblem(t, name, err, "OwnerGrants: ", c.want)
	}
}

// wantProblem checks that a constructor names the field and the reason, or
// accepts its arguments if want is "".
func wantProblem(t *testing.T, name string, err error, field, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), field) || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s: %v, want %s%s", name, err, field, want)
	}
}

// TestOwnerGrantsPut: who has an owner's refresh token already puts it in, and
// the owner need not come back.
func TestOwnerGrantsPut(t *testing.T) {
	t.Parallel() // it waits
	w := world.NewPhotoz(t)
	before := &grantStore{}
	from := w.Grants(before)
	w.Agree(from, "alice")
	var had struct{ Refresh string }
	w.Must(json.Unmarshal(before.values[w.Issuer()+" alice"], &had))

	store := &grantStore{}
	g := w.Grants(store)
	h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{PAT: g}).UMAProtect(album7.AllOf("view")))
	world.WantUnreachable(t, world.Send(h, "GET", "/", ""))
	w.Must(g.Put(t.Context(), "alice", gatehouse.NewSecret(had.Refresh)))
	if has, err := g.Has(t.Context(), "alice"); !has || err != nil {
		t.Errorf("Has: %v, %v", has, err)
	}
	w.Reset()
	w.WantTicket(world.Send(h, "GET", "/", ""))
	if n := w.CountToken("refresh_token"); n != 1 {
		t.Errorf("%d refreshes, want 1", n)
	}
	for name, c := range map[string]struct {
		owner, token string
	}{"no owner": {"", "x"}, "no token": {"alice", ""}, "a huge token": {"alice", strings.Repeat("x", 17<<10)}} {
		if err := g.Put(t.Context(), c.owner, gatehouse.NewSecret(c.token)); gatehouse.ErrorCode(err) != "internal" {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A token that the server does not know ends like any grant.
	w.Must(g.Put(t.Context(), "alice", gatehouse.NewSecret("long-gone")))
	if _, err := g.PAT(t.Context(), "alice", gatehouse.Secret{}); gatehouse.ErrorCode(err) != "owner_grant_missing" || len(store.values) != 0 {
		t.Errorf("an unknown token: %v, %d stored", err, len(store.values))
	}
	store.err = errors.New("no disk")
	if err := g.Put(t.Context(), "alice", gatehouse.NewSecret("x")); gatehouse.ErrorCode(err) != "grant_store_unavailable" {
		t.Errorf("store down: %v", err)
	}
}

// TestOwnerGrantsDuringARenewal: what a server sends for a refresh token counts
// as long as that token is stored, whatever else was stored meanwhile. Another
// token is not replaced.
func TestOwnerGrantsDuringARenewal(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(g *gatehouse.OwnerGrants, raw map[string]any) error
		rotated   string // what the server sends
		want      string // what is stored at the end
	}{
		"nothing":                         {func(*gatehouse.OwnerGrants, map[string]any) error { return nil }, "r1", "r1"},
		"the same token":                  {putting("r0"), "r1", "r1"},
		"another token":                   {putting("r9"), "r1", "r9"},
		"a sign-in without refresh token": {signingIn, "r1", "r1"},
		"the same, and none is rotated":   {signingIn, "r0", "r0"},
	} {
		t.Run(name, func(t *testing.T) {
			w := world.NewPhotoz(t)
			store := &grantStore{}
			g := w.Grants(store)
			key := w.Issuer() + " alice"
			w.Must(g.Put(t.Context(), "alice", gatehouse.NewSecret("r0")))
			stored := func() map[string]any {
				var raw map[string]any
				w.Must(json.Unmarshal(store.values[key], &raw))
				return raw
			}
			w.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
				if r.Method != http.MethodPost {
					return next(r), nil
				}
				raw := stored()
				w.Must(c.meanwhile(g, raw))
				if raw["access"] == "of-the-sign-in" {
					changed, err := json.Marshal(raw)
					w.Must(err)
					store.values[key] = changed
				}
				return world.Answer(r, http.StatusOK, `{"access_token":"pat1","token_type":"Bearer","refresh_token":"`+c.rotated+`"}`), nil
			})
			if _, err := g.PAT(t.Context(), "alice", gatehouse.Secret{}); err != nil {
				t.Error(err)
			}
			if got := stored()["refresh"]; got != c.want {
				t.Errorf("the refresh token %v is stored, want %s", got, c.want)
			}
		})
	}
}

func putting(token string) func(*gatehouse.OwnerGrants, map[string]any) error {
	return func(g *gatehouse.OwnerGrants, _ map[string]any) error {
		return g.Put(context.Background(), "alice", gatehouse.NewSecret(token))
	}
}

// signingIn is what a sign-in stores that brings no refresh token.
func signingIn(_ *gatehouse.OwnerGrants, raw map[string]any) error {
	raw["access"] = "of-the-sign-in"
	delete(raw, "holder")
	delete(raw, "lease")
	return nil
}
