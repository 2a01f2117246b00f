package wire

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

const (
	// shownBegin is how much of a secret is shown, so that a reader recognises
	// it in the next message: 6 characters of at least 16.
	shownBegin = 6
	// minShown is the length of the shortest secret of which anything is shown.
	minShown = 16
	// minToken is the length from which a value that looks random counts as a
	// secret, whatever its name is.
	minToken = 20
)

// secretNames are members whose value is always a secret, whatever it looks
// like.
var secretNames = []string{
	"access_token", "refresh_token", "id_token", "id_token_hint", "token", "ticket", "rpt", "pct", "claim_token",
	"code", "state", "nonce", "code_verifier", "code_challenge", "client_secret", "client_assertion", "password",
	"session_state", "form_token",
}

// never are those that are not shown at all, because people choose them.
var never = []string{"client_secret", "password"}

// tokenLike matches the characters of random values and JWTs.
var tokenLike = regexp.MustCompile(`[A-Za-z0-9_\-.~+/=]{20,}`)

// shownMember is the value of a named member in the form in which it may be
// shown.
func shownMember(name, value string) string {
	switch {
	case slices.Contains(never, name):
		return "•••"
	case slices.Contains(secretNames, name):
		return shorten(value)
	}
	return shownText(value)
}

// shorten keeps the beginning of a secret. To a JWT it adds whom the token is
// about, read from its payload.
func shorten(secret string) string {
	if len(secret) < minShown {
		return "•••"
	}
	return secret[:shownBegin] + "…" + aboutJWT(secret)
}

// aboutJWT returns the claims of a JWT that are not secret.
func aboutJWT(raw string) string {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Subject  string `json:"sub"`
		Username string `json:"preferred_username"`
		Audience any    `json:"aud"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return " (a JWT)"
	}
	about := claims.Subject
	if claims.Username != "" {
		about = claims.Username
	}
	text := " (a JWT"
	if about != "" {
		text += " about " + shownText(about)
	}
	if aud, ok := claims.Audience.(string); ok && aud != "" {
		text += " for " + shownText(aud)
	}
	return text + ")"
}

// idTokenFormat looks random, but is a name that everybody knows (UMA Grant
// §3.3.1).
const idTokenFormat = "http://openid.net/specs/openid-connect-core-1_0.html#IDToken"

// shownText shortens every part of a text that looks random.
func shownText(text string) string {
	if text == idTokenFormat {
		return text
	}
	if u, err := url.Parse(text); err == nil && u.Host != "" {
		return shownLocation(text)
	}
	return tokenLike.ReplaceAllStringFunc(text, func(word string) string {
		if looksRandom(word) {
			return shorten(word)
		}
		return word
	})
}

// looksRandom distinguishes random values from words: they are long and contain
// digits or both cases.
func looksRandom(word string) bool {
	if len(word) < minToken {
		return false
	}
	if strings.Contains(word, "/") { // a path: judged by its segments
		return slices.ContainsFunc(strings.Split(word, "/"), looksRandom)
	}
	hasDigit := strings.ContainsAny(word, "0123456789")
	hasUpper, hasLower := strings.ToLower(word) != word, strings.ToUpper(word) != word
	return hasDigit || (hasUpper && hasLower) || (hasUpper && !strings.Contains(word, "_"))
}

// shownJSON shortens the secrets in a JSON value.
func shownJSON(name string, v any) any {
	switch v := v.(type) {
	case string:
		return shownMember(name, v)
	case []any:
		out := make([]any, len(v))
		for i, one := range v {
			out[i] = shownJSON(name, one)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, one := range v {
			out[shownText(key)] = shownJSON(key, one)
		}
		return out
	}
	return v
}

// shownPath is the path of an address.
func shownPath(u *url.URL) string {
	segments := strings.Split(u.EscapedPath(), "/")
	for i, s := range segments {
		if looksRandom(s) {
			segments[i] = shorten(s)
		}
	}
	text := strings.Join(segments, "/")
	if text == "" {
		text = "/"
	}
	return clip(text)
}

// shownURL is path and query of an address.
func shownURL(u *url.URL) string {
	text := shownPath(u)
	query := u.Query()
	pairs := make([]string, 0, len(query))
	for _, name := range ordered(query) {
		for _, value := range query[name] {
			pairs = append(pairs, shownText(name)+"="+shownMember(name, value))
		}
	}
	if len(pairs) > 0 {
		text += "?" + strings.Join(pairs, "&")
	}
	return clip(text)
}

// shownLocation is an address with its secrets shortened.
func shownLocation(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "an address that cannot be read"
	}
	if u.Host == "" {
		return shownURL(u)
	}
	path := shownURL(u)
	if u.Path == "" && u.RawQuery == "" {
		path = ""
	}
	fragment := ""
	if u.Fragment != "" {
		fragment = "#" + tokenLike.ReplaceAllStringFunc(u.Fragment, func(s string) string {
			if looksRandom(s) {
				return shorten(s)
			}
			return s
		})
	}
	return u.Scheme + "://" + u.Host + path + fragment
}

// shownCredentials is an Authorization header.
func shownCredentials(value string) string {
	scheme, rest, _ := strings.Cut(value, " ")
	if strings.EqualFold(scheme, "Basic") {
		if plain, err := base64.StdEncoding.DecodeString(rest); err == nil {
			id, _, _ := strings.Cut(string(plain), ":")
			return fmt.Sprintf("%s (%s : •••)", scheme, shownText(id))
		}
		return scheme + " •••"
	}
	return scheme + " " + shorten(rest)
}

// quoted finds the quoted parameters of a challenge.
var quoted = regexp.MustCompile(`([A-Za-z_]+)="([^"]*)"`)

// shownChallenge is a WWW-Authenticate header.
func shownChallenge(value string) string {
	return quoted.ReplaceAllStringFunc(value, func(param string) string {
		m := quoted.FindStringSubmatch(param)
		return m[1] + `="` + shownMember(strings.ToLower(m[1]), m[2]) + `"`
	})
}
