package routers

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/gorilla/mux"

	"example.com/gatehouse"
)

// routes are the rules, and thus the routes of every router. The more specific
// ones come first, because gorilla uses the first match.
var routes = []string{
	"GET /{$}",
	"HEAD /healthz", "GET /healthz",
	"GET /albums/{$}", "POST /albums/{$}",
	"GET /albums/special", "DELETE /albums/special", "GET /albums/special/{$}",
	"GET /albums/{id}/photos/{$}", "GET /albums/{id}/photos/{photo}",
	"OPTIONS /albums/{id}", "GET /albums/{id}", "PUT /albums/{id}",
	"GET /any/strict/", "/any/", "/deep/{x}/end", "/deep/",
	"GET /files/private/{rest...}", "GET /files/{rest...}",
	"GET /words/straße", "GET /words/a b", "GET /words/(1)", "GET /words/100%25", "GET /words/{word}",
	"GET /Words/{word}", "GET /words/{word}/{$}",
	"CONNECT /tunnel/{host}", "/tunnel/",
	"GET /api/v1/items/new", "GET /api/v1/items/{id}", "/api/v1/admin/", "GET /api/v1/{$}",
	"GET /open/",
}

// wide are other rules, the last of which matches everything else.
var wide = []string{"GET /{$}", "GET /{top}", "GET /static/{rest...}", "/admin/{x}/y", "/admin/", "/"}

// mount is where some routers contain another router.
const mount = "/api/v1"

// A trace records what happened to one request.
type trace struct {
	decided []string // rules that the guard decided on
	served  []string // rules of the handlers that ran
}

type traceKey struct{}

func traced(r *http.Request) *trace { return r.Context().Value(traceKey{}).(*trace) }

// follow sends a request through a handler and returns its trace.
func follow(h http.Handler, w http.ResponseWriter, r *http.Request) *trace {
	t := &trace{}
	h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), traceKey{}, t)))
	return t
}

// handler makes the handler of a rule.
func handler(rule string) http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t := traced(r)
		t.served = append(t.served, rule)
	})
}

// newGuard makes UMAProtect over these routes.
func newGuard(t testing.TB, routes []string) func(http.Handler) http.Handler {
	t.Helper()
	rules := gatehouse.Rules{}
	for _, rule := range routes {
		rules[rule] = need(rule)
	}
	return guardOf(t, rules)
}

// need records the decision and lets everybody pass, so that only the choice of
// the rule is tested.
func need(rule string) gatehouse.Need {
	return gatehouse.NeedFunc(func(r *http.Request) (gatehouse.Permission, error) {
		t := traced(r)
		t.decided = append(t.decided, rule)
		return gatehouse.Public(), nil
	})
}

func guardOf(t testing.TB, need gatehouse.Need) func(http.Handler) http.Handler {
	t.Helper()
	provider, err := gatehouse.NewProvider("https://as.example.org", &gatehouse.ProviderConfig{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	api, err := gatehouse.NewResourceServer(provider, gatehouse.ResourceServerConfig{Client: gatehouse.Client{ID: "photoz", Secret: gatehouse.NewSecret("s3cret")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return api.UMAProtect(need)
}

// split returns the method and path of a pattern.
func split(rule string) (method, path string) {
	if i := strings.Index(rule, " /"); i >= 0 {
		return rule[:i], rule[i+1:]
	}
	return "", rule
}

func serveMux(routes []string) *http.ServeMux {
	m := http.NewServeMux()
	for _, rule := range routes {
		m.Handle(rule, handler(rule))
	}
	return m
}

// cleaned cleans the decoded path itself before it matches, as file servers and
// some frameworks do.
func cleaned(routes []string) http.Handler {
	m := serveMux(routes)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := path.Clean("/" + strings.ReplaceAll(r.URL.Path, `\`, "/"))
		if strings.HasSuffix(r.URL.Path, "/") && p != "/" {
			p += "/"
		}
		r = r.WithContext(r.Context())
		r.URL = &url.URL{Path: p}
		m.ServeHTTP(w, r)
	})
}

// nestedMux has the routes below mount in their own mux, without the prefix.
func nestedMux(routes []string) *http.ServeMux {
	inner, outer := http.NewServeMux(), http.NewServeMux()
	for _, rule := range routes {
		method, path := split(rule)
		if rest, ok := strings.CutPrefix(path, mount); ok {
			inner.Handle(strings.TrimSpace(method+" "+rest), handler(rule))
			continue
		}
		outer.Handle(rule, handler(rule))
	}
	outer.Handle(mount+"/", http.StripPrefix(mount, inner))
	return outer
}

// plain decodes a pattern's path and removes "{$}", which other routers do not
// need: to them a path means only that path.
func plain(path string) string {
	decoded, err := url.PathUnescape(strings.TrimSuffix(path, "{$}"))
	if err != nil {
		panic(err)
	}
	return decoded
}

// isSubtree reports whether the pattern also stands for everything below it.
func isSubtree(path string) bool { return strings.HasSuffix(path, "/") }

// methods are those that a rule covers. GET also covers HEAD, unless HEAD has
// its own rule.
func methods(method, path string) []string {
	if method == http.MethodGet && !slices.Contains(routes, "HEAD "+path) {
		return []string{http.MethodGet, http.MethodHead}
	}
	return []string{method}
}

// addChi adds the route to a chi router. prefix is where the router is mounted.
func addChi(r chi.Router, rule, prefix string) {
	method, path := split(rule)
	allowed := methods(method, path)
	path = strings.TrimPrefix(path, prefix)
	pattern := strings.Replace(plain(path), "{rest...}", "*", 1)
	if isSubtree(path) {
		pattern += "*"
	}
	if method == "" {
		r.Handle(pattern, handler(rule))
		return
	}
	for _, m := range allowed {
		r.Method(m, pattern, handler(rule))
	}
}

func chiRouter(use ...func(http.Handler) http.Handler) func(routes []string) http.Handler {
	return func(routes []string) http.Handler {
		r := chi.NewRouter()
		r.Use(use...)
		for _, rule := range routes {
			addChi(r, rule, "")
		}
		return r
	}
}

// nestedChi has the routes below mount in their own router.
func nestedChi(routes []string) http.Handler {
	inner, outer := chi.NewRouter(), chi.NewRouter()
	for _, rule := range routes {
		if _, path := split(rule); strings.HasPrefix(path, mount) {
			addChi(inner, rule, mount)
			continue
		}
		addChi(outer, rule, "")
	}
	outer.Mount(mount, inner)
	return outer
}

// addGorilla adds the route to a gorilla router, with its literals encoded for
// a router that compares the encoded path.
func addGorilla(r *mux.Router, rule, prefix string, encoded bool) {
	method, path := split(rule)
	allowed := methods(method, path)
	path = strings.TrimPrefix(path, prefix)
	template := strings.Replace(plain(path), "{rest...}", "{rest:.*}", 1)
	if encoded {
		template = spell(template)
	}
	route := r.NewRoute()
	if isSubtree(path) {
		route.PathPrefix(template)
	} else {
		route.Path(template)
	}
	if method != "" {
		route.Methods(allowed...)
	}
	route.Handler(handler(rule))
}

// spell encodes the literal segments of a template as RFC 3986 §3.3 requires.
func spell(template string) string {
	parts := strings.Split(template, "/")
	for i, p := range parts {
		if !strings.HasPrefix(p, "{") {
			escaped := (&url.URL{Path: p}).EscapedPath()
			parts[i] = strings.NewReplacer("%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*").Replace(escaped)
		}
	}
	return strings.Join(parts, "/")
}

func gorilla(set func(*mux.Router) *mux.Router, encoded bool) func(routes []string) http.Handler {
	return func(routes []string) http.Handler {
		r := set(mux.NewRouter())
		for _, rule := range routes {
			addGorilla(r, rule, "", encoded)
		}
		return r
	}
}

func nestedGorilla(routes []string) http.Handler {
	r := mux.NewRouter()
	inner := r.PathPrefix(mount).Subrouter()
	for _, rule := range routes {
		if _, path := split(rule); strings.HasPrefix(path, mount) {
			addGorilla(inner, rule, mount, false)
			continue
		}
		addGorilla(r, rule, "", false)
	}
	return r
}

// routers are the ways to serve the routes.
func routers() map[string]func(routes []string) http.Handler {
	return map[string]func([]string) http.Handler{
		"ServeMux":             func(routes []string) http.Handler { return serveMux(routes) },
		"cleaned ServeMux":     cleaned,
		"ServeMux in ServeMux": func(routes []string) http.Handler { return nestedMux(routes) },
		"chi":                  chiRouter(),
		"chi, redirecting":     chiRouter(middleware.GetHead, middleware.RedirectSlashes),
		"chi in chi":           nestedChi,
		"gorilla":              gorilla(func(r *mux.Router) *mux.Router { return r }, false),
		"gorilla, redirecting": gorilla(func(r *mux.Router) *mux.Router { return r.StrictSlash(true) }, false),
		"gorilla, unclean":     gorilla(func(r *mux.Router) *mux.Router { return r.SkipClean(true) }, false),
		"gorilla, encoded":     gorilla(func(r *mux.Router) *mux.Router { return r.UseEncodedPath() }, true),
		"gorilla, both":        gorilla(func(r *mux.Router) *mux.Router { return r.UseEncodedPath().SkipClean(true) }, true),
		"gorilla in gorilla":   nestedGorilla,
	}
}

// A site is a router behind a guard.
type site struct {
	name   string
	routes []string
	http.Handler
}

// sites returns every router behind the guard, for both sets of rules.
func sites(t testing.TB) (out []site) {
	t.Helper()
	for name, routes := range map[string][]string{"": routes, " with the wide rules": wide} {
		guard := newGuard(t, routes)
		for kind, make := range routers() {
			out = append(out, site{kind + name, routes, guard(make(routes))})
		}
		// The guard also works as the routers' own middleware.
		use := func(r *mux.Router) *mux.Router { r.Use(mux.MiddlewareFunc(guard)); return r }
		out = append(out,
			site{"chi, as its middleware" + name, routes, chiRouter(guard)(routes)},
			site{"gorilla, as its middleware" + name, routes, gorilla(use, false)(routes)})
	}
	return out
}
