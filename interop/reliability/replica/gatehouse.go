package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/reliability/site"
	"example.com/gatehouse/redisstore"
)

// guarded is the site made with gatehouse.
type guarded struct {
	http.Handler
	sessions *gatehouse.Sessions
	parts    []interface{ Shutdown(context.Context) error }
	asked    *times
	lines    []*http.Transport // to the providers
}

func newGatehouse(ctx context.Context, c site.Config, held *holds) (application, error) {
	store, err := openStore(ctx, c)
	if err != nil {
		return nil, err
	}
	g := &guarded{asked: &times{}}
	mux := http.NewServeMux()
	g.Handler = mux
	providers := map[string]*gatehouse.Provider{}
	for _, one := range c.Relying {
		provider := providers[one.Issuer]
		if provider == nil {
			line := http.DefaultTransport.(*http.Transport).Clone()
			g.lines = append(g.lines, line)
			provider, err = gatehouse.NewProvider(one.Issuer, &gatehouse.ProviderConfig{
				Transport: noted{line, g.asked},
				Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
			})
			if err != nil {
				return nil, err
			}
			providers[one.Issuer] = provider
		}
		if err := g.add(mux, provider, store, c, one, held); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// add mounts one relying party, and the API of its provider.
func (g *guarded) add(mux *http.ServeMux, p *gatehouse.Provider, store gatehouse.Store, c site.Config, one site.Relying, held *holds) error {
	sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{
		Store: store, Keys: []gatehouse.Secret{gatehouse.NewSecret(c.Key)}, Name: one.Name, IdleTimeout: c.Idle,
	})
	if err != nil {
		return err
	}
	us := gatehouse.Client{ID: site.ClientID, Secret: gatehouse.NewSecret(site.ClientSecret)}
	login, err := gatehouse.NewRelyingParty(p, gatehouse.RelyingPartyConfig{
		Client: us, RedirectURL: site.Public + one.Path + site.Callback, Sessions: sessions, SkipUserInfo: true,
		HomeURL: one.Path + site.Page,
	})
	if err != nil {
		return err
	}
	if g.sessions == nil {
		g.sessions = sessions
	}
	g.parts = append(g.parts, sessions)
	page := func(w http.ResponseWriter, r *http.Request) { greet(w, gatehouse.IdentityFrom(r.Context()).Subject) }
	mux.Handle(one.Path+"/auth/", login.Handler())
	mux.Handle("GET "+one.Path+site.Page, login.RequireLogin(http.HandlerFunc(page)))
	mux.Handle("GET "+one.Path+site.Hold, login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		held.wait(r)
		page(w, r)
	})))
	if !c.API {
		return nil
	}
	api, err := gatehouse.NewResourceServer(p, gatehouse.ResourceServerConfig{Client: us, Audience: []string{site.Audience}})
	if err != nil {
		return err
	}
	lax, err := gatehouse.NewResourceServer(p, gatehouse.ResourceServerConfig{Client: us, InsecureAnyAudience: true})
	if err != nil {
		return err
	}
	g.parts = append(g.parts, api, lax)
	album := gatehouse.Resource{Name: "album", Scopes: []string{"view"}}
	mux.Handle("GET "+one.Path+site.JWT, api.RequireToken(http.HandlerFunc(page)))
	mux.Handle("GET "+one.Path+site.Opaque, lax.RequireToken(http.HandlerFunc(page)))
	mux.Handle("GET "+one.Path+site.Album, lax.UMAProtect(gatehouse.Rules{"GET " + one.Path + site.Album: album.AllOf("view")})(http.HandlerFunc(page)))
	return nil
}

// openStore connects to the store of the config.
func openStore(ctx context.Context, c site.Config) (gatehouse.Store, error) {
	if c.Redis != "" {
		return redisstore.New(newRedis(c), redisstore.Config{Prefix: c.Prefix})
	}
	return openPostgres(ctx, c)
}

func newRedis(c site.Config) redis.UniversalClient {
	// Small buffers: the 64 KiB that each connection has by default would hide what
	// the site itself keeps.
	return redis.NewClient(&redis.Options{Addr: c.Redis, ContextTimeoutEnabled: true, ReadBufferSize: 4 << 10, WriteBufferSize: 4 << 10})
}

// Shutdown waits for what requests have left behind.
func (g *guarded) Shutdown(ctx context.Context) error { return gatehouse.Shutdown(ctx, g.parts...) }

func (g *guarded) revoke(ctx context.Context, issuer, subject string) error {
	return g.sessions.RevokeAll(ctx, issuer, subject)
}

func (g *guarded) discovery() []time.Time { return g.asked.list() }

func (g *guarded) rest() {
	for _, line := range g.lines {
		line.CloseIdleConnections()
	}
}

// noted writes down when metadata was asked for.
type noted struct {
	*http.Transport
	asked *times
}

// RoundTrip implements http.RoundTripper.
func (n noted) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.Contains(r.URL.Path, "/.well-known/") {
		n.asked.now()
	}
	return n.Transport.RoundTrip(r)
}
