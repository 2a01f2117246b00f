package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/stories"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/session"
)

func TestLiveConnectionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { stories.LiveConnectionsEnd(t, stories.InMemory) })
}

// liveSite has a page /live, two replicas and a watched store.
func liveSite(t *testing.T, change ...func(*world.SiteOptions)) (*world.Site, *stories.Streams) {
	t.Helper()
	streams := &stories.Streams{}
	return world.NewSite(t, append(change, world.TwoReplicas, world.Watched, streams.Mount)...), streams
}

// Every kind of end reaches a connection on either replica within five seconds,
// whenever it comes.
func TestLiveEndsWithinFiveSeconds(t *testing.T) {
	const lifetime, idle = time.Hour, 20 * time.Minute
	ctx := context.Background()
	for name, end := range map[string]func(s *world.Site, ana *world.Visitor){
		"sign-out": func(_ *world.Site, ana *world.Visitor) { ana.Post("/auth/logout", nil) },
		"Revoke": func(s *world.Site, _ *world.Visitor) {
			list, err := s.Replicas[world.ReplicaA].Sessions.List(ctx, world.SiteIssuer, "ana-1")
			s.Must(err)
			s.Must(s.Replicas[world.ReplicaA].Sessions.Revoke(ctx, world.SiteIssuer, "ana-1", list[0].ID))
		},
		"RevokeAll": func(s *world.Site, _ *world.Visitor) {
			s.Must(s.Replicas[world.ReplicaA].Sessions.RevokeAll(ctx, world.SiteIssuer, "ana-1"))
		},
		"sign-in in the same browser": func(_ *world.Site, ana *world.Visitor) { ana.Get(ana.ToCallback("/auth/login")) },
		"back channel, sub": func(s *world.Site, _ *world.Visitor) {
			stories.LogOut(s, world.ReplicaA, stories.LogoutToken(s, map[string]any{"sub": "ana-1"}))
		},
		"back channel, sid": func(s *world.Site, ana *world.Visitor) {
			stories.LogOut(s, world.ReplicaB, stories.LogoutToken(s, map[string]any{"sid": ana.Get("/sid").Body.String()}))
		},
		"front channel": func(s *world.Site, ana *world.Visitor) {
			query := url.Values{"iss": {world.SiteIssuer}, "sid": {ana.Get("/sid").Body.String()}}
			s.Visitor("").Get("/auth/frontchannel-logout?" + query.Encode())
		},
		"idle limit": func(s *world.Site, _ *world.Visitor) { s.Advance(idle) },
		"absolute limit": func(s *world.Site, ana *world.Visitor) {
			for range 4 {
				s.Advance(lifetime / 4)
				ana.Get("/notes/")
			}
		},
		"a record that nobody can read": func(s *world.Site, ana *world.Visitor) {
			stories.Overwrite(s, stories.RecordKey(t, s, ana), func([]byte) []byte { return []byte("garbage") })
		},
		"a record that is gone": func(s *world.Site, ana *world.Visitor) {
			s.Must(s.Store.DeleteCtx(ctx, stories.RecordKey(t, s, ana)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, streams := liveSite(t, world.Limits(lifetime, idle))
				ana, ben := s.Visitor("ana"), s.Visitor("ben")
				ana.SignIn()
				ben.SignIn()
				other := streams.Open(ben, "/live")
				a := streams.Open(ana.On(world.ReplicaA), "/live")
				time.Sleep(1300 * time.Millisecond) // the replicas do not read together
				b := streams.Open(ana.On(world.ReplicaB), "/live/maybe")
				time.Sleep(time.Minute)
				if err := errors.Join(a.Err(), b.Err()); err != nil {
					t.Fatalf("the session lives, but %v, %v", context.Cause(a), context.Cause(b))
				}
				end(s, ana)
				begin := time.Now()
				for at, c := range []context.Context{a, b} {
					<-c.Done()
					if took := time.Since(begin); took > 5*time.Second {
						t.Errorf("replica %d: it took %v", at, took)
					}
					err, ok := errors.AsType[*gatehouse.Error](context.Cause(c))
					if !ok || err.Code != gatehouse.CodeLoginRequired || err.Err == nil {
						t.Errorf("replica %d: cause %v", at, context.Cause(c))
					}
				}
				if name != "idle limit" && name != "absolute limit" && other.Err() != nil {
					t.Errorf("the connection of somebody else ended too: %v", context.Cause(other))
				}
			})
		})
	}
}

// One read in an interval serves all connections of up to 64 sessions. It does
// not count as use, and writes nothing. When the last connection is gone, nothing
// is read any more.
func TestLiveReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, streams := liveSite(t)
		ana, ben := s.Visitor("ana"), s.Visitor("ben")
		ana.SignIn()
		ben.SignIn()
		var all []context.Context
		for range 50 {
			all = append(all, streams.Open(ana, "/live"), streams.Open(ben, "/live"))
		}
		s.Watched().Counts()
		const intervals = 100
		time.Sleep(intervals * 2 * time.Second)
		if reads, writes := s.Watched().Counts(); reads > intervals+1 || reads < intervals-1 || writes != 0 {
			t.Errorf("%d reads and %d writes in %d intervals, want one read in each", reads, writes, intervals)
		}
		for _, b := range []*world.Visitor{ana, ben} {
			b.Post("/auth/logout", nil)
		}
		for _, c := range all {
			<-c.Done()
		}
		s.Watched().Counts()
		time.Sleep(time.Minute)
		if reads, _ := s.Watched().Counts(); reads != 0 {
			t.Errorf("%d reads after the last connection has ended", reads)
		}
	})
}

// FA6: while the store fails or hangs nobody can tell. A connection goes on for
// some seconds, and then ends with the trouble and not as signed out. If the store
// comes back before, it goes on, and ends if the session has.
func TestFA6_LiveWithoutTheStore(t *testing.T) {
	for _, hang := range []bool{false, true} {
		t.Run(fmt.Sprintf("hang %v", hang), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, streams := liveSite(t)
				ana := s.Visitor("ana")
				ana.SignIn()
				a, b := streams.Open(ana.On(world.ReplicaA), "/live"), streams.Open(ana.On(world.ReplicaB), "/live")
				down := func() { s.Watched().Fail(errors.New("connection refused"), hang) }
				down()
				time.Sleep(12 * time.Second)
				s.Watched().Fail(nil, false)
				time.Sleep(3 * time.Second)
				if err := errors.Join(a.Err(), b.Err()); err != nil {
					t.Fatalf("after 12 s of trouble: %v, %v", context.Cause(a), context.Cause(b))
				}
				down()
				begin := time.Now()
				for _, c := range []context.Context{a, b} {
					<-c.Done()
					if took, code := time.Since(begin), gatehouse.ErrorCode(context.Cause(c)); took < 12*time.Second || took > 20*time.Second || code != gatehouse.CodeStoreUnavailable {
						t.Errorf("after %v, cause %v", took, context.Cause(c))
					}
				}
				s.Watched().Fail(nil, false)
				ana.WantServed(ana.Get("/notes/")) // nobody was signed out
			})
		})
	}
}

// A session whose time is over has ended even while the store is away.
func TestLiveLimitWithoutTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, streams := liveSite(t, world.Limits(time.Hour, -1))
		ana := s.Visitor("ana")
		ana.SignIn()
		c := streams.Open(ana, "/live")
		s.Watched().Fail(errors.New("connection refused"), false)
		s.Advance(time.Hour)
		begin := time.Now()
		<-c.Done()
		if took := time.Since(begin); took > 5*time.Second || gatehouse.ErrorCode(context.Cause(c)) != gatehouse.CodeLoginRequired {
			t.Errorf("after %v: %v", took, context.Cause(c))
		}
	})
}

// A store that panics counts as one that fails, and is reported.
func TestRL8_LiveStorePanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, streams := liveSite(t)
		ana := s.Visitor("ana")
		ana.SignIn()
		c := streams.Open(ana, "/live")
		s.Watched().Between(func(string, string) { panic("the store panicked") })
		<-c.Done()
		s.Watched().Between(nil)
		if code := gatehouse.ErrorCode(context.Cause(c)); code != "internal" {
			t.Errorf("cause %v", context.Cause(c))
		}
		if len(s.EventsOf(gatehouse.EventPanic)) == 0 {
			t.Error("the panic was not reported")
		}
	})
}

// Shutdown ends connections, and a connection that begins afterwards.
func TestLiveShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, streams := liveSite(t)
		ana := s.Visitor("ana")
		ana.SignIn()
		a, b := streams.Open(ana.On(world.ReplicaA), "/live"), streams.Open(ana.On(world.ReplicaB), "/live")
		s.Shutdown(world.ReplicaA)
		for _, c := range []context.Context{a, streams.Open(ana.On(world.ReplicaA), "/live")} {
			<-c.Done()
			if code := gatehouse.ErrorCode(context.Cause(c)); code != gatehouse.CodeShuttingDown {
				t.Errorf("cause %v", context.Cause(c))
			}
		}
		time.Sleep(time.Minute)
		if b.Err() != nil {
			t.Errorf("the connection of the other replica ended too: %v", context.Cause(b))
		}
	})
}

// Without an identity Live returns the context itself. An identity of a test
// ends at its Expires. A context that ends by itself has its own cause.
func TestLiveIdentities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		nobody := gatehouse.WithIdentity(ctx, nil)
		if gatehouse.Live(ctx) != ctx || gatehouse.Live(nobody) != nobody {
			t.Error("a context without an identity was changed")
		}
		for via, code := range map[gatehouse.Via]string{gatehouse.ViaSession: gatehouse.CodeLoginRequired, gatehouse.ViaToken: gatehouse.CodeTokenInvalid, "custom": gatehouse.CodeTokenInvalid} {
			with := gatehouse.WithIdentity(ctx, &gatehouse.Identity{Subject: "ana", Via: via, Expires: time.Now().Add(time.Minute)})
			begin, c := time.Now(), gatehouse.Live(with)
			<-c.Done()
			if took := time.Since(begin); took != time.Minute || gatehouse.ErrorCode(context.Cause(c)) != code || gatehouse.IdentityFrom(c).Subject != "ana" {
				t.Errorf("%s: after %v, cause %v", via, took, context.Cause(c))
			}
		}
		own := errors.New("the handler's own")
		with, cancel := context.WithCancelCause(gatehouse.WithIdentity(ctx, &gatehouse.Identity{Expires: time.Now().Add(time.Hour)}))
		c := gatehouse.Live(with)
		cancel(own)
		<-c.Done()
		if context.Cause(c) != own {
			t.Errorf("cause %v", context.Cause(c))
		}
	})
}

// oneBad is a store that has trouble with one key, as Redis with one of another
// type, or a cluster with one node that hangs.
type oneBad struct {
	gatehouse.Store
	key    atomic.Pointer[string]
	hang   bool
	panics bool // when it is asked about one login alone
}

func (s *oneBad) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	if bad := s.key.Load(); bad == nil || !slices.Contains(keys, *bad) {
		return s.Store.FindManyCtx(ctx, keys)
	}
	if s.panics && len(keys) == session.LoginKeys {
		panic("the store panicked")
	}
	if s.hang {
		<-ctx.Done()
	}
	return nil, errors.New("WRONGTYPE")
}

// FA6: trouble with one session is its own. The others that are read together with
// it live on, and end within five seconds.
func TestFA6_LiveBesideABadSession(t *testing.T) {
	for _, hang := range []bool{false, true} {
		t.Run(fmt.Sprintf("hang %v", hang), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &oneBad{Store: gatehouse.NewMemoryStore(time.Now), hang: hang}
				s, streams := liveSite(t, func(o *world.SiteOptions) { o.Store = store })
				ana, ben, other := s.Visitor("ana"), s.Visitor("ben"), s.Visitor("ben")
				for _, b := range []*world.Visitor{ana, ben, other} {
					b.SignIn()
				}
				bad, good, lives := streams.Open(ana, "/live"), streams.Open(ben, "/live"), streams.Open(other, "/live")
				key := stories.RecordKey(t, s, ana)
				store.key.Store(&key)
				ben.Post("/auth/logout", nil)
				begin := time.Now()
				<-good.Done()
				if took := time.Since(begin); took > 5*time.Second || gatehouse.ErrorCode(context.Cause(good)) != gatehouse.CodeLoginRequired {
					t.Errorf("after %v: %v", took, context.Cause(good))
				}
				<-bad.Done()
				if took, code := time.Since(begin), gatehouse.ErrorCode(context.Cause(bad)); took < 12*time.Second || code != gatehouse.CodeStoreUnavailable {
					t.Errorf("after %v: %v", took, context.Cause(bad))
				}
				time.Sleep(time.Minute)
				if lives.Err() != nil {
					t.Errorf("the session that nobody has touched: %v", context.Cause(lives))
				}
			})
		})
	}
}

// slowStore takes its time for every read.
type slowStore struct {
	gatehouse.Store
	takes atomic.Int64 // nanoseconds
	reads atomic.Int64
}

func (s *slowStore) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	s.reads.Add(1)
	select {
	case <-time.After(time.Duration(s.takes.Load())):
		return s.Store.FindManyCtx(ctx, keys)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A store that is slow but serves requests in time serves connections too, with one
// read in an interval.
func TestLiveOnASlowStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slowStore{Store: gatehouse.NewMemoryStore(time.Now)}
		s, streams := liveSite(t, func(o *world.SiteOptions) { o.Store = store })
		var open []context.Context
		for _, name := range []string{"ana", "ben", "ben"} {
			b := s.Visitor(name)
			b.SignIn()
			open = append(open, streams.Open(b, "/live"))
		}
		for _, takes := range []time.Duration{400 * time.Millisecond, 800 * time.Millisecond} {
			store.takes.Store(int64(takes))
			time.Sleep(4 * time.Second)
			store.reads.Store(0)
			const intervals = 30
			time.Sleep(intervals * 2 * time.Second)
			if n := store.reads.Load(); n > intervals+1 {
				t.Errorf("%v: %d reads in %d intervals", takes, n, intervals)
			}
			for i, c := range open {
				if c.Err() != nil {
					t.Errorf("%v: connection %d: %v", takes, i, context.Cause(c))
				}
			}
		}
		store.takes.Store(int64(time.Hour)) // and back: they are read together again
		time.Sleep(6 * time.Second)
		store.takes.Store(0)
		time.Sleep(6 * time.Second)
		store.reads.Store(0)
		time.Sleep(20 * time.Second)
		if n := store.reads.Load(); n > 11 {
			t.Errorf("%d reads in 10 intervals", n)
		}
	})
}

// A panic of the store ends nothing but what was read with it.
func TestRL8_LiveStorePanicsBesideOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &oneBad{Store: gatehouse.NewMemoryStore(time.Now), panics: true}
		s, streams := liveSite(t, func(o *world.SiteOptions) { o.Store = store })
		ana, ben := s.Visitor("ana"), s.Visitor("ben")
		ana.SignIn()
		ben.SignIn()
		both := []context.Context{streams.Open(ana, "/live"), streams.Open(ben, "/live")}
		key := stories.RecordKey(t, s, ana)
		store.key.Store(&key)
		for _, c := range both {
			<-c.Done()
			if code := gatehouse.ErrorCode(context.Cause(c)); code != "internal" {
				t.Errorf("cause %v", context.Cause(c))
			}
		}
		if len(s.EventsOf(gatehouse.EventPanic)) == 0 {
			t.Error("the panic was not reported")
		}
	})
}
