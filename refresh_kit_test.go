package gatehouse_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
)

// past is when the access tokens of the provider have expired.
const past = 5*time.Minute + time.Second

// tokenSeen keeps what login.Token said; tokens stay off the pages.
type tokenSeen struct {
	mu     sync.Mutex
	tokens []string
	errs   []error
}

// handler asks for the token and answers as whoAmI does.
func (seen *tokenSeen) handler(login *gatehouse.RelyingParty) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := login.Token(r.Context())
		seen.mu.Lock()
		seen.errs = append(seen.errs, err)
		if err == nil {
			seen.tokens = append(seen.tokens, token.AccessToken)
		}
		seen.mu.Unlock()
		whoAmI(w, r)
	})
}

// take returns what was seen since the last call.
func (seen *tokenSeen) take() (tokens []string, errs []error) {
	seen.mu.Lock()
	defer seen.mu.Unlock()
	tokens, errs = seen.tokens, seen.errs
	seen.tokens, seen.errs = nil, nil
	return tokens, errs
}

// one returns the one token that was asked for.
func (seen *tokenSeen) one(t testing.TB) string {
	t.Helper()
	tokens, errs := seen.take()
	if len(tokens) != 1 {
		t.Fatalf("%d tokens, errors %v; want one", len(tokens), errs)
	}
	return tokens[0]
}

// withTokens is a site of two replicas with a page that wants the token.
func withTokens(t testing.TB, change ...func(*siteOptions)) (*site, *tokenSeen) {
	seen := &tokenSeen{}
	change = append([]func(*siteOptions){twoReplicas, func(o *siteOptions) {
		o.mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/token", login.RequireLogin(seen.handler(login)))
		}
	}}, change...)
	return newSite(t, change...), seen
}

// refreshes counts refresh requests that reached the provider.
func (s *site) refreshes() int { return s.CountToken("refresh_token") }

// sent lists the refresh tokens in the order in which they were sent.
func (s *site) sentRefreshTokens() (list []string) {
	for _, c := range s.callsTo("token_endpoint") {
		if c.form.Get("grant_type") == "refresh_token" {
			list = append(list, c.form.Get("refresh_token"))
		}
	}
	return list
}

// revoked lists the tokens that were revoked at the provider.
func (s *site) revokedTokens() (list []string) {
	for _, c := range s.callsTo("revocation_endpoint") {
		list = append(list, c.form.Get("token"))
	}
	return list
}

// onRefresh answers refresh requests; others pass.
func (s *site) onRefresh(answer func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error)) {
	s.setWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		s.mu.Lock()
		last := s.calls[len(s.calls)-1]
		s.mu.Unlock()
		if strings.HasSuffix(s.endpoint["token_endpoint"], r.URL.Path) && last.form.Get("grant_type") == "refresh_token" {
			return answer(r, next)
		}
		return next(r), nil
	})
}

// shutdownAll waits until no replica has work left.
func (s *site) shutdownAll() {
	s.t.Helper()
	for i := range s.replicas {
		s.shutdown(i)
	}
}

// wantQuiet checks that the provider saw nothing twice.
func (s *site) wantQuiet() {
	s.t.Helper()
	if v := s.Violations(); len(v) != 0 {
		s.t.Errorf("the provider saw %q", v)
	}
}

// together sends n requests at once, spread over the replicas.
func (b *visitor) together(n, replicas int, target string) (answers []*answer) {
	done := make(chan *answer)
	for i := range n {
		go func() { done <- b.on(i % replicas).get(target) }()
	}
	for range n {
		answers = append(answers, <-done)
	}
	return answers
}
