package dpop_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/dpop"
	"example.com/gatehouse/internal/keyset"
	"example.com/gatehouse/internal/memstore"
)

// A proof of go-jose passes with each algorithm, and its thumbprint is ours.
func TestProofAlgorithms(t *testing.T) {
	for _, name := range dpop.Algorithms() {
		alg := jose.SignatureAlgorithm(name)
		if !keyset.Asymmetric(name) {
			t.Errorf("%s is not asymmetric", name)
		}
		raw := sign(t, alg, nil, nil)
		if _, err := dpop.Verify([]string{raw}, want(t, alg)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, other := range []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA, jose.RS256} {
			if thumbprint(t, keys()[other]) == thumbprint(t, keys()[alg]) {
				continue
			}
			if _, err := dpop.Verify([]string{raw}, want(t, other)); !errors.Is(err, dpop.ErrProof) || !strings.Contains(err.Error(), "jwk is not the key") {
				t.Errorf("%s for a token of another key: %v", name, err)
			}
		}
		if _, err := dpop.Verify([]string{raw[:len(raw)-8] + "AAAAAAAA"}, want(t, alg)); !errors.Is(err, dpop.ErrProof) || !strings.Contains(err.Error(), "signature") {
			t.Errorf("%s with another signature: %v", name, err)
		}
	}
}

// Each claim is judged by itself (RFC 9449 §4.3).
func TestProofClaims(t *testing.T) {
	for name, c := range map[string]struct {
		change map[string]any
		want   string // in the error; "" if the proof is good
	}{
		"good":                       {nil, ""},
		"of other claims":            {map[string]any{"x": 1, "sub": []string{"a"}}, ""},
		"no jti":                     {map[string]any{"jti": nil}, "jti has 0 bytes"},
		"jti that is null":           {map[string]any{"jti": json.RawMessage("null")}, "jti has 0 bytes"},
		"empty jti":                  {map[string]any{"jti": ""}, "jti has 0 bytes"},
		"jti that is a number":       {map[string]any{"jti": 5}, "jti: "},
		"long jti":                   {map[string]any{"jti": strings.Repeat("a", 256)}, ""},
		"longer jti":                 {map[string]any{"jti": strings.Repeat("a", 257)}, "jti has 257 bytes"},
		"no htm":                     {map[string]any{"htm": nil}, "htm"},
		"another method":             {map[string]any{"htm": "POST"}, `htm is not the method "GET"`},
		"method in lower case":       {map[string]any{"htm": "get"}, "htm"},
		"HEAD":                       {map[string]any{"htm": "HEAD"}, "htm"},
		"no htu":                     {map[string]any{"htu": nil}, "htu"},
		"another path":               {map[string]any{"htu": "https://api.test/notes/7"}, `htu is not the address "https://api.test/notes"`},
		"another host":               {map[string]any{"htu": "https://evil.test/notes"}, "htu"},
		"http":                       {map[string]any{"htu": "http://api.test/notes"}, "htu"},
		"another port":               {map[string]any{"htu": "https://api.test:8443/notes"}, "htu"},
		"htu that is a list":         {map[string]any{"htu": []string{"https://api.test/notes"}}, "htu: "},
		"with query and fragment":    {map[string]any{"htu": "https://api.test/notes?a=1#b"}, ""},
		"no iat":                     {map[string]any{"iat": nil}, "no iat"},
		"iat that is a text":         {map[string]any{"iat": "1777636800"}, "iat: "},
		"iat that is negative":       {map[string]any{"iat": -1}, "iat: "},
		"iat beyond all times":       {map[string]any{"iat": 1e300}, "iat: "},
		"iat 59 s ago":               {map[string]any{"iat": now.Add(-59 * time.Second).Unix()}, ""},
		"iat with a fraction":        {map[string]any{"iat": float64(now.Add(-59*time.Second).Unix()) - 0.5}, ""},
		"iat 60 s ago":               {map[string]any{"iat": now.Add(-60 * time.Second).Unix()}, "iat is 2026-05-01T11:59:00Z, but now it is 2026-05-01T12:00:00Z"},
		"iat in 60 s":                {map[string]any{"iat": now.Add(60 * time.Second).Unix()}, ""},
		"iat in 61 s":                {map[string]any{"iat": now.Add(61 * time.Second).Unix()}, "iat is"},
		"exp that has passed":        {map[string]any{"exp": now.Add(-60 * time.Second).Unix()}, "exp is"},
		"exp within the skew":        {map[string]any{"exp": now.Add(-59 * time.Second).Unix()}, ""},
		"nbf to come":                {map[string]any{"nbf": now.Add(61 * time.Second).Unix()}, "nbf is"},
		"nbf within the skew":        {map[string]any{"nbf": now.Add(60 * time.Second).Unix()}, ""},
		"no ath":                     {map[string]any{"ath": nil}, "ath"},
		"ath of another token":       {map[string]any{"ath": dpop.Hash("another")}, "ath"},
		"ath with padding":           {map[string]any{"ath": dpop.Hash(token) + "="}, "ath"},
		"the token itself as ath":    {map[string]any{"ath": token}, "ath"},
		"nonce that is a number":     {map[string]any{"nonce": 1}, "nonce: "},
		"nonce that nobody asks for": {map[string]any{"nonce": "n"}, ""},
	} {
		_, err := dpop.Verify([]string{sign(t, jose.ES256, nil, c.change)}, want(t, jose.ES256))
		judge(t, name, err, c.want)
	}
}

// judge compares an error with the text that it has to hold, "" for none.
func judge(t *testing.T, name string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v", name, err)
	case want != "" && (!errors.Is(err, dpop.ErrProof) || !strings.Contains(err.Error(), want)):
		t.Errorf("%s: %v, want %q", name, err, want)
	case err != nil && strings.Contains(err.Error(), token):
		t.Errorf("%s: the error shows the token: %v", name, err)
	}
}

// The header has the key and nothing that we do not understand.
func TestProofHeader(t *testing.T) {
	with := func(change map[string]any) map[string]any {
		m := public(t, keys()[jose.ES256])
		maps.Copy(m, change)
		for name, v := range m {
			if v == nil {
				delete(m, name)
			}
		}
		return map[string]any{"jwk": m}
	}
	x, _ := public(t, keys()[jose.ES256])["x"].(string)
	broken := x[:4] + "\n" + x[4:]
	private, ok := keys()[jose.ES256].(*ecdsa.PrivateKey)
	if !ok {
		t.Fatal("no ECDSA key")
	}
	scalar, err := private.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		header map[string]any
		want   string
	}{
		"kid":                        {map[string]any{"kid": "k1"}, ""},
		"no typ":                     {map[string]any{"typ": nil}, "typ"},
		"typ JWT":                    {map[string]any{"typ": "JWT"}, "typ is not dpop+jwt"},
		"typ of an access token":     {map[string]any{"typ": "at+jwt"}, "typ"},
		"typ in capitals":            {map[string]any{"typ": "DPOP+JWT"}, "typ"},
		"typ that is a number":       {map[string]any{"typ": 1}, "strict JSON"},
		"no alg":                     {map[string]any{"alg": nil}, "alg is none of"},
		"alg none":                   {map[string]any{"alg": "none"}, "alg is none of"},
		"alg None":                   {map[string]any{"alg": "None"}, "alg is none of"},
		"HMAC":                       {map[string]any{"alg": "HS256"}, "alg is none of"},
		"another alg":                {map[string]any{"alg": "ES384"}, "no public key for its alg"},
		"alg of RSA":                 {map[string]any{"alg": "RS256"}, "no public key for its alg"},
		"crit":                       {map[string]any{"crit": []string{"x"}, "x": 1}, "crit"},
		"crit that is null":          {map[string]any{"crit": json.RawMessage("null")}, "crit"},
		"b64":                        {map[string]any{"b64": true}, "b64"},
		"no jwk":                     {map[string]any{"jwk": nil}, "no jwk"},
		"jwk that is null":           {map[string]any{"jwk": json.RawMessage("null")}, "no jwk"},
		"jwk that is a list":         {map[string]any{"jwk": []any{}}, "no jwk"},
		"jwk that is a text":         {map[string]any{"jwk": "x"}, "no jwk"},
		"empty jwk":                  {map[string]any{"jwk": map[string]any{}}, "no public key"},
		"kid in the jwk":             {with(map[string]any{"kid": "k1"}), ""},
		"a line break in x":          {with(map[string]any{"x": broken}), "strict JSON of the right types"},
		"alg in the jwk":             {with(map[string]any{"alg": "ES256"}), ""},
		"another alg in the jwk":     {with(map[string]any{"alg": "ES384"}), "another alg"},
		"use sig":                    {with(map[string]any{"use": "sig"}), ""},
		"use enc":                    {with(map[string]any{"use": "enc"}), "not for signatures"},
		"key_ops verify":             {with(map[string]any{"key_ops": []string{"verify"}}), ""},
		"key_ops deriveKey":          {with(map[string]any{"key_ops": []string{"deriveKey"}}), "not for signatures"},
		"private":                    {with(map[string]any{"d": base64.RawURLEncoding.EncodeToString(scalar)}), "private"},
		"d that is null":             {with(map[string]any{"d": json.RawMessage("null")}), "private"},
		"d that is empty":            {with(map[string]any{"d": ""}), "private"},
		"private part of RSA":        {with(map[string]any{"qi": "x"}), "private"},
		"symmetric":                  {map[string]any{"jwk": map[string]any{"kty": "oct", "k": "c2VjcmV0"}}, "private or symmetric"},
		"symmetric without its text": {map[string]any{"jwk": map[string]any{"kty": "oct"}}, "no public key"},
		"encryption curve":           {with(map[string]any{"kty": "OKP", "crv": "X25519"}), "no public key"},
		"another curve":              {map[string]any{"jwk": public(t, other)}, "no public key for its alg"},
		"no curve":                   {with(map[string]any{"crv": nil}), "no public key"},
		"no y":                       {with(map[string]any{"y": nil}), "no public key"},
		"x that is short":            {with(map[string]any{"x": "AQ"}), "no public key"},
		"x with padding":             {with(map[string]any{"x": "AQ=="}), "strict JSON"},
		"no point of the curve":      {with(map[string]any{"x": strings.Repeat("A", 43), "y": strings.Repeat("A", 43)}), "no public key"},
	} {
		raw := rehead(t, jose.ES256, c.header)
		_, err := dpop.Verify([]string{raw}, want(t, jose.ES256))
		judge(t, name, err, c.want)
	}
}

// rehead signs a proof whose header has these members, which no library would
// write. nil removes one.
func rehead(t *testing.T, alg jose.SignatureAlgorithm, change map[string]any) string {
	t.Helper()
	key := keys()[alg]
	header := map[string]any{"typ": "dpop+jwt", "alg": alg, "jwk": public(t, key)}
	for name, v := range change {
		if header[name] = v; v == nil {
			delete(header, name)
		}
	}
	text, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	return resign(t, alg, text, strings.Split(sign(t, alg, nil, nil), ".")[1])
}

// resign signs header and payload with the key for ES256 or RS256.
func resign(t *testing.T, alg jose.SignatureAlgorithm, header []byte, payload string) string {
	t.Helper()
	signed := base64.RawURLEncoding.EncodeToString(header) + "." + payload
	var signature []byte
	sum := digest(signed)
	switch k := keys()[alg].(type) {
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, k, sum)
		if err != nil {
			t.Fatal(err)
		}
		signature = make([]byte, 64)
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
	case *rsa.PrivateKey:
		var err error
		if signature, err = rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, sum); err != nil {
			t.Fatal(err)
		}
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// An RSA key has a size at which it protects and does not cost too much, and its
// thumbprint is that of its numbers, however they are written.
func TestProofRSA(t *testing.T) {
	k, ok := keys()[jose.RS256].(*rsa.PrivateKey)
	if !ok {
		t.Fatal("no RSA key")
	}
	text := func(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
	bits := func(n uint) string { return text(new(big.Int).SetBit(big.NewInt(1), int(n-1), 1).Bytes()) }
	for name, c := range map[string]struct {
		change map[string]any
		want   string
	}{
		"good":                {nil, ""},
		"with a leading zero": {map[string]any{"n": text(append([]byte{0}, k.N.Bytes()...))}, ""},
		"2047 bits":           {map[string]any{"n": bits(2047)}, "no public key"},
		"8193 bits":           {map[string]any{"n": bits(8193)}, "no public key"},
		"an even number":      {map[string]any{"n": text(new(big.Int).Lsh(big.NewInt(1), 2047).Bytes())}, "no public key"},
		"exponent 1":          {map[string]any{"e": "AQ"}, "no public key"},
		"even exponent":       {map[string]any{"e": "AQAA"}, "no public key"},
		"huge exponent":       {map[string]any{"e": text([]byte{1, 0, 0, 0, 1})}, "no public key"},
		"no exponent":         {map[string]any{"e": nil}, "no public key"},
		"another good key":    {map[string]any{"n": bits(2048)}, "jwk is not the key"},
	} {
		m := public(t, k)
		for name, v := range c.change {
			if m[name] = v; v == nil {
				delete(m, name)
			}
		}
		_, err := dpop.Verify([]string{rehead(t, jose.RS256, map[string]any{"jwk": m})}, want(t, jose.RS256))
		judge(t, name, err, c.want)
	}
}

// A proof is one compact JWS of strict JSON in one header.
func TestProofForm(t *testing.T) {
	good := sign(t, jose.ES256, nil, nil)
	parts := strings.Split(good, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	header, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		t.Fatal(err)
	}
	claims := func(text string) string {
		return signBytes(t, jose.ES256, keys()[jose.ES256], nil, []byte(text))
	}
	der := func() string {
		k, ok := keys()[jose.ES256].(*ecdsa.PrivateKey)
		if !ok {
			t.Fatal("no ECDSA key")
		}
		s, err := ecdsa.SignASN1(rand.Reader, k, digest(parts[0]+"."+parts[1]))
		if err != nil {
			t.Fatal(err)
		}
		return parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(s)
	}
	for name, c := range map[string]struct {
		headers []string
		want    string
	}{
		"none":                     {nil, "0 DPoP headers"},
		"two":                      {[]string{good, good}, "2 DPoP headers"},
		"two in one":               {[]string{good + "," + good}, "no compact JWS"},
		"empty":                    {[]string{""}, "no compact JWS"},
		"space before":             {[]string{" " + good}, "no compact JWS"},
		"line break after":         {[]string{good + "\n"}, "no compact JWS"},
		"without a signature":      {[]string{parts[0] + "." + parts[1] + "."}, "no compact JWS"},
		"encrypted":                {[]string{good + ".a.b"}, "no compact JWS"},
		"JSON":                     {[]string{`{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`}, "no compact JWS"},
		"too long":                 {[]string{good + strings.Repeat("A", 8<<10)}, "no compact JWS"},
		"bits that are left over":  {[]string{good[:len(good)-1] + string(good[len(good)-1]+1)}, "no base64url"}, // 64 bytes leave four, which are zero
		"signature of ASN.1":       {[]string{der()}, "signature"},
		"signature that is short":  {[]string{parts[0] + "." + parts[1] + ".AAAA"}, "signature"},
		"signature of zeros":       {[]string{parts[0] + "." + parts[1] + "." + strings.Repeat("A", 86)}, "signature"},
		"header that is a list":    {[]string{resign(t, jose.ES256, []byte(`[]`), parts[1])}, "header is not strict JSON"},
		"header with a name twice": {[]string{resign(t, jose.ES256, append([]byte(`{"typ":"dpop+jwt",`), header[1:]...), parts[1])}, "header is not strict JSON"},
		"header with a text after": {[]string{resign(t, jose.ES256, append(header, 'x'), parts[1])}, "header is not strict JSON"},
		"names in capitals":        {[]string{claims(strings.Replace(string(payload), `"htm"`, `"HTM"`, 1))}, "htm"},
		"a claim twice":            {[]string{claims(`{"htm":"POST",` + string(payload[1:]))}, "claims are not strict JSON"},
		"claims that are a list":   {[]string{claims(`[]`)}, "claims are not strict JSON"},
		"claims that are no JSON":  {[]string{claims(`x`)}, "claims are not strict JSON"},
		"claims with a text after": {[]string{claims(string(payload) + "x")}, "claims are not strict JSON"},
	} {
		_, err := dpop.Verify(c.headers, want(t, jose.ES256))
		judge(t, name, err, c.want)
	}
}

// store counts what is asked of it.
type store struct {
	dpop.Store
	keys    []string
	expires []time.Time
	err     error
}

func (s *store) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	s.keys, s.expires = append(s.keys, key), append(s.expires, expiry)
	if s.err != nil {
		return false, s.err
	}
	return s.Store.SwapCtx(ctx, key, old, new, expiry)
}

// A jti counts once for its key, as long as any proof with it could be accepted.
func TestProofOnce(t *testing.T) {
	clock := now
	s := &store{Store: memstore.NewStore(func() time.Time { return clock })}
	use := func(alg jose.SignatureAlgorithm, change map[string]any) bool {
		t.Helper()
		w := want(t, alg)
		w.Now = clock
		p, err := dpop.Verify([]string{sign(t, alg, nil, change)}, w)
		if err != nil {
			t.Fatal(err)
		}
		first, err := p.Use(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		return first
	}
	if !use(jose.ES256, nil) || use(jose.ES256, nil) || use(jose.ES256, nil) {
		t.Error("the same proof counts twice, or not at all")
	}
	if !use(jose.ES256, map[string]any{"jti": "j2"}) || !use(jose.ES256, map[string]any{"jti": "The-first-jti"}) {
		t.Error("another jti does not count")
	}
	if !use(jose.EdDSA, nil) {
		t.Error("the jti of another client's key counts for this one")
	}
	late := map[string]any{"jti": "j3", "iat": now.Add(time.Minute).Unix()}
	if !use(jose.ES256, late) {
		t.Error("a clock that is ahead")
	}
	clock = clock.Add(119 * time.Second)
	if use(jose.ES256, late) {
		t.Error("a proof from a clock that is ahead counts twice")
	}
	for i, key := range s.keys {
		if len(key) != 43 || strings.Contains(key, "the-first-jti") || s.expires[i].Sub(now) < 2*time.Minute || s.expires[i].Sub(now) > 3*time.Minute {
			t.Errorf("key %q until %v", key, s.expires[i])
		}
	}
	s.err = errors.New("away")
	w := want(t, jose.ES256)
	w.Now = clock
	p, err := dpop.Verify([]string{sign(t, jose.ES256, nil, map[string]any{"iat": clock.Unix()})}, w)
	if err != nil {
		t.Fatal(err)
	}
	if first, err := p.Use(t.Context(), s); first || err == nil {
		t.Errorf("a store that fails: %v, %v", first, err)
	}
}
