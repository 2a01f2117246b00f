package interop_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// cookieSites serves all sites of the cookie table. The parameter h of an
// address has the number of its visit. If it has the parameter to, it redirects
// there. It is safe for concurrent use.
type cookieSites struct {
	mu     sync.Mutex
	visits map[string]*cookieVisit // by number
}

// A cookieVisit is one way to a page, with its redirects. The mutex of its
// sites guards its fields.
type cookieVisit struct {
	sites *cookieSites
	id    string
	lines []string    // for the next answer to set
	asked http.Header // the request that got the page; nil before it
}

// expect begins a visit whose first answer sets lines.
func (s *cookieSites) expect(lines []string) *cookieVisit {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := &cookieVisit{sites: s, id: fmt.Sprint(len(s.visits)), lines: lines}
	s.visits[v.id] = v
	return v
}

func (s *cookieSites) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	to := query.Get("to")
	w.Header().Set("Cache-Control", "no-store")
	if v := s.visit(query.Get("h")); v != nil {
		w.Header()["Set-Cookie"] = v.answer(r, to == "")
		to = v.mark(to)
	}
	if to != "" {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusSeeOther)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	io.WriteString(w, `<!DOCTYPE html><link rel=icon href="data:,"><title>Page</title><p>Page</p>`)
}

func (s *cookieSites) visit(id string) *cookieVisit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.visits[id]
}

// answer records a request of the visit, which may be the last one, and returns
// what to set.
func (v *cookieVisit) answer(r *http.Request, last bool) (lines []string) {
	v.sites.mu.Lock()
	defer v.sites.mu.Unlock()
	if last {
		v.asked = r.Header.Clone()
	}
	lines, v.lines = v.lines, nil
	return lines
}

// mark adds the number of the visit to an address, unless the address is empty.
func (v *cookieVisit) mark(address string) string {
	switch {
	case address == "":
		return ""
	case strings.Contains(address, "?"):
		return address + "&h=" + v.id
	}
	return address + "?h=" + v.id
}

// end is where a visit to an address ends.
func (v *cookieVisit) end(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	if to := u.Query().Get("to"); to != "" {
		return v.mark(to)
	}
	return v.mark(address)
}

// header returns the headers of the request that got the page.
func (v *cookieVisit) header(t *testing.T, address string) http.Header {
	t.Helper()
	v.sites.mu.Lock()
	defer v.sites.mu.Unlock()
	if v.asked == nil {
		t.Fatalf("Chromium did not ask for %s", address)
	}
	return v.asked
}
