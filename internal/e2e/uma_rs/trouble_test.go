package uma_rs_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// promise is how long a request may wait for an authorization server in
// trouble.
const promise = 2 * time.Second

// wantPromise checks, on a bubble's clock, that an answer came in time.
func wantPromise(t *testing.T, began time.Time) {
	t.Helper()
	if took := time.Since(began); took > promise {
		t.Errorf("the answer took %v, want at most %v", took, promise)
	}
}

// inBubble runs a part of a test on virtual time.
func inBubble(t *testing.T, name string, f func(*testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, f)
	})
}

// TestUR3_ServerDownIs403WithWarning: if there is no ticket, the answer is 403
// with the Warning, within 2 s, whatever trouble the server is in.
func TestUR3_ServerDownIs403WithWarning(t *testing.T) {
	cases := []struct {
		name string
		bad  func(w *world.Photoz)
	}{
		{"connection refused", offline},
		{"hangs", fault(opserver.AuthorizationServerHangs)},
		{"permission endpoint hangs", fault(opserver.AuthorizationServerHangs, opserver.EndpointPermission)},
		{"503", fault(opserver.EndpointDown, opserver.EndpointPermission)},
		{"a page for JSON", fault(opserver.HTMLAnswer, opserver.EndpointPermission)},
		{"huge answer", fault(opserver.HugeAnswer, opserver.EndpointPermission)},
	}
	for _, cold := range []bool{true, false} {
		for _, c := range cases {
			inBubble(t, fmt.Sprintf("%s, cold %v", c.name, cold), func(t *testing.T) {
				w := world.NewPhotoz(t)
				h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(world.AlbumRules()))
				if !cold {
					w.WantTicket(world.Send(h, "GET", "/albums/", ""))
				}
				c.bad(w)
				began := time.Now()
				world.WantUnreachable(t, world.Send(h, "GET", "/albums/", ""))
				wantPromise(t, began)
				if answer := world.Send(h, "GET", "/healthz", ""); answer.Body.String() != "served nobody" {
					t.Errorf("a public page: %d %s", answer.Code, answer.Body)
				}
			})
		}
	}
}

// TestUMAHangingServerIsNamed: a request that gave up waiting names the address
// that did not answer, also if it waited for the work of others.
func TestUMAHangingServerIsNamed(t *testing.T) {
	const start = "GET as.example.org/.well-known/uma2-configuration"
	for _, c := range []struct{ pattern, owner, token, code, address string }{
		{start, "", "", "ticket_unavailable", "/.well-known/uma2-configuration"},
		{"POST as.example.org/token", "", "", "ticket_unavailable", "/token"},
		{"POST as.example.org/token", "ana", "", "ticket_unavailable", "/token"}, // for her grant
		{"POST /perm", "", "", "ticket_unavailable", "/perm"},
		{"POST /look", "", "tok", "introspection_unavailable", "/look"},
		{"GET /res", "", "", "ticket_unavailable", "/res"},
		{"POST /res", "", "", "ticket_unavailable", "/res"},
	} {
		inBubble(t, c.pattern+" "+c.owner, func(t *testing.T) {
			s := world.NewScript(t)
			if c.pattern != "GET /res" {
				s.Says("GET /res", 200, `[]`)
			}
			s.Mux.HandleFunc(c.pattern, func(http.ResponseWriter, *http.Request) { time.Sleep(time.Minute) })
			grants, err := gatehouse.NewOwnerGrants(s.Process, gatehouse.OwnerGrantsConfig{Client: world.PhotozClient})
			s.Must(err)
			s.Must(grants.Put(t.Context(), "ana", gatehouse.NewSecret("a-refresh-token")))
			need := gatehouse.Resource{ID: "r-1", Owner: c.owner}.AllOf("view")
			if strings.HasSuffix(c.pattern, "/res") {
				need = world.Albums.AllOf("view")
			}
			h := world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{PAT: grants}).UMAProtect(need))
			began := time.Now()
			world.Send(h, "GET", "/", c.token)
			wantPromise(t, began)
			if log := s.Log(); !strings.Contains(log, "code="+c.code+" ") || strings.Count(log, "\n") != 1 || !strings.Contains(log, world.ScriptIssuer+c.address) {
				t.Errorf("the log lacks %s or %s: %s", c.code, c.address, log)
			}
			time.Sleep(2 * time.Minute) // the handler
			s.Must(grants.Shutdown(t.Context()))
		})
	}
}

// TestUMAServerWithoutOpenID: a server that publishes uma2-configuration alone
// serves, whichever 4xx it has for the other documents. While they are only in
// trouble, nothing is guessed.
func TestUMAServerWithoutOpenID(t *testing.T) {
	for _, openid := range []int{404, 403, 401, 400, 410, 308, 503, 429, 302} {
		for _, oauth := range []int{404, 403, 503} {
			lasting := oauth != 503
			if openid != 404 { // then nobody asks for the other one
				lasting = openid != 503 && openid != 429 && openid != 302
			}
			s := world.NewScript(t)
			s.Says("GET as.example.org/.well-known/openid-configuration", openid, ``)
			s.Says("GET as.example.org/.well-known/oauth-authorization-server", oauth, ``)
			s.Says("POST /perm", 201, `{"ticket":"t1"}`)
			answer := world.Send(world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(one.AllOf("view"))), "GET", "/", "")
			if got := answer.Code == 401; got != lasting {
				t.Errorf("%d and %d: %d %s", openid, oauth, answer.Code, s.Log())
			}
		}
	}
}

// TestUMA_ServerComesBack: after an outage the next requests work again.
func TestUMA_ServerComesBack(t *testing.T) {
	w := world.NewPhotoz(t)
	rs := w.ResourceServer(gatehouse.ResourceServerConfig{})
	h := world.Photos(rs.UMAProtect(world.AlbumRules()))
	w.SetDown(true)
	world.WantUnreachable(t, world.Send(h, "GET", "/albums/", ""))
	w.Must(rs.Shutdown(t.Context())) // no fetch fails after the outage
	w.SetDown(false)
	w.Advance(30 * time.Second)
	world.Send(h, "GET", "/albums/", "") // starts a fetch, and does not wait for it for long
	w.Must(rs.Shutdown(t.Context()))
	w.WantTicket(world.Send(h, "GET", "/albums/", ""))
}

// TestIN2_IntrospectionTrouble: if nobody can say whether the token is valid,
// the answer is 503 with Retry-After, and nothing is remembered.
func TestIN2_IntrospectionTrouble(t *testing.T) {
	cases := map[string]struct {
		bad  func(w *world.Photoz)
		mend func(w *world.Photoz)
	}{
		"refused": {offline, func(w *world.Photoz) { w.SetDown(false) }},
		"down":    {fault(opserver.IntrospectionDown), mend(opserver.IntrospectionDown)},
		"hangs":   {fault(opserver.AuthorizationServerHangs), mend(opserver.AuthorizationServerHangs)},
		"page":    {fault(opserver.HTMLAnswer), mend(opserver.HTMLAnswer)},
		"huge":    {fault(opserver.HugeAnswer), mend(opserver.HugeAnswer)},
	}
	for name, c := range cases {
		inBubble(t, name, func(t *testing.T) {
			w := world.NewPhotoz(t)
			h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(world.AlbumRules()))
			token := w.RPT(h, "GET", "/albums/", "photoz", "view")
			c.bad(w)
			began := time.Now()
			answer := world.Send(h, "GET", "/albums/", token)
			wantPromise(t, began)
			world.WantTrouble(t, answer)
			if answer.Header().Get("Warning") != world.Unreachable {
				t.Errorf("Warning %q", answer.Header().Get("Warning"))
			}
			c.mend(w)
			if answer := world.Send(h, "GET", "/albums/", token); !world.Served(answer) {
				t.Errorf("after the trouble: %d %s", answer.Code, answer.Body)
			}
		})
	}
}

// TestCachedFactsDuringTrouble: while introspection is in trouble, facts that are not too
// old continue to serve, but not a moment longer.
func TestCachedFactsDuringTrouble(t *testing.T) {
	w := world.NewPhotoz(t)
	h := rowsHandler(w.ResourceServer(gatehouse.ResourceServerConfig{}))
	rpt := w.RPT(h, "GET", albumsPath, "photoz", "view")
	if answer := world.Send(h, "GET", albumsPath, rpt); !world.Served(answer) {
		t.Fatalf("%d %s", answer.Code, answer.Body)
	}
	fault(opserver.IntrospectionDown)(w)
	w.Advance(10*time.Second - time.Millisecond)
	if answer := world.Send(h, "GET", albumsPath, rpt); !world.Served(answer) {
		t.Errorf("9.999 s after the facts came: %d %s", answer.Code, answer.Body)
	}
	w.Advance(time.Millisecond)
	world.WantTrouble(t, world.Send(h, "GET", albumsPath, rpt))
}

// TestUMAMetadataIssuerMismatch: metadata of another issuer stays refused and
// is logged with both values, and many requests cost the server only a few.
func TestUMAMetadataIssuerMismatch(t *testing.T) {
	w := world.NewPhotoz(t)
	h := rowsHandler(w.ResourceServer(gatehouse.ResourceServerConfig{}))
	fault(opserver.MetadataIssuerMismatch)(w)
	for range 20 {
		world.WantUnreachable(t, world.Send(h, "GET", albumsPath, ""))
	}
	if got := w.Total(); got > 2 {
		t.Errorf("20 requests cost %d requests for the metadata", got)
	}
	log := w.Log()
	if !strings.Contains(log, w.Issuer()+"/other") || !strings.Contains(log, "metadata_issuer_mismatch") {
		t.Errorf("the log says %s", log)
	}
}

// TestUMAIDStoreDown: our own trouble gives 503, with and without a token.
func TestUMAIDStoreDown(t *testing.T) {
	w := world.NewPhotoz(t)
	store := &idStore{}
	h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{ResourceIDs: store}).UMAProtect(world.AlbumRules()))
	token := w.RPT(h, "GET", "/albums/", "photoz", "view")
	store.err = errors.New("db: password of user photoz is wrong")
	for _, tok := range []string{"", token} {
		answer := world.Send(h, "GET", "/albums/", tok)
		world.WantTrouble(t, answer)
		if !strings.Contains(answer.Body.String(), "resource_ids_unavailable") || strings.Contains(answer.Body.String(), "password") {
			t.Errorf("body %s", answer.Body)
		}
	}
	_, err := w.ResourceServer(gatehouse.ResourceServerConfig{ResourceIDs: store}).Register(t.Context(), world.Albums)
	if gatehouse.ErrorCode(err) != "resource_ids_unavailable" {
		t.Errorf("Register: %v", err)
	}
}

// TestUMAClientGone: a client that leaves opens nothing and does not affect
// others.
func TestUMAClientGone(t *testing.T) {
	s := world.NewScript(t)
	h := world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(one.AllOf("view")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, token := range []string{"", "tok"} {
		r := httptest.NewRequest("GET", "/", nil).WithContext(ctx)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if world.Served(w) || w.Code < 400 {
			t.Errorf("token %q: %d %s", token, w.Code, w.Body)
		}
	}
}

// halfIDs is an idStore in which only one method fails.
type halfIDs struct {
	idStore
	noPut, noDrop bool
}

func (s *halfIDs) PutIfAbsent(ctx context.Context, issuer, owner, name, id string) (string, error) {
	if s.noPut {
		return "", errors.New("db: read only")
	}
	return s.idStore.PutIfAbsent(ctx, issuer, owner, name, id)
}

func (s *halfIDs) Drop(ctx context.Context, issuer, owner, name, id string) error {
	if s.noDrop {
		return errors.New("db: read only")
	}
	return s.idStore.Drop(ctx, issuer, owner, name, id)
}

// hungIDs is an idStore that hangs until its callers give up.
type hungIDs struct {
	idStore
	hangs, onlyWrites atomic.Bool
}

func (s *hungIDs) hang(ctx context.Context, write bool) error {
	if !s.hangs.Load() || s.onlyWrites.Load() && !write {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (s *hungIDs) ID(ctx context.Context, issuer, owner, name string) (string, error) {
	if err := s.hang(ctx, false); err != nil {
		return "", err
	}
	return s.idStore.ID(ctx, issuer, owner, name)
}

func (s *hungIDs) PutIfAbsent(ctx context.Context, issuer, owner, name, id string) (string, error) {
	if err := s.hang(ctx, true); err != nil {
		return "", err
	}
	return s.idStore.PutIfAbsent(ctx, issuer, owner, name, id)
}

func (s *hungIDs) Drop(ctx context.Context, issuer, owner, name, id string) error {
	if err := s.hang(ctx, true); err != nil {
		return err
	}
	return s.idStore.Drop(ctx, issuer, owner, name, id)
}

// TestUMAIDStoreHangs: every request is answered with 503 within a second, also
// one with a token that is known, and one that registers first. It is not the
// server that is in trouble.
func TestUMAIDStoreHangs(t *testing.T) {
	books := gatehouse.Resource{Name: "books", Scopes: []string{"view"}}
	for _, onlyWrites := range []bool{false, true} {
		inBubble(t, fmt.Sprint("only writes ", onlyWrites), func(t *testing.T) {
			w := world.NewPhotoz(t)
			store := &hungIDs{}
			rs := w.ResourceServer(gatehouse.ResourceServerConfig{ResourceIDs: store})
			h, first := world.Photos(rs.UMAProtect(world.AlbumRules())), world.Photos(rs.UMAProtect(books.AllOf("view")))
			token := w.RPT(h, "GET", "/albums/", "photoz", "view")
			other := w.RPT(h, "GET", "/albums/", "photoz", "view")
			if answer := world.Send(h, "GET", "/albums/", token); !world.Served(answer) {
				t.Fatalf("%d %s", answer.Code, answer.Body)
			}
			store.onlyWrites.Store(onlyWrites)
			store.hangs.Store(true)
			soon := func(what string, do func()) {
				begin := time.Now()
				do()
				if took := time.Since(begin); took > time.Second {
					t.Errorf("%s: the answer took %v", what, took)
				}
			}
			for what, with := range map[string]string{"a known token": token, "a new token": other, "no token": ""} {
				soon(what, func() {
					if answer := world.Send(h, "GET", "/albums/", with); !onlyWrites {
						world.WantTrouble(t, answer)
					} else if with != "" && !world.Served(answer) || with == "" && answer.Code != http.StatusUnauthorized {
						t.Errorf("%s: %d %s", what, answer.Code, answer.Body)
					}
				})
			}
			soon("a new resource", func() { world.WantTrouble(t, world.Send(first, "GET", "/", "")) })
			soon("Register", func() {
				if _, err := rs.Register(t.Context(), books); gatehouse.ErrorCode(err) != "resource_ids_unavailable" {
					t.Errorf("Register: %v", err)
				}
			})
			store.hangs.Store(false)
			if answer := world.Send(h, "GET", "/albums/", token); !world.Served(answer) {
				t.Errorf("afterwards: %d %s", answer.Code, answer.Body)
			}
			w.WantTicket(world.Send(first, "GET", "/", ""))
			if got := w.Resources("photoz"); len(got) != 2 {
				t.Errorf("%d resources at the server, want albums and books", len(got))
			}
		})
	}
}

// TestUMAIDStoreReadOnlyRegistersOnce: while the store takes no ids, strangers do
// not fill the server with one resource after another: a process makes one, and
// keeps its id as soon as the store takes it.
func TestUMAIDStoreReadOnlyRegistersOnce(t *testing.T) {
	w := world.NewPhotoz(t)
	store := &halfIDs{noPut: true}
	var replicas []http.Handler
	for range 2 {
		w.Restart()
		replicas = append(replicas, world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{ResourceIDs: store}).UMAProtect(world.AlbumRules())))
	}
	for i := range 20 {
		world.WantTrouble(t, world.Send(replicas[i%2], "GET", "/albums/", ""))
	}
	if made := w.Made("POST"); made != 2 {
		t.Errorf("%d resources were made for 20 requests, want one by each replica", made)
	}
	store.noPut = false
	for range 2 {
		for _, h := range replicas {
			w.WantTicket(world.Send(h, "GET", "/albums/", ""))
		}
	}
	if id, err := store.ID(t.Context(), w.Issuer(), "", "albums"); err != nil || w.Made("POST") != 2 || !slices.ContainsFunc(w.Resources("photoz"), func(r opserver.Resource) bool { return r.ID == id }) {
		t.Errorf("the id %q is kept, %v, after %d were made", id, err, w.Made("POST"))
	}
}

// TestUMAIDStoreEmptyID: somebody has emptied the row of an id. It is no id, and is
// replaced, and not one more resource is made at each request.
func TestUMAIDStoreEmptyID(t *testing.T) {
	w := world.NewPhotoz(t)
	store := &rowIDs{rows: map[string]string{"albums": ""}}
	h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{ResourceIDs: store}).UMAProtect(world.AlbumRules()))
	for range 5 {
		w.WantTicket(world.Send(h, "GET", "/albums/", ""))
	}
	if w.Made("POST") != 1 || store.rows["albums"] == "" {
		t.Errorf("%d resources were made, and %q is kept", w.Made("POST"), store.rows["albums"])
	}
}

// rowIDs is a ResourceIDs of one owner in which an empty id is one, as in a database.
type rowIDs struct{ rows map[string]string }

func (s *rowIDs) ID(_ context.Context, _, _, name string) (string, error) { return s.rows[name], nil }

func (s *rowIDs) PutIfAbsent(_ context.Context, _, _, name, id string) (string, error) {
	if _, there := s.rows[name]; !there {
		s.rows[name] = id
	}
	return s.rows[name], nil
}

func (s *rowIDs) Drop(_ context.Context, _, _, name, id string) error {
	if s.rows[name] == id {
		delete(s.rows, name)
	}
	return nil
}

// TestUMAIDStoreReadOnly: a store that can be read but not written is our own
// trouble, and ids that could be read continue to serve.
func TestUMAIDStoreReadOnly(t *testing.T) {
	w := world.NewPhotoz(t)
	store := &halfIDs{noPut: true}
	rs := w.ResourceServer(gatehouse.ResourceServerConfig{ResourceIDs: store})
	h := world.Photos(rs.UMAProtect(world.AlbumRules()))
	if _, err := rs.Register(t.Context(), world.Albums); gatehouse.ErrorCode(err) != "resource_ids_unavailable" {
		t.Errorf("Register: %v", err)
	}
	world.WantTrouble(t, world.Send(h, "GET", "/albums/", ""))
	store.noPut, store.noDrop = false, true
	token := w.RPT(h, "GET", "/albums/", "photoz", "view")
	if answer := world.Send(h, "GET", "/albums/", token); !world.Served(answer) {
		t.Errorf("with an id that is kept: %d %s", answer.Code, answer.Body)
	}
	for _, r := range w.Resources("photoz") { // the id is stale, and cannot be dropped
		w.ForgetResource(r.ID)
	}
	world.WantTrouble(t, world.Send(h, "GET", "/albums/", ""))
	if err := rs.Deregister(t.Context(), world.Albums); gatehouse.ErrorCode(err) != "resource_ids_unavailable" {
		t.Errorf("Deregister: %v", err)
	}
}
