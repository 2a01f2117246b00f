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

// FuzzLogoutClaims: whatever claims a provider signs, an ordinary JSON reader
// reads an accepted logout token the same way, and agrees that it is one, for us
// and of now.
func FuzzLogoutClaims(f *testing.F) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: keys()[jose.ES256]}, (&jose.SignerOptions{}).WithType("logout+jwt"))
	if err != nil {
		f.Fatal(err)
	}
	v := verifier("ES256")
	const good = `{"iss":"https://op.test","sub":"u1","sid":"s1","aud":"notes","exp":1777636920,"iat":1777636800,"jti":"j","events":{"http://schemas.openid.net/event/backchannel-logout":{}}}`
	for _, change := range [][2]string{
		{"", ""}, {`"sub":"u1",`, ``}, {`"sid":"s1",`, ``}, {`"u1"`, `null`}, {`"s1"`, `7`}, {`"s1"`, `"s1","sid":"s2"`}, {`"s1"`, `"s1","SID":"s2"`},
		{`{}}`, `null}`}, {`{}}`, `[]}`}, {`{}}`, `{},"x":1}`}, {`{"http:`, `{"https:`}, {`"events"`, `"nonce":null,"events"`}, {`"events"`, `"\u006eonce":"x","events"`},
		{`"j"`, `""`}, {`"jti"`, `"JTI"`}, {`1777636920`, `1777636739`}, {`1777636800`, `1777636861`}, {`"notes"`, `["notes","other"]`}, {`}`, `}x`},
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
		got, err := v.Logout(t.Context(), raw, client, "")
		if err != nil {
			if !isReason(err) {
				t.Errorf("%q: error %v", payload, err)
			}
			return
		}
		if !ordinaryLogout(payload, got.Subject(), got.SID(), got.ID()) {
			t.Errorf("%q is read as %q, %q, %q", payload, got.Subject(), got.SID(), got.ID())
		}
	})
}

// ordinaryLogout judges the claims of a logout token with encoding/json alone.
func ordinaryLogout(payload []byte, subject, sid, id string) bool {
	var m map[string]any
	if json.Unmarshal(payload, &m) != nil {
		return false
	}
	text := func(name string) string {
		s, _ := m[name].(string)
		return s
	}
	events, _ := m["events"].(map[string]any)
	_, object := events["http://schemas.openid.net/event/backchannel-logout"].(map[string]any)
	_, nonce := m["nonce"]
	exp, hasExp := m["exp"].(float64)
	iat, hasIat := m["iat"].(float64)
	today := float64(now.Unix())
	return object && !nonce && text("sub") == subject && text("sid") == sid && text("jti") == id && id != "" && subject+sid != "" &&
		text("iss") == "https://op.test" && hasExp && exp > today-60 && hasIat && iat <= today+60.001
}
