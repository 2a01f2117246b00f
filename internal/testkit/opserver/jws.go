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

// signIDToken signs the claims of an ID Token and spoils form and signature as
// the faults say.
func (s *Server) signIDToken(c *client, claims map[string]any) (string, error) {
	payload, err := s.spoilNamesTwice(claims, c)
	if err != nil {
		return "", err
	}
	for fault, alg := range map[Fault]string{UnsignedIDToken: "none", UnsignedOddCase: "None"} {
		if s.wrong.has(fault) {
			return unsigned(alg, payload), nil
		}
	}
	form, err := s.form(c)
	if err != nil {
		return "", err
	}
	signed, err := form.compact(payload)
	if err != nil {
		return "", err
	}
	return s.spoilSerialization(signed), nil
}

// form chooses key and header.
func (s *Server) form(c *client) (jws, error) {
	key, err := s.keys.signing(s.algOf(c))
	if err != nil {
		return jws{}, err
	}
	j := jws{alg: jose.SignatureAlgorithm(key.Algorithm), key: key.Key, kid: key.KeyID, typ: "JWT", header: map[jose.HeaderKey]any{}}
	if s.wrong.has(KeyInHeader) || s.wrong.has(KeyURLInHeader) {
		stranger, err := s.keys.stranger()
		if err != nil {
			return jws{}, err
		}
		j.alg, j.key, j.kid = jose.SignatureAlgorithm(stranger.Algorithm), stranger.Key, ""
		if s.wrong.has(KeyInHeader) {
			j.header["jwk"] = stranger.Public()
		} else {
			j.header["jku"], j.header["x5u"] = s.url(pathTrap)+trapKeys, s.url(pathTrap)+trapKeys
		}
	}
	if s.wrong.has(HMACWithSecret) {
		j.alg, j.key, j.kid = jose.HS256, []byte(c.Secret), ""
	}
	if s.wrong.has(HMACWithPublicKey) { // the text that people copy into a configuration
		der, err := x509.MarshalPKIXPublicKey(key.Public().Key)
		if err != nil {
			return jws{}, err
		}
		j.alg, j.key = jose.HS256, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	s.spoilHeader(&j)
	return j, nil
}

// algOf is the algorithm of a client's ID Tokens or, with [OtherAlgorithm], one
// that the client is not registered for.
func (s *Server) algOf(c *client) jose.SignatureAlgorithm {
	s.mu.Lock()
	alg := c.alg
	if s.st.signWith != "" {
		alg = s.st.signWith
	}
	s.mu.Unlock()
	switch {
	case !s.wrong.has(OtherAlgorithm):
		return alg
	case alg == jose.ES256:
		return jose.RS256
	}
	return jose.ES256
}

func (s *Server) spoilHeader(j *jws) {
	if s.wrong.has(UnknownCriticalHeader) {
		j.header["crit"], j.header["urn:example:odd"] = []string{"urn:example:odd"}, true
	}
	if s.wrong.has(WrongTokenType) {
		j.typ = "logout+jwt"
	}
	if s.wrong.has(NoKeyID) {
		j.kid = ""
	}
	if s.wrong.has(UnknownKeyID) {
		j.kid = newSecret()[:12]
	}
}

// spoilNamesTwice writes the claims, with repeated names if the faults say so.
// Parsers differ in which of the two they use.
func (s *Server) spoilNamesTwice(claims map[string]any, c *client) ([]byte, error) {
	if s.wrong.has(OtherCaseClaim) {
		claims["aud"], claims["AUD"] = c.ID+"-other", c.ID
	}
	payload, err := json.Marshal(claims)
	if err == nil && s.wrong.has(RepeatedClaim) {
		payload = append([]byte(`{"sub":"someone-else",`), payload[1:]...)
	}
	return payload, err
}

// spoilSerialization changes the text of a signed JWT.
func (s *Server) spoilSerialization(signed string) string {
	parts := strings.Split(signed, ".")
	switch {
	case s.wrong.has(WrongSignature):
		return otherSignature(signed)
	case s.wrong.has(EmptySignature):
		return parts[0] + "." + parts[1] + "."
	case s.wrong.has(FivePartIDToken):
		return signed + ".e30.e30"
	case s.wrong.has(PaddedIDToken):
		return signed + strings.Repeat("=", (4-len(parts[2])%4)%4)
	case s.wrong.has(JSONSerializedIDToken):
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
