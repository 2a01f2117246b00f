package gatehouse

// Tested in internal/e2e/api.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/bearer"
	"example.com/gatehouse/internal/dpop"
	"example.com/gatehouse/internal/token"
)

// proofs is how a resource server judges the proofs that belong to access tokens
// (RFC 9449). A nil one takes no token that needs a proof.
type proofs struct {
	use    DPoPUse
	base   dpop.Base
	store  Store
	nonces *dpop.Nonces // nil if no nonce is needed
}

// proofWait bounds the one call to the store, so that a request is answered
// within a second while the store hangs.
const proofWait = 900 * time.Millisecond

// The reasons why a token does not fit the scheme under which it came, or its
// proof does not count.
var (
	errNotBound   = errors.New("the scheme is DPoP, but the token is bound to no key (it has no cnf)")
	errMustBind   = errors.New("the token is bound to no key (it has no cnf), and ResourceServerConfig.DPoP requires that")
	errBoundHere  = errors.New("it is bound to a key (cnf.jkt), and ResourceServerConfig.DPoP is off")
	errBoundAlone = errors.New("it is bound to a key (cnf.jkt), but the scheme is not DPoP")
	errNoNonce    = errors.New("the proof has no nonce")
	errOtherNonce = errors.New("the nonce of the proof is not one of DPoPConfig.Keys for this BaseURL, or too old")
	errUsed       = errors.New("the jti of the proof was used before")
	errOtherKey   = errors.New("the server says that it is bound to another key than its own cnf")
)

// proven is what a request brought with its token.
type proven struct {
	proof *dpop.Proof
	nonce string // for the client's next proof, "" if its own still serves
}

// prove judges whether the request may use the token under its scheme. It
// returns nil for a token without a proof. The proof still has to be spent.
func (rs *ResourceServer) prove(r *http.Request, raw string, scheme bearer.Scheme, thumbprint string) (*proven, error) {
	p := rs.proofs
	switch {
	case thumbprint == "" && scheme == bearer.DPoP:
		return nil, errTokenInvalid.because(errNotBound)
	case thumbprint == "" && p != nil && p.use == DPoPRequired:
		return nil, errTokenInvalid.because(errMustBind)
	case thumbprint == "":
		return nil, nil
	case p == nil:
		return nil, errTokenInvalid.because(fmt.Errorf("%w: %w", token.ErrBound, errBoundHere))
	case scheme != bearer.DPoP: // RFC 9449 §7.2: never as Bearer
		return nil, errTokenInvalid.because(fmt.Errorf("%w: %w", token.ErrBound, errBoundAlone))
	}
	now := rs.provider.now()
	proof, err := dpop.Verify(r.Header[backchannel.HeaderProof], dpop.Request{
		Method: methodOf(r), Address: dpop.NewAddress(p.base, pathOf(r)), Token: raw, Thumbprint: thumbprint, Now: now,
	})
	if err != nil {
		return nil, errProof.because(err)
	}
	made := &proven{proof: proof}
	if p.nonces != nil {
		good, aged := p.nonces.Judge(proof.Nonce(), now)
		if !good {
			return nil, errProofNonce.because(nonceReason(proof))
		}
		if aged {
			made.nonce = p.nonces.Make(now)
		}
	}
	return made, nil
}

func nonceReason(p *dpop.Proof) error {
	if p.Nonce() == "" {
		return errNoNonce
	}
	return errOtherNonce
}

// tellNonce tells the client a nonce for its next proof.
func (id *Identity) tellNonce(w http.ResponseWriter) {
	if id != nil && id.proven != nil && id.proven.nonce != "" {
		w.Header().Set(backchannel.HeaderNonce, id.proven.nonce) // RFC 9449 §8.2
	}
}

// spend uses up the proof, after everything else about the token was good. So
// nobody else can fill the store.
func (rs *ResourceServer) spend(ctx context.Context, made *proven) error {
	if made == nil {
		return nil
	}
	if outer := provenIn(ctx); outer != nil && outer.proof.Equal(made.proof) {
		return nil // a guard around this one has spent it for the same request
	}
	ctx, cancel := context.WithTimeout(ctx, proofWait)
	defer cancel()
	first, err := made.proof.Use(ctx, rs.proofs.store)
	switch {
	case err != nil: // it is not known whether it was used
		return errProofStore.because(err)
	case !first:
		return errProofUsed.because(errUsed)
	}
	return nil
}

type provenKey struct{}

// provenIn returns what a guard around this one has spent, also if a guard
// between them lets the request pass as somebody else or as nobody.
func provenIn(ctx context.Context) *proven {
	if id := IdentityFrom(ctx); id != nil && id.proven != nil {
		return id.proven
	}
	made, _ := ctx.Value(provenKey{}).(*proven)
	return made
}

// pathOf returns the path with which the request came, as it was written,
// whatever a router or http.StripPrefix has made of its URL since.
func pathOf(r *http.Request) string {
	if strings.HasPrefix(r.RequestURI, "/") {
		return r.RequestURI
	}
	if u, err := url.Parse(r.RequestURI); err == nil && u.Host != "" { // RFC 9112 §3.2.2
		return dpop.PathOf(r.RequestURI)
	}
	return r.URL.EscapedPath()
}

// schemes returns the schemes of challenges. The one of the request comes first.
func (rs *ResourceServer) schemes(usesDPoP bool) []string {
	switch {
	case rs.proofs == nil:
		return []string{"Bearer"}
	case rs.proofs.use == DPoPRequired:
		return []string{"DPoP"}
	case usesDPoP:
		return []string{"DPoP", "Bearer"}
	}
	return []string{"Bearer", "DPoP"}
}
