package main

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/pgxstore"
	"github.com/alexedwards/scs/v2"
	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"golang.org/x/oauth2"

	"example.com/gatehouse/interop/reliability/site"
)

// bare is the same site as people write it with scs, go-oidc and x/oauth2, in
// the way of their documentation. It is what gatehouse is compared with.
type bare struct {
	http.Handler
	sessions *scs.SessionManager
	issuer   string

	mu       sync.Mutex
	provider *oidc.Provider // nil until it could be reached
}

func newBare(ctx context.Context, c site.Config, held *holds) (application, error) {
	sessions := scs.New()
	sessions.Lifetime, sessions.IdleTimeout = 12*time.Hour, 30*time.Minute
	if c.Idle > 0 {
		sessions.IdleTimeout = c.Idle
	}
	sessions.Cookie.Secure, sessions.HashTokenInStore = true, true
	if c.Redis != "" {
		sessions.Store = goredisstore.NewWithPrefix(redis.NewClient(&redis.Options{Addr: c.Redis}), c.Prefix)
	} else {
		pool, err := pgxpool.New(ctx, c.Postgres)
		if err != nil {
			return nil, err
		}
		if _, err := pool.Exec(ctx, `CREATE TABLE IF NOT EXISTS sessions (token TEXT PRIMARY KEY, data BYTEA NOT NULL, expiry TIMESTAMPTZ NOT NULL)`); err != nil {
			return nil, err
		}
		sessions.Store = pgxstore.New(pool)
	}
	b := &bare{sessions: sessions, issuer: c.Relying[0].Issuer}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+site.Login, b.login)
	mux.HandleFunc("GET "+site.Callback, b.callback)
	mux.HandleFunc("POST "+site.Logout, b.logout)
	mux.Handle("GET "+site.Page, b.require(func(w http.ResponseWriter, r *http.Request) { greet(w, sessions.GetString(r.Context(), "user")) }))
	mux.Handle("GET "+site.Hold, b.require(func(w http.ResponseWriter, r *http.Request) {
		held.wait(r)
		greet(w, sessions.GetString(r.Context(), "user"))
	}))
	b.Handler = sessions.LoadAndSave(mux)
	return b, nil
}

// client returns the site's account at the provider.
func (b *bare) client(ctx context.Context) (*oauth2.Config, *oidc.IDTokenVerifier, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.provider == nil {
		provider, err := oidc.NewProvider(context.WithoutCancel(ctx), b.issuer)
		if err != nil {
			return nil, nil, err
		}
		b.provider = provider
	}
	return &oauth2.Config{
		ClientID: site.ClientID, ClientSecret: site.ClientSecret, Endpoint: b.provider.Endpoint(),
		RedirectURL: site.Public + site.Callback, Scopes: []string{oidc.ScopeOpenID},
	}, b.provider.Verifier(&oidc.Config{ClientID: site.ClientID, SupportedSigningAlgs: []string{oidc.ES256, oidc.RS256}}), nil
}

// require lets in who is signed in, with tokens that have not expired.
func (b *bare) require(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if !b.sessions.Exists(ctx, "user") {
			b.login(w, r)
			return
		}
		if time.Now().Unix() >= b.sessions.GetInt64(ctx, "expiry") {
			if err := b.refresh(ctx); err != nil {
				if _, refused := errors.AsType[*oauth2.RetrieveError](err); refused {
					_ = b.sessions.Destroy(ctx)
					b.login(w, r)
					return
				}
				http.Error(w, "the tokens cannot be renewed", http.StatusServiceUnavailable)
				return
			}
		}
		next(w, r)
	})
}

func (b *bare) refresh(ctx context.Context) error {
	config, _, err := b.client(ctx)
	if err != nil {
		return err
	}
	token, err := config.TokenSource(ctx, &oauth2.Token{RefreshToken: b.sessions.GetString(ctx, "refresh")}).Token()
	if err != nil {
		return err
	}
	b.keep(ctx, token)
	return nil
}

func (b *bare) keep(ctx context.Context, token *oauth2.Token) {
	b.sessions.Put(ctx, "access", token.AccessToken)
	b.sessions.Put(ctx, "refresh", token.RefreshToken)
	b.sessions.Put(ctx, "expiry", token.Expiry.Unix()) // gob does not know a time.Time
}

func (b *bare) login(w http.ResponseWriter, r *http.Request) {
	config, _, err := b.client(r.Context())
	if err != nil {
		http.Error(w, "the provider cannot be reached", http.StatusServiceUnavailable)
		return
	}
	state, nonce, verifier := rand.Text(), rand.Text(), oauth2.GenerateVerifier()
	b.sessions.Put(r.Context(), "state", state)
	b.sessions.Put(r.Context(), "nonce", nonce)
	b.sessions.Put(r.Context(), "verifier", verifier)
	http.Redirect(w, r, config.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)), http.StatusFound)
}

func (b *bare) callback(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	config, verifier, err := b.client(ctx)
	if err != nil {
		http.Error(w, "the provider cannot be reached", http.StatusServiceUnavailable)
		return
	}
	if state := b.sessions.PopString(ctx, "state"); state == "" || state != r.FormValue("state") {
		http.Error(w, "the state is wrong", http.StatusBadRequest)
		return
	}
	token, err := config.Exchange(ctx, r.FormValue("code"), oauth2.VerifierOption(b.sessions.PopString(ctx, "verifier")))
	if err != nil {
		http.Error(w, "the code was not taken", http.StatusServiceUnavailable)
		return
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := verifier.Verify(ctx, raw)
	if err != nil || id.Nonce != b.sessions.PopString(ctx, "nonce") {
		http.Error(w, "the ID Token is wrong", http.StatusBadRequest)
		return
	}
	if err := b.sessions.RenewToken(ctx); err != nil {
		http.Error(w, "no session", http.StatusServiceUnavailable)
		return
	}
	b.sessions.Put(ctx, "user", id.Subject)
	b.keep(ctx, token)
	http.Redirect(w, r, site.Page, http.StatusFound)
}

func (b *bare) logout(w http.ResponseWriter, r *http.Request) {
	if err := b.sessions.Destroy(r.Context()); err != nil {
		http.Error(w, "the session is still there", http.StatusServiceUnavailable)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// revoke looks at every session: scs knows none by its user.
func (b *bare) revoke(ctx context.Context, _, subject string) error {
	return b.sessions.Iterate(ctx, func(ctx context.Context) error {
		if b.sessions.GetString(ctx, "user") == subject {
			return b.sessions.Destroy(ctx)
		}
		return nil
	})
}

// Shutdown has nothing to wait for.
func (b *bare) Shutdown(context.Context) error { return nil }

func (b *bare) discovery() []time.Time { return nil }

func (b *bare) rest() { http.DefaultTransport.(*http.Transport).CloseIdleConnections() }
