package opserver

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// jws describes how a JWT is built: the signing key, the algorithm, and the
// rest of the header.
type jws struct {
	alg    jose.SignatureAlgorithm
	key    any
	kid    string
	typ    string
	header map[jose.HeaderKey]any
}

// compact signs.
func (j jws) compact(payload []byte) (string, error) {
	options := &jose.SignerOptions{ExtraHeaders: j.header}
	if j.typ != "" {
		options = options.WithType(jose.ContentType(j.typ))
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: j.alg, Key: jose.JSONWebKey{Key: j.key, KeyID: j.kid}}, options)
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// sign signs the claims of a token and spoils form and signature as the faults
// say.
func (m maker) sign(claims map[string]any) (string, error) {
	payload, err := m.spoilNamesTwice(claims)
	if err != nil {
		return "", err
	}
	for fault, alg := range map[Fault]string{UnsignedIDToken: "none", UnsignedOddCase: "None"} {
		if m.has(fault) {
			return unsigned(alg, payload), nil
		}
	}
	form, err := m.form()
	if err != nil {
		return "", err
	}
	signed, err := form.compact(payload)
	if err != nil {
		return "", err
	}
	return m.spoilSerialization(signed), nil
}

// form chooses key and header.
func (m maker) form() (jws, error) {
	key, err := m.keys.signing(m.signingAlg())
	if err != nil {
		return jws{}, err
	}
	j := jws{alg: jose.SignatureAlgorithm(key.Algorithm), key: key.Key, kid: key.KeyID, typ: m.typ, header: map[jose.HeaderKey]any{}}
	if m.has(KeyInHeader) || m.has(KeyURLInHeader) {
		stranger, err := m.keys.stranger()
		if err != nil {
			return jws{}, err
		}
		j.alg, j.key, j.kid = jose.SignatureAlgorithm(stranger.Algorithm), stranger.Key, ""
		if m.has(KeyInHeader) {
			j.header["jwk"] = stranger.Public()
		} else {
			j.header["jku"], j.header["x5u"] = m.url(pathTrap)+trapKeys, m.url(pathTrap)+trapKeys
		}
	}
	if m.has(HMACWithSecret) {
		j.alg, j.key, j.kid = jose.HS256, []byte(m.secret), ""
	}
	if m.has(HMACWithPublicKey) { // the text that people copy into a configuration
		der, err := x509.MarshalPKIXPublicKey(key.Public().Key)
		if err != nil {
			return jws{}, err
		}
		j.alg, j.key = jose.HS256, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	m.spoilHeader(&j)
	return j, nil
}

// algOf is the algorithm of a client's ID Tokens.
func (s *Server) algOf(c *client) jose.SignatureAlgorithm {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.st.signWith != "" {
		return s.st.signWith
	}
	return c.alg
}

// signingAlg is the algorithm of the token or, with [OtherAlgorithm], another
// one.
func (m maker) signingAlg() jose.SignatureAlgorithm {
	switch {
	case !m.has(OtherAlgorithm):
		return m.alg
	case m.alg == jose.ES256:
		return jose.RS256
	}
	return jose.ES256
}

func (m maker) spoilHeader(j *jws) {
	if m.has(UnknownCriticalHeader) {
		j.header["crit"], j.header["urn:example:odd"] = []string{"urn:example:odd"}, true
	}
	if m.has(WrongTokenType) {
		j.typ = "logout+jwt"
	}
	if m.has(NoKeyID) {
		j.kid = ""
	}
	if m.has(UnknownKeyID) {
		j.kid = newSecret()[:12]
	}
}

// spoilNamesTwice writes the claims, with repeated names if the faults say so.
// Parsers differ in which of the two they use.
func (m maker) spoilNamesTwice(claims map[string]any) ([]byte, error) {
	if m.has(OtherCaseClaim) {
		claims["aud"], claims["AUD"] = m.audience+"-other", m.audience
	}
	payload, err := json.Marshal(claims)
	if err == nil && m.has(RepeatedClaim) {
		payload = append([]byte(`{"sub":"someone-else",`), payload[1:]...)
	}
	return payload, err
}

// spoilSerialization changes the text of a signed JWT.
func (m maker) spoilSerialization(signed string) string {
	parts := strings.Split(signed, ".")
	switch {
	case m.has(WrongSignature):
		return otherSignature(signed)
	case m.has(EmptySignature):
		return parts[0] + "." + parts[1] + "."
	case m.has(FivePartIDToken):
		return signed + ".e30.e30"
	case m.has(PaddedIDToken): // some signatures need no padding, and get one all the same
		return signed + strings.Repeat("=", max(1, (4-len(parts[2])%4)%4))
	case m.has(JSONSerializedIDToken):
		return `{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`
	}
	return signed
}

// unsigned makes a JWT without a signature.
func unsigned(alg string, payload []byte) string {
	enc := base64.RawURLEncoding
	return enc.EncodeToString([]byte(`{"alg":"`+alg+`"}`)) + "." + enc.EncodeToString(payload) + "."
}

// otherSignature changes one character in the middle of the signature, where
// all of its bits count.
func otherSignature(signed string) string {
	at := len(signed) - 20
	changed := byte('A')
	if signed[at] == changed {
		changed = 'B'
	}
	return signed[:at] + string(changed) + signed[at+1:]
}
