package opserver

import (
	"net/http"

	"github.com/go-jose/go-jose/v4"
)

// Parts of the trap: addresses that faults name and that no client has reason
// to visit.
const (
	trapRedirect = "/redirect" // RedirectingAnswer
	trapKeys     = "/keys"     // KeyURLInHeader
	trapClaims   = "/claims"   // ClaimSources
	trapMTLS     = "/mtls"     // MTLSAliases
)

// serveTrap records each visit. It serves a client that trusts strangers, so
// that its test shows where that leads.
func (s *Server) serveTrap(w http.ResponseWriter, r *http.Request) {
	what := "/" + r.PathValue("what")
	lure := map[string]string{trapRedirect: "a redirect", trapKeys: "the header of an ID Token",
		trapClaims: "a claim source", trapMTLS: "an mTLS alias"}[what]
	if lure == "" {
		http.NotFound(w, r)
		return
	}
	s.stats.violation("a client went where %s led it", lure)
	if what != trapKeys {
		writeJSON(w, http.StatusOK, map[string]any{})
		return
	}
	key, err := s.keys.stranger()
	if err != nil {
		http.Error(w, "no keys", http.StatusInternalServerError)
		return
	}
	writeJSON(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.Public()}})
}
