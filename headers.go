package gatehouse

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"example.com/gatehouse/internal/navigation"
)

// IdentityHeaders returns middleware that tells an upstream behind a reverse
// proxy who the request is for. It sets each header to the result of its
// function for the identity on the context. A header is omitted if the result
// is empty, or if there is no identity.
//
// A result that begins or ends with a blank, has a control character or is not
// UTF-8 is never sent, because the upstream could read another person's name
// in it. The request gets 403, and the log names the header. All other
// characters are sent as UTF-8. Many upstreams read header values as Latin-1,
// and so see "ZoÃ«" for "Zoë". If values can have characters outside ASCII,
// let the function encode them, for example with url.PathEscape, and the
// upstream decode them.
//
// Before that, it removes whatever the client sent under one of these names,
// whether or not anybody is signed in. It does so for every spelling that some
// server might treat as the same name ("X_Auth_User", "x-auth_user"). Put it
// directly around the proxy, inside the guards, on every path that leads
// there.
//
// It also removes an Upgrade as Require does: only "websocket" passes, and what
// AllowUpgrades of the guard around it names.
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
			allowed, _ := r.Context().Value(upgradeKey{}).([]string)
			out, _ := navigation.Upgrade(r, allowed)
			out = out.Clone(r.Context())
			strip(out, owned)
			if id := IdentityFrom(r.Context()); id != nil {
				if err := introduce(out, id, values); err != nil {
					id.refuse(w, r, err)
					return
				}
			}
			next.ServeHTTP(w, out)
		})
	}
}

// introduce sets the headers for id, in the order of their names.
func introduce(r *http.Request, id *Identity, values map[string]func(*Identity) string) (err error) {
	defer func() {
		if p := recover(); p != nil { // of a function of the application
			if p == http.ErrAbortHandler {
				panic(p)
			}
			err = errInternal.because(panicked(p))
		}
	}()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		v := values[name](id)
		if !headerValue(v) {
			return errIdentityHeader.because(fmt.Errorf("the value for the header %s has outer blanks, controls or no UTF-8", name))
		}
		if v != "" {
			r.Header.Set(name, v)
		}
	}
	return nil
}

// refuse answers a request of id like the guard that let it in. An identity
// that no guard of this package made is answered in JSON.
func (id *Identity) refuse(w http.ResponseWriter, r *http.Request, err error) {
	err = about(id.Subject, err)
	switch {
	case id.session != nil:
		id.session.party.Refuse(w, r, err)
	case id.Via == ViaToken && id.api != nil:
		id.api.Refuse(w, r, err)
	case id.api != nil:
		(&umaGuard{rs: id.api}).Refuse(w, r, err)
	default:
		refuseAlone(w, r, err)
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
	navigation.KeepInConnection(r.Header, func(word string) bool {
		_, ok := owned[foldHeader(word)]
		return !ok
	})
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

// headerValue reports whether v can be sent unchanged as a header value: it has
// no control characters, and no blanks around it, which a recipient strips (RFC
// 9110 §5.5).
func headerValue(v string) bool {
	return utf8.ValidString(v) && strings.TrimSpace(v) == v && strings.IndexFunc(v, unicode.IsControl) < 0
}
