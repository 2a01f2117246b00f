// Package confirmation reads to what a token is bound: its claim cnf (RFC 7800
// §3.1).
//
// It knows one JSON value. It must not know what proves that a client has the
// key.
package confirmation

import (
	"encoding/base64"
	"errors"

	"example.com/gatehouse/internal/strictjson"
)

// The reasons why nobody can use a bound token here.
var (
	ErrCertificate = errors.New("it is bound to a certificate of its client (cnf.x5t#S256), and certificate-bound tokens are not supported") // RFC 8705 §3.1
	ErrUnknown     = errors.New("it is bound by a cnf that is neither jkt nor known otherwise")
	ErrSeveral     = errors.New("it is bound by a cnf in several ways")
	ErrMalformed   = errors.New("it is bound by a cnf that is malformed")
	ErrMissing     = errors.New("its type is DPoP, but no cnf says to which key it is bound")
)

// thumbprintSize is the length of a SHA-256 in base64url (RFC 7638 §3).
const thumbprintSize = 43

// Thumbprint returns the thumbprint of the key that cnf names in jkt (RFC 9449
// §6.1). The value is not null. Any other binding is one of the errors: whoever
// cannot check one must not act as if it were checked. Beside jkt, a member that
// is no registered binding is ignored (RFC 7800 §3.1): Keycloak adds one.
func Thumbprint(cnf strictjson.Value) (jkt string, err error) {
	if !cnf.Object() {
		return "", ErrMalformed
	}
	bindings := 0
	other := ErrMalformed // an object without members
	bad := strictjson.Object([]byte(cnf), func(name string, v strictjson.Value) (err error) {
		switch name {
		case "jkt":
			bindings++
			jkt, err = v.Text()
		case "x5t#S256":
			bindings++
			other = ErrCertificate
		case "jwk", "jwe", "kid", "jku", "osc": // RFC 7800 §6.2, RFC 9203 §6
			bindings++
			other = ErrUnknown
		default:
			if other == ErrMalformed {
				other = ErrUnknown
			}
		}
		return err
	})
	switch {
	case bad != nil:
		return "", ErrMalformed
	case bindings > 1:
		return "", ErrSeveral
	case jkt == "" && other != ErrMalformed:
		return "", other
	case !isThumbprint(jkt):
		return "", ErrMalformed
	}
	return jkt, nil
}

func isThumbprint(s string) bool {
	if len(s) != thumbprintSize {
		return false
	}
	_, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil
}
