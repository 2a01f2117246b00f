package stories

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// sidOf tells the sid of the session.
var sidOf = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, gatehouse.IdentityFrom(r.Context()).ClaimString("sid"))
})

// Streams are the connections to the page /live of a site: a handler that goes on
// until its context of gatehouse.Live ends.
type Streams struct {
	mu     sync.Mutex
	opened map[string]chan context.Context // by the number that the request brings
}

// Mount puts the page on a site. Behind /live/maybe, nobody has to be signed in.
func (st *Streams) Mount(o *world.SiteOptions) {
	o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
		mux.Handle("/live", login.RequireLogin(st))
		mux.Handle("/live/maybe", login.OptionalLogin(st))
		mux.Handle("/sid", login.RequireLogin(sidOf))
	}
}

// ServeHTTP implements http.Handler.
func (st *Streams) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	ctx := gatehouse.Live(r.Context())
	st.mu.Lock()
	opened := st.opened[r.URL.Query().Get("n")]
	st.mu.Unlock()
	opened <- ctx
	<-ctx.Done()
}

// Open opens a connection in the name of a visitor. It goes on until the context
// that it returns has ended.
func (st *Streams) Open(b *world.Visitor, path string) context.Context {
	b.Site.T.Helper()
	st.mu.Lock()
	if st.opened == nil {
		st.opened = map[string]chan context.Context{}
	}
	n := fmt.Sprint(len(st.opened))
	opened := make(chan context.Context, 1)
	st.opened[n] = opened
	st.mu.Unlock()
	refused := make(chan *world.Page, 1)
	go func() { refused <- b.Get(path + "?n=" + n) }()
	select {
	case ctx := <-opened:
		return ctx
	case a := <-refused:
		b.Site.T.Fatalf("%s: %v", path, a)
		return nil
	}
}

// liveDeadline only catches what never ends. That a context ends within five
// seconds is tested on virtual time.
const liveDeadline = time.Minute

func wantEnd(t testing.TB, what string, ctx context.Context, code string) {
	t.Helper()
	select {
	case <-ctx.Done():
		if err := context.Cause(ctx); gatehouse.ErrorCode(err) != code {
			t.Errorf("%s: cause %v, want %q", what, err, code)
		}
	case <-time.After(liveDeadline):
		t.Errorf("%s: the connection goes on", what)
	}
}

// LiveConnectionsEnd: a connection ends on every replica when its session does,
// however that ended, and no other connection does.
func LiveConnectionsEnd(t *testing.T, on On) {
	streams := &Streams{}
	s := world.NewSite(t, on, world.TwoReplicas, world.Limits(time.Hour, 20*time.Minute), streams.Mount)
	visitors, open := map[string]*world.Visitor{}, map[string][2]context.Context{}
	for _, name := range []string{"signs out", "is revoked", "signs in again", "stays", "ben"} {
		user := "ana"
		if name == "ben" {
			user = name
		}
		b := s.Visitor(user)
		b.SignIn()
		visitors[name], open[name] = b, [2]context.Context{streams.Open(b.On(world.ReplicaA), "/live"), streams.Open(b.On(world.ReplicaB), "/live")}
		s.Advance(time.Second)
	}
	ctx, sessions := context.Background(), s.Replicas[world.ReplicaB].Sessions
	list, err := sessions.List(ctx, world.SiteIssuer, "ana-1")
	if err != nil || len(list) != 4 {
		t.Fatalf("%d sessions, %v", len(list), err)
	}
	s.Must(sessions.Revoke(ctx, world.SiteIssuer, "ana-1", list[2].ID)) // newest first
	s.Must(sessions.RevokeAll(ctx, world.SiteIssuer, "ben-1"))
	visitors["signs out"].Post("/auth/logout", nil)
	visitors["signs in again"].Get(visitors["signs in again"].ToCallback("/auth/login"))
	for name, both := range open {
		if name == "stays" {
			continue
		}
		for at, one := range both {
			wantEnd(t, fmt.Sprintf("%s, replica %d", name, at), one, gatehouse.CodeLoginRequired)
		}
	}
	for at, one := range open["stays"] {
		if one.Err() != nil {
			t.Errorf("replica %d: the connection of a live session ended: %v", at, context.Cause(one))
		}
	}
	s.Advance(21 * time.Minute)
	for at, one := range open["stays"] {
		wantEnd(t, fmt.Sprintf("unused, replica %d", at), one, gatehouse.CodeLoginRequired)
	}
}
