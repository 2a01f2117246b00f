package navigation

import (
	"net/http"
	"slices"
	"strings"
)

// Upgrade judges the Upgrade of a request (RFC 9110 §7.8). A reverse proxy that
// passes one on becomes a tunnel, and what goes through the tunnel meets no
// guard. Upgrade returns the protocol if it is the one word "websocket" or one
// of allowed, in lower case. HTTP/1.0 knows no upgrade. HTTP/2 has ":protocol"
// of an extended CONNECT in its place (RFC 8441 §4).
//
// For anything else it returns "". The request that follows then has neither
// Upgrade nor HTTP2-Settings, and Connection does not name them. It is r itself
// if r has none of that.
func Upgrade(r *http.Request, allowed []string) (*http.Request, string) {
	asked, settings := r.Header["Upgrade"], r.Header["Http2-Settings"]
	if r.Method == http.MethodConnect {
		asked = append(slices.Clip(asked), r.Header[extended]...)
	}
	if len(asked) == 1 && len(settings) == 0 && !(r.ProtoMajor == 1 && r.ProtoMinor == 0) {
		// Letters outside ASCII are not folded: the Kelvin sign is no k.
		protocol := lower(strings.Trim(asked[0], " \t"))
		if protocol == "websocket" || slices.Contains(allowed, protocol) {
			return r, protocol
		}
	}
	if asked == nil && settings == nil && !namesUpgrade(r.Header["Connection"]) {
		return r, ""
	}
	r = r.Clone(r.Context())
	delete(r.Header, "Upgrade")
	delete(r.Header, extended)
	delete(r.Header, "Http2-Settings")
	KeepInConnection(r.Header, func(word string) bool { return !isUpgradeWord(word) })
	return r, ""
}

// extended is how net/http names the protocol of an extended CONNECT.
const extended = ":protocol"

func namesUpgrade(connection []string) bool {
	for _, line := range connection {
		for word := range strings.SplitSeq(line, ",") {
			if isUpgradeWord(strings.TrimSpace(word)) {
				return true
			}
		}
	}
	return false
}

func isUpgradeWord(word string) bool {
	return strings.EqualFold(word, "Upgrade") || strings.EqualFold(word, "HTTP2-Settings")
}

// KeepInConnection removes from Connection every word that keep does not
// accept.
func KeepInConnection(h http.Header, keep func(word string) bool) {
	var kept []string
	for _, line := range h.Values("Connection") {
		for word := range strings.SplitSeq(line, ",") {
			if word = strings.TrimSpace(word); word != "" && keep(word) {
				kept = append(kept, word)
			}
		}
	}
	if len(kept) == 0 {
		h.Del("Connection")
		return
	}
	h.Set("Connection", strings.Join(kept, ", "))
}

// UpgradeProtocol checks the name of a protocol that requests may be upgraded
// to, and returns it in lower case. HTTP itself is refused: a tunnel of HTTP
// carries any number of requests that no guard sees.
func UpgradeProtocol(name string) (string, bool) {
	name = lower(name)
	base, _, _ := strings.Cut(name, "/")
	if name == "" || base == "h2c" || base == "h2" || base == "h3" || base == "http" {
		return "", false
	}
	for i := range len(name) {
		c := name[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),:;<=>?@[\]{}`, c) >= 0 {
			return "", false
		}
	}
	return name, true
}

// lower folds the letters of ASCII.
func lower(s string) string {
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}, s)
}
