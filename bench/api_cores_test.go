package bench

import (
	"net/http"
	"runtime"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/bench/paired"
)

// cores is how many goroutines ask at once, each on its own core.
const cores = 2

// besideSubject serves the same requests on several cores at once. What is
// measured is still processor time: if requests wait for each other's lines of
// memory, each takes longer.
func besideSubject(t *testing.T, name string, m middleware, requests []*http.Request) paired.Subject {
	t.Helper()
	var each []*subject
	for range cores {
		each = append(each, newSubject(name, m, requests))
	}
	return paired.Subject{Name: name, Run: func(watch *paired.Watch, n int) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
		var wg sync.WaitGroup
		watch.Start()
		for i, s := range each {
			share := (n + i) / cores
			wg.Go(func() {
				for range share {
					s.once()
				}
			})
		}
		wg.Wait()
		watch.Stop()
		for _, s := range each {
			if s.asked > 0 {
				s.check(t)
			}
		}
	}}
}

// coresSubjects serve one token on two cores at once, where they meet most.
func (n *notary) coresSubjects(t *testing.T, alg jose.SignatureAlgorithm) []paired.Subject {
	t.Helper()
	tokens := n.tokens(t, alg, 1)
	api := n.api(t).RequireToken
	fill(t, api, tokens)
	return []paired.Subject{
		besideSubject(t, apiSeen, api, calls(tokens)),
		besideSubject(t, apiFloorName, apiFloor(tokens), calls(tokens)),
		besideSubject(t, peerGolangJWT, n.golangJWT(t, alg), calls(tokens)),
	}
}
