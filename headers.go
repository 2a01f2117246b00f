package gatehouse

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// IdentityHeaders returns middleware that tells an upstream behind a reverse
// proxy who the request is for. It sets each header to the result of its
// function for the identity on the context. A header is omitted if the result
// is empty or cannot be a header value, or if there is no identity.
//
// Before that, it removes whatever the client sent under one of these names,
// whether or not anybody is signed in. It does so for every spelling that some
// server might treat as the same name ("X_Auth_User", "x-auth_user"). Put it
// directly around the proxy, inside the guards, on every path that leads
// there.
//
// The request's cookies, including the session cookie, are forwarded to the
// upstream. Remove them if you trust it less than this process.
//
// IdentityHeaders panics if a name is not a valid header name, if two names
// are spellings of the same header, or if a function is nil. The middleware
// panics if its handler is nil.
func IdentityHeaders(headers map[string]func(*Identity) string) func(http.Handler) http.Handler {
	owned, err := ownedHeaders(headers)
	wire("IdentityHeaders", err)
	values := maps.Clone(headers)
	return func(next http.Handler) http.Handler {
		wire("IdentityHeaders", checkHandler(next))
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r = r.Clone(r.Context())
			strip(r, owned)
			if id := IdentityFrom(r.Context()); id != nil {
				for name, value := range values {
					if v := value(id); v != "" && headerValue(v) {
						r.Header.Set(name, v)
					}
				}
			}
			next.ServeHTTP(w, r)
		})
	}
}

// ownedHeaders returns the names to set, keyed by the part that all spellings
// share. Its error lists every problem.
func ownedHeaders(headers map[string]func(*Identity) string) (map[string]string, error) {
	var problems []error
	owned := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		folded := foldHeader(name)
		switch {
		case folded == "" || !headerName(name):
			problems = append(problems, fmt.Errorf("%q is not a valid header name", name))
		case headers[name] == nil:
			problems = append(problems, fmt.Errorf("%q has no function", name))
		case owned[folded] != "":
			problems = append(problems, fmt.Errorf("%q and %q are spellings of one header", owned[folded], name))
		default:
			owned[folded] = name
		}
	}
	return owned, errors.Join(problems...)
}

// strip removes the owned headers in every spelling from the headers, the
// trailers and the Connection header. A name in Connection would let a client
// make the proxy drop what we set (RFC 9110 §7.6.1).
func strip(r *http.Request, owned map[string]string) {
	for _, h := range []http.Header{r.Header, r.Trailer} {
		for name := range h {
			if _, ok := owned[foldHeader(name)]; ok {
				delete(h, name)
			}
		}
	}
	var kept []string
	for _, line := range r.Header.Values("Connection") {
		for token := range strings.SplitSeq(line, ",") {
			token = strings.TrimSpace(token)
			if _, ok := owned[foldHeader(token)]; !ok && token != "" {
				kept = append(kept, token)
			}
		}
	}
	if len(kept) == 0 {
		r.Header.Del("Connection")
		return
	}
	r.Header.Set("Connection", strings.Join(kept, ", "))
}

// foldHeader returns what all spellings of a header name share: its letters
// and digits, in lower case.
func foldHeader(name string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'A' && c <= 'Z':
			return c + 'a' - 'A'
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			return c
		}
		return -1
	}, name)
}

// headerName reports whether name has only letters, digits and dashes.
func headerName(name string) bool {
	return strings.IndexFunc(name, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-')
	}) < 0
}

// headerValue reports whether v can be sent unchanged as a header value, which
// has no control characters (RFC 9110 §5.5).
func headerValue(v string) bool {
	return strings.IndexFunc(v, func(c rune) bool { return c < ' ' || c == 0x7f }) < 0
}
