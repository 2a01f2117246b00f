package middlewaretest_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
	"example.com/gatehouse/middlewaretest"
)

// outcome is how a service must respond to a broken provider.
type outcome struct {
	status int
	code   string // of the error; "" if signed in
	tokens int    // requests to the token endpoint
}

// faultCase is a provider that is broken in one or more ways.
type faultCase struct {
	row    string // of the relying party's behaviours
	faults []middlewaretest.Fault
	at     string // the endpoints, for faults that any can have
	path   string // what the person visits; "" for /notes/
	change func(*gatehouse.ProviderConfig, *gatehouse.RelyingPartyConfig)
	rotate bool // new keys repair it
	cold   bool // it is about the first fetch of the metadata
	want   outcome
}

func one(row string, f middlewaretest.Fault, want outcome) faultCase {
	return faultCase{row: row, faults: []middlewaretest.Fault{f}, want: want}
}

func at(row string, f middlewaretest.Fault, endpoint string, want outcome) faultCase {
	return faultCase{row: row, faults: []middlewaretest.Fault{f}, at: endpoint, want: want}
}

// in is the outcome of a sign-in that works. no is that of one refused before
// the token request. bad is that of one refused because of what the code was
// exchanged for.
var in = outcome{200, "", 1}

func no(code string) outcome  { return outcome{400, code, 0} }
func bad(code string) outcome { return outcome{400, code, 1} }

// out is the outcome when the provider is in trouble.
func out(code string, tokens int) outcome { return outcome{503, code, tokens} }

func metadataCases() []faultCase {
	cases := []faultCase{
		one("D1", middlewaretest.MetadataIssuerSlash, out("metadata_issuer_mismatch", 0)),
		one("D2", middlewaretest.MetadataIssuerMismatch, out("metadata_issuer_mismatch", 0)),
		one("D3", middlewaretest.InsecureEndpoint, out("metadata_invalid", 0)),
		one("D4", middlewaretest.OddMetadata, in),
		{row: "D4", faults: []middlewaretest.Fault{middlewaretest.OddMetadata, middlewaretest.UnsignedIDToken}, want: bad("id_token_malformed")},
		one("D6", middlewaretest.NoChallengeMethods, in),
		one("D6", middlewaretest.PlainChallengeOnly, in),
		one("T8", middlewaretest.MTLSAliases, in),
		at("D3", middlewaretest.EndpointGone, "metadata", in), // RFC 8414 has it too
		at("D3", middlewaretest.EndpointGone, "metadata oauth_metadata", out("metadata_missing", 0)),
	}
	for f, code := range map[middlewaretest.Fault]string{
		middlewaretest.EndpointFails: "provider_unavailable",
		middlewaretest.EndpointDown:  "provider_unavailable", middlewaretest.HTMLAnswer: "metadata_invalid",
		middlewaretest.TruncatedAnswer: "provider_unavailable", middlewaretest.HugeAnswer: "metadata_invalid",
		middlewaretest.RedirectingAnswer: "provider_unavailable", middlewaretest.AuthorizationServerHangs: "provider_unavailable",
	} {
		cases = append(cases, at("D3", f, "metadata", out(code, 0)))
	}
	return cases
}

func answerCases() []faultCase {
	cases := []faultCase{
		one("C1", middlewaretest.WrongState, no("state_unknown")),
		one("C1", middlewaretest.MissingState, no("state_missing")),
		one("C2", middlewaretest.RepeatedCode, no("response_malformed")),
		one("C2", middlewaretest.RepeatedState, no("response_malformed")),
		one("C2", middlewaretest.MissingCode, no("response_malformed")),
		one("C3", middlewaretest.ErrorAnswer, outcome{403, "provider_refused", 0}),
		one("C3", middlewaretest.ErrorWrongState, no("state_unknown")),
		one("C5", middlewaretest.WrongResponseIssuer, no("issuer_mismatch")),
		one("C5", middlewaretest.MissingResponseIssuer, no("issuer_mismatch")),
		one("C5", middlewaretest.NoResponseIssuer, in),
		{row: "C5", faults: []middlewaretest.Fault{middlewaretest.NoResponseIssuer, middlewaretest.WrongResponseIssuer}, want: no("issuer_mismatch")},
		one("T5", middlewaretest.CodeRefused, bad("code_refused")),
		one("T5", middlewaretest.ClientRefused, out("client_refused", 1)),
		one("T5", middlewaretest.ErrorAsSuccess, out("provider_unavailable", 1)),
		one("T5", middlewaretest.TokenEndpointDown, out("provider_unavailable", 1)),
		one("T6", middlewaretest.OddTokenType, in),
		one("T6", middlewaretest.NoExpiresIn, in),
		one("T6", middlewaretest.NoScope, in),
		one("T7", middlewaretest.UnknownTokenType, bad("token_type_unsupported")),
		one("T7", middlewaretest.MissingTokenType, bad("token_type_unsupported")),
		one("T7", middlewaretest.MissingAccessToken, out("provider_unavailable", 1)),
		one("T7", middlewaretest.MissingIDToken, bad("id_token_missing")),
		one("U2", middlewaretest.UserInfoWrongSubject, bad("userinfo_subject_mismatch")),
		one("U2", middlewaretest.UserInfoMissingSubject, bad("userinfo_subject_mismatch")),
		one("U2", middlewaretest.UserInfoRefused, out("userinfo_unavailable", 1)),
		one("U4", middlewaretest.ClaimSources, in),
	}
	for _, f := range []middlewaretest.Fault{middlewaretest.EndpointFails, middlewaretest.EndpointDown, middlewaretest.HTMLAnswer,
		middlewaretest.TruncatedAnswer, middlewaretest.HugeAnswer, middlewaretest.RedirectingAnswer, middlewaretest.AuthorizationServerHangs} {
		cases = append(cases, at("T5", f, "token", out("provider_unavailable", 1)), at("U2", f, "userinfo", out("userinfo_unavailable", 1)))
	}
	return cases
}

func claimCases() []faultCase {
	cases := []faultCase{
		one("I3", middlewaretest.AudienceArray, in),
		one("I7", middlewaretest.ExpiredWithinSkew, in),
		one("I16", middlewaretest.MissingAccessTokenHash, in),
		{row: "A5", faults: []middlewaretest.Fault{middlewaretest.OldAuthentication}, path: "/fresh/", want: bad("auth_time_too_old")},
		{row: "A5", faults: []middlewaretest.Fault{middlewaretest.MissingAuthTime}, path: "/fresh/", want: bad("auth_time_too_old")},
	}
	for _, c := range []struct {
		row, code string
		faults    []middlewaretest.Fault
	}{
		{"I1", "id_token_issuer_mismatch", []middlewaretest.Fault{middlewaretest.WrongIssuer, middlewaretest.IssuerSlash, middlewaretest.MissingIssuer}},
		{"I2", "audience_mismatch", []middlewaretest.Fault{middlewaretest.WrongAudience, middlewaretest.MissingAudience, middlewaretest.EmptyAudience, middlewaretest.OtherCaseClaim}},
		{"I4", "audience_mismatch", []middlewaretest.Fault{middlewaretest.SecondAudience, middlewaretest.WrongAuthorizedParty}},
		{"I5", "subject_missing", []middlewaretest.Fault{middlewaretest.MissingSubject, middlewaretest.EmptySubject}},
		{"I5", "id_token_malformed", []middlewaretest.Fault{middlewaretest.SubjectNotString}},
		{"I6", "id_token_malformed", []middlewaretest.Fault{middlewaretest.MissingIssuedAt}},
		{"I7", "id_token_expired", []middlewaretest.Fault{middlewaretest.MissingExpiry, middlewaretest.ExpiredIDToken}},
		{"I8", "clock_skew", []middlewaretest.Fault{middlewaretest.IssuedLongAgo, middlewaretest.IssuedInFuture, middlewaretest.NotYetValid}},
		{"I9", "nonce_mismatch", []middlewaretest.Fault{middlewaretest.WrongNonce, middlewaretest.MissingNonce}},
		{"I16", "at_hash_mismatch", []middlewaretest.Fault{middlewaretest.WrongAccessTokenHash}},
		{"S2", "id_token_malformed", []middlewaretest.Fault{middlewaretest.RepeatedClaim}},
		{"S2", "token_type_confused", []middlewaretest.Fault{middlewaretest.LogoutEvent}},
	} {
		for _, f := range c.faults {
			cases = append(cases, one(c.row, f, bad(c.code)))
		}
	}
	return cases
}

func formCases() []faultCase {
	pinned := func(p *gatehouse.ProviderConfig, _ *gatehouse.RelyingPartyConfig) {
		p.SigningAlgorithms = []string{"RS256"}
	}
	return []faultCase{
		one("I10", middlewaretest.UnsignedIDToken, bad("id_token_malformed")),
		one("I10", middlewaretest.UnsignedOddCase, bad("id_token_malformed")),
		one("I10", middlewaretest.EmptySignature, bad("id_token_malformed")),
		one("I11", middlewaretest.OtherAlgorithm, in), // the metadata announces it
		{row: "I11", faults: []middlewaretest.Fault{middlewaretest.OtherAlgorithm}, change: pinned, want: bad("algorithm_refused")},
		one("I12", middlewaretest.HMACWithPublicKey, bad("algorithm_refused")),
		one("I12", middlewaretest.HMACWithSecret, bad("algorithm_refused")),
		{row: "I12", faults: []middlewaretest.Fault{middlewaretest.HMACWithSecret, middlewaretest.OddMetadata}, want: bad("algorithm_refused")}, // HS256 announced
		one("I13", middlewaretest.WrongSignature, bad("signature_invalid")),
		one("I14", middlewaretest.UnknownCriticalHeader, bad("signature_invalid")),
		one("I14", middlewaretest.KeyInHeader, bad("signature_invalid")),
		one("I14", middlewaretest.KeyURLInHeader, bad("signature_invalid")),
		one("I14", middlewaretest.WrongTokenType, bad("token_type_confused")),
		one("I14", middlewaretest.FivePartIDToken, bad("id_token_malformed")),
		one("I14", middlewaretest.PaddedIDToken, bad("id_token_malformed")),
		one("I14", middlewaretest.JSONSerializedIDToken, bad("id_token_malformed")),
		one("I14", middlewaretest.HugeIDToken, bad("id_token_malformed")),
		one("K1", middlewaretest.OddKeys, in),
		one("K2", middlewaretest.NoKeyID, in),
		{row: "K3", faults: []middlewaretest.Fault{middlewaretest.NoKeyID, middlewaretest.ThreeKeys}, want: in},
		one("K4", middlewaretest.DecoyKeys, in),
		one("K5", middlewaretest.EncryptionKey, out("keys_unusable", 1)), // no key is left
		{row: "K5", faults: []middlewaretest.Fault{middlewaretest.EncryptionKey, middlewaretest.ThreeKeys}, want: bad("signature_invalid")},
		// The kid is known, so nothing is fetched until the provider has a new
		// key.
		{row: "K5", faults: []middlewaretest.Fault{middlewaretest.OtherKeyAlgorithm}, rotate: true, want: bad("signature_invalid")},
		one("K7", middlewaretest.UnknownKeyID, bad("signature_invalid")),
		one("K7", middlewaretest.WithdrawnKey, bad("signature_invalid")),
		one("K7", middlewaretest.EmptyKeySet, out("keys_unusable", 1)),
		at("K7", middlewaretest.EndpointDown, "jwks", out("provider_unavailable", 1)),
		at("K7", middlewaretest.AuthorizationServerHangs, "jwks", out("provider_unavailable", 1)),
	}
}

// TestFaults runs a relying party against every fault of the OpenID provider.
// It answers as expected, leaves no session and no secret behind, and breaks no
// rule itself, and the next sign-in works (RP-S2).
func TestFaults(t *testing.T) {
	t.Parallel()
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
	untested := map[middlewaretest.Fault]bool{}
	for _, f := range opserver.OpenIDFaults() {
		untested[middlewaretest.Fault(f)] = f != opserver.RefreshOtherSubject // TestFaultsAtRefresh
	}
	for i, cases := range [][]faultCase{metadataCases(), answerCases(), claimCases(), formCases()} {
		for _, c := range cases {
			c.cold = i == 0
			name := c.row + " " + strings.Trim(fmt.Sprint(c.faults), "[]")
			if c.at != "" {
				name += " at " + c.at
			}
			t.Run(name, func(t *testing.T) { c.run(t, op) })
			for _, f := range c.faults {
				delete(untested, f)
			}
		}
	}
	for f, missing := range untested {
		if missing {
			t.Errorf("no case for %s", f)
		}
	}
}

func (c faultCase) run(t *testing.T, op *middlewaretest.Server) {
	change, way := c.change, &impatient{base: http.DefaultTransport}
	if slices.Contains(c.faults, middlewaretest.AuthorizationServerHangs) {
		change = func(pc *gatehouse.ProviderConfig, _ *gatehouse.RelyingPartyConfig) { pc.Transport = way }
		for _, endpoint := range strings.Fields(c.at) {
			op.OnRequest(endpoint, way.hold)
		}
	}
	s := newService(t, op, change)
	ana := op.Browser(t, "ana")
	tokens, violations := op.Count("token"), len(op.Violations())
	if c.at != "" {
		op.BreakAt(c.faults[0], strings.Fields(c.at)...)
	} else {
		op.Break(c.faults...)
	}
	defer op.Mend()
	if !c.cold { // however slow this machine is
		s.recovers()
	}
	path := c.path
	if path == "" {
		path = "/notes/"
	}
	status, page := s.get(ana, path)
	if got := (outcome{status, s.took(), op.Count("token") - tokens}); got != c.want {
		t.Errorf("got %v, want %v:\n%s\n%s", got, c.want, page, s.log.String())
	}
	if served := strings.HasPrefix(page, "notes of ana"); served != (c.want.code == "") {
		t.Errorf("served: %v", served)
	}
	if strings.Contains(page, "<script") || strings.Contains(page, "evil.invalid") {
		t.Errorf("the page repeats what the provider said: %s", page)
	}
	if c.want.code != "" && s.signedIn(ana) {
		t.Error("there is a session")
	}
	op.Mend()
	for _, endpoint := range strings.Fields(c.at) {
		op.OnRequest(endpoint, nil)
	}
	way.calm()
	if c.rotate {
		must(t, inside(t, op).RotateKeys())
	}
	op.Clock().Advance(time.Minute) // the pause after a failure
	s.recovers()
	status, page = s.get(ana, path)
	if status != 200 || page != "notes of ana ana@example.org" {
		t.Errorf("the next sign-in: %d %s\n%s", status, page, s.log.String())
	}
	if v := op.Violations()[violations:]; len(v) != 0 {
		t.Errorf("violations %q", v)
	}
}
