package token_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/strictjson"
	"example.com/gatehouse/internal/token"
)

// RP-U4: what a claims provider signed. iss has to be there, and sub is compared
// with nothing (OpenID Connect Core §5.6.2).
func TestRPU4_Sourced(t *testing.T) {
	say := func(change ...any) string {
		c := map[string]any{"iss": issuer, "score": 650}
		for i := 0; i < len(change); i += 2 {
			name, _ := change[i].(string)
			if c[name] = change[i+1]; change[i+1] == nil {
				delete(c, name)
			}
		}
		return sign(t, jose.ES256, keys()[jose.ES256], nil, c)
	}
	good := say()
	for name, c := range map[string]struct {
		raw  string
		want error
	}{
		"iss alone":             {good, nil},
		"another sub":           {say("sub", "account-9"), nil},
		"aud with others":       {say("aud", []string{"x", client}), nil},
		"no iss":                {say("iss", nil), token.ErrIssuer},
		"iss null":              {sign(t, jose.ES256, keys()[jose.ES256], nil, []byte(`{"iss":null,"score":1}`)), token.ErrIssuer},
		"another iss":           {say("iss", "https://other.test"), token.ErrIssuer},
		"iss in other letters":  {say("iss", nil, "Iss", issuer), token.ErrIssuer},
		"another aud":           {say("aud", "other"), token.ErrAudience},
		"empty aud":             {say("aud", []string{}), token.ErrAudience},
		"exp passed":            {say("exp", at(-61*time.Second)), token.ErrExpired},
		"exp within the leeway": {say("exp", at(-59*time.Second)), nil},
		"nbf ahead":             {say("nbf", at(61*time.Second)), token.ErrClockSkew},
		"a logout token":        {say("events", map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}), token.ErrKind},
		"typ JWT":               {sign(t, jose.ES256, keys()[jose.ES256], map[string]any{"typ": "JWT"}, map[string]any{"iss": issuer}), nil},
		"typ at+jwt":            {sign(t, jose.ES256, keys()[jose.ES256], map[string]any{"typ": "at+jwt"}, map[string]any{"iss": issuer}), token.ErrKind},
		"two scores":            {sign(t, jose.ES256, keys()[jose.ES256], nil, []byte(`{"iss":"https://op.test","score":1,"score":2}`)), token.ErrMalformed},
		"another algorithm":     {sign(t, jose.ES512, keys()[jose.ES512], nil, map[string]any{"iss": issuer}), token.ErrAlgorithm},
		"HS256":                 {sign(t, jose.HS256, []byte(strings.Repeat("s", 32)), nil, map[string]any{"iss": issuer}), token.ErrAlgorithm},
		"none":                  {"eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL29wLnRlc3QifQ.", token.ErrMalformed},
		"another signature":     {good[:strings.LastIndexByte(good, '.')] + say("score", 1)[strings.LastIndexByte(say("score", 1), '.'):], token.ErrSignature},
		"encrypted":             {good + ".a.b", token.ErrMalformed},
		"too long":              {say("x", strings.Repeat("x", 16<<10)), token.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			said, err := verifier("ES256").Sourced(t.Context(), c.raw, client)
			if !errors.Is(err, c.want) || (said == nil) != (c.want != nil) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}

// The claims of several sources have a bound together. Those of one that goes
// beyond it are left out whole.
func TestRL6_ElsewhereBound(t *testing.T) {
	document := token.Claims{
		"_claim_names":   json.RawMessage(`{"a":"1","b":"2","c":"3"}`),
		"_claim_sources": json.RawMessage(`{"1":{"JWT":"x"},"2":{"JWT":"x"},"3":{"JWT":"x"}}`),
	}
	e, err := document.Elsewhere()
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range e.Sources() {
		said, err := verifier("ES256").Sourced(t.Context(), sign(t, jose.ES256, keys()[jose.ES256], nil, map[string]any{"iss": issuer, s.Wanted[0]: strings.Repeat("x", []int{10 << 10, 7 << 10, 5 << 10}[i])}), client)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Take(s, said); (err == nil) != (s.Name != "2") {
			t.Errorf("source %s: %v", s.Name, err)
		}
	}
	if err := e.Close(); err != nil || !document.Has("a") || document.Has("b") || !document.Has("c") || string(document["_claim_names"]) != `{"b":"2"}` || string(document["_claim_sources"]) != `{"2":{"JWT":"x"}}` {
		t.Errorf("%v: %.100q", err, fmt.Sprint(document))
	}
}

// FuzzElsewhere: whatever a document refers to, its own claims and the protocol
// claims stay, no two names are of the same letters, no source is asked for more
// than it is said to have, and the result can be read again.
func FuzzElsewhere(f *testing.F) {
	f.Add([]byte(`{"sub":"u1","_claim_names":{"score":"s","address":"s"},"_claim_sources":{"s":{"JWT":"a.b.c"}}}`), []byte(`{"iss":"https://op.test","score":1,"address":{"a":[1]}}`))
	f.Add([]byte(`{"sub":"u1","Email":"x","_claim_names":{"sub":"s","Sub":"s","email":"s","acr":"s","_claim_names":"s","groups":"t","Groups":"t"},"_claim_sources":{"s":{"endpoint":"https://a.test","access_token":"t"},"t":{"JWT":"x","endpoint":"y"}}}`), []byte(`{"iss":"https://op.test","sub":"u2","Sub":"u2","email":"y","acr":"z","_claim_names":{},"groups":null,"Groups":[]}`))
	f.Add([]byte(`{"_claim_names":{"a":"1","b":2,"c":null,"d":{}},"_claim_sources":{"1":[],"2":7,"":{"JWT":"x"}}}`), []byte(`{}`))
	f.Add([]byte(`{"_claim_names":{"a":"1"},"_claim_sources":null}`), []byte(`{"iss":"https://op.test","a":"\u0000"}`))
	f.Add([]byte(`{"_claim_names":[],"_claim_sources":{}}`), []byte(`[]`))
	f.Add([]byte(`{"_claim_names":{"\u017fcore":"s","score":"s"},"_claim_sources":{"s":{"JWT":"x"}}}`), []byte(`{"iss":"https://op.test","\u017fcore":1,"score":2}`))
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: keys()[jose.ES256]}, nil)
	if err != nil {
		f.Fatal(err)
	}
	v := verifier("ES256")
	f.Fuzz(func(t *testing.T, document, says []byte) {
		if strictjson.Check(document) != nil { // none is read that strictjson refuses
			return
		}
		raw := must(must(signer.Sign(says)).CompactSerialize())
		said, err := v.Sourced(t.Context(), raw, client)
		if err != nil && !isReason(err) {
			t.Errorf("%q: error %v", says, err)
		}
		c, err := token.ParseClaims(document)
		if err != nil || len(document) == 0 {
			return
		}
		before := maps.Clone(c)
		e, err := c.Elsewhere()
		if err != nil || e == nil {
			if !maps.EqualFunc(before, c, func(a, b json.RawMessage) bool { return string(a) == string(b) }) {
				t.Errorf("%q was changed", document)
			}
			return
		}
		sources := e.Sources()
		if len(sources) > token.MaxSources {
			t.Errorf("%d sources", len(sources))
		}
		var wanted []string
		for _, s := range sources {
			if len(s.Wanted) == 0 || (s.JWT == "") == (s.Endpoint == "") {
				t.Errorf("%q: source %+v", document, s)
			}
			wanted = append(wanted, s.Wanted...)
			if said != nil {
				_ = e.Take(s, said)
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		folded := map[string]bool{}
		for name, value := range c {
			if old, was := before[name]; was && string(old) != string(value) && name != "_claim_names" && name != "_claim_sources" {
				t.Errorf("%q: %s was changed", document, name)
			} else if !was {
				f := strictjson.Fold(name)
				if folded[f] || !slices.Contains(wanted, name) || token.IsProtocolClaim(f) || f == "sub" {
					t.Errorf("%q: %s was added", document, name)
				}
				for old := range before {
					if strictjson.Fold(old) == f {
						t.Errorf("%q: %s was added beside %s", document, name, old)
					}
				}
				folded[f] = true
			}
		}
		if b, err := c.Encode(); err != nil {
			t.Errorf("%q: %v", document, err)
		} else if _, err := token.ParseClaims(b); err != nil {
			t.Error(err)
		}
	})
}
