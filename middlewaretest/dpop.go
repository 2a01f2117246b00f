package middlewaretest

import (
	"net/http"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
	"example.com/gatehouse/internal/testkit/proofkit"
)

// DPoPKey is the key of a client that proves with each request that it has it
// (RFC 9449). It is safe for concurrent use.
//
//	key := op.NewDPoPKey()
//	good := key.NewRequest(t, "ana", client, "GET", "https://api.example.org/notes", "notes:read")
//	bad := key.NewRequest(t, "ana", client, "GET", "https://api.example.org/notes", "notes:read")
//	key.Sign(bad, "", middlewaretest.ProofWrongMethod)
type DPoPKey struct {
	s   *Server
	key *proofkit.Key
}

// NewDPoPKey makes a key. Its proofs are made at the time of the server's clock.
func (s *Server) NewDPoPKey() *DPoPKey {
	s.t.Helper()
	k, err := proofkit.New(s.clock.Now)
	s.check(err)
	return &DPoPKey{s, k}
}

// Thumbprint is the value of cnf.jkt in a token that is bound to the key.
func (k *DPoPKey) Thumbprint() string {
	k.s.t.Helper()
	t, err := k.key.Thumbprint()
	k.s.check(err)
	return t
}

// BoundAccessToken is [Server.AccessToken] for a token that is bound to a key. A
// client gets one from the token endpoint if its request has a proof.
func (s *Server) BoundAccessToken(key *DPoPKey, user string, c gatehouse.Client, scopes ...string) string {
	s.t.Helper()
	value, err := s.op.BoundAccessToken(user, c.ID, key.Thumbprint(), nil, scopes...)
	s.check(err)
	return value
}

// DPoPOptions say what the server demands of clients with a key (RFC 9449). In
// the zero value it binds a token to a key if a proof came with the request, and
// wants no nonces.
type DPoPOptions struct {
	// Required refuses token requests without a proof.
	Required bool
	// Nonce demands a nonce in proofs. The token endpoint and the user info each
	// give their own, and a new one a minute later, by the server's clock. Only
	// the newest is taken.
	Nonce bool
}

// SetDPoP sets what the server demands from now on. It shows whether an
// application with Client.DPoPKey works at such a server:
//
//	op.SetDPoP(middlewaretest.DPoPOptions{Required: true, Nonce: true})
func (s *Server) SetDPoP(o DPoPOptions) { s.op.SetDPoP(opserver.DPoPOptions(o)) }

// NewRequest is [Server.NewRequest] with a token that is bound to the key, and a
// good proof.
func (k *DPoPKey) NewRequest(t testing.TB, user string, c gatehouse.Client, method, address string, scopes ...string) *http.Request {
	t.Helper()
	r := k.s.newRequest(t, k.Thumbprint(), user, c, method, address, scopes)
	k.Sign(r, "")
	return r
}

// Sign puts an access token, "" for the one that the request has, and a proof of
// the key for this request into its headers. Call it last: the proof holds
// method and address. The address is that of r.URL, or, in a request to a
// handler, of the Host. Sign makes another proof each time. With faults the proof
// is a bad one.
func (k *DPoPKey) Sign(r *http.Request, token string, faults ...ProofFault) {
	k.s.t.Helper()
	if token == "" {
		_, token, _ = strings.Cut(r.Header.Get("Authorization"), " ")
	}
	k.s.check(k.key.Sign(r, token, faultsOf(faults)...))
}

// Proof makes the value of a DPoP header for a request of one's own. Without a
// token it is a proof for the token endpoint.
func (k *DPoPKey) Proof(method, address, token string, faults ...ProofFault) string {
	k.s.t.Helper()
	proof, err := k.key.Proof(method, address, token, faultsOf(faults)...)
	k.s.check(err)
	return proof
}

// SetNonce makes all proofs from now on carry a nonce, which the API has sent in
// the header DPoP-Nonce. "" ends that.
func (k *DPoPKey) SetNonce(nonce string) { k.key.SetNonce(nonce) }

func faultsOf(faults []ProofFault) []proofkit.Fault {
	all := make([]proofkit.Fault, 0, len(faults))
	for _, f := range faults {
		all = append(all, proofkit.Fault(f))
	}
	return all
}

// ProofFault is something that is wrong with a proof.
type ProofFault string

// The faults of a proof, and the rule that each breaks. RFC 9449 §4.3.
const (
	ProofMissing        = ProofFault(proofkit.Missing)        // §7.1: a bound token comes with a proof
	ProofTwice          = ProofFault(proofkit.Twice)          // item 1: one DPoP header
	ProofJoined         = ProofFault(proofkit.Joined)         // item 1: one proof in it
	ProofGarbage        = ProofFault(proofkit.Garbage)        // item 2: a JWT
	ProofPadded         = ProofFault(proofkit.Padded)         // RFC 7515 §2: base64url without padding
	ProofRepeatedClaim  = ProofFault(proofkit.RepeatedClaim)  // RFC 7519 §4: names are unique
	ProofNoType         = ProofFault(proofkit.NoType)         // item 4: typ is dpop+jwt
	ProofWrongType      = ProofFault(proofkit.WrongType)      // item 4: typ is dpop+jwt; here JWT
	ProofUnsigned       = ProofFault(proofkit.Unsigned)       // item 5: alg is not none
	ProofSymmetric      = ProofFault(proofkit.Symmetric)      // item 5: alg is asymmetric; here HS256, with its key
	ProofWrongSignature = ProofFault(proofkit.WrongSignature) // item 6: the signature is by jwk
	ProofCritical       = ProofFault(proofkit.Critical)       // RFC 7515 §4.1.11: critical extensions are understood
	ProofNoKey          = ProofFault(proofkit.NoKey)          // item 3: jwk is required
	ProofPrivateKey     = ProofFault(proofkit.PrivateKey)     // item 7: jwk is public
	ProofOtherKey       = ProofFault(proofkit.OtherKey)       // item 12: jwk is the key of the token
	ProofNoMethod       = ProofFault(proofkit.NoMethod)       // item 3: htm is required
	ProofWrongMethod    = ProofFault(proofkit.WrongMethod)    // item 8: htm is the method; here PATCH
	ProofOtherCase      = ProofFault(proofkit.OtherCase)      // item 8: to the case
	ProofNoAddress      = ProofFault(proofkit.NoAddress)      // item 3: htu is required
	ProofWrongAddress   = ProofFault(proofkit.WrongAddress)   // item 9: htu is the address; here another path
	ProofWrongHost      = ProofFault(proofkit.WrongHost)      // item 9: htu is the address; here another host
	ProofNoTime         = ProofFault(proofkit.NoTime)         // item 3: iat is required
	ProofOld            = ProofFault(proofkit.Old)            // item 11: iat is near; here ten minutes ago
	ProofEarly          = ProofFault(proofkit.Early)          // item 11: iat is near; here ten minutes ahead
	ProofNoID           = ProofFault(proofkit.NoID)           // item 3: jti is required
	ProofSameID         = ProofFault(proofkit.SameID)         // §11.1: jti is new; here that of the key's proof before
	ProofNoHash         = ProofFault(proofkit.NoHash)         // item 12: ath is required
	ProofWrongHash      = ProofFault(proofkit.WrongHash)      // item 12: ath is of the token
	ProofNoNonce        = ProofFault(proofkit.NoNonce)        // item 10: the nonce that the API has sent
	ProofWrongNonce     = ProofFault(proofkit.WrongNonce)     // item 10: the nonce that the API has sent; here made up
)
