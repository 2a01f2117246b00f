package bench

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"

	"example.com/gatehouse/bench/paired"
)

// The subjects of a signed-in request.
const (
	withIdle    = "gatehouse"
	withoutIdle = "gatehouse without idle limit"
	scsGob      = "scs + memstore + gob"
	decodedMap  = "decoded session in a map"
)

// The subjects of a request without a session.
const (
	optional = "OptionalLogin without cookie"
	bare     = "bare handler with a context value"
)

// maxSignedInAllocs is stated in the README too.
const maxSignedInAllocs = 12

func sessionLimits() []paired.Limit {
	return []paired.Limit{
		{Subject: withIdle, Peer: scsGob, AtMost: 0.12},
		{Subject: withIdle, Peer: decodedMap, AtMost: 3},
		{Subject: withIdle, Peer: withoutIdle, AtMost: 1.1},
	}
}

func optionalLimits() []paired.Limit {
	return []paired.Limit{{Subject: optional, Peer: bare, AtMost: 2}}
}

// sessionSubjects have the same people signed in.
func sessionSubjects(t *testing.T, s *site) []*subject {
	own := requests(people, func(i int) string { return s.signedIn[i].cookie })
	return []*subject{
		newSubject(withIdle, s.login.RequireLogin, own),
		newSubject(withoutIdle, s.endless.RequireLogin, own),
		scsSubject(t, s),
		mapSubject(s),
	}
}

// optionalSubjects let every request pass.
func optionalSubjects(s *site) []*subject {
	unknown := requests(people, func(int) string { return "" })
	return []*subject{newSubject(optional, s.login.OptionalLogin, unknown), newSubject(bare, bareValue, unknown)}
}

// scsSubject keeps tokens and claims in sessions of scs with its defaults.
func scsSubject(t *testing.T, s *site) *subject {
	return scsSubjectOn(t, s, scsGob, memstore.NewWithCleanupInterval(0)) // without its goroutine
}

func scsSubjectOn(t *testing.T, s *site, name string, store scs.Store) *subject {
	t.Helper()
	manager := scs.New()
	manager.Store = store
	cookies := make([]string, 0, people)
	for _, p := range s.signedIn {
		ctx, err := manager.Load(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		manager.Put(ctx, "subject", p.name)
		manager.Put(ctx, "claims", string(p.claims))
		manager.Put(ctx, "access_token", p.tokens.Access)
		manager.Put(ctx, "refresh_token", p.tokens.Refresh)
		manager.Put(ctx, "id_token", p.tokens.ID)
		manager.Put(ctx, "expires", time.Now().Unix()+p.tokens.Expires)
		token, _, err := manager.Commit(ctx)
		if err != nil {
			t.Fatal(err)
		}
		cookies = append(cookies, manager.Cookie.Name+"="+token)
	}
	return newSubject(name, manager.LoadAndSave, requests(people, func(i int) string { return cookies[i] }))
}

// decoded is a session that is never encoded.
type decoded struct {
	person  *person
	expires time.Time
}

type decodedKey struct{}

// mapSubject is the least that a session can cost: read the cookie, look it up,
// pass it on. Nothing in it expires, is shared or stored.
func mapSubject(s *site) *subject {
	var mu sync.RWMutex
	const name = "session"
	sessions := map[string]*decoded{}
	for _, p := range s.signedIn {
		sessions[p.tokens.Access] = &decoded{p, time.Now().Add(time.Hour)}
	}
	return newSubject(decodedMap, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			cookie, err := r.Cookie(name)
			if err != nil {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			mu.RLock()
			session := sessions[cookie.Value]
			mu.RUnlock()
			if session == nil {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), decodedKey{}, session)))
		})
	}, requests(people, func(i int) string { return name + "=" + s.signedIn[i].tokens.Access }))
}

// bareValue passes a value on, as any middleware does.
func bareValue(next http.Handler) http.Handler {
	nobody := new(decoded)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), decodedKey{}, nobody)))
	})
}
