package middlewaretest

import (
	"net/http"
	"strings"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

// RPTOptions says what RPTs are like. The zero value: opaque, without a refresh
// token, a new string at an upgrade.
type RPTOptions struct {
	JWT           bool // a signed JWT with a permissions claim
	Refresh       bool // a refresh token comes with it
	KeepOnUpgrade bool // an upgrade returns the same string; not for JWTs
}

// SetRPT says what RPTs are like from now on.
func (s *Server) SetRPT(o RPTOptions) { s.op.SetRPT(opserver.RPTOptions(o)) }

// SetResourceLifetime lets resources expire so long after they were registered, as
// some servers do; 0 keeps them until they are deleted, as at first.
func (s *Server) SetResourceLifetime(d time.Duration) { s.op.SetResourceLifetime(d) }

// SetResourceIDs gives the ids of resources from now on, nil random ones again. Two
// servers that give the same ids find out who takes the one for the other. next
// must give an id only once.
func (s *Server) SetResourceIDs(next func() string) { s.op.SetResourceIDs(next) }

// SetRelativeLocation makes the Location of a new resource relative, or absolute
// again. RFC 9110 §10.2.2 allows both.
func (s *Server) SetRelativeLocation(on bool) { s.op.SetRelativeLocation(on) }

// SetPATRefusal sets the status that a bad PAT is answered with: 401 as RFC 6750
// says, or what other servers use, 400, 403 or 406.
func (s *Server) SetPATRefusal(status int) {
	s.t.Helper()
	s.check(s.op.SetPATRefusal(status))
}

// LetProtect gives a user the role that a server of [NewKeycloak] wants of people
// who own resources, or takes it away. At first everybody has it; other servers do
// not know it.
func (s *Server) LetProtect(user string, on bool) { s.op.LetProtect(user, on) }

// Trust makes the server take ID Tokens of another one, made for one of the
// clients, as claims: who asks for an RPT here may have signed in there. Owners
// name such people by their email.
func (s *Server) Trust(idp *Server, clients ...gatehouse.Client) {
	s.t.Helper()
	var audience []string
	for _, c := range clients {
		audience = append(audience, c.ID)
	}
	s.check(s.op.TrustIssuer(idp.op.AsIssuer(audience...)))
}

// UnquotedChallenges makes a resource server write its UMA challenges as some do:
// values without quotation marks, no space behind a comma. RFC 9110 §11.2 does not
// allow it for what is in an as_uri; clients do well to read it all the same.
func UnquotedChallenges(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&unquoting{ResponseWriter: w}, r)
	})
}

// unquoting changes the header before it goes out.
type unquoting struct {
	http.ResponseWriter
	began bool
}

func (u *unquoting) WriteHeader(status int) {
	if !u.began && status >= http.StatusOK {
		u.began = true
		lines := u.Header()["Www-Authenticate"]
		for i, line := range lines {
			if strings.HasPrefix(line, "UMA ") && !strings.Contains(line, `\`) {
				lines[i] = strings.ReplaceAll(strings.ReplaceAll(line, `"`, ""), ", ", ",")
			}
		}
	}
	u.ResponseWriter.WriteHeader(status)
}

func (u *unquoting) Write(b []byte) (int, error) {
	if !u.began {
		u.WriteHeader(http.StatusOK)
	}
	return u.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the real one.
func (u *unquoting) Unwrap() http.ResponseWriter { return u.ResponseWriter }
