package gatehouse

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// IdentityHeaders makes a middleware that tells an upstream behind a reverse
// proxy who the request is for. Each header is set to what its function makes
// of the identity on the context, and left out where that is empty or there is
// no identity.
//
// Whatever a client sent under one of these names is taken away first, in every
// spelling that some server might read as the same ("X_Auth_User",
// "x-auth_user"), whether or not anybody is signed in. So put it directly
// around the proxy, inside the guards, and on every path that leads there. The
// cookies of the request, the session's among them, go on to the upstream: take
// them away as well if you trust it less than this process. It
// panics on a name that is not a header, on two names that are spellings of one,
// and where a function or the handler is missing.
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

// ownedHeaders gives the names to set by what their spellings have in common. The
// error lists every problem at once.
func ownedHeaders(headers map[string]func(*Identity) string) (map[string]string, error) {
	var problems []error
	owned := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		folded := foldHeader(name)
		switch {
		case folded == "" || !headerName(name):
			problems = append(problems, fmt.Errorf("%q is not the name of a header", name))
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

// strip takes the owned headers away in every spelling, from headers, trailers
// and the list of Connection, by which a client could make the proxy drop what
// we set (RFC 9110 §7.6.1).
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

// foldHeader keeps what all spellings of a header's name have in common: its
// letters and digits.
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

// headerName reports whether name is a token of letters, digits and dashes.
func headerName(name string) bool {
	return strings.IndexFunc(name, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-')
	}) < 0
}

// headerValue reports whether v can stand in a header as it is: no control
// characters (RFC 9110 §5.5).
func headerValue(v string) bool {
	return strings.IndexFunc(v, func(c rune) bool { return c < ' ' || c == 0x7f }) < 0
}
