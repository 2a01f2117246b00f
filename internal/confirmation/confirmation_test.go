package confirmation_test

import (
	"errors"
	"strings"
	"testing"

	"example.com/gatehouse/internal/confirmation"
	"example.com/gatehouse/internal/strictjson"
)

func TestThumbprint(t *testing.T) {
	print := strings.Repeat("A", 43)
	jkt := `"jkt":"` + print + `"`
	for cnf, want := range map[string]error{
		`{` + jkt + `}`:                            nil,
		`{` + jkt + `,"kc-jkt-type":"DPoP"}`:       nil, // as Keycloak 26.7.3 writes it
		`{"kc-jkt-type":"DPoP",` + jkt + `}`:       nil,
		`{` + jkt + `,"x5t#S256":"` + print + `"}`: confirmation.ErrSeveral,
		`{"jwk":{},` + jkt + `}`:                   confirmation.ErrSeveral,
		`{` + jkt + `,` + jkt + `}`:                confirmation.ErrMalformed,
		`{"x5t#S256":"` + print + `"}`:             confirmation.ErrCertificate,
		`{"x5t#S256":"` + print + `","x":1}`:       confirmation.ErrCertificate,
		`{"x":1,"x5t#S256":"` + print + `"}`:       confirmation.ErrCertificate,
		`{"kid":"1"}`:                              confirmation.ErrUnknown,
		`{"x":1}`:                                  confirmation.ErrUnknown,
		`{}`:                                       confirmation.ErrMalformed,
		`"` + print + `"`:                          confirmation.ErrMalformed,
		`{"jkt":"short"}`:                          confirmation.ErrMalformed,
		`{"jkt":1}`:                                confirmation.ErrMalformed,
		`{"JKT":"` + print + `"}`:                  confirmation.ErrUnknown,
	} {
		got, err := confirmation.Thumbprint(strictjson.Value(cnf))
		if !errors.Is(err, want) || (err == nil) != (got == print) {
			t.Errorf("%s: %q, %v; want %v", cnf, got, err, want)
		}
	}
}
