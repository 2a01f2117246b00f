package bench

import (
	"net/http"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/bench/paired"
)

// manyHolders is how many people use an API in turn.
const manyHolders = 10_000

// The subjects of many tokens in memory.
const (
	apiMany      = "RequireToken, 10,000 tokens"
	apiOne       = "RequireToken, 1 token"
	apiFloorMany = "SHA-256, sharded map, context, 10,000 tokens"
	apiFloorOne  = "SHA-256, sharded map, context, 1 token"
)

// maxTokenBytes is what a remembered token of 0.6 KB takes on the heap. The
// README states it too.
const maxTokenBytes = 1200

func manyLimits() []paired.Limit {
	return []paired.Limit{{Subject: apiMany, Peer: apiOne, AtMost: 1.3}, {Subject: apiMany, Peer: apiFloorMany, AtMost: 1.5}}
}

// manySubjects are an API that remembers one token, and one that remembers
// many, with the bytes of the heap for each of many. Tokens are signed with
// EdDSA, because that is the quickest.
func (n *notary) manySubjects(t *testing.T, many int) (list []paired.Subject, each float64) {
	t.Helper()
	people := holders(n.tokens(t, jose.EdDSA, many))
	site, own := n.api(t), n.api(t)
	before := heap()
	fill(t, site.RequireToken, people)
	each = float64(heap()-before) / float64(many)
	fill(t, own.RequireToken, people[:1])
	return []paired.Subject{
		spreadSubject(t, apiMany, site.RequireToken, people),
		spreadSubject(t, apiOne, own.RequireToken, people[:1]),
		spreadSubject(t, apiFloorMany, apiFloor(people), people),
		spreadSubject(t, apiFloorOne, apiFloor(people[:1]), people[:1]),
	}, each
}

// fill shows each token once.
func fill(t *testing.T, m middleware, people holders) {
	t.Helper()
	served, w := 0, writer{header: http.Header{}}
	handler := m(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
	for i := range people {
		handler.ServeHTTP(&w, people.request(i))
	}
	if served != len(people) {
		t.Fatalf("%d of %d tokens were accepted, status %d", served, len(people), w.code)
	}
}
