// Package proofkit makes DPoP proofs (RFC 9449), good ones and bad ones. It
// shares no code with the package that checks them.
package proofkit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	gocrypto "crypto"
)

// Fault is one thing that is wrong with a proof.
type Fault string

// The faults, and the check of RFC 9449 §4.3 that finds each.
const (
	Missing        Fault = "missing"         // there is no DPoP header
	Twice          Fault = "twice"           // item 1: two DPoP headers
	Joined         Fault = "joined"          // item 1: two proofs in one header
	Garbage        Fault = "garbage"         // item 2: no JWT
	Padded         Fault = "padded"          // item 2: base64url with padding
	RepeatedClaim  Fault = "repeated_claim"  // item 2: a name that occurs twice
	NoType         Fault = "no_type"         // item 4
	WrongType      Fault = "wrong_type"      // item 4
	Unsigned       Fault = "unsigned"        // item 5: none
	Symmetric      Fault = "symmetric"       // item 5: HMAC with the key in jwk
	WrongSignature Fault = "wrong_signature" // item 6
	Critical       Fault = "critical"        // RFC 7515 §4.1.11: an unknown extension
	NoKey          Fault = "no_key"          // item 3: no jwk
	PrivateKey     Fault = "private_key"     // item 7
	OtherKey       Fault = "other_key"       // item 12: good, but of a key that is not the token's
	NoMethod       Fault = "no_method"       // item 3
	WrongMethod    Fault = "wrong_method"    // item 8
	OtherCase      Fault = "other_case"      // item 8: the method in lower case
	NoAddress      Fault = "no_address"      // item 3
	WrongAddress   Fault = "wrong_address"   // item 9: another path
	WrongHost      Fault = "wrong_host"      // item 9
	NoTime         Fault = "no_time"         // item 3
	Old            Fault = "old"             // item 11: ten minutes
	Early          Fault = "early"           // item 11: ten minutes ahead
	NoID           Fault = "no_id"           // item 3
	SameID         Fault = "same_id"         // §11.1: the jti of the proof before
	NoHash         Fault = "no_hash"         // item 12: no ath
	WrongHash      Fault = "wrong_hash"      // item 12: ath of another token
	NoNonce        Fault = "no_nonce"        // item 10: without the nonce that was set
	WrongNonce     Fault = "wrong_nonce"     // item 10
)

// Faults returns all of them but NoNonce, WrongNonce and SameID, which need
// something before.
func Faults() []Fault {
	return []Fault{
		Missing, Twice, Joined, Garbage, Padded, RepeatedClaim, NoType, WrongType, Unsigned, Symmetric, WrongSignature, Critical, NoKey, PrivateKey,
		OtherKey, NoMethod, WrongMethod, OtherCase, NoAddress, WrongAddress, WrongHost, NoTime, Old, Early, NoID, NoHash, WrongHash,
	}
}

// Key is the key of a client. It is safe for concurrent use.
type Key struct {
	now     func() time.Time
	private *ecdsa.PrivateKey

	mu    sync.Mutex
	nonce string
	last  string // jti
}

// New makes a key for ES256.
func New(now func() time.Time) (*Key, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return &Key{now: now, private: k}, nil
}

// Thumbprint is what cnf.jkt of a token for this key has (RFC 7638).
func (k *Key) Thumbprint() (string, error) {
	sum, err := (&jose.JSONWebKey{Key: &k.private.PublicKey}).Thumbprint(gocrypto.SHA256)
	return base64.RawURLEncoding.EncodeToString(sum), err
}

// SetNonce sets the nonce of the proofs from now on; "" sends none.
func (k *Key) SetNonce(nonce string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.nonce = nonce
}

// Sign puts the token and a proof into the headers of a request.
func (k *Key) Sign(r *http.Request, token string, faults ...Fault) error {
	at := url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host, Path: r.URL.Path, RawPath: r.URL.RawPath}
	if at.Host == "" {
		at.Scheme, at.Host = "https", r.Host
		if r.TLS == nil {
			at.Scheme = "http"
		}
	}
	proof, err := k.Proof(r.Method, at.String(), token, faults...)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "DPoP "+token)
	r.Header.Del("DPoP")
	has := func(f Fault) bool { return slices.Contains(faults, f) }
	switch {
	case has(Missing):
	case has(Joined):
		r.Header.Set("DPoP", proof+", "+proof)
	case has(Twice):
		r.Header.Add("DPoP", proof)
		r.Header.Add("DPoP", proof)
	default:
		r.Header.Set("DPoP", proof)
	}
	return nil
}

// Proof makes a proof. Without a token it is for the token endpoint.
func (k *Key) Proof(method, address, token string, faults ...Fault) (string, error) {
	has := func(f Fault) bool { return slices.Contains(faults, f) }
	if has(Garbage) {
		return "garbage", nil
	}
	key, err := k.signing(has(OtherKey))
	if err != nil {
		return "", err
	}
	public, err := jwk(key, has(PrivateKey))
	if err != nil {
		return "", err
	}
	header := map[string]any{"typ": "dpop+jwt", "alg": "ES256", "jwk": public}
	claims := map[string]any{"htm": method, "htu": address, "iat": k.now().Unix(), "jti": k.id(has(SameID))}
	if token != "" {
		claims["ath"] = hash(token)
	}
	if nonce := k.theNonce(); nonce != "" && !has(NoNonce) {
		claims["nonce"] = nonce
	}
	for _, c := range []struct {
		fault Fault
		in    map[string]any
		name  string
		value any // nil removes it
	}{
		{NoType, header, "typ", nil}, {WrongType, header, "typ", "JWT"}, {Unsigned, header, "alg", "none"}, {Symmetric, header, "alg", "HS256"},
		{Symmetric, header, "jwk", map[string]any{"kty": "oct", "k": encode(secret())}}, {NoKey, header, "jwk", nil},
		{Critical, header, "crit", []string{"urn:example:odd"}}, {Critical, header, "urn:example:odd", true},
		{NoMethod, claims, "htm", nil}, {WrongMethod, claims, "htm", "PATCH"}, {OtherCase, claims, "htm", lower(method)},
		{NoAddress, claims, "htu", nil}, {WrongAddress, claims, "htu", address + "x"}, {WrongHost, claims, "htu", "https://evil.test/"},
		{NoTime, claims, "iat", nil}, {Old, claims, "iat", k.now().Add(-10 * time.Minute).Unix()}, {Early, claims, "iat", k.now().Add(10 * time.Minute).Unix()},
		{NoID, claims, "jti", nil}, {NoHash, claims, "ath", nil}, {WrongHash, claims, "ath", hash(token + "x")}, {WrongNonce, claims, "nonce", "made-up"},
	} {
		switch {
		case !has(c.fault):
		case c.value == nil:
			delete(c.in, c.name)
		default:
			c.in[c.name] = c.value
		}
	}
	return compact(key, header, claims, has)
}

// compact signs. It is written by hand, because no library makes bad proofs.
func compact(key *ecdsa.PrivateKey, header, claims map[string]any, has func(Fault) bool) (string, error) {
	h, err := json.Marshal(header)
	if err != nil {
		return "", err
	}
	c, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	if has(RepeatedClaim) {
		c = append([]byte(`{"htm":"TRACE",`), c[1:]...)
	}
	signed := encode(h) + "." + encode(c)
	if has(Padded) {
		signed = base64.URLEncoding.EncodeToString(append(h, ' ')) + "=." + encode(c)
	}
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		return "", err
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	switch {
	case has(Unsigned):
		return signed + ".", nil
	case has(Symmetric):
		m := hmac.New(sha256.New, secret())
		m.Write([]byte(signed))
		signature = m.Sum(nil)
	case has(WrongSignature):
		signature[7] ^= 1
	}
	return signed + "." + encode(signature), nil
}

// signing returns the key that signs.
func (k *Key) signing(other bool) (*ecdsa.PrivateKey, error) {
	if !other {
		return k.private, nil
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// id returns a new jti, or the last one again.
func (k *Key) id(again bool) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !again || k.last == "" {
		k.last = rand.Text()
	}
	return k.last
}

func (k *Key) theNonce() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.nonce
}

// jwk writes a key as RFC 7518 §6.2 says.
func jwk(k *ecdsa.PrivateKey, private bool) (map[string]any, error) {
	point, err := k.PublicKey.Bytes() // 4, x, y
	if err != nil {
		return nil, err
	}
	m := map[string]any{"kty": "EC", "crv": "P-256", "x": encode(point[1:33]), "y": encode(point[33:])}
	if private {
		d, err := k.Bytes()
		if err != nil {
			return nil, err
		}
		m["d"] = encode(d)
	}
	return m, nil
}

// hash is ath (RFC 9449 §4.2).
func hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return encode(sum[:])
}

// secret is the key of HMACs, which everybody knows.
func secret() []byte { return []byte("a secret of thirty-two characters") }

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func lower(method string) string {
	b := []byte(method)
	for i := range b {
		b[i] |= 0x20
	}
	return string(b)
}

// Checked is what a good proof says.
type Checked struct {
	Thumbprint      string // of its key
	ID, Nonce, Hash string // jti, nonce and ath
}

// Check is for a server that binds tokens: it reads a good proof for an endpoint
// (RFC 9449 §4.3), checked with go-jose alone. Whoever calls it judges jti, nonce
// and ath.
func Check(raw, method, address string, now time.Time) (Checked, error) {
	algs := []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.ES512, jose.EdDSA, jose.RS256, jose.PS256}
	parsed, err := jose.ParseSignedCompact(raw, algs)
	if err != nil {
		return Checked{}, fmt.Errorf("proofkit: %w", err)
	}
	h := parsed.Signatures[0].Protected
	if h.ExtraHeaders["typ"] != "dpop+jwt" || h.JSONWebKey == nil || !h.JSONWebKey.IsPublic() || !h.JSONWebKey.Valid() {
		return Checked{}, fmt.Errorf("proofkit: typ %v, or no public jwk", h.ExtraHeaders["typ"])
	}
	payload, err := parsed.Verify(h.JSONWebKey)
	if err != nil {
		return Checked{}, fmt.Errorf("proofkit: %w", err)
	}
	var c struct {
		ID      string `json:"jti"`
		Method  string `json:"htm"`
		Address string `json:"htu"`
		Issued  int64  `json:"iat"`
		Nonce   string `json:"nonce"`
		Hash    string `json:"ath"`
	}
	if err := json.Unmarshal(payload, &c); err != nil {
		return Checked{}, fmt.Errorf("proofkit: %w", err)
	}
	age := now.Sub(time.Unix(c.Issued, 0))
	if c.ID == "" || c.Method != method || c.Address != address || age > time.Minute || age < -time.Minute {
		return Checked{}, fmt.Errorf("proofkit: the claims do not fit %s %s", method, address)
	}
	sum, err := h.JSONWebKey.Thumbprint(gocrypto.SHA256)
	return Checked{encode(sum), c.ID, c.Nonce, c.Hash}, err
}

// Hash is the value of ath for an access token (RFC 9449 §4.2).
func Hash(token string) string { return hash(token) }
