package world

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"example.com/gatehouse"
)

// TokenSeen records the results of [gatehouse.RelyingParty.Token]. Tokens stay
// off the pages.
type TokenSeen struct {
	mu     sync.Mutex
	tokens []string
	errs   []error
}

// Handler asks for the token and answers as [WhoAmI] does.
func (seen *TokenSeen) Handler(login *gatehouse.RelyingParty) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := login.Token(r.Context())
		seen.mu.Lock()
		seen.errs = append(seen.errs, err)
		if err == nil {
			seen.tokens = append(seen.tokens, token.AccessToken)
		}
		seen.mu.Unlock()
		WhoAmI(w, r)
	})
}

// Take returns what was seen since the last call.
func (seen *TokenSeen) Take() (tokens []string, errs []error) {
	seen.mu.Lock()
	defer seen.mu.Unlock()
	tokens, errs = seen.tokens, seen.errs
	seen.tokens, seen.errs = nil, nil
	return tokens, errs
}

// One returns the one token that was seen.
func (seen *TokenSeen) One(t testing.TB) string {
	t.Helper()
	tokens, errs := seen.Take()
	if len(tokens) != 1 {
		t.Fatalf("%d tokens, errors %v; want one", len(tokens), errs)
	}
	return tokens[0]
}

// WithTokens is a site of two replicas with a page, /token, that asks for the
// token.
func WithTokens(t testing.TB, change ...func(*SiteOptions)) (*Site, *TokenSeen) {
	t.Helper()
	seen := &TokenSeen{}
	change = append([]func(*SiteOptions){TwoReplicas, func(o *SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/token", login.RequireLogin(seen.Handler(login)))
		}
	}}, change...)
	return NewSite(t, change...), seen
}

// OnRefresh answers refresh requests. Others pass.
func (s *Site) OnRefresh(answer Wire) {
	s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		calls := s.Calls()
		if strings.HasSuffix(s.Endpoint("token_endpoint"), r.URL.Path) && calls[len(calls)-1].Form.Get("grant_type") == "refresh_token" {
			return answer(r, next)
		}
		return next(r), nil
	})
}

// OnToken changes every answer of the token endpoint.
func (s *Site) OnToken(t testing.TB, change func(m map[string]any)) {
	s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		if !strings.HasSuffix(s.Endpoint("token_endpoint"), r.URL.Path) {
			return next(r), nil
		}
		return RewriteJSON(t, next(r), change), nil
	})
}
