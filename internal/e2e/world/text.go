package world

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// OriginOf is the origin of an address.
func OriginOf(t testing.TB, raw string) string {
	t.Helper()
	u := parse(t, raw)
	return u.Scheme + "://" + u.Host
}

// WithQuery changes the query of an address.
func WithQuery(t testing.TB, raw string, change func(url.Values)) string {
	t.Helper()
	u := parse(t, raw)
	q := u.Query()
	change(q)
	u.RawQuery = q.Encode()
	return u.String()
}

// QueryOf is the query of an address.
func QueryOf(t testing.TB, raw string) url.Values {
	t.Helper()
	return parse(t, raw).Query()
}

func parse(t testing.TB, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// JSON encodes a value.
func JSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TokenClaims reads the claims of a token without verifying it.
func TokenClaims(t testing.TB, raw string) map[string]any {
	t.Helper()
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		t.Fatal("not a compact token")
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{}
	if err := json.Unmarshal(b, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// RewriteBody replaces a JSON answer with what change makes of it. Other
// answers pass unchanged.
func RewriteBody(t testing.TB, resp *http.Response, change func(map[string]any) any) *http.Response {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	var m map[string]any
	if json.Unmarshal(b, &m) == nil {
		if b, err = json.Marshal(change(m)); err != nil {
			t.Error(err)
		}
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	resp.Header.Del("Content-Length")
	return resp
}

// RewriteJSON is [RewriteBody] for a change in place.
func RewriteJSON(t testing.TB, resp *http.Response, change func(map[string]any)) *http.Response {
	t.Helper()
	return RewriteBody(t, resp, func(m map[string]any) any { change(m); return m })
}

// TextMember reads a string member of an object in the plainest way, with
// case-sensitive names. It returns "" if there is none.
func TextMember(body []byte, member string) string {
	var all map[string]any
	if json.Unmarshal(body, &all) != nil {
		return ""
	}
	s, _ := all[member].(string)
	return s
}
