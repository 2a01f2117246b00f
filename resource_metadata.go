package gatehouse

// Tested in internal/e2e/api.

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"example.com/gatehouse/internal/dpop"
)

// protectedResource is the well-known name of RFC 9728 §3.
const protectedResource = "/.well-known/oauth-protected-resource"

// MetadataPath returns the path of the API's metadata (RFC 9728 §3.1), for
// MetadataHandler. It follows from the first https address in Audience. Without
// one it panics, because such an API has no metadata.
//
//	mux.Handle(api.MetadataPath(), api.MetadataHandler())
func (rs *ResourceServer) MetadataPath() string {
	wire("MetadataPath", rs.checkMetadata())
	return metadataPath(rs.resource)
}

// MetadataHandler serves what a client has to know about the API: its address
// and its authorization servers, those of also included (RFC 9728 §2). A server
// whose issuer is a name is left out, because a client could not find it.
// Scripts of every origin may read it, also with headers of their own, so
// OPTIONS is answered too. Challenges name its address. It panics like
// MetadataPath.
func (rs *ResourceServer) MetadataHandler(also ...*ResourceServer) http.Handler {
	wire("MetadataHandler", rs.checkMetadata())
	doc := resourceMetadata{Resource: rs.apiName, Methods: []string{"header"}}
	if p := rs.proofs; p != nil {
		doc.Algs, doc.Bound = dpop.Algorithms(), p.use == DPoPRequired
	}
	for _, one := range append([]*ResourceServer{rs}, also...) {
		wire("MetadataHandler", one.isMade())
		for _, issuer := range one.provider.issuers() {
			if strings.Contains(issuer, "://") && !slices.Contains(doc.Servers, issuer) {
				doc.Servers = append(doc.Servers, issuer)
			}
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaveBody(w, r)
		w.Header().Set("Access-Control-Allow-Origin", "*") // it is public, and is sent without credentials
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			writeJSON(w, http.StatusOK, doc)
		case http.MethodOptions:
			w.Header().Set("Allow", metadataMethods)
			w.Header().Set("Access-Control-Allow-Methods", metadataMethods)
			w.Header().Set("Access-Control-Allow-Headers", "*")
			w.WriteHeader(http.StatusNoContent)
		default:
			w.Header().Set("Allow", metadataMethods)
			rs.refuse(w, r, errMethod.because(nil))
		}
	})
}

const metadataMethods = "GET, HEAD, OPTIONS"

var errNoResource = errors.New("no https address in Audience, so the API has no metadata (RFC 9728 §1.2)")

type resourceMetadata struct {
	Resource string   `json:"resource"`
	Servers  []string `json:"authorization_servers,omitempty"`
	Methods  []string `json:"bearer_methods_supported"`
	Algs     []string `json:"dpop_signing_alg_values_supported,omitempty"`
	Bound    bool     `json:"dpop_bound_access_tokens_required,omitempty"`
}

func (rs *ResourceServer) checkMetadata() error {
	if err := rs.isMade(); err != nil {
		return err
	}
	if rs.resource == nil {
		return errNoResource
	}
	return nil
}

// resourceOf returns the first https address, as it is written and parsed, or
// nil. RFC 9728 §1.2: it has no fragment.
func resourceOf(audience []string) (name string, address *url.URL) {
	for _, name := range audience {
		if u, err := url.Parse(name); err == nil && u.Scheme == "https" && u.Host != "" && !strings.Contains(name, "#") && u.User == nil {
			return name, u
		}
	}
	return "", nil
}

// metadataPath inserts the well-known name between host and path (RFC 9728
// §3.1). A path that is only a slash does not count.
func metadataPath(u *url.URL) string {
	if path := u.EscapedPath(); path != "/" {
		return protectedResource + path
	}
	return protectedResource
}

// metadataAddress is where the metadata are, "" without an address of the API.
func metadataAddress(u *url.URL) string {
	if u == nil {
		return ""
	}
	address := u.Scheme + "://" + u.Host + metadataPath(u)
	if u.RawQuery != "" {
		address += "?" + u.RawQuery
	}
	return address
}
