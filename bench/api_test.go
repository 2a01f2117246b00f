package bench

import (
	"testing"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/bench/paired"
)

// The subjects of a request with an access token that was accepted before.
const (
	apiSeen      = "RequireToken, seen before"
	apiFloorName = "SHA-256, sharded map, context"
)

// maxSeenAllocs is stated in the README too. One is the harness's.
const maxSeenAllocs = 4

// seenLimits: golang-jwt + keyfunc checks the signature each time, so how much a
// remembered token saves depends on the algorithm.
func seenLimits(alg jose.SignatureAlgorithm) []paired.Limit {
	cheaper := map[jose.SignatureAlgorithm]float64{jose.RS256: 20, jose.ES256: 50, jose.EdDSA: 35}
	return []paired.Limit{
		{Subject: apiSeen, Peer: peerGolangJWT, AtMost: 1 / cheaper[alg]},
		{Subject: apiSeen, Peer: apiFloorName, AtMost: 1.5},
	}
}

// seenSubjects serve the same token.
func (n *notary) seenSubjects(t *testing.T, alg jose.SignatureAlgorithm, all bool) []*subject {
	t.Helper()
	tokens := n.tokens(t, alg, 1)
	list := []*subject{
		newSubject(apiSeen, n.api(t).RequireToken, calls(tokens)),
		newSubject(apiFloorName, apiFloor(tokens), calls(tokens)),
	}
	for _, p := range n.peers(t, alg) {
		if all || p.name == peerGolangJWT {
			list = append(list, newSubject(p.name, p.middleware, calls(tokens)))
		}
	}
	return list
}
