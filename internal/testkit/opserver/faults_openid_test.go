package opserver_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/testkit/opserver"
)

// seen is what one sign-in reveals about the server.
type seen struct {
	w         *world
	sent      url.Values // the authorization request
	back      url.Values // its answer
	token     answer
	raw       string // the ID Token
	header    map[string]any
	payload   string
	claims    map[string]any
	info      answer // user info
	meta      map[string]any
	keys      []map[string]any
	refreshed map[string]any // claims after a refresh
}

// look signs in as alice in a new browser and continues as far as it can.
func (w *world) look() *seen {
	w.t.Helper()
	v := &seen{w: w, meta: w.getJSON(w.Issuer() + "/.well-known/openid-configuration")}
	for _, k := range w.getJSON(w.endpoint("jwks_uri"))["keys"].([]any) {
		v.keys = append(v.keys, k.(map[string]any))
	}
	at := w.authorizeURL()
	u, err := url.Parse(at)
	w.must(err)
	v.sent = u.Query()
	v.back = w.signIn(w.browser(), at, "alice")
	if !v.back.Has("code") {
		return v
	}
	v.token = w.redeem(at, v.back)
	v.raw = str(v.token.json["id_token"])
	v.header, v.claims, v.payload = open(v.raw)
	v.info = w.send(w.http, http.MethodGet, w.endpoint("userinfo_endpoint"), "", "", "Bearer "+str(v.token.json["access_token"]))
	if more := str(v.token.json["refresh_token"]); more != "" {
		a := w.token(rpAuth, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {more}})
		_, v.refreshed, _ = open(str(a.json["id_token"]))
	}
	return v
}

// open reads a JWT without checking the signature. It returns nil for what it
// cannot read.
func open(raw string) (header, claims map[string]any, payload string) {
	parts := strings.Split(raw, ".")
	if len(parts) < 2 {
		return nil, nil, ""
	}
	h, _ := base64.RawURLEncoding.DecodeString(parts[0])
	p, _ := base64.RawURLEncoding.DecodeString(parts[1])
	_ = json.Unmarshal(h, &header)
	_ = json.Unmarshal(p, &claims)
	return header, claims, string(p)
}

// key returns the entries of the key set with a kid.
func (v *seen) key(kid any) (out []map[string]any) {
	for _, k := range v.keys {
		if k["kid"] == kid {
			out = append(out, k)
		}
	}
	return out
}

// verifies reports whether some suitable key of the set verifies the ID Token,
// whatever keys the header names.
func (v *seen) verifies() bool {
	for _, entry := range v.keys {
		b, err := json.Marshal(entry)
		v.w.must(err)
		var key jose.JSONWebKey
		if json.Unmarshal(b, &key) == nil && key.Use == "sig" && verifies(v.raw, key.Key) {
			return true
		}
	}
	return false
}

func verifies(raw string, key any) bool {
	signed, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.RS256, jose.RS512, jose.PS256, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA, jose.HS256})
	if err != nil {
		return false
	}
	_, err = signed.Verify(key)
	return err == nil
}

// publicText is the RSA key of the set as people copy it.
func (v *seen) publicText() []byte {
	for _, entry := range v.keys {
		b, err := json.Marshal(entry)
		v.w.must(err)
		var key jose.JSONWebKey
		if json.Unmarshal(b, &key) == nil && key.Algorithm == "RS256" {
			der, err := x509.MarshalPKIXPublicKey(key.Key)
			v.w.must(err)
			return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		}
	}
	return nil
}

func (v *seen) age(claim string) float64 {
	at, ok := v.claims[claim].(float64)
	if !ok {
		return -1e12
	}
	return float64(v.w.clock.Now().Unix()) - at
}

func (v *seen) audience() string {
	b, _ := json.Marshal(v.claims["aud"])
	return string(b)
}

// shows lists how each fault is visible from outside.
func shows() map[opserver.Fault]func(v *seen) bool {
	return join(showsMetadata(), showsAnswers(), showsClaims(), showsForm(), showsKeys())
}

func join[K comparable, V any](maps ...map[K]V) map[K]V {
	out := map[K]V{}
	for _, m := range maps {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

func showsMetadata() map[opserver.Fault]func(v *seen) bool {
	methods := func(v *seen) string {
		b, _ := json.Marshal(v.meta["code_challenge_methods_supported"])
		return string(b)
	}
	return map[opserver.Fault]func(v *seen) bool{
		opserver.MetadataIssuerMismatch: func(v *seen) bool { return v.meta["issuer"] == v.w.Issuer()+"/other" },
		opserver.MetadataIssuerSlash:    func(v *seen) bool { return v.meta["issuer"] == v.w.Issuer()+"/" },
		opserver.InsecureEndpoint:       func(v *seen) bool { return strings.HasPrefix(str(v.meta["token_endpoint"]), "http://op.invalid/") },
		opserver.OddMetadata: func(v *seen) bool {
			algs, _ := v.meta["id_token_signing_alg_values_supported"].([]any)
			return v.meta["urn:example:odd"] != nil && slices.Contains(algs, any("none"))
		},
		opserver.NoChallengeMethods: func(v *seen) bool { return methods(v) == "null" },
		opserver.PlainChallengeOnly: func(v *seen) bool { return methods(v) == `["plain"]` },
		opserver.MTLSAliases:        func(v *seen) bool { return v.meta["mtls_endpoint_aliases"] != nil },
		opserver.NoResponseIssuer: func(v *seen) bool {
			return v.meta["authorization_response_iss_parameter_supported"] == nil && !v.back.Has("iss")
		},
	}
}

func showsAnswers() map[opserver.Fault]func(v *seen) bool {
	failed := func(v *seen, status int, code string) bool {
		return v.token.StatusCode == status && v.token.json["error"] == code
	}
	return map[opserver.Fault]func(v *seen) bool{
		opserver.WrongState:            func(v *seen) bool { return v.back.Get("state") == v.sent.Get("state")+"x" },
		opserver.MissingState:          func(v *seen) bool { return !v.back.Has("state") },
		opserver.WrongResponseIssuer:   func(v *seen) bool { return v.back.Get("iss") == v.w.Issuer()+"/other" },
		opserver.MissingResponseIssuer: func(v *seen) bool { return !v.back.Has("iss") },
		opserver.RepeatedCode:          func(v *seen) bool { return len(v.back["code"]) == 2 },
		opserver.RepeatedState:         func(v *seen) bool { return len(v.back["state"]) == 2 },
		opserver.MissingCode:           func(v *seen) bool { return !v.back.Has("code") && v.back.Has("state") },
		opserver.ErrorAnswer: func(v *seen) bool {
			return v.back.Get("error") == "login_required" && v.back.Get("state") == v.sent.Get("state") &&
				strings.Contains(v.back.Get("error_description"), "<script")
		},
		opserver.ErrorWrongState: func(v *seen) bool {
			return v.back.Has("error") && v.back.Get("state") == v.sent.Get("state")+"x"
		},
		opserver.CodeRefused:            func(v *seen) bool { return failed(v, 400, "invalid_grant") },
		opserver.ClientRefused:          func(v *seen) bool { return failed(v, 401, "invalid_client") },
		opserver.ErrorAsSuccess:         func(v *seen) bool { return failed(v, 200, "invalid_grant") },
		opserver.OddTokenType:           func(v *seen) bool { return v.token.json["token_type"] == "bEARER" },
		opserver.UnknownTokenType:       func(v *seen) bool { return v.token.json["token_type"] == "mac" },
		opserver.MissingTokenType:       func(v *seen) bool { return v.raw != "" && v.token.json["token_type"] == nil },
		opserver.NoExpiresIn:            func(v *seen) bool { return v.raw != "" && v.token.json["expires_in"] == nil },
		opserver.NoScope:                func(v *seen) bool { return v.raw != "" && v.token.json["scope"] == nil },
		opserver.MissingAccessToken:     func(v *seen) bool { return v.raw != "" && v.token.json["access_token"] == nil },
		opserver.MissingIDToken:         func(v *seen) bool { return v.raw == "" && v.token.json["access_token"] != nil },
		opserver.UserInfoWrongSubject:   func(v *seen) bool { return v.info.json["sub"] == "someone-else" },
		opserver.UserInfoMissingSubject: func(v *seen) bool { return v.info.json["email"] != nil && v.info.json["sub"] == nil },
		opserver.UserInfoRefused:        func(v *seen) bool { return v.info.StatusCode == 401 },
		opserver.ClaimSources: func(v *seen) bool {
			return v.info.json["_claim_sources"] != nil && v.claims["_claim_names"] != nil
		},
	}
}

func showsClaims() map[opserver.Fault]func(v *seen) bool {
	missing := func(claim string) func(v *seen) bool {
		return func(v *seen) bool { _, there := v.claims[claim]; return v.claims != nil && !there }
	}
	return map[opserver.Fault]func(v *seen) bool{
		opserver.WrongIssuer:     func(v *seen) bool { return v.claims["iss"] == v.w.Issuer()+"1" },
		opserver.IssuerSlash:     func(v *seen) bool { return v.claims["iss"] == v.w.Issuer()+"/" },
		opserver.MissingIssuer:   missing("iss"),
		opserver.WrongAudience:   func(v *seen) bool { return v.audience() == `"rp-other"` },
		opserver.MissingAudience: missing("aud"),
		opserver.EmptyAudience:   func(v *seen) bool { return v.audience() == `[]` },
		opserver.AudienceArray:   func(v *seen) bool { return v.audience() == `["rp"]` },
		opserver.SecondAudience: func(v *seen) bool {
			return v.audience() == `["rp","other"]` && v.claims["azp"] == nil
		},
		opserver.WrongAuthorizedParty: func(v *seen) bool { return v.audience() == `["rp","other"]` && v.claims["azp"] == "other" },
		opserver.MissingSubject:       missing("sub"),
		opserver.EmptySubject:         func(v *seen) bool { return v.claims["sub"] == "" },
		opserver.SubjectNotString:     func(v *seen) bool { return v.claims["sub"] == 4711.0 },
		opserver.MissingIssuedAt:      missing("iat"),
		opserver.MissingExpiry:        missing("exp"),
		opserver.ExpiredIDToken:       func(v *seen) bool { return v.age("exp") == 360 },
		opserver.ExpiredWithinSkew:    func(v *seen) bool { return v.age("exp") == 50 },
		opserver.IssuedLongAgo:        func(v *seen) bool { return v.age("iat") == 7*24*3600 && v.age("exp") < 0 },
		opserver.IssuedInFuture:       func(v *seen) bool { return v.age("iat") == -3600 },
		opserver.NotYetValid:          func(v *seen) bool { return v.age("nbf") == -3600 },
		opserver.WrongNonce:           func(v *seen) bool { return v.claims["nonce"] == v.sent.Get("nonce")+"x" },
		opserver.MissingNonce:         missing("nonce"),
		opserver.OldAuthentication:    func(v *seen) bool { return v.age("auth_time") == 24*3600 },
		opserver.MissingAuthTime:      missing("auth_time"),
		opserver.WrongAccessTokenHash: func(v *seen) bool {
			return v.claims["at_hash"] != nil && strings.Trim(str(v.claims["at_hash"]), "A") == ""
		},
		opserver.MissingAccessTokenHash: missing("at_hash"),
		opserver.RepeatedClaim:          func(v *seen) bool { return strings.Count(v.payload, `"sub":`) == 2 },
		opserver.OtherCaseClaim:         func(v *seen) bool { return v.claims["AUD"] == "rp" && v.claims["aud"] == "rp-other" },
		opserver.LogoutEvent:            func(v *seen) bool { return v.claims["events"] != nil },
		opserver.RefreshOtherSubject:    func(v *seen) bool { return v.claims["sub"] == "alice" && v.refreshed["sub"] == "alice-other" },
		opserver.HugeIDToken:            func(v *seen) bool { return len(v.raw) > 512<<10 && v.verifies() },
	}
}

func showsForm() map[opserver.Fault]func(v *seen) bool {
	parts := func(v *seen) []string { return strings.Split(v.raw, ".") }
	return map[opserver.Fault]func(v *seen) bool{
		opserver.UnsignedIDToken:   func(v *seen) bool { return v.header["alg"] == "none" && parts(v)[2] == "" },
		opserver.UnsignedOddCase:   func(v *seen) bool { return v.header["alg"] == "None" && parts(v)[2] == "" },
		opserver.EmptySignature:    func(v *seen) bool { return v.header["alg"] == "RS256" && parts(v)[2] == "" },
		opserver.OtherAlgorithm:    func(v *seen) bool { return v.header["alg"] == "ES256" && v.verifies() },
		opserver.HMACWithPublicKey: func(v *seen) bool { return v.header["alg"] == "HS256" && verifies(v.raw, v.publicText()) },
		opserver.HMACWithSecret: func(v *seen) bool {
			return v.header["alg"] == "HS256" && verifies(v.raw, []byte(rpSecret))
		},
		opserver.WrongSignature: func(v *seen) bool {
			return v.header["alg"] == "RS256" && len(v.key(v.header["kid"])) == 1 && len(parts(v)[2]) == 342 && !v.verifies()
		},
		opserver.UnknownCriticalHeader: func(v *seen) bool { return v.header["crit"] != nil && v.header["urn:example:odd"] == true },
		opserver.KeyInHeader: func(v *seen) bool {
			b, err := json.Marshal(v.header["jwk"])
			v.w.must(err)
			var key jose.JSONWebKey
			return json.Unmarshal(b, &key) == nil && verifies(v.raw, key.Key) && !v.verifies()
		},
		opserver.KeyURLInHeader: func(v *seen) bool {
			if v.header["jku"] == nil || v.header["jku"] != v.header["x5u"] || v.verifies() {
				return false
			}
			at := v.w.get(v.w.http, str(v.header["jku"]))
			v.w.violations("the header of an ID Token led it")
			var set jose.JSONWebKeySet
			return json.Unmarshal([]byte(at.body), &set) == nil && verifies(v.raw, set.Keys[0].Key)
		},
		opserver.WrongTokenType:  func(v *seen) bool { return v.header["typ"] == "logout+jwt" && v.verifies() },
		opserver.FivePartIDToken: func(v *seen) bool { return len(parts(v)) == 5 },
		opserver.PaddedIDToken: func(v *seen) bool {
			cut, padded := strings.CutSuffix(v.raw, "==")
			return padded && strings.Count(cut, ".") == 2
		},
		opserver.JSONSerializedIDToken: func(v *seen) bool {
			var flat map[string]string
			return json.Unmarshal([]byte(v.raw), &flat) == nil && flat["protected"] != "" && flat["signature"] != ""
		},
		opserver.NoKeyID:      func(v *seen) bool { return v.header["kid"] == nil && v.verifies() },
		opserver.UnknownKeyID: func(v *seen) bool { return v.header["kid"] != nil && len(v.key(v.header["kid"])) == 0 && v.verifies() },
	}
}

func showsKeys() map[opserver.Fault]func(v *seen) bool {
	kinds := func(v *seen, kty string) (n int) {
		for _, k := range v.keys {
			if k["kty"] == kty {
				n++
			}
		}
		return n
	}
	signing := func(v *seen) map[string]any {
		for _, k := range v.key(v.header["kid"]) {
			if k["kty"] == "RSA" {
				return k
			}
		}
		return nil
	}
	return map[opserver.Fault]func(v *seen) bool{
		opserver.OddKeys: func(v *seen) bool {
			return kinds(v, "oct") == 1 && kinds(v, "AKP") == 1 && kinds(v, "RSA") == 2 && v.keys[0]["crv"] == "secp256k1" && v.verifies()
		},
		opserver.ThreeKeys: func(v *seen) bool { return kinds(v, "RSA") == 3 && v.keys[2]["kid"] == v.header["kid"] && v.verifies() },
		opserver.DecoyKeys: func(v *seen) bool {
			of := v.key(v.header["kid"])
			return len(of) == 2 && of[0]["kty"] == "EC" && of[1]["kty"] == "RSA" && v.verifies()
		},
		opserver.EncryptionKey:     func(v *seen) bool { return signing(v)["use"] == "enc" },
		opserver.OtherKeyAlgorithm: func(v *seen) bool { return signing(v)["alg"] == "RS512" },
		opserver.WithdrawnKey:      func(v *seen) bool { return len(v.keys) > 0 && len(v.key(v.header["kid"])) == 0 && !v.verifies() },
		opserver.EmptyKeySet:       func(v *seen) bool { return v.keys == nil },
	}
}

// TestOpenIDFaults switches each fault on and off again and observes the
// difference.
func TestOpenIDFaults(t *testing.T) {
	w := newWorld(t, "")
	shows := shows()
	for _, fault := range opserver.OpenIDFaults() {
		check := shows[fault]
		delete(shows, fault)
		if check == nil {
			t.Errorf("%s: nothing tests it", fault)
			continue
		}
		t.Run(string(fault), func(t *testing.T) {
			w.t = t
			for _, on := range []bool{true, false} {
				w.must(w.SetFault(fault, on))
				if v := w.look(); check(v) != on {
					t.Errorf("on %v: answer %v, token %s, header %v, claims %v", on, v.back, v.token.body, v.header, v.claims)
				}
				w.ResetViolations()
			}
		})
	}
	for fault := range shows {
		t.Errorf("%s is tested, but not listed", fault)
	}
}

// TestFaultsTogether uses pairs of faults that the behaviours of a relying
// party name.
func TestFaultsTogether(t *testing.T) {
	w := newWorld(t, "")
	w.must(w.SetFault(opserver.NoResponseIssuer, true))
	w.must(w.SetFault(opserver.WrongResponseIssuer, true))
	if v := w.look(); v.back.Get("iss") != w.Issuer()+"/other" {
		t.Errorf("not announced, but wrong: %v", v.back)
	}
	w.violations("another issuer")
	w.must(w.SetFault(opserver.NoResponseIssuer, false))
	w.must(w.SetFault(opserver.WrongResponseIssuer, false))
	w.must(w.SetFault(opserver.ErrorWrongState, true))
	if v := w.look(); v.back.Get("iss") != w.Issuer() {
		t.Errorf("error without iss: %v", v.back)
	}
}

// TestSlashAtTheEnd uses an issuer that ends with a slash.
func TestSlashAtTheEnd(t *testing.T) {
	w := newWorld(t, "")
	op, err := opserver.New(opserver.Config{Issuer: "http://op.test/"})
	w.must(err)
	w.must(op.SetFault(opserver.MetadataIssuerSlash, true))
	if got := metadataOf(t, op)["issuer"]; got != "http://op.test" {
		t.Errorf("issuer %v", got)
	}
	w.must(op.SetFault(opserver.MetadataIssuerSlash, false))
	if got := metadataOf(t, op)["issuer"]; got != "http://op.test/" {
		t.Errorf("issuer %v", got)
	}
}

// TestTrap visits the addresses that nobody has a reason to visit.
func TestTrap(t *testing.T) {
	w := newWorld(t, "")
	w.must(w.SetFault(opserver.MTLSAliases, true))
	aliases := w.getJSON(w.Issuer() + "/.well-known/openid-configuration")["mtls_endpoint_aliases"].(map[string]any)
	w.postForm(w.http, str(aliases["token_endpoint"]), url.Values{}, "")
	w.violations("an mTLS alias led it")
	w.must(w.SetFault(opserver.ClaimSources, true))
	source := w.look().info.json["_claim_sources"].(map[string]any)["src1"].(map[string]any)
	w.get(w.http, str(source["endpoint"]))
	w.violations("a claim source led it")
	if a := w.get(w.http, strings.TrimSuffix(str(source["endpoint"]), "claims")+"else"); a.StatusCode != http.StatusNotFound {
		t.Errorf("elsewhere in the trap: %d", a.StatusCode)
	}
	w.violations("")
}

// TestSignWith signs with every algorithm.
func TestSignWith(t *testing.T) {
	w := newWorld(t, "")
	for _, alg := range []string{"ES256", "EdDSA", "ES384", "ES512", "PS256", "RS512", "RS256", ""} {
		w.must(w.SignWith(alg))
		v := w.look()
		if want := alg; want != "" && v.header["alg"] != want || !v.verifies() {
			t.Errorf("%s: header %v", alg, v.header)
		}
		if alg != "RS256" && alg != "" {
			w.must(w.SetFault(opserver.WrongSignature, true))
			if w.look().verifies() {
				t.Errorf("%s: WrongSignature is valid", alg)
			}
			w.must(w.SetFault(opserver.WrongSignature, false))
		}
	}
	if w.SignWith("HS256") == nil {
		t.Error("a secret signs")
	}
}

// metadataOf reads a server's document without a network.
func metadataOf(t *testing.T, op *opserver.Server) (out map[string]any) {
	t.Helper()
	rec := httptest.NewRecorder()
	op.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/.well-known/openid-configuration", nil))
	if err := json.Unmarshal(rec.Body.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestKeysAreShared gives the same keys to two servers.
func TestKeysAreShared(t *testing.T) {
	keys, err := opserver.MakeKeys()
	if err != nil {
		t.Fatal(err)
	}
	set := func(keys []jose.JSONWebKey) string {
		op, err := opserver.New(opserver.Config{Issuer: "http://op.test", Keys: keys})
		if err != nil {
			t.Fatal(err)
		}
		at, _ := metadataOf(t, op)["jwks_uri"].(string)
		rec := httptest.NewRecorder()
		op.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, strings.TrimPrefix(at, "http://op.test"), nil))
		return rec.Body.String()
	}
	if one := set(keys); one != set(keys) || !strings.Contains(one, keys[0].KeyID) || strings.Contains(one, `"d":`) {
		t.Errorf("key set %s", one)
	}
	if _, err := opserver.New(opserver.Config{Issuer: "http://op.test", Keys: keys[1:]}); err == nil {
		t.Error("keys without RS256 are accepted")
	}
}
