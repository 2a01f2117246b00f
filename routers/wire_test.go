package routers

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
)

// TestOverTheWire: a server reads the seeds as read does, so the fuzz test uses
// realistic requests.
func TestOverTheWire(t *testing.T) {
	seen := make(chan *trace, 1)
	all := sites(t)
	chosen := all[slices.IndexFunc(all, func(s site) bool { return s.name == "chi" })]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := follow(chosen, httptest.NewRecorder(), r)
		w.Header().Set("Connection", "close")
		seen <- got
	}))
	defer server.Close()
	arrived := 0
	for _, s := range seeds() {
		if s[0] != "GET" && s[0] != "CONNECT" {
			continue
		}
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: api.test\r\n\r\n", s[0], s[1])
		if _, err := io.ReadAll(conn); err != nil { // until the server closes
			t.Fatal(err)
		}
		conn.Close()
		r := read(s[0], s[1], "api.test", "")
		select {
		case got := <-seen:
			arrived++
			if r == nil {
				t.Errorf("%q: a server takes it, read does not", s)
				continue
			}
			want := follow(chosen, httptest.NewRecorder(), r)
			if !slices.Equal(got.served, want.served) || !slices.Equal(got.decided, want.decided) {
				t.Errorf("%q: over the wire %+v, otherwise %+v", s, got, want)
			}
		default: // the server itself refused it
		}
	}
	if arrived < 100 {
		t.Errorf("only %d of the requests arrived", arrived)
	}
}

// TestRewritingBehindTheGuard: what the comment of Rules says about middleware
// that changes the path only for the router, and the remedy it names.
func TestRewritingBehindTheGuard(t *testing.T) {
	rules := []string{"GET /albums/special", "GET /albums/{rest...}"}
	guard := newGuard(t, rules)
	outside := guard(chiRouter(middleware.StripSlashes)(rules))
	got := follow(outside, httptest.NewRecorder(), read("GET", "/albums/special/", "api.test", ""))
	if strings.Join(got.decided, "") != "GET /albums/{rest...}" || strings.Join(got.served, "") != "GET /albums/special" {
		t.Errorf("Rules in front of StripSlashes: %+v; the comment of Rules says otherwise", got)
	}
	r := chi.NewRouter()
	r.Use(middleware.StripSlashes)
	for _, rule := range rules {
		_, path := split(rule)
		r.With(guardOf(t, need(rule))).Method("GET", strings.Replace(path, "{rest...}", "*", 1), handler(rule))
	}
	got = follow(r, httptest.NewRecorder(), read("GET", "/albums/special/", "api.test", ""))
	if len(got.served) != 1 || !slices.Equal(got.served, got.decided) {
		t.Errorf("one need for each route: %+v", got)
	}
}

// TestHeadBesideGet: what the comment of Rules says about a router that sends
// HEAD elsewhere than GET.
func TestHeadBesideGet(t *testing.T) {
	guard := newGuard(t, []string{"GET /a/b", "/a/"})
	r := chi.NewRouter()
	r.Method("GET", "/a/b", handler("GET /a/b"))
	r.Handle("/a/*", handler("/a/"))
	got := follow(guard(r), httptest.NewRecorder(), read("HEAD", "/a/b", "api.test", ""))
	if strings.Join(got.decided, "") != "GET /a/b" || strings.Join(got.served, "") != "/a/" {
		t.Errorf("HEAD without a route of its own: %+v; the comment of Rules says otherwise", got)
	}
	r.Method("HEAD", "/a/b", handler("GET /a/b"))
	got = follow(guard(r), httptest.NewRecorder(), read("HEAD", "/a/b", "api.test", ""))
	if len(got.served) != 1 || !slices.Equal(got.served, got.decided) {
		t.Errorf("HEAD beside GET: %+v", got)
	}
}
