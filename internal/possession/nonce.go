package possession

import "sync"

const (
	// maxNonce bounds a nonce, in bytes. It goes into a header with each call.
	// Those of servers have 20 to 400.
	maxNonce = 1024
	// maxServers is how many servers' nonces are kept. A client calls the servers
	// that its program names; a nonce that is gone costs one more call.
	maxServers = 64
)

// nonces has the newest nonce of each server (RFC 9449 §8.2). The zero value has
// none. It is safe for concurrent use.
type nonces struct {
	mu    sync.Mutex
	of    map[string]string // by server
	order []string          // the servers in of, the one first that has been silent for longest
}

func (n *nonces) newest(server string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.of[server]
}

// keep takes the nonce of an answer and returns it, or "" if there is none that
// can be sent.
func (n *nonces) keep(server string, values []string) string {
	if len(values) != 1 || !isNonce(values[0]) {
		return ""
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.of == nil {
		n.of = map[string]string{}
	}
	for i, one := range n.order {
		if one == server {
			n.order = append(n.order[:i], n.order[i+1:]...)
			break
		}
	}
	if len(n.order) == maxServers {
		delete(n.of, n.order[0])
		n.order = n.order[1:]
	}
	n.order = append(n.order, server)
	n.of[server] = values[0]
	return values[0]
}

// isNonce reports whether a text is one: NQCHARs of RFC 6749 App. A (RFC 9449
// §8.1).
func isNonce(s string) bool {
	for _, c := range []byte(s) {
		if c < '!' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != "" && len(s) <= maxNonce
}
