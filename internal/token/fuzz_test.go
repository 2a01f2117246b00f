package token_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// FuzzClaims: whatever claims a provider signs, an ordinary JSON reader reads
// accepted claims the same way, and agrees that the token is for us, valid now,
// and made for this attempt.
func FuzzClaims(f *testing.F) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: keys()[jose.ES256]}, nil)
	if err != nil {
		f.Fatal(err)
	}
	v := verifier("ES256")
	const good = `{"iss":"https://op.test","sub":"u1","aud":"notes","exp":1777637100,"iat":1777636800,"nonce":"n-1"}`
	for _, change := range [][2]string{
		{"", ""}, {`"notes"`, `["notes"]`}, {`"notes"`, `["notes","other"],"azp":"notes"`}, {`"notes"`, `["notes","other"]`}, {`"notes"`, `"other"`},
		{`"sub"`, `"SUB"`}, {`"u1"`, `"u1","sub":"u2"`}, {`"u1"`, `null`}, {`1777637100`, `1e300`}, {`1777637100`, `1777636740`}, {`1777637100`, `1777636739`},
		{`1777636800`, `1777636860.5`}, {`1777636800`, `-1`}, {`1777636800`, `"1777636800"`}, {`"n-1"`, `"n-1","events":{}`}, {`"n-1"`, `"N-1"`},
		{`"n-1"`, `"\u006e-1"`}, {`"iss"`, `"\u0069ss"`}, {`}`, `,"nbf":1777636861}`}, {`}`, `,"auth_time":0}`}, {`}`, `}x`}, {`{`, ` {`}, {`{`, `[`},
		{`"notes"`, `[["notes"]]`}, {`"notes"`, `{"notes":1}`}, {`}`, `,"azp":null}`}, {`}`, `,"x":{"aud":"other","aud":"x"}}`},
	} {
		f.Add([]byte(strings.Replace(good, change[0], change[1], 1)))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		signed, err := signer.Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		got, err := v.SignIn(t.Context(), raw, signIn())
		if err != nil {
			if !isReason(err) {
				t.Errorf("%q: error %v", payload, err)
			}
			return
		}
		if got.Subject() == "" || !ordinaryReader(payload, got.Subject()) {
			t.Errorf("%q is read as %q", payload, got.Subject())
		}
	})
}

// yearEnd is the end of the year 9999. Later times are rejected.
const yearEnd = 253402300799

// ordinaryReader judges claims with encoding/json alone.
func ordinaryReader(payload []byte, subject string) bool {
	var m map[string]any
	if json.Unmarshal(payload, &m) != nil {
		return false
	}
	within := func(name string, from, to float64) bool {
		v, ok := m[name].(float64)
		return ok && v >= from && v <= to
	}
	today := float64(now.Unix())
	audience := m["aud"] == "notes"
	if list, ok := m["aud"].([]any); ok {
		audience = slices.Contains(list, any("notes")) && (len(list) == 1 || m["azp"] == "notes")
	}
	azp, hasParty := m["azp"]
	_, hasBefore := m["nbf"]
	return m["iss"] == "https://op.test" && m["sub"] == subject && len(subject) <= 255 && audience && m["nonce"] == "n-1" && !isLogout(m["events"]) &&
		(!hasParty || azp == nil || azp == "notes") && within("exp", today-60, yearEnd) && within("iat", today-362, today+60.001) &&
		(!hasBefore || m["nbf"] == nil || within("nbf", 0, today+60.001))
}

func isLogout(events any) bool {
	members, _ := events.(map[string]any)
	_, is := members["http://schemas.openid.net/event/backchannel-logout"]
	return is
}
