package gatehouse_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

// grantStore is a GrantStore that replicas share.
type grantStore struct {
	mu     sync.Mutex
	values map[string][]byte
	err    error
	lose   int // so many swaps happen, but their answer is lost
}

func (s *grantStore) Grant(_ context.Context, issuer, owner string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[issuer+" "+owner], s.err
}

func (s *grantStore) SwapGrant(_ context.Context, issuer, owner string, old, new []byte) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return false, s.err
	}
	if s.values == nil {
		s.values = map[string][]byte{}
	}
	key := issuer + " " + owner
	have := s.values[key]
	swapped := true
	switch {
	case bytes.Equal(have, new) && (have == nil) == (new == nil):
	case !bytes.Equal(have, old) || (have == nil) != (old == nil):
		swapped = false
	case new == nil:
		delete(s.values, key)
	default:
		s.values[key] = slices.Clone(new)
	}
	if s.lose > 0 {
		s.lose--
		return false, errors.New("connection reset")
	}
	return swapped, nil
}

var (
	agreeInput  = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`)
	agreeAction = regexp.MustCompile(`action="([^"]+)"`)
)

// agree lets a person sign in at the server for photoz with the scopes and
// returns the token answer.
func (w *rsWorld) agree(user string, scopes ...string) map[string]any {
	w.t.Helper()
	md, err := w.provider.Metadata(w.t.Context())
	w.must(err)
	jar, err := cookiejar.New(nil)
	w.must(err)
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	verifier := strings.Repeat("verifier", 6) + user
	sum := sha256.Sum256([]byte(verifier))
	resp, err := browser.Get(md.AuthorizationEndpoint + "?" + url.Values{
		"response_type": {"code"}, "client_id": {"photoz"}, "redirect_uri": {"http://photoz.test/cb"},
		"scope": {"openid " + strings.Join(scopes, " ")}, "state": {rand.Text()}, "nonce": {rand.Text()},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}.Encode())
	w.must(err)
	page, err := io.ReadAll(resp.Body)
	w.must(err)
	resp.Body.Close()
	form := url.Values{"username": {user}, "password": {"pw"}}
	for _, m := range agreeInput.FindAllStringSubmatch(string(page), -1) {
		form.Set(m[1], html.UnescapeString(m[2]))
	}
	action := agreeAction.FindStringSubmatch(string(page))
	if action == nil {
		w.t.Fatalf("no form: %d %s", resp.StatusCode, page)
	}
	resp, err = browser.PostForm(html.UnescapeString(action[1]), form)
	w.must(err)
	resp.Body.Close()
	back, err := url.Parse(resp.Header.Get("Location"))
	w.must(err)
	req, err := http.NewRequest("POST", md.TokenEndpoint, strings.NewReader(url.Values{"grant_type": {"authorization_code"},
		"code": {back.Query().Get("code")}, "redirect_uri": {"http://photoz.test/cb"}, "code_verifier": {verifier}}.Encode()))
	w.must(err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("photoz", url.QueryEscape("photoz secret%"))
	resp, err = http.DefaultClient.Do(req)
	w.must(err)
	defer resp.Body.Close()
	var answer map[string]any
	w.must(json.NewDecoder(resp.Body).Decode(&answer))
	if answer["access_token"] == nil {
		w.t.Fatalf("no token for %s: %v", user, answer)
	}
	return answer
}

func (w *rsWorld) grants(store gatehouse.GrantStore) *gatehouse.OwnerGrants {
	w.t.Helper()
	g, err := gatehouse.NewOwnerGrants(w.provider, gatehouse.OwnerGrantsConfig{Client: rsClient, Store: store})
	w.must(err)
	w.t.Cleanup(func() {
		w.Server.Close()
		w.must(g.Shutdown(context.Background()))
	})
	return g
}

// keepFrom stores the grant of a fresh sign-in of alice.
func (w *rsWorld) keepFrom(g *gatehouse.OwnerGrants, answer map[string]any) {
	w.t.Helper()
	text := func(name string) string { s, _ := answer[name].(string); return s }
	life, _ := answer["expires_in"].(float64)
	w.must(g.KeepGrant(w.t.Context(), "alice", text("access_token"), text("refresh_token"), text("scope"), w.Now(), w.Now().Add(time.Duration(life)*time.Second)))
}

var album7 = gatehouse.Resource{Owner: "alice", Name: "album 7", Scopes: []string{"view", "print"}}

// TestOwnerGrants: a person's resource is registered with that person's PAT,
// and strangers are answered while they are away, for as long as they like.
func TestOwnerGrants(t *testing.T) {
	w := newRSWorld(t)
	w.SetTokenLifetime(10 * time.Minute)
	g := w.grants(nil)
	rs := w.resourceServer(gatehouse.ResourceServerConfig{PAT: g})
	h := photos(rs.UMAProtect(album7.AllOf("view")))

	// Nobody has let us in yet.
	wantUnreachable(t, send(h, "GET", "/", ""))
	if _, err := rs.Register(t.Context(), album7); gatehouse.ErrorCode(err) != "owner_grant_missing" {
		t.Errorf("Register without a grant: %v", err)
	}
	if has, err := g.Has(t.Context(), "alice"); has || err != nil {
		t.Errorf("Has: %v, %v", has, err)
	}

	answer := w.agree("alice", g.GrantScopes(t.Context())...)
	w.keepFrom(g, answer)
	out, err := rs.Register(t.Context(), album7)
	w.must(err)
	if got := w.Resources("alice"); len(got) != 1 || got[0].ID != out.ID || out.PolicyURI == "" {
		t.Errorf("registered %+v, alice has %+v", out, got)
	}
	token := w.rpt(h, "GET", "/", "alice", "view")
	if answer := send(h, "GET", "/", token); answer.Body.String() != `served via uma sub "bob" granted [view]` {
		t.Errorf("bob: %d %s", answer.Code, answer.Body)
	}
	// The PAT is renewed a minute before it ends, a tenth for shorter ones.
	w.reset()
	w.advance(9*time.Minute - time.Second)
	w.wantTicket(send(h, "GET", "/", ""))
	if n := w.CountToken("refresh_token"); n != 0 {
		t.Errorf("renewed too early, %d times", n)
	}
	w.advance(time.Second)
	for _, a := range inParallel(100, func() *httptest.ResponseRecorder { return send(h, "GET", "/", "") }) {
		w.wantTicket(a)
	}
	if n := w.CountToken("refresh_token"); n != 1 {
		t.Errorf("%d refreshes for 100 requests, want 1", n)
	}
	// Lost at the server: renewed, once.
	w.reset()
	w.ExpirePATs()
	for _, a := range inParallel(100, func() *httptest.ResponseRecorder { return send(h, "GET", "/", "") }) {
		w.wantTicket(a)
	}
	if n := w.CountToken("refresh_token"); n != 1 {
		t.Errorf("%d refreshes after the PAT was lost, want 1", n)
	}
	if got := w.Violations(); len(got) > 0 {
		t.Errorf("the server complains: %v", got)
	}
	refresh, _ := answer["refresh_token"].(string)
	access, _ := answer["access_token"].(string)
	w.wantNoSecrets(nil, refresh, access)
}

// TestOwnerGrantsReplicas: replicas that share a store send a refresh token that
// rotates once.
func TestOwnerGrantsReplicas(t *testing.T) {
	w := newRSWorld(t)
	store := &grantStore{}
	var replicas []*gatehouse.OwnerGrants
	for range 4 {
		w.provider = w.newProvider(nil)
		replicas = append(replicas, w.grants(store))
	}
	w.keepFrom(replicas[0], w.agree("alice", replicas[0].GrantScopes(t.Context())...))
	for round := range 3 {
		w.reset()
		w.advance(2 * time.Hour)
		var mu sync.Mutex
		i, tokens := 0, map[string]bool{}
		inParallel(40, func() error {
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

// TestOwnerGrantsEnd: a grant that the owner ended at the server is deleted, and
// strangers are told what they are told when no ticket can be had.
func TestOwnerGrantsEnd(t *testing.T) {
	w := newRSWorld(t)
	store := &grantStore{}
	g := w.grants(store)
	h := photos(w.resourceServer(gatehouse.ResourceServerConfig{PAT: g}).UMAProtect(album7.AllOf("view")))
	w.keepFrom(g, w.agree("alice", g.GrantScopes(t.Context())...))
	w.wantTicket(send(h, "GET", "/", ""))
	w.RevokeGrants("alice")
	answer := send(h, "GET", "/", "")
	wantUnreachable(t, answer)
	if has, err := g.Has(t.Context(), "alice"); has || err != nil || len(store.values) != 0 {
		t.Errorf("Has: %v, %v, store %d", has, err, len(store.values))
	}
	if _, err := g.PAT(t.Context(), "alice", gatehouse.Secret{}); gatehouse.ErrorCode(err) != "owner_grant_missing" {
		t.Errorf("PAT: %v", err)
	}
	// She signs in again.
	w.advance(time.Second)
	w.keepFrom(g, w.agree("alice", g.GrantScopes(t.Context())...))
	w.wantTicket(send(h, "GET", "/", ""))
}

func TestOwnerGrantsForget(t *testing.T) {
	w := newRSWorld(t)
	g := w.grants(nil)
	answer := w.agree("alice", g.GrantScopes(t.Context())...)
	w.keepFrom(g, answer)
	w.must(g.Forget(t.Context(), "alice"))
	if has, err := g.Has(t.Context(), "alice"); has || err != nil {
		t.Errorf("Has: %v, %v", has, err)
	}
	// RFC 7009: the tokens are dead at the server too.
	w.keepFrom(g, answer)
	w.advance(2 * time.Hour)
	if _, err := g.PAT(t.Context(), "alice", gatehouse.Secret{}); gatehouse.ErrorCode(err) != "owner_grant_missing" {
		t.Errorf("the refresh token still works: %v", err)
	}
	w.must(g.Forget(t.Context(), "nobody"))
	w.keepFrom(g, answer)
	w.stop()
	if err := g.Forget(t.Context(), "alice"); gatehouse.ErrorCode(err) != "provider_unavailable" {
		t.Errorf("server down: %v", err)
	}
	if has, _ := g.Has(t.Context(), "alice"); has {
		t.Error("kept although it was to be forgotten")
	}
}

// TestOwnerGrantsKeep: what is a grant, and what is not.
func TestOwnerGrantsKeep(t *testing.T) {
	w := newRSWorld(t)
	if got := fmt.Sprint(w.grants(nil).GrantScopes(t.Context())); got != "[uma_protection offline_access]" {
		t.Errorf("scopes %s", got)
	}
	now, later := w.Now(), w.Now().Add(time.Hour)
	for name, c := range map[string]struct {
		scope string
		kept  bool
	}{
		"agreed":       {"openid uma_protection offline_access", true},
		"not told":     {"", true},
		"declined":     {"openid offline_access", false},
		"other prefix": {"uma_protection2", false},
	} {
		g := w.grants(nil)
		w.must(g.KeepGrant(t.Context(), "alice", "at", "rt", c.scope, now, later))
		if has, _ := g.Has(t.Context(), "alice"); has != c.kept {
			t.Errorf("%s: kept %v, want %v", name, has, c.kept)
		}
	}
	g := w.grants(nil)
	if err := g.KeepGrant(t.Context(), "", "at", "rt", "", now, later); err == nil {
		t.Error("a grant of nobody was kept")
	}
	// An access token alone is a grant while it lives.
	w.must(g.KeepGrant(t.Context(), "bob", "at", "", "", now, later))
	if pat, err := g.PAT(t.Context(), "bob", gatehouse.Secret{}); err != nil || pat.Reveal() != "at" {
		t.Errorf("access token alone: %v", err)
	}
	w.advance(59*time.Minute + 30*time.Second)
	if pat, err := g.PAT(t.Context(), "bob", gatehouse.Secret{}); err != nil || pat.Reveal() != "at" {
		t.Errorf("access token alone, near its end: %v", err)
	}
	w.advance(30 * time.Second)
	if has, _ := g.Has(t.Context(), "bob"); has {
		t.Error("an access token that ended is a grant")
	}
	if _, err := g.PAT(t.Context(), "bob", gatehouse.Secret{}); gatehouse.ErrorCode(err) != "owner_grant_missing" {
		t.Errorf("access token ended: %v", err)
	}
}

// TestOwnerGrantsKeepsRefreshToken: a sign-in without a new refresh token does
// not lose the old one.
func TestOwnerGrantsKeepsRefreshToken(t *testing.T) {
	w := newRSWorld(t)
	g := w.grants(nil)
	w.keepFrom(g, w.agree("alice", g.GrantScopes(t.Context())...))
	w.must(g.KeepGrant(t.Context(), "alice", "newer", "", "", w.Now(), w.Now().Add(time.Minute)))
	w.advance(2 * time.Minute)
	if _, err := g.PAT(t.Context(), "alice", gatehouse.Secret{}); err != nil {
		t.Error(err)
	}
}

// TestOwnerGrantsTrouble: nothing is lost when the server or the store is in
// trouble.
func TestOwnerGrantsTrouble(t *testing.T) {
	w := newRSWorld(t)
	store := &grantStore{}
	g := w.grants(store)
	h := photos(w.resourceServer(gatehouse.ResourceServerConfig{PAT: g}).UMAProtect(album7.AllOf("view")))
	w.keepFrom(g, w.agree("alice", g.GrantScopes(t.Context())...))
	w.wantTicket(send(h, "GET", "/", ""))

	w.advance(2 * time.Hour)
	w.must(w.SetFault(opserver.TokenEndpointDown, true))
	wantUnreachable(t, send(h, "GET", "/", ""))
	w.must(w.SetFault(opserver.TokenEndpointDown, false))
	asked := w.CountToken("refresh_token")
	for range 20 {
		wantUnreachable(t, send(h, "GET", "/", "")) // strangers do not drive us to a server in trouble
	}
	if n := w.CountToken("refresh_token"); n != asked {
		t.Errorf("%d token requests during the pause", n-asked)
	}
	w.advance(20 * time.Second)
	w.wantTicket(send(h, "GET", "/", "")) // the grant is there: no lease is left

	store.err = errors.New("db: password of user photoz is wrong")
	answer := send(h, "GET", "/", "")
	wantTrouble(t, answer)
	if !strings.Contains(answer.Body.String(), "grant_store_unavailable") || strings.Contains(answer.Body.String(), "password") {
		t.Errorf("body %s", answer.Body)
	}
	for name, err := range map[string]error{
		"Forget": g.Forget(t.Context(), "alice"),
		"keep":   g.KeepGrant(t.Context(), "alice", "at", "rt", "", w.Now(), w.Now()),
		"Has":    func() error { _, err := g.Has(t.Context(), "alice"); return err }(),
	} {
		if gatehouse.ErrorCode(err) != "grant_store_unavailable" {
			t.Errorf("%s: %v", name, err)
		}
	}
	store.err = nil

	// Swaps whose answer is lost have happened all the same.
	w.reset()
	w.advance(2 * time.Hour)
	store.lose = 2
	w.wantTicket(send(h, "GET", "/", ""))
	w.advance(2 * time.Hour)
	w.wantTicket(send(h, "GET", "/", ""))
	if n := w.CountToken("refresh_token"); n != 2 {
		t.Errorf("%d refreshes, want 2", n)
	}
	// What cannot be read is not thrown away: it may be of a newer version.
	store.values[w.Issuer()+" alice"] = []byte("{")
	wantTrouble(t, send(h, "GET", "/", ""))
	if len(store.values) != 1 {
		t.Error("a value that cannot be read was deleted")
	}
	if got := w.Violations(); len(got) > 0 {
		t.Errorf("the server complains: %v", got)
	}
}

// TestOwnerGrantsCrash: a replica that died while it renewed holds others up for
// its lease only, and a token that still lives serves meanwhile.
func TestOwnerGrantsCrash(t *testing.T) {
	w := newRSWorld(t)
	w.SetTokenLifetime(time.Hour)
	store := &grantStore{}
	g := w.grants(store)
	w.keepFrom(g, w.agree("alice", g.GrantScopes(t.Context())...))
	lease := func(d time.Duration) {
		key := w.Issuer() + " alice"
		var value map[string]any
		w.must(json.Unmarshal(store.values[key], &value))
		value["lease"] = w.Now().Add(d)
		var err error
		store.values[key], err = json.Marshal(value)
		w.must(err)
	}
	w.advance(59*time.Minute + 30*time.Second)
	lease(12 * time.Second)
	w.reset()
	if pat, err := g.PAT(t.Context(), "alice", gatehouse.Secret{}); err != nil || pat.IsZero() || w.CountToken("refresh_token") != 0 {
		t.Errorf("while the token lives: %v, %d refreshes", err, w.CountToken("refresh_token"))
	}
	w.advance(12 * time.Second)
	if _, err := g.PAT(t.Context(), "alice", gatehouse.Secret{}); err != nil || w.CountToken("refresh_token") != 1 {
		t.Errorf("after the lease: %v, %d refreshes", err, w.CountToken("refresh_token"))
	}
	// The token has ended and the lease has not: wait, but not past ctx.
	w.advance(2 * time.Hour)
	lease(12 * time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := g.PAT(ctx, "alice", gatehouse.Secret{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("under a foreign lease: %v", err)
	}
	w.advance(12 * time.Second) // lets the flight under way find that the lease is over
	if _, err := g.PAT(t.Context(), "alice", gatehouse.Secret{}); err != nil {
		t.Errorf("after the second lease: %v", err)
	}
}

// TestOwnerGrantsService: the owner "" is the service itself.
func TestOwnerGrantsService(t *testing.T) {
	w := newRSWorld(t)
	g := w.grants(nil)
	h := photos(w.resourceServer(gatehouse.ResourceServerConfig{PAT: g}).UMAProtect(albumRules()))
	w.wantTicket(send(h, "GET", "/albums/", ""))
	if w.CountToken("client_credentials") != 1 || len(w.Resources("photoz")) != 1 {
		t.Errorf("%d client credentials, resources %v", w.CountToken("client_credentials"), w.Resources("photoz"))
	}
	if _, err := gatehouse.NewOwnerGrants(nil, gatehouse.OwnerGrantsConfig{}); err == nil || !strings.Contains(err.Error(), "Client.ID") || !strings.Contains(err.Error(), "Provider") {
		t.Errorf("constructor: %v", err)
	}
}

// TestOwnerGrantsSameRefreshToken is RFC 6749 §6: without a new refresh token in
// the answer the old one goes on.
func TestOwnerGrantsSameRefreshToken(t *testing.T) {
	s := newScripted(t)
	g, err := gatehouse.NewOwnerGrants(s.provider, gatehouse.OwnerGrantsConfig{Client: rsClient})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.KeepGrant(t.Context(), "alice", "at", "rt", "", s.Now(), s.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	refused := gatehouse.NewSecret("at")
	for _, want := range []string{"pat1", "pat2"} {
		pat, err := g.PAT(t.Context(), "alice", refused)
		if err != nil || pat.Reveal() != want {
			t.Fatalf("%q, %v; want %q", pat.Reveal(), err, want)
		}
		refused = pat
	}
	want := "POST /token grant_type=refresh_token&refresh_token=rt"
	if got := s.saw("POST /token"); len(got) != 2 || got[0] != want || got[1] != want {
		t.Errorf("token requests %q", got)
	}
}
