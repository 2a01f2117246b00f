package gatehouse

// Tested in internal/e2e/uma_rs.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/introspection"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/strictjson"
)

const (
	// introspectionEarly is how long before the requests that wait for it an
	// introspection gives up, but at most a tenth of their budget. They then
	// learn the reason, and the next request starts a new introspection.
	introspectionEarly = 100 * time.Millisecond
	// introspectionLimit caps an introspection response, in bytes. Real ones
	// have 1 to 8 KiB; a permission takes about 200 bytes.
	introspectionLimit = 256 << 10
)

// factsOf returns what the server says about token. It uses what the server
// said within the last seconds, or else makes one introspection for all who
// wait. The owner is that of the resource. Errors are of kind
// errIntrospection, errBusy or errOwnerGrantMissing, or a mistake that somebody
// has to mend.
func (rs *ResourceServer) factsOf(ctx context.Context, key introspection.Key, token, owner string) (*introspection.Facts, error) {
	timeout := rs.introspectionTime()
	ask := func(ctx context.Context) (*introspection.Facts, error) {
		return rs.inPlace(rs.facts.WasActive(key), func() (*introspection.Facts, error) { return rs.introspect(ctx, token, owner, hintRPT) })
	}
	var f *introspection.Facts
	var err error
	if rs.asksByPAT() {
		f, err = rs.facts.GetAs(ctx, key, introspection.KeyOf(token, ""), timeout, ask)
	} else {
		f, err = rs.facts.Get(ctx, key, timeout, ask)
	}
	if err != nil {
		return nil, unanswered(err)
	}
	return f, nil
}

// introspectionTime is how long an introspection may take.
func (rs *ResourceServer) introspectionTime() time.Duration {
	return rs.budget - min(introspectionEarly, rs.budget/10)
}

// inPlace takes a place for the look-up of a token that was never seen active,
// because anybody can make up a token.
func (rs *ResourceServer) inPlace(known bool, look func() (*introspection.Facts, error)) (*introspection.Facts, error) {
	if !known {
		if !rs.provider.tokenCalls.Try(rs.tokens) {
			return nil, errBusy.after(0, fmt.Errorf("%d unknown tokens are being looked up, as many as may be", rs.tokens))
		}
		defer rs.provider.tokenCalls.Leave()
	}
	return look()
}

// unanswered returns the error of an introspection that did not say anything
// about the token. What waiting does not help keeps its code.
func unanswered(err error) error {
	if e := mistake(err); e != nil {
		return e
	}
	cause, ok := errors.AsType[*Error](err)
	if ok && (cause.Code == errBusy.code || cause.Code == CodeOwnerGrantMissing) {
		return cause
	}
	e := errIntrospection.because(err)
	if ok && cause.RetryAfter > 0 {
		e.RetryAfter = cause.RetryAfter
	}
	return e
}

// asksByPAT reports whether to authenticate introspection with the protection
// API token, as UMA Federated Authorization §5 says. Most servers accept our
// client's authentication (RFC 7662 §2.1), and Keycloak accepts nothing else
// (K17).
func (rs *ResourceServer) asksByPAT() bool {
	return rs.client.Auth == AuthNone || rs.byPAT.Load()
}

// factsKey returns the key of the facts about token for a resource of owner.
// The owner matters only if introspection uses the owner's protection API
// token.
func (rs *ResourceServer) factsKey(token, owner string) introspection.Key {
	if !rs.asksByPAT() {
		owner = ""
	}
	return introspection.KeyOf(token, owner)
}

// The kinds of tokens that are introspected (RFC 7662 §2.1, K17).
const (
	hintAccess = "access_token"
	hintRPT    = "requesting_party_token"
)

func (rs *ResourceServer) introspect(ctx context.Context, token, owner, hint string) (*introspection.Facts, error) {
	md, err := rs.provider.introspectionMetadata(ctx, hint == hintAccess)
	if err != nil {
		return nil, err
	}
	who, err := rs.provider.who(ctx, &rs.client)
	if err != nil {
		return nil, err
	}
	ctx = outbound.WithLimit(ctx, introspectionLimit)
	form := url.Values{"token": {token}, "token_type_hint": {hintAccess}}
	if hint == hintRPT && rs.provider.isKeycloak(md) {
		form.Set("token_type_hint", hintRPT) // makes Keycloak answer in the UMA form (K17)
	}
	a, err := rs.askAbout(ctx, who, md, form, owner)
	if errors.Is(err, outbound.ErrTooLarge) {
		err = fmt.Errorf("introspection: the answer is larger than %d KiB: %w", introspectionLimit>>10, err)
	}
	if err != nil {
		return nil, err
	}
	if a.Status != http.StatusOK {
		return nil, classify(a.Unexpected("introspection"))
	}
	audience := append(slices.Clip(rs.rules.Audience), who.ID) // for us, as whoever asks (RFC 7662 §2.2)
	audience = append(audience, who.others()...)
	if hint == hintAccess && rs.rules.AnyAudience {
		audience = nil
	}
	f, err := introspection.Read(a.Body, rs.provider.issuer, audience, introspection.Names{Subjects: rs.rules.Subjects, Scopes: rs.rules.Scopes})
	if err != nil {
		return nil, fmt.Errorf("introspection: %w, from %s", strictjson.Without(err, token), outbound.Address(md.IntrospectionEndpoint))
	}
	if !f.Active && strings.Contains(string(f.Claims), token) { // they are for the log
		f.Claims = nil
	}
	return f, nil
}

// askAbout sends the introspection request as our client. If the server
// refuses that, it sends the request with a protection API token.
func (rs *ResourceServer) askAbout(ctx context.Context, who known, md *Metadata, form url.Values, owner string) (*backchannel.Answer, error) {
	_, unlisted := who.at(md.introspectionAuth())
	if unlisted != nil && rs.provider.isKeycloak(md) {
		return nil, unlisted
	}
	if rs.provider.isKeycloak(md) || unlisted == nil && !rs.asksByPAT() {
		a, err := rs.askAsClient(ctx, who, md, form)
		if err != nil {
			return nil, classify(err)
		}
		if rs.provider.isKeycloak(md) || !a.RefusesCaller() {
			return a, nil
		}
	}
	a, err := rs.withPAT(ctx, owner, func(pat Secret) (*backchannel.Answer, error) {
		return rs.provider.channel.AsBearer(ctx, http.MethodPost, md.IntrospectionEndpoint, pat.Reveal(), backchannel.Form(form))
	})
	if err == nil && a.Status == http.StatusOK {
		rs.byPAT.Store(true)
	}
	return a, err
}

// askAsClient sends the introspection request as our client (RFC 7662 §2.1). An
// answer that refuses the client is no error.
func (rs *ResourceServer) askAsClient(ctx context.Context, who known, md *Metadata, form url.Values) (a *backchannel.Answer, err error) {
	err = who.prove(ctx, md.introspectionAuth(), func(as backchannel.Credentials) (err error) {
		a, err = rs.provider.channel.AsClient(ctx, md.IntrospectionEndpoint, as, form)
		if err == nil && a.RefusesCaller() {
			return a.Unexpected("introspection")
		}
		return err
	})
	if a != nil {
		return a, nil
	}
	return nil, err
}
