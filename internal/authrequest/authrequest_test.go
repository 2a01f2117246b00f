package authrequest_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse/internal/authrequest"
)

// What has to be checked survives its encoded form, which is short enough for a
// cookie.
func TestEssential(t *testing.T) {
	for _, c := range []struct {
		claims string
		names  string
	}{
		{`{"id_token":{"acr":{"essential":true,"values":["2","3"]},"auth_time":{"essential":true},"sub":{"value":"x"}},"userinfo":{"dept":{"essential":true,"value":"f"},"sub":{"value":"x"},"name":null}}`, "id_token.acr id_token.sub userinfo.dept"},
		{`{}`, ""}, {`{"id_token":{},"other":7}`, ""}, {`{"id_token":{"a":{"essential":false,"value":1,"own":2}}}`, ""}, {`{"id_token":{"a":{"essential":true,"values":[]}}}`, ""},
	} {
		a, err := authrequest.Read(url.Values{"claims": {c.claims}})
		if err != nil || a.Essential.String() != c.names {
			t.Errorf("%s: %q, %v", c.claims, a.Essential, err)
		}
		encoded := a.Essential.Encode()
		if strings.Contains(encoded, "2") && len(encoded) > authrequest.MaxEssential {
			t.Errorf("%d bytes", len(encoded))
		}
		again, err := authrequest.Decode(encoded)
		if err != nil || again.Encode() != encoded || again.String() != c.names {
			t.Errorf("%s: %q, %v", c.claims, again, err)
		}
	}
	a, err := authrequest.Read(url.Values{"claims": {`{"id_token":{"acr":{"essential":true,"values":["2","3"]}},"userinfo":{"n":{"essential":true,"value":7}}}`}})
	if err != nil {
		t.Fatal(err)
	}
	of := func(text string) func(string) json.RawMessage {
		var m map[string]json.RawMessage
		_ = json.Unmarshal([]byte(text), &m)
		return func(name string) json.RawMessage { return m[name] }
	}
	for text, want := range map[string][3]bool{ // in the ID Token, in the user info, in both together
		`{"acr":"2","n":7}`: {true, true, true}, `{"acr":"3"}`: {true, false, false}, `{"n":7.0}`: {false, true, false}, `{"acr":"4","n":8}`: {}, `{"acr":["2"],"n":"7"}`: {}, `{"acr":null,"n":null}`: {}, `{}`: {},
	} {
		got := [3]bool{a.Essential.Check(false, of(text)) == nil, a.Essential.Check(true, of(text)) == nil, a.Essential.Met(of(text))}
		if got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	many := `{"id_token":{"a":{"essential":true,"values":[1` + strings.Repeat(",1", 12) + `]}}}`
	for claims, want := range map[string]string{
		``: "one JSON object", `null`: "one JSON object", `[]`: "one JSON object", `{} {}`: "one JSON object", `{"id_token":{},"id_token":{}}`: "one JSON object",
		`{"id_token":null}`: "id_token is no object", `{"userinfo":[]}`: "userinfo is no object", `{"id_token":{"a":1}}`: `id_token "a"`, `{"id_token":{"a":{"essential":"yes"}}}`: `id_token "a"`,
		`{"id_token":{"a":{"essential":true,"value":null,"values":[1]}}}`: "value and values", `{"id_token":{"a":{"values":[null]}}}`: "no claim can ever equal", `{"id_token":{"a":{"value":1e999}}}`: "no claim can ever equal",
		many: "13 values", `{"id_token":{"` + strings.Repeat("n", 101) + `":{"essential":true,"value":1}}}`: "101 bytes",
	} {
		if _, err := authrequest.Read(url.Values{"claims": {claims}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", claims, err, want)
		}
	}
}

// FuzzDecode: whatever stands there is read back as it was written, or refused.
func FuzzDecode(f *testing.F) {
	f.Add("\x00\x01a\x01" + strings.Repeat("d", 12))
	f.Add("\x01\x01a\x00")
	f.Add("\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
	f.Fuzz(func(t *testing.T, encoded string) {
		all, err := authrequest.Decode(encoded)
		if err == nil && len(all) > 0 && len(all.Encode()) > len(encoded) {
			t.Errorf("%q became %q", encoded, all.Encode())
		}
	})
}

// FuzzClaims: no parameter makes a check that panics or does not fit.
func FuzzClaims(f *testing.F) {
	f.Add(`{"id_token":{"acr":{"essential":true,"values":["2",3]}},"userinfo":{"a":null}}`)
	f.Add(`{"id_token":{"":{"essential":true,"value":{}}}}`)
	f.Fuzz(func(t *testing.T, claims string) {
		a, err := authrequest.Read(url.Values{"claims": {claims}})
		if err != nil {
			return
		}
		again, err := authrequest.Decode(a.Essential.Encode())
		if err != nil || len(again) != len(a.Essential) || len(a.Essential.Encode()) > authrequest.MaxEssential {
			t.Errorf("%q: %v, %v", claims, again, err)
		}
		_ = a.Essential.Met(func(string) json.RawMessage { return json.RawMessage(claims) })
	})
}
