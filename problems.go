package gatehouse

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"example.com/gatehouse/internal/authrequest"
	"example.com/gatehouse/internal/challenge"
	"example.com/gatehouse/internal/navigation"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/seal"
)

// problems lists what is wrong with the arguments of a constructor, each as
// "Field: reason".
type problems []error

func (w *problems) add(field, reason string, args ...any) {
	*w = append(*w, fmt.Errorf("%s: %w", field, fmt.Errorf(reason, args...)))
}

// wrap adds err, unless it is nil.
func (w *problems) wrap(field string, err error) {
	if err != nil {
		w.add(field, "%w", err)
	}
}

// in returns the error of a constructor, or nil if there are no problems.
func (w problems) in(constructor string) error {
	if len(w) == 0 {
		return nil
	}
	return fmt.Errorf("gatehouse: %s: %w", constructor, errors.Join(w...))
}

// ownURL checks and parses an address of this site. It must be absolute, https
// or http on loopback, without fragment and wildcard.
func (w *problems) ownURL(field, raw string) *url.URL {
	u, err := outbound.CheckURL(raw, false)
	switch {
	case raw == "":
		w.add(field, "empty")
	case err != nil:
		w.add(field, "%w", err)
	case strings.Contains(raw, "*"):
		w.add(field, "it has a wildcard; it must be the one exact address")
	case strings.ContainsFunc(u.Host, func(c rune) bool { return c > 0x7f }): // Origin and Host have the form of RFC 5891 §4.4
		w.add(field, "the host %q has characters outside ASCII; write it as browsers send it, \"xn--…\"", clip(u.Host))
	default:
		return u
	}
	return nil
}

// upgrades checks AllowUpgrades and returns the protocols in lower case.
func (w *problems) upgrades(names []string) []string {
	protocols := make([]string, 0, len(names))
	for _, name := range names {
		protocol, ok := navigation.UpgradeProtocol(name)
		if !ok {
			w.add("AllowUpgrades", "%q is not a protocol that guards can let pass", clip(name))
		}
		protocols = append(protocols, protocol)
	}
	return protocols
}

// ownPath checks a path of this site. "" is allowed.
func (w *problems) ownPath(field, path string) {
	if _, ok := navigation.LocalPath(path); path != "" && !ok {
		w.add(field, "%q is not a path of this site", path)
	}
}

// scopes checks that each element is a single scope (RFC 6749 §3.3).
func (w *problems) scopes(scopes []string) {
	for _, s := range scopes {
		w.wrap("Scopes", checkScope(s))
	}
}

// checkScope checks the grammar of a scope (RFC 6749 §3.3). One that breaks it
// fits into no challenge.
func checkScope(s string) error {
	if s == "" || !challenge.Printable(s) || strings.ContainsAny(s, ` "\`) {
		return fmt.Errorf("%q is not one scope", s)
	}
	return nil
}

// authParams checks the parameters of every authorization request.
func (w *problems) authParams(params url.Values) authrequest.Asking {
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if authrequest.IsOwn(name) {
			w.add("AuthParams", "%q is set by gatehouse", name)
		}
	}
	asking, err := authrequest.Read(params)
	w.wrap("AuthParams", err)
	return asking
}

// transport checks one that may be nil, but not inside of the interface.
func (w *problems) transport(field string, t http.RoundTripper) {
	if t != nil && isNil(t) {
		w.add(field, "nil inside of the interface")
	}
}

// ring checks keys that seal. It returns nil if there are none.
func (w *problems) ring(field string, keys []Secret) *seal.Ring {
	before, all := len(*w), make([][]byte, 0, len(keys))
	for i, k := range keys {
		if n := len(k.Reveal()); n < seal.MinKey {
			w.add(fmt.Sprintf("%s[%d]", field, i), "it has %d bytes, fewer than %d", n, seal.MinKey)
		}
		all = append(all, []byte(k.Reveal()))
	}
	if len(all) == 0 || len(*w) > before {
		return nil
	}
	ring, err := seal.NewRing(all...)
	w.wrap(field, err)
	return ring
}

// isNil also finds a nil function or pointer in the interface, whose first
// request would cut the connection.
func isNil(part any) bool {
	v := reflect.ValueOf(part)
	return part == nil || (v.Kind() == reflect.Func || v.Kind() == reflect.Pointer) && v.IsNil()
}

// wire panics if err is not nil. It reports mistakes in putting the parts
// together when the program starts, not at the first request.
func wire(caller string, err error) {
	if err != nil {
		panic("gatehouse: " + caller + ": " + err.Error())
	}
}

// clip shortens a string from a peer for use in an error.
func clip(s string) string { return outbound.Clip(s) }
