package bench

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/bench/paired"
)

// The subjects of a request that a token permits.
const (
	hotRules  = "UMAProtect with Rules"
	hotFuncs  = "UMAProtect with Rules and a NeedFunc"
	hotFloor  = "SHA-256, map, ServeMux, context"
	fewOfMany = "10 resources, 100,000 RPTs"
	allOfMany = "100,000 resources, 100,000 RPTs"
	oneOfMany = "10 resources, 1 RPT"

	floorOfMany = "SHA-256, map, ServeMux, context, 100,000 tokens"
	floorOfOne  = "SHA-256, map, ServeMux, context, 1 token"
)

// The subjects of a request that gets a ticket.
const (
	challenged = "challenge"
	barePost   = "bare loopback POST"
)

// maxHotAllocs and maxRPTBytes are stated in the README too.
const (
	maxHotAllocs = 8
	maxRPTBytes  = 700
)

func hotLimits() []paired.Limit {
	return []paired.Limit{{Subject: hotRules, Peer: hotFloor, AtMost: 1.5}}
}

func challengeLimits() []paired.Limit {
	return []paired.Limit{{Subject: challenged, Peer: barePost, AtMost: 1.5}}
}

// patterns are the rules of a service of moderate size.
func patterns() []string {
	var list []string
	for _, what := range []string{"albums", "people", "orders", "prints", "frames"} {
		list = append(list, "GET /"+what, "POST /"+what, "GET /"+what+"/{id}", "DELETE /"+what+"/{id}")
	}
	return append(list, "GET /photos/{id}")
}

// hotSubjects serve the same tokens under the same patterns.
func hotSubjects(t *testing.T) []*subject {
	g := newGrantor(t, 1) // every token opens the one album
	site := newGallery(t, g, inside{g.server.Config.Handler}).fill(t, people)
	album := gatehouse.Resource{Name: photoName(0), Scopes: photoScopes()}
	var own []*http.Request
	for i := range people {
		own = append(own, site.request(i))
	}
	return []*subject{
		newSubject(hotRules, site.rs.UMAProtect(rules(album.AllOf("view"))), own),
		newSubject(hotFuncs, site.rs.UMAProtect(rules(site.need(photoScopes()))), own),
		newSubject(hotFloor, floor(people), own),
	}
}

// rules returns the patterns, each with this need.
func rules(need gatehouse.Need) gatehouse.Rules {
	all := gatehouse.Rules{}
	for _, pattern := range patterns() {
		all[pattern] = need
	}
	return all
}

// floor is the least that a permitted request can cost.
func floor(tokens int) func(http.Handler) http.Handler {
	type key struct{}
	var mu sync.RWMutex
	known := map[[sha256.Size]byte]*int{}
	for i := range tokens {
		known[sum(rpt(i))] = &i
	}
	return func(next http.Handler) http.Handler {
		mux := http.NewServeMux()
		for _, pattern := range patterns() {
			mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
				token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
				mu.RLock()
				facts := known[sum(token)]
				mu.RUnlock()
				if facts == nil {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, facts)))
			})
		}
		return mux
	}
}

// sum is the SHA-256 of a token, without a copy of it on the heap.
func sum(token string) (sum [sha256.Size]byte) {
	h := sha256.New()
	var part [512]byte
	for token != "" {
		n := copy(part[:], token)
		h.Write(part[:n])
		token = token[n:]
	}
	h.Sum(sum[:0])
	return sum
}

// crowd is a set of requests with different tokens.
type crowd interface {
	count() int
	request(i int) *http.Request
	fillIn(r *http.Request, i int) // turns a request into one with token i
}

// spreadSubject makes one request after the other, far apart, each with its
// token. While the watch is stopped, a batch of requests is filled in. They are
// always the same ones, so the tokens are as warm as those from a connection
// that was just read.
func spreadSubject(t *testing.T, name string, middleware func(http.Handler) http.Handler, g crowd) paired.Subject {
	const batch, stride = 32, 7919 // a prime: all tokens come in turn
	served, w := 0, writer{header: http.Header{}}
	handler := middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
	var requests [batch]*http.Request
	for i := range requests {
		requests[i] = g.request(0)
	}
	next := 0
	return paired.Subject{Name: name, Run: func(watch *paired.Watch, n int) {
		served, w.code = 0, 0
		for left := n; left > 0; left -= batch {
			now := requests[:min(batch, left)]
			for _, r := range now {
				g.fillIn(r, next)
				next = (next + stride) % g.count()
			}
			watch.Start()
			for _, r := range now {
				clear(w.header)
				handler.ServeHTTP(&w, r)
			}
			watch.Stop()
		}
		if served != n {
			t.Fatalf("%s: %d of %d requests reached the handler, status %d", name, served, n, w.code)
		}
	}}
}

// spread is the gallery's API as a subject.
func (g *gallery) spread(t *testing.T, name string) paired.Subject {
	return spreadSubject(t, name, g.rs.UMAProtect(g.need(photoScopes())), g)
}

// flatGroup is a group of subjects that are measured together. Groups are made
// one after the other, so that none has the memory of another beside its own.
type flatGroup struct {
	name   string
	make   func(t *testing.T, many int) ([]paired.Subject, float64) // with the bytes of the heap for each RPT
	limits []paired.Limit
	peers  []string
}

func flatGroups() []flatGroup {
	return []flatGroup{
		{"tokens", tokenSubjects, []paired.Limit{{Subject: fewOfMany, Peer: oneOfMany, AtMost: 1.3}}, []string{oneOfMany}},
		{"floor", floorSubjects, nil, []string{floorOfOne}},
		{"resources", resourceSubjects, []paired.Limit{{Subject: allOfMany, Peer: fewOfMany, AtMost: 1.3}}, []string{fewOfMany}},
	}
}

// tokenSubjects are the same API with one token and with many.
func tokenSubjects(t *testing.T, many int) (list []paired.Subject, each float64) {
	g := newGrantor(t, fewPhotos)
	site := newGallery(t, g, inside{g.server.Config.Handler}).fill(t, many)
	one := newGallery(t, g, inside{g.server.Config.Handler}).fill(t, 1)
	return []paired.Subject{site.spread(t, fewOfMany), one.spread(t, oneOfMany)}, site.each
}

// floorSubjects are the least work with one token and with many. They show
// which part of the growth comes from the machine's memory.
func floorSubjects(t *testing.T, many int) (list []paired.Subject, each float64) {
	g := newGrantor(t, fewPhotos)
	return []paired.Subject{
		spreadSubject(t, floorOfMany, floor(many), &gallery{grantor: g, tokens: many}),
		spreadSubject(t, floorOfOne, floor(1), &gallery{grantor: g, tokens: 1}),
	}, 0
}

// resourceSubjects are the same API with few resources and with many.
func resourceSubjects(t *testing.T, many int) (list []paired.Subject, each float64) {
	few, all := newGrantor(t, fewPhotos), newGrantor(t, many)
	fewSite := newGallery(t, few, inside{few.server.Config.Handler}).fill(t, many)
	allSite := newGallery(t, all, inside{all.server.Config.Handler}).fill(t, many)
	return []paired.Subject{fewSite.spread(t, fewOfMany), allSite.spread(t, allOfMany)}, max(fewSite.each, allSite.each)
}

// challengeSubjects ask the same server for the same ticket, over the network.
func challengeSubjects(t *testing.T) []paired.Subject {
	g := newGrantor(t, fewPhotos)
	wire := &http.Transport{}
	t.Cleanup(wire.CloseIdleConnections)
	site := newGallery(t, g, wire).fill(t, 1)
	handler := site.rs.UMAProtect(site.need(photoScopes()))(http.NotFoundHandler())
	w, client := writer{header: http.Header{}}, &http.Client{Transport: wire}
	bareRequest := site.request(3)
	bareRequest.Header.Del("Authorization")
	get := func() error {
		clear(w.header)
		r := *bareRequest // because a server has a fresh one
		handler.ServeHTTP(&w, &r)
		if w.code != http.StatusUnauthorized || !strings.Contains(w.header.Get("WWW-Authenticate"), `ticket="ttt`) {
			return fmt.Errorf("status %d", w.code)
		}
		return nil
	}
	body := fmt.Appendf(nil, `[{"resource_id":%q,"resource_scopes":["view"]}]`, photoID(photoName(3)))
	return []paired.Subject{
		working(t, challenged, get),
		working(t, barePost, func() error { return post(client, g.server.URL+"/permission", body) }),
	}
}

// post is a POST with a JSON body.
func post(client *http.Client, address string, body []byte) error {
	r, err := http.NewRequest(http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer pat")
	return ask(client, r, http.StatusCreated)
}

// ask sends a request whose answer has this status, is read and thrown away.
func ask(client *http.Client, r *http.Request, status int) (err error) {
	r.Header.Set("Accept", "application/json")
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != status {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// working is a subject whose operation must not fail.
func working(t *testing.T, name string, op func() error) paired.Subject {
	t.Helper()
	if err := op(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return paired.Loop(name, func() {
		if err := op(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
}
