package navigation

import (
	"slices"
	"strings"
	"sync"
)

// maxOtherHosts is how many hosts are remembered. Strangers can send any name.
const maxOtherHosts = 8

// Hosts are the hosts, besides the expected one, that requests named. The zero
// value is ready to use. It is safe for concurrent use.
type Hosts struct {
	mu    sync.Mutex
	names []string // guarded by mu
}

// Add reports whether the name is new and was added.
func (h *Hosts) Add(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.names) >= maxOtherHosts || slices.Contains(h.names, name) {
		return false
	}
	h.names = append(h.names, name)
	return true
}

// List returns the names, separated by commas.
func (h *Hosts) List() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.names, ", ")
}
