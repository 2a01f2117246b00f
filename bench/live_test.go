package bench

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/bench/paired"
	"example.com/gatehouse/internal/live"
	"example.com/gatehouse/internal/memstore"
	"example.com/gatehouse/internal/session"
)

// The subjects of a look at 64 sessions with open connections: what a process
// does once in two seconds.
const (
	lookMemory = "Live looks at 64 sessions, in memory"
	lookStore  = "Live looks at 64 sessions, any store"
	bareFind   = "FindManyCtx of the same 192 keys"
)

func liveLimits() []paired.Limit {
	return []paired.Limit{{Subject: lookMemory, Peer: bareFind, AtMost: 1}, {Subject: lookStore, Peer: bareFind, AtMost: 2}}
}

// These limits are stated in the README too.
const (
	maxLiveMicros  = 20   // of the processor for a session and interval, all in all
	maxLiveBytes   = 1050 // of the heap for a connection of a session that has others
	maxLiveSession = 2000 // for the first connection of a session
)

// watchedSessions is how many sessions are read together: liveBatch.
const watchedSessions = 64

// copying hides that a store can show its values without a copy.
type copying struct{ session.Store }

func liveSubjects(t *testing.T) []paired.Subject {
	t.Helper()
	store := memstore.NewStore(time.Now)
	var asked []string
	look := func(name string, of session.Store) paired.Subject {
		keeper := session.New(session.Config{Store: of, Name: name, Lifetime: time.Hour, Idle: time.Hour, Now: time.Now})
		var logins []*session.Watch
		for i := range watchedSessions {
			logins = append(logins, watchOf(keeper, glanceOf(t, keeper, name, i)))
		}
		return paired.Loop(name, func() {
			for _, err := range keeper.Pulse(t.Context(), logins) {
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	memory, any := look(lookMemory, store), look(lookStore, noting{copying{store}, &asked})
	any.Run(new(paired.Watch), 1) // notes the keys
	keys := asked
	return []paired.Subject{memory, any, paired.Loop(bareFind, func() {
		if values, err := store.FindManyCtx(t.Context(), keys); err != nil || len(values) != watchedSessions*session.LoginKeys {
			t.Errorf("%d values, %v", len(values), err)
		}
	})}
}

// noting keeps the keys of the last read.
type noting struct {
	session.Store
	keys *[]string
}

func (n noting) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	*n.keys = keys
	return n.Store.FindManyCtx(ctx, keys)
}

// glanceOf signs somebody in whose record has an ordinary size.
func glanceOf(t *testing.T, keeper *session.Keeper, home string, i int) *session.Glance {
	t.Helper()
	now, ctx := time.Now(), t.Context()
	r := &session.Record{
		Issuer: "https://op.example.org/realm", Subject: fmt.Sprintf("person-%03d", i), ClientID: "notes", SID: fmt.Sprint("sid-", i),
		Begin: now, Seen: now, Claims: []byte(strings.Repeat("c", 700)), Scope: "openid profile email",
		Access: session.Token(strings.Repeat("a", 700)), Refresh: session.Token(strings.Repeat("r", 100)), IDToken: session.Token(strings.Repeat("i", 900)),
		Expires: now.Add(time.Hour), Requested: now,
	}
	r.Marks = session.MarksOf(r.Issuer, r.Subject, r.SID)
	if _, err := keeper.ReadMarks(ctx, r, now, func(session.Mark) bool { return true }); err != nil {
		t.Fatal(err)
	}
	ref := session.NewRef(home, session.NewID(), r.Marks)
	if err := keeper.Create(ctx, ref, r, now); err != nil {
		t.Fatal(err)
	}
	g := new(session.Glance)
	if err := keeper.Glance(ctx, home, ref.Cookie(), session.Party{Issuer: r.Issuer, ClientID: r.ClientID}, g); err != nil {
		t.Fatal(err)
	}
	return g
}

func watchOf(keeper *session.Keeper, g *session.Glance) *session.Watch {
	return keeper.NewWatch(&g.Found, session.Party{Issuer: g.Issuer, ClientID: g.ClientID})
}

// connections opens n connections in turn for as many sessions as of, and returns
// how many bytes of the heap each holds beside the context of its request.
func connections(t *testing.T, n, of int) float64 {
	t.Helper()
	keeper := session.New(session.Config{Store: memstore.NewStore(time.Now), Name: "n", Lifetime: time.Hour, Idle: time.Hour, Now: time.Now})
	hub := live.NewHub(live.Config[*session.Watch]{
		Every: time.Hour, Limit: time.Second, Trust: time.Hour, Batch: watchedSessions,
		Judge: func(context.Context, []*session.Watch) []live.Verdict { return nil },
	})
	var logins []*session.Glance
	for i := range of {
		logins = append(logins, glanceOf(t, keeper, "n", i))
	}
	requests := make([]context.Context, n)
	for i := range requests {
		ctx, cancel := context.WithCancel(t.Context())
		requests[i] = ctx
		defer cancel()
	}
	opened := make([]context.Context, n)
	before := heap()
	for i, ctx := range requests {
		g := logins[i%of]
		opened[i] = hub.Watch(ctx, g.Key(), watchOf(keeper, g))
	}
	grown := heap() - before
	runtime.KeepAlive(opened)
	runtime.KeepAlive(requests)
	runtime.KeepAlive(logins)
	runtime.KeepAlive(hub)
	runtime.KeepAlive(keeper)
	return float64(grown) / float64(n)
}
