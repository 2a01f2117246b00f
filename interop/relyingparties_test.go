package interop_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/servers"
	"example.com/gatehouse/middlewaretest"
)

// The tests of this file show that our kit can test any relying party. Two that
// are not ours sign in at it. Its faults show what each of them refuses and
// what it accepts.

// A party is a relying party at the kit.
type party struct {
	name  string
	start func(*testing.T, *middlewaretest.Server) *servers.RelyingParty
	// violations are what the kit records of each sign-in but the first,
	// although it succeeds.
	violations []string
	// takes are the faults that the party accepts: the person is signed in all
	// the same.
	takes []middlewaretest.Fault
}

// parties are mod_auth_openidc 2.4.12.3 (from Debian 12) and
// express-openid-connect 3.4.0, both set up as their documents say, and
// gatehouse, which accepts none of the faults.
var parties = []party{
	{
		name: "mod_auth_openidc",
		start: func(t *testing.T, op *middlewaretest.Server) *servers.RelyingParty {
			return servers.StartApache(t, registerAt(t, op))
		},
		takes: []middlewaretest.Fault{
			middlewaretest.MissingResponseIssuer,
			middlewaretest.IssuerSlash,
			middlewaretest.SecondAudience,
			middlewaretest.EmptySubject,
			middlewaretest.NotYetValid,
			middlewaretest.RepeatedClaim,
			middlewaretest.LogoutEvent,
			middlewaretest.HMACWithSecret, // unless OIDCIDTokenSignedResponseAlg names another
			middlewaretest.UnknownCriticalHeader,
			middlewaretest.WrongTokenType,
			middlewaretest.PaddedIDToken,
			middlewaretest.EncryptionKey,
			middlewaretest.UserInfoWrongSubject, // without what user info says
			middlewaretest.UserInfoMissingSubject,
			middlewaretest.UserInfoRefused,
		},
	},
	{
		name: "express-openid-connect",
		start: func(t *testing.T, op *middlewaretest.Server) *servers.RelyingParty {
			return servers.StartExpress(t, registerAt(t, op))
		},
		// Its state is the page to return to and nothing else; nonce and PKCE
		// are random.
		violations: []string{"repeats the state of another one"},
		takes: []middlewaretest.Fault{
			middlewaretest.IssuedLongAgo,
			middlewaretest.IssuedInFuture,
			middlewaretest.WrongAccessTokenHash,
			middlewaretest.RepeatedClaim,
			middlewaretest.LogoutEvent,
			middlewaretest.WrongTokenType,
			middlewaretest.PaddedIDToken,
			// It never fetches the keys: Core §3.1.3.7 item 6 lets TLS replace
			// the signature if the token endpoint returned the ID Token.
			middlewaretest.EmptySignature,
			middlewaretest.WrongSignature,
			middlewaretest.UnknownKeyID,
			middlewaretest.EncryptionKey,
			middlewaretest.WithdrawnKey,
			middlewaretest.EmptyKeySet,
		},
	},
	{name: "gatehouse", start: startGatehouse},
}

// answerFaults spoil one sign-in; the next one is as good as the provider.
var answerFaults = []middlewaretest.Fault{
	middlewaretest.WrongState, middlewaretest.MissingState, middlewaretest.RepeatedState,
	middlewaretest.RepeatedCode, middlewaretest.MissingCode,
	middlewaretest.WrongResponseIssuer, middlewaretest.MissingResponseIssuer,
	middlewaretest.ErrorAnswer, middlewaretest.ErrorWrongState,
	middlewaretest.CodeRefused, middlewaretest.ClientRefused, middlewaretest.ErrorAsSuccess, middlewaretest.TokenEndpointDown,
	middlewaretest.UnknownTokenType, middlewaretest.MissingTokenType, middlewaretest.MissingAccessToken, middlewaretest.MissingIDToken,
	middlewaretest.WrongIssuer, middlewaretest.IssuerSlash, middlewaretest.MissingIssuer,
	middlewaretest.WrongAudience, middlewaretest.MissingAudience, middlewaretest.EmptyAudience,
	middlewaretest.SecondAudience, middlewaretest.WrongAuthorizedParty,
	middlewaretest.MissingSubject, middlewaretest.EmptySubject, middlewaretest.SubjectNotString,
	middlewaretest.MissingIssuedAt, middlewaretest.IssuedLongAgo, middlewaretest.IssuedInFuture, middlewaretest.NotYetValid,
	middlewaretest.MissingExpiry, middlewaretest.ExpiredIDToken,
	middlewaretest.WrongNonce, middlewaretest.MissingNonce, middlewaretest.WrongAccessTokenHash,
	middlewaretest.RepeatedClaim, middlewaretest.OtherCaseClaim, middlewaretest.LogoutEvent,
	middlewaretest.UnsignedIDToken, middlewaretest.UnsignedOddCase, middlewaretest.EmptySignature, middlewaretest.WrongSignature,
	middlewaretest.HMACWithPublicKey, middlewaretest.HMACWithSecret,
	middlewaretest.UnknownCriticalHeader, middlewaretest.KeyInHeader, middlewaretest.KeyURLInHeader, middlewaretest.WrongTokenType,
	middlewaretest.FivePartIDToken, middlewaretest.PaddedIDToken, middlewaretest.JSONSerializedIDToken, middlewaretest.HugeIDToken,
	middlewaretest.UnknownKeyID,
	middlewaretest.UserInfoWrongSubject, middlewaretest.UserInfoMissingSubject, middlewaretest.UserInfoRefused,
}

// tokenFaults are faults of the token endpoint, also for one sign-in. Nobody
// accepts one.
var tokenFaults = []middlewaretest.Fault{
	middlewaretest.EndpointDown, middlewaretest.HTMLAnswer, middlewaretest.TruncatedAnswer, middlewaretest.RedirectingAnswer,
}

// documentFaults spoil documents that relying parties keep, so each fault gets
// a new party.
var documentFaults = []middlewaretest.Fault{
	middlewaretest.MetadataIssuerMismatch, middlewaretest.MetadataIssuerSlash,
	middlewaretest.EncryptionKey, middlewaretest.WithdrawnKey, middlewaretest.EmptyKeySet,
}

// liberties are things that a provider may do: everybody signs in.
var (
	answerLiberties = []middlewaretest.Fault{
		middlewaretest.OddTokenType, middlewaretest.NoExpiresIn, middlewaretest.NoScope,
		middlewaretest.AudienceArray, middlewaretest.MissingAccessTokenHash, middlewaretest.NoKeyID,
	}
	documentLiberties = []middlewaretest.Fault{
		middlewaretest.OddMetadata, middlewaretest.NoChallengeMethods, middlewaretest.NoResponseIssuer, middlewaretest.MTLSAliases,
		middlewaretest.OddKeys, middlewaretest.DecoyKeys,
	}
)

// newKit starts the kit's provider with two people.
func newKit(t *testing.T) *middlewaretest.Server {
	t.Helper()
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", middlewaretest.Claims{"sub": "a-7", "email": "ana@example.test"})
	op.AddUser("ben", middlewaretest.Claims{"sub": "b-9", "email": "ben@example.test"})
	return op
}

// registerAt returns a function that registers a client at the kit.
func registerAt(t *testing.T, op *middlewaretest.Server) func(string) servers.RelyingPartyClient {
	return func(redirectURI string) servers.RelyingPartyClient {
		t.Helper()
		client := op.AddClient(redirectURI)
		return servers.RelyingPartyClient{Issuer: op.Issuer(), ID: client.ID, Secret: client.Secret.Reveal()}
	}
}

// startGatehouse serves the same pages as the others.
func startGatehouse(t *testing.T, op *middlewaretest.Server) *servers.RelyingParty {
	base := middlewaretest.NewApp(t, func(base string) http.Handler {
		login := must(gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{
			Client: op.AddClient(base + "/callback"), RedirectURL: base + "/callback", Scopes: []string{"profile", "email"},
		}))(t)
		mux := http.NewServeMux()
		mux.Handle("/callback", login.CallbackHandler())
		mux.Handle("/logout", login.LogoutHandler())
		mux.Handle("/private", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id := gatehouse.IdentityFrom(r.Context())
			_ = json.NewEncoder(w).Encode(person{id.Subject, id.ClaimString("email")})
		})))
		return mux
	})
	return &servers.RelyingParty{Base: base, Private: base + "/private"}
}

// person is what the private page shows.
type person struct {
	Sub   string `json:"sub"`
	Email string `json:"email"`
}

// visit opens the private page and returns whom it shows, nobody if it is not
// reached, and where the visit ended.
func visit(browser *middlewaretest.Browser, site *servers.RelyingParty) (person, string) {
	resp, err := browser.Get(site.Private)
	if err != nil {
		return person{}, err.Error()
	}
	body, err := readAll(resp.Body)
	if err != nil {
		return person{}, err.Error()
	}
	end := fmt.Sprintf("%s %s\n%.500s", resp.Status, resp.Request.URL.Redacted(), body)
	var shown person
	if resp.StatusCode != http.StatusOK || resp.Request.URL.String() != site.Private || json.Unmarshal(body, &shown) != nil {
		return person{}, end
	}
	return shown, end
}

// onTime sets the kit's clock to the real time, which the others use.
func onTime(op *middlewaretest.Server) {
	op.Clock().Advance(time.Since(op.Clock().Now()))
}

// Two people sign in at each, are kept apart, and one signs out.
func TestKitServesOtherRelyingParties(t *testing.T) {
	t.Parallel()
	for _, p := range parties {
		t.Run(p.name, func(t *testing.T) {
			op := newKit(t)
			site := p.start(t, op)
			onTime(op)
			ana, ben := op.Browser(t, "ana"), op.Browser(t, "ben")
			want := person{"a-7", "ana@example.test"}
			for range 2 { // to sign in, and signed in
				if got, end := visit(ana, site); got != want {
					t.Fatalf("the page shows %v, want %v: %s", got, want, end)
				}
			}
			if got := fmt.Sprint(op.Count("authorize"), op.Count("token")); got != "1 1" { // once for both visits
				t.Errorf("authorization and token requests: %s", got)
			}
			if op.Count("userinfo") == 0 {
				t.Error("user info was not asked")
			}
			if got, end := visit(ben, site); got.Sub != "b-9" {
				t.Errorf("the page shows %v to the other one: %s", got, end)
			}
			p.checkViolations(t, op, p.violations...)
			if site.SignOut != "" {
				checkSignOut(t, op, site, ana, ben)
			}
		})
	}
}

// checkSignOut signs one person out, at the site and at the provider.
func checkSignOut(t *testing.T, op *middlewaretest.Server, site *servers.RelyingParty, leaves, stays *middlewaretest.Browser) {
	t.Helper()
	resp, err := leaves.Get(site.SignOut)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSuffix(resp.Request.URL.String(), "/"); got != site.SignedOut || op.Count("end_session") != 1 {
		t.Errorf("the sign-out ended at %s, %s, after %d requests to the provider's", got, resp.Status, op.Count("end_session"))
	}
	for _, one := range []struct {
		browser *middlewaretest.Browser
		asked   bool
	}{{leaves, true}, {stays, false}} {
		resp, err := one.browser.GetUntil(site.Private, op.Issuer())
		if err != nil {
			t.Fatal(err)
		}
		if asked := strings.HasPrefix(resp.Header.Get("Location"), op.Issuer()); asked != one.asked {
			t.Errorf("after the sign-out: sent to the provider %v, want %v", asked, one.asked)
		}
	}
}

// checkViolations compares what the kit recorded, each kind once.
func (p *party) checkViolations(t *testing.T, op *middlewaretest.Server, want ...string) {
	t.Helper()
	seen := map[string]bool{}
	for _, v := range op.Violations() {
		known := slices.IndexFunc(want, func(w string) bool { return strings.Contains(v, w) })
		if known < 0 {
			t.Errorf("%s breaks a rule: %s", p.name, v)
			continue
		}
		seen[want[known]] = true
	}
	for _, w := range want {
		if !seen[w] {
			t.Errorf("%s no longer breaks the rule: %s", p.name, w)
		}
	}
}

// Each party refuses all faults except those that it is known to accept. The
// test notices a change in either direction. gatehouse accepts none.
func TestKitFaultsAtOtherRelyingParties(t *testing.T) {
	t.Parallel()
	for _, p := range parties {
		t.Run(p.name, func(t *testing.T) {
			op := newKit(t)
			site := p.start(t, op)
			for i, f := range slices.Concat(answerLiberties, answerFaults) {
				t.Run(string(f), func(t *testing.T) {
					op.Break(f)
					p.check(t, op, site, i < len(answerLiberties) || slices.Contains(p.takes, f))
					op.Mend()
					mended(t, op, site)
				})
			}
			for _, f := range tokenFaults {
				t.Run(string(f)+" at token", func(t *testing.T) {
					op.BreakAt(f, "token")
					p.check(t, op, site, false)
					op.Mend()
					mended(t, op, site)
				})
			}
			for i, f := range slices.Concat(documentLiberties, documentFaults) {
				t.Run(string(f), func(t *testing.T) {
					op := newKit(t)
					op.Break(f)
					p.check(t, op, p.start(t, op), i < len(documentLiberties) || slices.Contains(p.takes, f))
				})
			}
		})
	}
}

// check makes a person visit the private page, twice as people do, and compares
// whether they get in.
func (p *party) check(t *testing.T, op *middlewaretest.Server, site *servers.RelyingParty, in bool) {
	t.Helper()
	onTime(op)
	ana := op.Browser(t, "ana")
	got, end := visit(ana, site)
	if got == (person{}) {
		got, _ = visit(ana, site)
	}
	if (got != person{}) != in {
		t.Errorf("%s signs in %+v, want a sign-in: %v\n%s", p.name, got, in, end)
	}
}

// mended checks that the same site signs people in when nothing is wrong.
func mended(t *testing.T, op *middlewaretest.Server, site *servers.RelyingParty) {
	t.Helper()
	if got, end := visit(op.Browser(t, "ben"), site); got.Sub != "b-9" {
		t.Errorf("mended, the page shows %v: %s", got, end)
	}
}
