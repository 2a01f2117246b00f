//go:build !race

package bench

import (
	"flag"
	"testing"
)

var allPeers = flag.Bool("peers", false, "measure the APIs with access tokens beside every peer, also those without a limit")

// TestAPISeenRatios: a request with a token that was accepted before.
func TestAPISeenRatios(t *testing.T) {
	n := newNotary(t)
	for _, alg := range algorithms {
		t.Run(string(alg), func(t *testing.T) {
			list := n.seenSubjects(t, alg, *allPeers)
			hold(t, subjects(t, list...), seenLimits(alg), apiFloorName, peerGolangJWT)
			for _, one := range list {
				one.check(t)
			}
		})
	}
}

// TestAPIManyRatios: many tokens cost little more than one.
func TestAPIManyRatios(t *testing.T) {
	list, each := newNotary(t).manySubjects(t, manyHolders)
	hold(t, list, manyLimits(), apiOne, apiFloorMany, apiFloorOne)
	t.Logf("%.0f bytes of the heap for each token", each)
	if each > maxTokenBytes {
		t.Errorf("%.0f bytes for each token, stated are at most %d", each, maxTokenBytes)
	}
}

// TestAPIFirstRatios: a token that was never seen before, and one that is no
// good.
func TestAPIFirstRatios(t *testing.T) {
	n := newNotary(t)
	for _, alg := range algorithms {
		t.Run(string(alg), func(t *testing.T) {
			hold(t, n.firstSubjects(t, alg, *allPeers), firstLimits(alg), bareSignature, peerGolangJWT)
		})
	}
}

// TestAPIOpaqueRatios: tokens that only the authorization server can read.
func TestAPIOpaqueRatios(t *testing.T) {
	n := newNotary(t)
	hold(t, n.missSubjects(t), missLimits(), bareForm)
	list := n.hitSubjects(t)
	hold(t, subjects(t, list...), hitLimits(), bareAPI)
	for _, one := range list {
		one.check(t)
	}
}
