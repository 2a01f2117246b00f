package opserver_test

import (
	"context"
	"errors"
	"testing"

	"example.com/gatehouse/internal/testkit/opserver"
	"github.com/go-jose/go-jose/v4"
)

// TestTrustedIssuer accepts the ID Tokens of a second provider as claims.
func TestTrustedIssuer(t *testing.T) {
	w, foreign := newWorld(t, ""), newWorld(t, "/other")
	pat := w.pat("alice")
	id := w.register(pat)
	w.must(w.Share("alice", id, "bob", "view"))
	w.must(foreign.AddUser("carol", "x", map[string]any{"email": "carol@example.org"}))
	w.must(foreign.AddUser("dan", "x", map[string]any{"email": "bob@example.org", "email_verified": false}))
	push := func(user, client string) answer {
		raw, err := foreign.IDToken(user, client)
		w.must(err)
		return w.exchange(w.ticket(pat, id, "view"), "claim_token", raw, "claim_token_format", idFormat)
	}
	push("bob", "shop").want(t, 403, "need_info") // not trusted
	keys := func(context.Context) ([]jose.JSONWebKey, error) {
		var set jose.JSONWebKeySet
		err := jsonInto(foreign.get(foreign.http, foreign.endpoint("jwks_uri")).body, &set)
		return set.Keys, err
	}
	w.must(w.TrustIssuer(opserver.TrustedIssuer{Issuer: foreign.Issuer(), Keys: keys}))
	push("bob", "shop").want(t, 200, "") // by preferred_username
	push("bob", "rp").want(t, 403, "need_info")
	w.must(w.TrustIssuer(opserver.TrustedIssuer{Issuer: foreign.Issuer(), Audience: []string{"rp"}, Keys: keys}))
	push("bob", "rp").want(t, 200, "")
	push("bob", "shop").want(t, 403, "need_info")
	w.must(w.Share("alice", id, "bob@example.org", "print"))
	push("dan", "rp").want(t, 403, "request_submitted") // an unverified email identifies nobody
	push("carol", "rp").want(t, 403, "request_submitted")
	inbox := w.Pending("alice")
	if len(inbox) != 2 || inbox[1].Who != "carol@example.org" && inbox[0].Who != "carol@example.org" {
		t.Fatalf("inbox %v", inbox)
	}
	for _, q := range inbox {
		w.must(w.Approve("alice", q.ID))
	}
	push("carol", "rp").want(t, 200, "")
	a := push("carol", "rp")
	if got := w.introspect(str(a.json["access_token"]), rpAuth); got["sub"] != "carol" || got["username"] != nil {
		t.Errorf("introspection %v", got)
	}
	w.must(w.TrustIssuer(opserver.TrustedIssuer{Issuer: foreign.Issuer(), Audience: []string{"rp"},
		Keys: func(context.Context) ([]jose.JSONWebKey, error) { return nil, errors.New("no keys today") }}))
	push("bob", "rp").want(t, 403, "need_info")
	for _, bad := range []opserver.TrustedIssuer{{}, {Issuer: "http://x"}, {Issuer: w.Issuer(), Keys: keys}} {
		if w.TrustIssuer(bad) == nil {
			t.Errorf("trusts %+v", bad.Issuer)
		}
	}
}
