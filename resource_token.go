package gatehouse

// Tested in internal/e2e/api.

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"example.com/gatehouse/internal/bearer"
	"example.com/gatehouse/internal/bounded"
	"example.com/gatehouse/internal/flight"
	"example.com/gatehouse/internal/keyset"
	"example.com/gatehouse/internal/token"
)

// RequireToken serves next only to requests with an access token for this API
// that meets the requirements of With. The token is a JWT that the authorization
// server has signed (RFC 9068), or, with ResourceServerConfig.Client, one that
// the server knows (RFC 7662). It is read from the Authorization header. One in
// a form or in the query is ignored (RFC 9700 §4.3.2).
// A token that is bound to a key of its client passes only as
// ResourceServerConfig.DPoP says, with a proof that is used once.
//
// A request without a token gets 401, and one with a token that is no good too,
// with "invalid_token" in WWW-Authenticate (RFC 6750 §3). If a scope is missing,
// the answer is 403 and names all scopes that the route needs. If the sign-in
// behind the token does not meet MaxAge or ACR, it is 401 with
// "insufficient_user_authentication" (RFC 9470 §3). Any other requirement that
// is not met is 403. While the server cannot be asked for a key or about a
// token, a token that needs it gets 503.
//
// OPTIONS is judged like any other method, so put CORS middleware outside.
// RequireToken panics if next is nil, and without ResourceServerConfig.Audience
// or InsecureAnyAudience.
func (rs *ResourceServer) RequireToken(next http.Handler) http.Handler {
	wire("RequireToken", rs.checkMade())
	return protect("RequireToken", rs)(next)
}

// OptionalToken serves next also to requests without an access token. There is
// then no identity on the context. A token that is no good, or that does not
// meet the requirements, is refused as by RequireToken. OptionalToken panics like
// RequireToken.
func (rs *ResourceServer) OptionalToken(next http.Handler) http.Handler {
	wire("OptionalToken", rs.checkMade())
	return protect("OptionalToken", optionalToken{rs})(next)
}

// optionalToken is a guard that also lets a request without a token pass.
type optionalToken struct{ *ResourceServer }

// Check implements Guard.
func (o optionalToken) Check(r *http.Request) (*Identity, error) {
	if _, came, err := o.source.Unchecked(r.Header); err == nil && came == bearer.None {
		return nil, nil
	}
	return o.ResourceServer.Check(r)
}

// With returns a ResourceServer that additionally asks for the requirements. It
// shares everything else with rs and does not change rs. UMAProtect ignores
// them. With panics if a requirement cannot work for an access token.
func (rs *ResourceServer) With(requirements ...Requirement) *ResourceServer {
	wire("With", rs.isMade())
	more, err := rs.join(requirements)
	wire("With", err)
	return more
}

// join is With with an error in place of a panic.
func (rs *ResourceServer) join(requirements []Requirement) (*ResourceServer, error) {
	for _, q := range requirements {
		if err := rs.checkRequirement(q); err != nil {
			return nil, err
		}
	}
	need := append(slices.Clip(slices.Clone(rs.need)), requirements...)
	if err := checkNeed(need); err != nil {
		return nil, err
	}
	return &ResourceServer{rs.resourceServer, need}, nil
}

func (rs *ResourceServer) checkRequirement(q Requirement) error {
	switch {
	case q.fresh && !rs.asks:
		return errors.New("NotRevoked needs ResourceServerConfig.Client, which asks the authorization server")
	case q.ask != nil:
		return errors.New("Ask is for pages: it says what a sign-in asks of the provider")
	case q.step.grant:
		return errors.New("OwnerGrant is for pages: it sends a person to the authorization server")
	case q.met == nil:
		return errors.New("the Requirement is the zero value, which requires nothing")
	}
	return nil
}

// upgrades implements upgrader.
func (rs *ResourceServer) upgrades() []string { return rs.resourceServer.allowed }

// tokenHeader implements tokenReader.
func (rs *ResourceServer) tokenHeader() string {
	if rs.isMade() != nil || rs.source.Header == "" {
		return authorization
	}
	return rs.source.Header
}

// Check implements Guard. It returns the identity that the access token of the
// request names. Its Subject is what the token says, and "" if it says nothing.
// It uses up the proof of a bound token. Another guard of the same request passes
// if the identity is on the context.
func (rs *ResourceServer) Check(r *http.Request) (id *Identity, err error) {
	defer func() {
		if p := recover(); p != nil { // of a RequirementFunc, for example
			id, err = nil, rs.provider.panicIn(r.Context(), p)
		}
	}()
	if err := rs.checkMade(); err != nil {
		return nil, errInternal.because(err)
	}
	if id, err = rs.bearer(r); err != nil {
		return nil, err
	}
	if err := rs.meet(r, id); err != nil {
		return nil, about(id.Subject, err)
	}
	return id, nil
}

// bearer returns the identity of the request's access token. A token that is
// remembered is compared by its sum alone, because its form was checked when it
// was new.
func (rs *ResourceServer) bearer(r *http.Request) (*Identity, error) {
	raw, came, err := rs.source.Unchecked(r.Header)
	if err != nil {
		return nil, errBearer.because(err)
	}
	if came == bearer.None {
		return nil, errTokenRequired.because(rs.elsewhere(r.Header))
	}
	key, now := bounded.KeyOf(raw), rs.provider.now()
	t := rs.provider.tokens.Recall(key, rs.seen, now)
	if t == nil {
		if rs.asks && !rs.fresh() {
			if f := rs.opaque.Known(key, now); f != nil {
				return rs.opaqueIdentity(r, f, raw, came, now)
			}
		}
		if !bearer.Valid(raw) {
			return nil, errBearer.because(bearer.ErrCharacters)
		}
		if rs.asks && !token.IsJWT(raw) {
			f, err := rs.askAboutAccess(r.Context(), raw, key)
			if err != nil {
				return nil, err
			}
			return rs.opaqueIdentity(r, f, raw, came, rs.provider.now())
		}
		if t, err = rs.verify(r.Context(), raw, key); err != nil {
			return nil, err
		}
	}
	made, err := rs.prove(r, raw, came, t.Thumbprint())
	if err == nil && rs.fresh() {
		err = rs.confirm(r.Context(), raw, t.Thumbprint())
	}
	if err == nil {
		err = rs.spend(r.Context(), made)
	}
	if err != nil {
		return nil, about(t.Subject(), err)
	}
	id := rs.identity(raw, t.Scopes())
	id.Subject, id.ClientID, id.AuthTime, id.Expires, id.claims = t.Subject(), t.Client(), t.AuthTime(), t.Expires(), t.Payload()
	id.proven = made
	if rs.provider.tenants != nil {
		id.Issuer = t.Issuer()
	}
	return id, nil
}

// elsewhere says why a header without a token of ours may be a mistake of the
// settings, or returns nil.
func (rs *ResourceServer) elsewhere(h http.Header) error {
	switch {
	case len(h[authorization]) == 0:
		return nil
	case rs.source.Header != "":
		return errTokenElsewhere
	}
	return errOtherScheme
}

var (
	errTokenElsewhere = errors.New("there is an Authorization header, but the token has to be in the one that TokenHeader names")
	errOtherScheme    = errors.New("the scheme of the Authorization header is neither Bearer nor one of Schemes")
	errNotAsked       = errors.New("the token is no JWT, and the authorization server is not asked about it, because there is no ResourceServerConfig.Client")
)

// notAsked is errNotAsked with what else is wrong. It is put into words only for
// those who read it, because anybody can send such tokens.
type notAsked struct {
	err    error
	public bool // there is a Client, but it is public
}

func (e *notAsked) Error() string {
	if e.public {
		return errNotAsked.Error() + " with a Secret: " + e.err.Error()
	}
	return errNotAsked.Error() + ": " + e.err.Error()
}
func (e *notAsked) Unwrap() error { return e.err }

// verify verifies a JWT that is not remembered. It waits for keys no longer than
// the budget of a request.
func (rs *ResourceServer) verify(ctx context.Context, raw string, key bounded.Key) (*token.AccessToken, error) {
	within := flight.NewWithin(ctx, rs.budget)
	defer within.Stop()
	t, err := rs.provider.tokens.AccessOnce(within, raw, key, &rs.rules, rs.seen)
	switch {
	case err != nil && !rs.asks && errors.Is(err, token.ErrMalformed) && !token.IsJWT(raw):
		return nil, errTokenInvalid.because(&notAsked{err, rs.client.given()})
	case err != nil:
		return nil, accessFailure(late(err, "keys", rs.provider.issuer))
	}
	return t, nil
}

// identity returns the identity behind a token, with nothing about its person.
// It owns its scopes. All of it is one allocation if there are few.
func (rs *ResourceServer) identity(raw string, scopes []string) *Identity {
	whole := &struct {
		Identity
		raw  string
		room [4]string
	}{raw: raw}
	id := &whole.Identity
	id.Issuer, id.Via, id.api, id.raw = rs.provider.issuer, ViaToken, rs, Secret{&whole.raw}
	if len(scopes) > 0 {
		id.Scopes = append(whole.room[:0], scopes...)
	}
	return id
}

// accessFailure returns the *Error for an access token that was not accepted.
// Nothing is said about it while the keys or the metadata cannot be had.
func accessFailure(err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err // of the metadata
	}
	if _, ok := errors.AsType[*keyset.UnavailableError](err); ok {
		return tokenFailure(err)
	}
	if slices.ContainsFunc(token.Reasons(), func(reason error) bool { return errors.Is(err, reason) }) {
		return errTokenInvalid.because(err)
	}
	return outage(err).because(err)
}

// tokenRefusal lists the requirements that an access token does not meet.
type tokenRefusal struct{ unmet []Requirement }

func (e *tokenRefusal) Error() string { return "unmet: " + requirementNames(e.unmet) }

// meet checks the requirements.
func (rs *ResourceServer) meet(r *http.Request, id *Identity) error {
	if len(rs.need) == 0 {
		return nil
	}
	var unmet []Requirement
	now := rs.provider.now()
	for _, q := range rs.need {
		ok, err := q.met(r, id, now)
		if err != nil {
			return asError(err, errRequirement)
		}
		if !ok {
			unmet = append(unmet, q)
		}
	}
	if len(unmet) == 0 {
		return nil
	}
	cause := &tokenRefusal{unmet}
	switch {
	case slices.ContainsFunc(unmet, func(q Requirement) bool { return !q.step.helps }):
		return errForbidden.because(cause) // no other token would help
	case slices.ContainsFunc(unmet, func(q Requirement) bool { return q.step.aged || len(q.step.acr) > 0 }):
		return errTokenStepUp.because(cause)
	}
	return errTokenScope.because(cause)
}

// HTTPClient returns an http.Client that sends the access token of the request
// that ctx belongs to on, to the given origins and to no others. It is for a
// service that calls another API of the same authorization server for its own
// caller. The other API has to accept the audience of the token. A token cannot
// be renewed here, so a 401 is the caller's.
//
// The error is an *Error with the code "token_required" if no guard of this
// ResourceServer has accepted a token of the request, and "token_bound" if the
// token is bound to a key of the caller: nobody else can use it. Calling
// HTTPClient without origins is an error too.
func (rs *ResourceServer) HTTPClient(ctx context.Context, origins ...string) (*http.Client, error) {
	id := IdentityFrom(ctx)
	if id == nil || id.api == nil || rs.isMade() != nil || id.api.resourceServer != rs.resourceServer || id.Via != ViaToken {
		return nil, errTokenRequired.because(errors.New("no access token of this resource server on the context"))
	}
	if id.proven != nil {
		return nil, errTokenBound.because(errors.New("the access token is bound to a key of the caller (DPoP), which alone can use it: get a token of our own for the other service"))
	}
	t, wrong := newTokenTransport(rs.onward, origins)
	if err := wrong.in("HTTPClient"); err != nil {
		return nil, err
	}
	t.token = func(context.Context) (string, error) { return id.raw.Reveal(), nil }
	return &http.Client{Transport: t}, nil
}
