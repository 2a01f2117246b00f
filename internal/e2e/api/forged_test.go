package api_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // SHA-384 and SHA-512
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// JW1: no signature, a signature by nobody, and an HMAC with what everybody
// knows.
func TestJW1_RequireToken(t *testing.T) {
	f := newForger(t)
	public := f.rsa.Public().(*rsa.PublicKey)
	der, err := x509.MarshalPKIXPublicKey(public)
	f.Must(err)
	jwk := jose.JSONWebKey{Key: public, KeyID: f.rsaID, Algorithm: "RS256", Use: "sig"}
	text := world.JSON(t, jwk)
	with := func(alg, kid string) string { return `{"alg":"` + alg + `","typ":"at+jwt","kid":"` + kid + `"}` }
	n := f.ec.Params().N.FillBytes(make([]byte, 32))
	one := big.NewInt(1).FillBytes(make([]byte, 32))
	cases := map[string]string{
		"ES256 by zeros":           token(f.header(""), f.claims(), fixed(make([]byte, 64))), // CVE-2022-21449
		"ES256 by the order":       token(f.header(""), f.claims(), fixed(append(n, n...))),
		"ES256 by r alone":         token(f.header(""), f.claims(), fixed(append(one, make([]byte, 32)...))),
		"ES256 in DER":             token(f.header(""), f.claims(), func(in string) []byte { return derSignature(f.ec, in) }),
		"ES256, longer":            token(f.header(""), f.claims(), func(in string) []byte { return append(byEC(f.ec)(in), 0) }),
		"EdDSA by zeros":           token(with("EdDSA", f.edID), f.claims(), fixed(make([]byte, 64))),
		"RS256 by zeros":           token(with("RS256", f.rsaID), f.claims(), fixed(make([]byte, 256))),
		"RS256 by one":             token(with("RS256", f.rsaID), f.claims(), fixed(append(make([]byte, 255), 1))),
		"RS256 under an EC key":    token(with("RS256", f.ecID), f.claims(), byRSA(f.rsa, crypto.SHA256)),
		"ES256 under an RSA key":   token(with("ES256", f.rsaID), f.claims(), byEC(f.ec)),
		"RS512, not announced":     token(with("RS512", f.rsaID), f.claims(), byRSA(f.rsa, crypto.SHA512)),
		"RS256 with SHA-512":       token(with("RS256", f.rsaID), f.claims(), byRSA(f.rsa, crypto.SHA512)),
		"ES256K":                   token(with("ES256K", f.ecID), f.claims(), byEC(f.ec)),
		"es256":                    token(with("es256", f.ecID), f.claims(), byEC(f.ec)),
		"alg missing":              token(`{"typ":"at+jwt","kid":"`+f.ecID+`"}`, f.claims(), byEC(f.ec)),
		"alg null":                 token(`{"alg":null,"typ":"at+jwt","kid":"`+f.ecID+`"}`, f.claims(), byEC(f.ec)),
		"alg a list":               token(`{"alg":["ES256"],"typ":"at+jwt","kid":"`+f.ecID+`"}`, f.claims(), byEC(f.ec)),
		"alg twice":                token(`{"alg":"ES256","alg":"none","typ":"at+jwt","kid":"`+f.ecID+`"}`, f.claims(), byEC(f.ec)),
		"alg in other case beside": token(`{"ALG":"ES256","alg":"none","typ":"at+jwt","kid":"`+f.ecID+`"}`, f.claims(), byEC(f.ec)),
		"alg in other case alone":  token(`{"Alg":"ES256","typ":"at+jwt","kid":"`+f.ecID+`"}`, f.claims(), byEC(f.ec)),
		"claims changed":           strings.Replace(f.good(), "."+b64.EncodeToString([]byte(f.claims()))+".", "."+b64.EncodeToString([]byte(f.claims(`"sub":"root"`)))+".", 1),
		"header changed": func() string {
			p := strings.SplitN(f.good(), ".", 2)
			return b64.EncodeToString([]byte(f.header(`,"x":1`))) + "." + p[1]
		}(),
	}
	for _, alg := range []string{"none", "None", "nOnE", "NONE", "none ", "\u0000none", "HS256\u0000", "null"} {
		cases[alg+", no signature"] = token(with(alg, f.ecID), f.claims(), fixed(nil))
		cases[alg+", any signature"] = token(with(alg, f.ecID), f.claims(), fixed([]byte("signature")))
		cases[alg+", good signature"] = token(with(alg, f.ecID), f.claims(), byEC(f.ec))
	}
	for what, secret := range map[string][]byte{
		"PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "PEM without its end": []byte(strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))),
		"PKCS #1": pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(public)}),
		"DER":     der, "JWK": []byte(text), "modulus": public.N.Bytes(), "the client's secret": []byte(shop.Secret.Reveal()), "the kid": []byte(f.rsaID), "nothing": {},
	} {
		for _, kid := range []string{f.rsaID, f.ecID, "other"} {
			cases["HS256 with "+what+" under "+kid] = token(with("HS256", kid), f.claims(), byHMAC(crypto.SHA256, secret))
			cases["RS256 by an HMAC with "+what+" under "+kid] = token(with("RS256", kid), f.claims(), byHMAC(crypto.SHA256, secret))
		}
		cases["HS512 with "+what] = token(with("HS512", f.rsaID), f.claims(), byHMAC(crypto.SHA512, secret))
	}
	for name, raw := range cases {
		t.Run(name, func(t *testing.T) {
			allowed := 0
			if strings.Contains(name, "RS256 by an HMAC") && strings.HasSuffix(name, "other") {
				allowed = 1 // an unknown kid, within the budget
			}
			f.refuse(t, raw, allowed)
		})
	}
	f.wantGood(f.good())
}

func derSignature(key *ecdsa.PrivateKey, input string) []byte {
	sum := sha256.Sum256([]byte(input))
	out, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		panic(err)
	}
	return out
}

// JW2: a token does not bring its own key, nor the address of one.
func TestJW2_RequireToken(t *testing.T) {
	f := newForger(t)
	stranger := world.NewSigner(t).Key
	key, ok := stranger.Key.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatal("the stranger's key is no P-256 key")
	}
	jwk := world.JSON(t, stranger.Public())
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	f.Must(err)
	for name, member := range map[string]string{
		"jwk": `"jwk":` + jwk, "jku": `"jku":"https://evil.test/keys"`, "x5u": `"x5u":"https://evil.test/cert"`,
		"x5c": `"x5c":["` + base64.StdEncoding.EncodeToString(der) + `"]`, "jku of the issuer": `"jku":"` + f.Endpoint("jwks_uri") + `"`,
		"jwk and jku": `"jwk":` + jwk + `,"jku":"https://evil.test/keys"`, "none of it": `"x":1`,
	} {
		for _, kid := range []string{`"kid":"` + f.ecID + `",`, ``, `"kid":"tests",`, `"kid":null,`} {
			t.Run(name+" "+kid, func(t *testing.T) {
				f.refuse(t, token(`{"alg":"ES256","typ":"at+jwt",`+kid+member+`}`, f.claims(), byEC(key)), 1)
			})
		}
	}
	for _, c := range f.Calls() {
		if !strings.HasPrefix(c.Address, "https://op.test/") {
			t.Errorf("a request went to %s", c.Address)
		}
	}
	f.wantGood(token(f.header(`,"jku":"https://evil.test/keys","jwk":`+jwk), f.claims(), byEC(f.ec))) // they are ignored
}

// A kid is a name in the key set and nothing else. Critical extensions are not
// understood (RFC 7515 §4.1.11, RFC 7797 §6).
func TestRequireTokenHeaders(t *testing.T) {
	f := newForger(t)
	sign := func(header string) string { return token(header, f.claims(), byEC(f.ec)) }
	for name, kid := range map[string]string{
		"a path": `"../../../../dev/null"`, "SQL": `"x' UNION SELECT 'key';--"`, "a command": `"x|id"`, "an address": `"https://evil.test/key"`, "empty key": `"/proc/self/environ"`,
		"a number": `5`, "a list": `["` + f.ecID + `"]`, "an object": `{"kid":"` + f.ecID + `"}`, "true": `true`, "long": `"` + strings.Repeat("k", 4000) + `"`, "control": `"a\u0000b\r\nSet-Cookie: x=1"`,
		"with a space": `"` + f.ecID + ` "`, "other case": `"` + strings.ToLower(f.ecID) + `"`,
	} {
		t.Run("kid "+name, func(t *testing.T) { f.refuse(t, sign(`{"alg":"ES256","typ":"at+jwt","kid":`+kid+`}`), 1) })
	}
	for name, more := range map[string]string{
		"crit": `,"crit":["exp"],"exp":1`, "crit, empty": `,"crit":[]`, "crit, null": `,"crit":null`, "crit, no list": `,"crit":"b64"`, "crit of a known name": `,"crit":["alg"]`,
		"b64": `,"b64":false,"crit":["b64"]`, "b64 alone": `,"b64":false`, "b64, true": `,"b64":true`, "kid twice": `,"kid":"` + f.ecID + `"`, "typ twice": `,"typ":"at+jwt"`,
		"trailing comma": `,`, "a comment": `/**/`, "behind the object": `} {"a":1`, "NUL": "\x00", "not UTF-8": ",\"x\":\"\xff\"", "deep": `,"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
	} {
		t.Run(name, func(t *testing.T) { f.refuse(t, sign(f.header(more)), 0) })
	}
	for name, header := range map[string]string{
		"no object": `["ES256"]`, "a text": `"ES256"`, "null": `null`, "nothing": ``, "a byte order mark": "\ufeff" + f.header(""), "UTF-16": "{\x00\"\x00a\x00",
	} {
		t.Run(name, func(t *testing.T) { f.refuse(t, sign(header), 0) })
	}
	f.wantGood(sign(f.header(`,"cty":"JWT","x":[1,{"kid":"no"}]`)))
	f.wantGood(sign(" {\"alg\" :\t\"ES256\",\n\"typ\":\"AT+jwt\",\"kid\":\"" + f.ecID + "\"}\r\n"))
	f.wantGood(sign(`{"alg":"ES256","typ":"application/at+jwt"}`)) // of three keys one fits
}

// JW6: times one second inside and outside the skew, and times that are none.
func TestJW6_RequireToken(t *testing.T) {
	f := newForger(t)
	now := f.Now().Unix()
	at := func(name string, d int64) string { return fmt.Sprintf(`"%s":%d`, name, now+d) }
	for name, c := range map[string]struct {
		change []string
		ok     bool
	}{
		"exp inside":               {[]string{at("exp", -59)}, true},
		"exp outside":              {[]string{at("exp", -60)}, false},
		"nbf inside":               {[]string{at("nbf", 60)}, true},
		"nbf outside":              {[]string{at("nbf", 61)}, false},
		"iat inside":               {[]string{at("iat", 60)}, true},
		"iat outside":              {[]string{at("iat", 61)}, false},
		"iat long ago":             {[]string{`"iat":1`}, true},
		"no iat":                   {[]string{`"iat":`}, true},
		"no exp":                   {[]string{`"exp":`}, false},
		"exp null":                 {[]string{`"exp":null`}, false},
		"exp a text":               {[]string{fmt.Sprintf(`"exp":"%d"`, now+300)}, false},
		"exp true":                 {[]string{`"exp":true`}, false},
		"exp a list":               {[]string{fmt.Sprintf(`"exp":[%d]`, now+300)}, false},
		"exp an object":            {[]string{`"exp":{}`}, false},
		"exp with a fraction":      {[]string{fmt.Sprintf(`"exp":%d.999`, now+300)}, true},
		"exp with an exponent":     {[]string{`"exp":2e9`}, true},
		"exp beyond every year":    {[]string{`"exp":1e300`}, false},
		"exp beyond every number":  {[]string{`"exp":1e400`}, false},
		"exp 2^63":                 {[]string{`"exp":9223372036854775808`}, false},
		"exp 2^64":                 {[]string{`"exp":18446744073709551616`}, false},
		"exp in milliseconds":      {[]string{fmt.Sprintf(`"exp":%d`, (now+300)*1000)}, false},
		"exp zero":                 {[]string{`"exp":0`}, false},
		"exp minus zero":           {[]string{`"exp":-0`}, false},
		"exp negative":             {[]string{`"exp":-1`}, false},
		"exp hexadecimal":          {[]string{`"exp":0x7fffffff`}, false},
		"exp NaN":                  {[]string{`"exp":NaN`}, false},
		"exp infinite":             {[]string{`"exp":Infinity`}, false},
		"exp with a plus":          {[]string{`"exp":+2000000000`}, false},
		"exp with a leading zero":  {[]string{`"exp":02000000000`}, false},
		"exp twice":                {[]string{`"exp":2000000000,"exp":1`}, false},
		"exp twice, by an escape":  {[]string{`"exp":2000000000,"\u0065xp":1`}, false},
		"exp in other case":        {[]string{`"exp":`, `"EXP":2000000000`}, false},
		"exp in other case beside": {[]string{`"exp":1`, `"Exp":2000000000`}, false},
		"nbf negative":             {[]string{`"nbf":-1`}, false},
		"nbf a text":               {[]string{`"nbf":"1"`}, false},
		"nbf beyond every number":  {[]string{`"nbf":1e400`}, false},
		"iat a text":               {[]string{`"iat":"1"`}, false},
	} {
		t.Run(name, func(t *testing.T) { f.judge(t, c.ok, c.change...) })
	}
}

// JW8: a token for this API names it, exactly; and iss is the issuer, exactly.
func TestJW8_RequireToken(t *testing.T) {
	f := newForger(t, func(c *gatehouse.ResourceServerConfig) { c.Client = shop })
	for name, c := range map[string]struct {
		change []string
		ok     bool
	}{
		"one of two":             {[]string{`"aud":["https://other.test","https://api.test"]`}, true},
		"the party is another's": {[]string{`"azp":"somebody"`}, true},
		"missing":                {[]string{`"aud":`}, false},
		"null":                   {[]string{`"aud":null`}, false},
		"empty":                  {[]string{`"aud":""`}, false},
		"empty list":             {[]string{`"aud":[]`}, false},
		"another":                {[]string{`"aud":"https://other.test"`}, false},
		"our client":             {[]string{`"aud":"shop"`}, false},
		"the issuer":             {[]string{`"aud":"https://op.test/realm"`}, false},
		"with a slash":           {[]string{`"aud":"https://api.test/"`}, false},
		"a part":                 {[]string{`"aud":"https://api.test.evil"`}, false},
		"in one text":            {[]string{`"aud":"https://other.test https://api.test"`}, false},
		"other case":             {[]string{`"aud":"HTTPS://api.test"`}, false},
		"another scheme":         {[]string{`"aud":"http://api.test"`}, false},
		"an escape":              {[]string{`"aud":"https:\/\/api.test"`}, true}, // the same text
		"a list in the list":     {[]string{`"aud":[["https://api.test"]]`}, false},
		"a number beside":        {[]string{`"aud":["https://api.test",1]`}, false},
		"an object":              {[]string{`"aud":{"https://api.test":true}`}, false},
		"twice":                  {[]string{`"aud":"https://other.test","aud":"https://api.test"`}, false},
		"in other case beside":   {[]string{`"aud":"https://other.test"`, `"AUD":"https://api.test"`}, false},
		"iss with a slash":       {[]string{`"iss":"https://op.test/realm/"`}, false},
		"iss in other case":      {[]string{`"iss":"https://OP.test/realm"`}, false},
		"iss missing":            {[]string{`"iss":`}, false},
		"iss in a list":          {[]string{`"iss":["https://op.test/realm"]`}, false},
		"iss twice":              {[]string{`"iss":"https://evil.test","iss":"https://op.test/realm"`}, false},
		"sub a number":           {[]string{`"sub":1`}, false},
		"sub twice":              {[]string{`"sub":"root","sub":"ana-1"`}, false},
		"scope twice":            {[]string{`"scope":"a","scope":"admin"`}, false},
	} {
		t.Run(name, func(t *testing.T) { f.judge(t, c.ok, c.change...) })
	}
}

// JW10: whatever else the server has signed is no access token, for the same
// client and with its id as audience too.
func TestJW10_RequireToken(t *testing.T) {
	f := newForger(t, func(c *gatehouse.ResourceServerConfig) {
		c.Client, c.TokenTypes, c.Audience = shop, []string{"JWT", ""}, append(c.Audience, shop.ID)
	})
	id, err := f.IDToken("ana", shop.ID)
	f.Must(err)
	f.Mint("ID Token", id)
	bare := func(typ string, change ...string) string {
		return token(`{"alg":"ES256","kid":"`+f.ecID+`"`+typ+`}`, f.claims(change...), byEC(f.ec))
	}
	const jwt = `,"typ":"JWT"`
	f.wantGood(bare(jwt))
	f.wantGood(bare(""))
	f.wantGood(bare(jwt, `"token_use":"access"`, `"typ":"Bearer"`))
	for name, raw := range map[string]string{
		"an ID Token with nonce":   bare(jwt, `"nonce":"n"`),
		"with at_hash":             bare("", `"at_hash":"x"`),
		"with c_hash":              bare(jwt, `"c_hash":"x"`),
		"with s_hash":              bare(jwt, `"s_hash":"x"`),
		"a logout token":           bare(jwt, `"events":{"http://schemas.openid.net/event/backchannel-logout":{}}`),
		"a permission token":       bare(jwt, `"authorization":{"permissions":[]}`),
		"an ID Token of Cognito":   bare("", `"token_use":"id"`),
		"an ID Token of Keycloak":  bare(jwt, `"typ":"ID"`),
		"a refresh token":          bare(jwt, `"typ":"Refresh"`),
		"an offline token":         bare(jwt, `"typ":"Offline"`),
		"a use that is no text":    bare(jwt, `"token_use":["access"]`),
		"a logout token by typ":    bare(`,"typ":"logout+jwt"`),
		"a proof by typ":           bare(`,"typ":"dpop+jwt"`),
		"an event by typ":          bare(`,"typ":"secevent+jwt"`),
		"user info by typ":         bare(`,"typ":"application/userinfo+jwt"`),
		"introspection by typ":     bare(`,"typ":"token-introspection+jwt"`),
		"a request object by typ":  bare(`,"typ":"oauth-authz-req+jwt"`),
		"typ with a parameter":     bare(`,"typ":"at+jwt; x=y"`),
		"typ with a space":         bare(`,"typ":"at+jwt "`),
		"typ of a longer name":     bare(`,"typ":"xat+jwt"`),
		"typ a list":               bare(`,"typ":["at+jwt"]`),
		"typ with a look-alike":    bare(`,"typ":"at+jw\u0442"`),
		"typ with a folded letter": bare(`,"typ":"at+\u0131wt"`),
	} {
		t.Run(name, func(t *testing.T) { f.refuse(t, raw, 0) })
	}
	// The ID Token of the kit has none of these claims, as after a sign-in
	// without a nonce. The audience alone tells it apart.
	strict := newForger(t, func(c *gatehouse.ResourceServerConfig) { c.Client, c.TokenTypes = shop, []string{"JWT", ""} })
	other, err := strict.IDToken("ana", shop.ID)
	strict.Must(err)
	strict.refuse(t, other, 0)
}

// JW14: a scope is a whole word of the list, or one text of it.
func TestJW14_RequireToken(t *testing.T) {
	f := newForger(t)
	api := newAPI(t, f.World)
	for claim, ok := range map[string]bool{
		`"scope":"read"`: true, `"scope":"a read b"`: true, `"scope":"  read  "`: true, `"scope":["read"]`: true, `"scope":["a","read"]`: true, `"scp":"read"`: true, `"scp":["a","read"]`: true,
		`"scope":"readwrite"`: false, `"scope":"write:read"`: false, `"scope":""`: false, `"scope":`: false, `"scope":null`: false, `"scope":[]`: false, `"scope":"Read"`: false,
		`"scope":["a read b"]`: false, `"scope":"a,read"`: false, `"scope":"a\tread"`: false, `"scope":"a\u00a0read"`: false, `"scope":"re\u0061d"`: true, `"scope":"r\u0435ad"`: false,
		`"SCOPE":"read"`: false, `"scopes":"read"`: false, `"scope":"a","scp":"read"`: false,
	} {
		for name, h := range map[string]http.Handler{"Scopes": api.With(gatehouse.Scopes("read")).RequireToken(world.WhoAmI), "AnyScope": api.With(gatehouse.AnyScope("read", "admin")).RequireToken(world.WhoAmI)} {
			t.Run(name+" "+claim, func(t *testing.T) {
				a := send(h, "GET", "/", "Bearer "+f.good(claim))
				scopes := map[string]string{"Scopes": "read", "AnyScope": "read admin"}[name]
				want := `Bearer realm="api.test", error="insufficient_scope", scope="` + scopes + `"` + metadata
				if (a.Code == 200) != ok || !ok && (a.Code != 403 || a.Header().Get("WWW-Authenticate") != want) {
					t.Errorf("%d %v, served %v", a.Code, a.Header(), ok)
				}
			})
		}
	}
	for claim, status := range map[string]int{`"scope":1`: 401, `"scope":{"read":true}`: 401, `"scope":["read",1]`: 401, `"scope":true`: 401} {
		if a := send(api.With(gatehouse.Scopes("read")).RequireToken(world.WhoAmI), "GET", "/", "Bearer "+f.good(claim)); a.Code != status {
			t.Errorf("%s: %d", claim, a.Code)
		}
	}
}

// Role and Claim read what was signed, by exact names on every level.
func TestRequireTokenRoles(t *testing.T) {
	f := newForger(t)
	api := newAPI(t, f.World, func(c *gatehouse.ResourceServerConfig) { c.RoleClaim = []string{"realm_access", "roles"} })
	h := api.With(gatehouse.Role("admin"), gatehouse.ClaimAt([]string{"org", "id"}, 7)).RequireToken(world.WhoAmI)
	const org = `"org":{"id":7}`
	for claims, ok := range map[string]bool{
		`"realm_access":{"roles":["user","admin"]},` + org: true, `"realm_access":{"roles":"admin"},` + org: true, `"realm_access":{"roles":["admin"]},"org":{"id":7.0}`: true,
		`"realm_access":{"roles":["administrator"]},` + org: false, `"realm_access":{"roles":"user admin"},` + org: false, `"realm_access":{"Roles":["admin"]},` + org: false,
		`"Realm_Access":{"roles":["admin"]},` + org: false, `"realm_access.roles":["admin"],` + org: false, `"realm_access":[{"roles":["admin"]}],` + org: false,
		`"realm_access":{"roles":{"admin":true}},` + org: false, `"realm_access":{"roles":[["admin"]]},` + org: false, `"realm_access":null,` + org: false, `"roles":["admin"],` + org: false,
		`"realm_access":{"roles":["admin"]},"org":{"id":"7"}`: false, `"realm_access":{"roles":["admin"]},"org":{"id":7.0000000000000000000001}`: false,
		`"realm_access":{"roles":["admin"]},"org":7`: false,
	} {
		a := send(h, "GET", "/", "Bearer "+f.good(claims))
		if (a.Code == 200) != ok || !ok && (a.Code != 403 || a.Header().Get("WWW-Authenticate") != `Bearer realm="api.test", error="insufficient_scope"`+metadata) {
			t.Errorf("%s: %d %v, served %v", claims, a.Code, a.Header(), ok)
		}
	}
}
