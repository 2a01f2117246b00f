package registration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse/internal/registration"
	"example.com/gatehouse/internal/seal"
	"example.com/gatehouse/internal/swap"
	"example.com/gatehouse/internal/testkit/orders"
)

const name = "https://as.example.org shop"

func box(t testing.TB, keys ...byte) registration.Box {
	t.Helper()
	if len(keys) == 0 {
		return registration.Box{}
	}
	var all [][]byte
	for _, k := range keys {
		all = append(all, bytes.Repeat([]byte{k}, seal.MinKey))
	}
	ring, err := seal.NewRing(all...)
	if err != nil {
		t.Fatal(err)
	}
	return registration.Box{Keys: ring}
}

// shared is one value that replicas share. Each call is a step of a schedule.
type shared struct {
	*orders.Schedule
	mu   sync.Mutex
	raw  []byte
	down error // of every call, if set
}

func newShared(faults int) *shared { return &shared{Schedule: orders.New(faults)} }

func (s *shared) Find(ctx context.Context) ([]byte, error) {
	if s.Ask(ctx) != orders.Works {
		return nil, orders.ErrTrouble
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.raw, s.down
}

func (s *shared) Swap(ctx context.Context, old []byte, next swap.Value) (bool, error) {
	fate := s.Ask(ctx)
	if fate == orders.Fails {
		return false, orders.ErrTrouble
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		return false, s.down
	}
	if !swap.Same(s.raw, old) {
		return swap.Same(s.raw, next.Bytes), nil
	}
	s.raw = next.Bytes
	if fate == orders.LostReply {
		return false, orders.ErrTrouble
	}
	return true, nil
}

// provider registers clients. It never has two calls at once in a flight of one
// name, which is what the lease is for.
type provider struct {
	s  *shared
	mu sync.Mutex

	metadata  map[string]json.RawMessage
	life      time.Duration // of secrets; 0 for ever
	renews    bool          // a read gives a new secret when the old one is near its end
	updates   bool          // an update gives one
	unmanaged bool
	spoil     func(answer map[string]any)
	fails     error // of every call
	hang      chan struct{}

	next    int
	clients map[string]map[string]any
	calls   map[string]int
	tries   []time.Time
	within  int
	most    int
}

func newProvider(s *shared) *provider {
	return &provider{s: s, clients: map[string]map[string]any{}, calls: map[string]int{}, metadata: map[string]json.RawMessage{
		"redirect_uris":              json.RawMessage(`["https://site.example.org/cb"]`),
		"response_types":             json.RawMessage(`["code"]`),
		"grant_types":                json.RawMessage(`["authorization_code","refresh_token"]`),
		"token_endpoint_auth_method": json.RawMessage(`"client_secret_basic"`),
		"scope":                      json.RawMessage(`"openid email"`),
	}}
}

func (p *provider) Ask(context.Context) (registration.Ask, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	text, err := json.Marshal(p.metadata)
	return registration.Ask{
		Members: maps.Clone(p.metadata), Digest: string(text),
		Can:      func(m string) bool { return m == "client_secret_basic" || m == "client_secret_post" || m == "none" },
		Verifies: func(alg string) bool { return alg == "RS256" },
		Trusts:   func(address string) bool { return bytes.HasPrefix([]byte(address), []byte("https://as.example.org/")) },
	}, err
}

// call makes one call. f makes the change and returns the answer.
func (p *provider) call(ctx context.Context, what string, f func() (map[string]any, error)) ([]byte, error) {
	p.mu.Lock()
	p.calls[what]++
	if what == "register" {
		p.tries = append(p.tries, time.Now())
	}
	p.within++
	p.most = max(p.most, p.within)
	hang := p.hang
	p.mu.Unlock()
	defer func() { p.mu.Lock(); p.within--; p.mu.Unlock() }()
	fate := p.s.Ask(ctx)
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return nil, &registration.Failure{Err: ctx.Err(), Unknown: true}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fails != nil {
		return nil, p.fails
	}
	if fate == orders.Fails {
		return nil, &registration.Failure{Err: orders.ErrTrouble}
	}
	answer, err := f()
	if err != nil {
		return nil, err
	}
	if fate == orders.LostReply {
		return nil, &registration.Failure{Err: orders.ErrTrouble, Unknown: true}
	}
	if p.spoil != nil && what != "delete" {
		answer = maps.Clone(answer)
		p.spoil(answer)
	}
	body, err := json.Marshal(answer)
	return body, err
}

func (p *provider) secret(c map[string]any) {
	c["client_secret"] = fmt.Sprintf("%s-secret-%d", c["client_id"], p.next)
	p.next++
	c["client_secret_expires_at"] = 0
	if p.life > 0 {
		c["client_secret_expires_at"] = time.Now().Add(p.life).Unix()
	}
}

func (p *provider) Register(ctx context.Context, a registration.Ask) ([]byte, error) {
	return p.call(ctx, "register", func() (map[string]any, error) {
		p.next++
		id := fmt.Sprintf("c%d", p.next)
		c := map[string]any{"client_id": id}
		for name, value := range a.Members {
			c[name] = value
		}
		if !p.unmanaged {
			c["registration_client_uri"] = "https://as.example.org/reg/" + id
			c["registration_access_token"] = "token-" + id
		}
		p.secret(c)
		p.clients[id] = c
		return c, nil
	})
}

func (p *provider) find(c registration.Client) (map[string]any, error) {
	had := p.clients[strings.TrimPrefix(c.Manage, "https://as.example.org/reg/")]
	if had == nil || had["registration_access_token"] != c.Token {
		return nil, &registration.Failure{Err: errors.New("status 401"), Gone: true, Lasting: true}
	}
	return had, nil
}

func (p *provider) Read(ctx context.Context, c registration.Client) ([]byte, error) {
	return p.call(ctx, "read", func() (map[string]any, error) {
		had, err := p.find(c)
		if err == nil && p.renews {
			p.secret(had)
		}
		return had, err
	})
}

func (p *provider) Update(ctx context.Context, c registration.Client, a registration.Ask) ([]byte, error) {
	return p.call(ctx, "update", func() (map[string]any, error) {
		had, err := p.find(c)
		if err == nil {
			for name, value := range a.Members {
				had[name] = value
			}
			if p.updates {
				p.secret(had)
			}
		}
		return had, err
	})
}

func (p *provider) Delete(ctx context.Context, c registration.Client) error {
	_, err := p.call(ctx, "delete", func() (map[string]any, error) {
		if had, err := p.find(c); err == nil {
			delete(p.clients, had["client_id"].(string))
		}
		return nil, nil
	})
	return err
}

// replica is one process.
type replica struct {
	*registration.Party
	mu    sync.Mutex
	notes []registration.Note
}

func newReplica(t testing.TB, s *shared, p *provider, keys ...byte) *replica {
	r := &replica{}
	r.Party = &registration.Party{Cell: s, Box: box(t, keys...), Name: name, Server: p, Now: time.Now, Tell: func(_ context.Context, n registration.Note) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.notes = append(r.notes, n)
	}}
	return r
}

// told returns the ids of the clients that were told with a word.
func (r *replica) told(word registration.Word) (ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.notes {
		if n.Word == word {
			ids = append(ids, n.Client)
		}
	}
	return ids
}

func current(t testing.TB, rec registration.Record, err error) registration.Client {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	c := rec.Current(time.Now())
	if c == nil {
		t.Fatalf("no client serves: %v", rec)
	}
	return *c
}
