package confirmation_test

import (
	"errors"
	"strings"
	"testing"

	"example.com/gatehouse/internal/confirmation"
	"example.com/gatehouse/internal/strictjson"
)

// A cnf that is not exactly one thumbprint of a key binds the token to something
// that nobody can prove here. It never counts as none.
func TestThumbprint(t *testing.T) {
	good := strings.Repeat("A", 42) + "Q"
	for _, c := range []struct {
		cnf  string
		want error
	}{
		{`{"jkt":"` + good + `"}`, nil},
		{` { "jkt" : "` + good + `" } `, confirmation.ErrMalformed}, // a value has no white space around it
		{`{ "jkt" : "` + good + `" }`, nil},
		{`{"jkt":"` + good + `","kc-jkt-type":"DPoP"}`, nil}, // as Keycloak 26.7.3 writes it
		{`{"kc-jkt-type":"DPoP","jkt":"` + good + `"}`, nil},
		{`{"x5t#S256":"` + good + `"}`, confirmation.ErrCertificate},
		{`{"x5t#S256":"` + good + `","x":1}`, confirmation.ErrCertificate},
		{`{"x":1,"x5t#S256":"` + good + `"}`, confirmation.ErrCertificate},
		{`{"x":1}`, confirmation.ErrUnknown},
		{`{"jwk":{},"jkt":"` + good + `"}`, confirmation.ErrSeveral},
		{`{"jkt":"` + good + `","x5t#S256":"` + good + `"}`, confirmation.ErrSeveral},
		{`{"jkt":"` + good + `","kid":"a"}`, confirmation.ErrSeveral},
		{`{"jwk":{"kty":"EC"}}`, confirmation.ErrUnknown},
		{`{"kid":"a"}`, confirmation.ErrUnknown},
		{`{"JKT":"` + good + `"}`, confirmation.ErrUnknown},
		{`{}`, confirmation.ErrMalformed},
		{`{"jkt":""}`, confirmation.ErrMalformed},
		{`{"jkt":null}`, confirmation.ErrMalformed},
		{`{"jkt":5}`, confirmation.ErrMalformed},
		{`{"jkt":["` + good + `"]}`, confirmation.ErrMalformed},
		{`{"jkt":"` + good[1:] + `"}`, confirmation.ErrMalformed},
		{`{"jkt":"` + good + `A"}`, confirmation.ErrMalformed},
		{`{"jkt":"` + good + `="}`, confirmation.ErrMalformed},
		{`{"jkt":"` + strings.Repeat("A", 42) + `B"}`, confirmation.ErrMalformed}, // two bits too many
		{`{"jkt":"` + strings.Repeat("+", 43) + `"}`, confirmation.ErrMalformed},
		{`{"jkt":"` + good + `","jkt":"` + good + `"}`, confirmation.ErrMalformed},
		{`"` + good + `"`, confirmation.ErrMalformed},
		{`[]`, confirmation.ErrMalformed},
		{`true`, confirmation.ErrMalformed},
	} {
		jkt, err := confirmation.Thumbprint(strictjson.Value(c.cnf))
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) || (jkt == good) != (c.want == nil) || err != nil && jkt != "" {
			t.Errorf("%s: %q, %v; want %v", c.cnf, jkt, err, c.want)
		}
	}
}
