package gatehouse

// Tested in internal/e2e/signin.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"golang.org/x/oauth2"

	"example.com/gatehouse/internal/attempt"
	"example.com/gatehouse/internal/authresponse"
	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/inbound"
	"example.com/gatehouse/internal/navigation"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/token"
)

// An answer comes in one of three ways. In the query it comes with the redirect.
// With form_post a page of the provider posts it, from another site, so that the
// browser sends no cookie that is SameSite=Lax. What is in the fragment stays in
// the browser: our page's script posts it, from this site, in one field of its
// own. So a page of another site cannot pass off its form as a fragment, and a
// form_post answer is none. Which way an attempt has asked for stands in its seal.

// fragmentField is the field in which our page posts the fragment.
const fragmentField = "gatehouse_fragment"

// askedKind returns what a config asks for. The config has been checked.
func askedKind(c *RelyingPartyConfig) authresponse.Kind {
	if c.ResponseType == "" {
		kind, _ := authresponse.Usual().In(c.ResponseMode)
		return kind
	}
	kind, _ := authresponse.Parse(c.ResponseType)
	kind, _ = kind.In(c.ResponseMode)
	return kind
}

// tellAsked calls out a type that brings an access token through the browser.
func (rp *RelyingParty) tellAsked() {
	if rp.asked.Token {
		rp.provider.emit(context.Background(), Event{Name: EventInsecureOption, Code: "token_through_browser", ClientID: rp.client.told(),
			Err: fmt.Errorf("ResponseType is %q: the access token comes through the browser, where others may get hold of it (RFC 9700 §2.1.2)", rp.asked.Type())})
	}
}

// responseOptions are the parameters that say how to answer.
func (rp *RelyingParty) responseOptions(a *attempt.Attempt) []oauth2.AuthCodeOption {
	options := make([]oauth2.AuthCodeOption, 0, 8) // and what begin appends
	if kind := rp.asked.Type(); kind != "code" {   // which oauth2 asks for
		options = append(options, oauth2.SetAuthURLParam("response_type", kind))
	}
	if mode := rp.asked.Requested(); mode != "" {
		options = append(options, oauth2.SetAuthURLParam("response_mode", mode))
	}
	if rp.asked.Code {
		options = append(options, oauth2.S256ChallengeOption(a.Verifier())) // PKCE is always used: RFC 9700 §2.1.1
		if h := rp.client.holder(); h != nil {
			options = append(options, oauth2.SetAuthURLParam("dpop_jkt", h.Thumbprint())) // RFC 9449 §10: the code is for this key
		}
	}
	return options
}

// underWay reports whether an attempt of this browser asked for the mode, or
// this relying party asks for it now. The two differ for a while when the
// setting changes.
func (rp *RelyingParty) underWay(r *http.Request, is func(authresponse.Mode) bool) bool {
	if is(rp.asked.Mode) {
		return true
	}
	have, err := rp.attemptsOf(r)
	return err == nil && slices.ContainsFunc(have, func(s attempt.Sealed) bool {
		if s.Attempt == nil || s.Attempt.Answer == "" {
			return false
		}
		kind, ok := authresponse.Unpack(s.Attempt.Answer)
		return ok && is(kind.Mode)
	})
}

func posted(m authresponse.Mode) bool { return m != authresponse.Query }

func inFragment(m authresponse.Mode) bool { return m == authresponse.Fragment }

// receive reads what the browser brought, and how.
func (c *callback) receive() (err error) {
	if c.r.Method == http.MethodGet {
		c.came = authresponse.Query
		if c.query, err = navigation.Query(c.r.URL.RawQuery, authresponse.Names()...); err != nil {
			return errResponse.because(err)
		}
		return failure(authresponse.Once(c.query))
	}
	fields, err := inbound.Fields(c.r, append(authresponse.Names(), fragmentField)...)
	if err != nil {
		return formFailure(err)
	}
	c.came, c.query = authresponse.FormPost, fields
	if beside, _ := navigation.Query(c.r.URL.RawQuery); authresponse.Any(beside) { // RP-C2: nobody could say which of them counts
		return errResponse.because(errors.New("parameters of the answer are both in the query and in the body"))
	}
	if !fields.Has(fragmentField) {
		return nil
	}
	c.came = authresponse.Fragment
	raw := fields.Get(fragmentField)
	fields.Del(fragmentField)
	if authresponse.Any(fields) {
		return errResponse.because(errors.New("parameters of the answer are both in the fragment and beside it"))
	}
	if err := c.rp.checkOrigin(c.r); err != nil { // only our own page posts a fragment
		return err
	}
	if c.query, err = navigation.Query(raw, authresponse.Names()...); err != nil {
		return errResponse.because(err)
	}
	return failure(authresponse.Once(c.query))
}

// formFailure returns the *Error for a form that could not be read.
func formFailure(err error) error {
	_, tooLarge := errors.AsType[*http.MaxBytesError](err)
	switch {
	case tooLarge:
		return errBodyTooLarge.because(err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errBodySlow.because(err)
	}
	return errResponse.because(err)
}

// checkCame refuses an answer that came in another way than its attempt asked
// for (RP-C6), and says what that was.
func (c *callback) checkCame() error {
	kind, ok := authresponse.Unpack(c.attempt.Answer)
	if !ok {
		return errStateUnknown.because(errors.New("the attempt asks for an answer that this build does not know"))
	}
	if c.kind = kind; c.came != kind.Mode {
		return errResponse.because(fmt.Errorf("%w: it came by %s, and %s was asked for", authresponse.ErrMode, c.came, kind.Mode))
	}
	return nil
}

// vouch verifies the ID Token that came through the browser, before anything is
// done with what came beside it (OpenID Connect Core §3.2.2.11, §3.3.2.9).
func (c *callback) vouch(ctx context.Context) (err error) {
	if !c.kind.IDToken {
		return nil
	}
	want := c.wanted()
	want.Access, want.Code, want.Front = c.got.Access, c.got.Code, true
	if c.vouched, err = c.rp.provider.tokens.SignIn(ctx, c.got.IDToken, want); err != nil {
		return tokenFailure(err)
	}
	c.subject = c.vouched.Subject()
	return c.checkTenant(c.vouched)
}

// checkTenant compares iss of the answer with that of an ID Token: of several
// tenants, it is the one of the token (RFC 9207 §2.4).
func (c *callback) checkTenant(proof *token.IDToken) error {
	if iss := c.query.Get("iss"); iss != "" && iss != proof.Issuer() {
		return errResponseIssuer.because(fmt.Errorf("iss of the answer is %s, and that of the ID Token %s", outbound.Quote(iss, c.secrets()...), proof.Issuer()))
	}
	return nil
}

// brought returns the tokens of an answer without a code. There is no refresh
// token among them (OpenID Connect Core §3.2.2.5).
func (c *callback) brought() *backchannel.Tokens {
	now := c.rp.sessions.now()
	t := &backchannel.Tokens{Access: c.got.Access, IDToken: c.got.IDToken, Scope: c.got.Scope, HasScope: c.got.HasScope, Requested: now}
	if c.got.ExpiresIn > 0 {
		t.Expires = now.Add(c.got.ExpiresIn)
	}
	return t
}

// proven checks the ID Token that says who signs in: the one that the code was
// exchanged for, or else the one that came through the browser.
func (c *callback) proven(ctx context.Context) (*token.IDToken, error) {
	if !c.kind.Code {
		return c.vouched, nil
	}
	want := c.wanted()
	want.Access = c.tokens.Access
	proof, err := c.rp.provider.tokens.SignIn(ctx, c.tokens.IDToken, want)
	if err != nil {
		return nil, tokenFailure(err)
	}
	if c.vouched != nil {
		if err := proof.SamePerson(c.vouched); err != nil {
			return nil, failure(err)
		}
	}
	return proof, nil
}

// A form of another site comes without our session cookie and without the
// application's. So an attempt with form_post takes both along in its seal, for
// the callback to find the session that it replaces, the owner whose grant was
// asked for, and the application's data.

// withheld returns the cookies that the browser will not bring along, as a Cookie
// header.
func (rp *RelyingParty) withheld(r *http.Request) string {
	if rp.asked.Mode != authresponse.FormPost {
		return ""
	}
	var pairs []string
	for _, name := range rp.laxCookies() {
		if value, found := navigation.Cookie(r, name); found {
			pairs = append(pairs, name+"="+value)
		}
	}
	return strings.Join(pairs, "; ")
}

func (rp *RelyingParty) laxCookies() []string {
	names := []string{rp.cookie}
	if rp.sessions.app != nil {
		names = append(names, rp.sessions.app.Cookie.Name)
	}
	return names
}

// restore returns the request with the cookies that its attempt took along. What
// the browser has brought itself counts.
func (c *callback) restore() *http.Request {
	if c.came != authresponse.FormPost {
		return c.r
	}
	a, err := c.rp.readAttempt(c.r, c.query.Get("state"))
	if err != nil || a.Beside == "" {
		return c.r
	}
	r := *c.r
	r.Header = r.Header.Clone()
	for pair := range strings.SplitSeq(a.Beside, "; ") {
		name, _, _ := strings.Cut(pair, "=")
		if _, brought := navigation.Cookie(&r, name); brought {
			continue
		}
		r.Header.Add("Cookie", pair) // a line of its own: a proxy may have made several of them already
		if name != c.rp.cookie {     // a LoadAndSave around us did not see it
			r = *r.WithContext(c.rp.withoutApp(r.Context()))
		}
	}
	return &r
}
