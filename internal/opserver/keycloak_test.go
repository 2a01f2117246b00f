package opserver_test

import (
	"testing"

	"example.com/gatehouse/internal/opserver"
	"example.com/gatehouse/internal/umacases"
)

// TestCases runs the table of UMA answers against both dialects. interop runs it
// against the real Keycloak.
func TestCases(t *testing.T) {
	for name, dialect := range map[string]opserver.Dialect{"standard": opserver.Standard, "Keycloak": opserver.Keycloak} {
		t.Run(name, func(t *testing.T) {
			w := newWorldWith(t, opserver.Config{Dialect: dialect}, "/realms/gatehouse")
			w.must(w.AddUser("carol", "pw", nil))
			w.must(w.AddClient(opserver.Client{ID: "photoz", Secret: "photoz-secret"}))
			w.must(w.AddClient(opserver.Client{ID: "printshop", Secret: "printshop-secret", Scopes: []string{"openid", "profile", "email", "view", "print", "delete", "fly"}}))
			w.LetProtect("bob", false)
			table, err := umacases.Open(t.Context(), w.Issuer())
			w.must(err)
			cases := umacases.World{
				Keycloak: dialect == opserver.Keycloak, Prefix: "case-", Tokens: w.casesTokens,
				SignOut:  func(user string) error { w.EndSessions(user); return nil },
				Share:    func(owner, resource, who, scope string) error { return w.Share(owner, resource, who, scope) },
				TakeBack: func(owner, resource, who, scope string) error { return w.Unshare(owner, resource, who, scope) },
				Pending: func(owner, resource string) (n int, _ error) {
					for _, q := range w.Pending(owner) {
						if q.ResourceID == resource {
							n++
						}
					}
					return n, nil
				},
			}
			for _, c := range umacases.Cases() {
				t.Run(c.Name, func(t *testing.T) {
					if err := table.Run(t.Context(), cases, c); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}

// casesTokens signs somebody in for the cases. With the standard dialect only who
// may own resources has a PAT.
func (w *world) casesTokens(user, client string) (made umacases.Tokens, err error) {
	scope := "email"
	if client == "photoz" && user != "bob" {
		scope = "uma_protection"
	}
	if made.Access, err = w.AccessToken(user, client, scope); err == nil && user != "" {
		made.ID, err = w.IDToken(user, client)
	}
	return made, err
}
