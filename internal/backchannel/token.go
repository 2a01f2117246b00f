package backchannel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/possession"
	"example.com/gatehouse/internal/strictjson"
)

// maxExpiresIn bounds expires_in to ten years, so that arithmetic cannot
// overflow.
const maxExpiresIn = 10 * 365 * 24 * 3600

// Tokens is a successful answer of the token endpoint (RFC 6749 §5.1).
type Tokens struct {
	Access, Refresh, IDToken string
	// Scope is the scope in the answer. HasScope reports whether the answer has
	// one; without one, the scope is as requested.
	Scope    string
	HasScope bool
	// Upgraded is that of UMA Grant §3.3.5.
	Upgraded bool
	// Expires is by our clock. It is zero if the server did not say.
	Expires time.Time
	// Requested is when the request was sent.
	Requested time.Time
	// Defective names the members that make no sense, with commas between. They
	// count as absent.
	Defective string
}

// Token sends one token request of any grant. form holds grant_type and the
// parameters of the grant. The error is a *Refusal, a *Trouble, ErrTokenType or
// that of NewProof. With credentials that bind tokens to a key it is
// possession.ErrProof too, and the request is sent once more if the server
// demands a nonce, which means that the first had no effect (RFC 9449 §8).
func (c *Channel) Token(ctx context.Context, endpoint string, who Credentials, form url.Values) (answer *Tokens, err error) {
	if who.holder == nil {
		answer, _, err = c.token(ctx, endpoint, who, form, "")
		return answer, err
	}
	address, err := url.Parse(endpoint)
	if err != nil {
		return nil, ErrEndpoint // the error of net/url quotes its input
	}
	err = who.holder.Do(ctx, possession.Call{Method: http.MethodPost, Address: address}, func(proof string) (told possession.Answer, err error) {
		var header http.Header
		answer, header, err = c.token(ctx, endpoint, who, form, proof) // proves who we are anew, too
		told.Nonces = header[HeaderNonce]
		if refusal, ok := err.(*Refusal); ok {
			told.Demanded = refusal.Code == codeNonce
		}
		return told, err
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// token sends a token request once. It returns the header of the answer, nil if
// there is none.
//
// Package clientcredentials of x/oauth2 can send any grant, because
// EndpointParams may set grant_type.
func (c *Channel) token(ctx context.Context, endpoint string, who Credentials, form url.Values, proof string) (*Tokens, http.Header, error) {
	who, err := who.proved(ctx)
	if err != nil {
		return nil, nil, err
	}
	style, secret, params := oauth2.AuthStyleInParams, *who.secret, form
	switch {
	case who.method == Basic:
		style = oauth2.AuthStyleInHeader
	case who.method.asserts():
		secret, params = "", maps.Clone(form)
		who.authenticate(nil, params)
	}
	config := clientcredentials.Config{
		ClientID: who.id, ClientSecret: secret,
		TokenURL: endpoint, EndpointParams: params,
		AuthStyle: style, // explicit, otherwise a failed code is sent twice (M9)
	}
	sent := c.now()
	client, seen := *c.client, &tokenAnswer{base: c.client.Transport, proof: proof}
	client.Transport = seen
	token, err := config.Token(context.WithValue(ctx, oauth2.HTTPClient, &client))
	if err != nil {
		return nil, seen.header, tokenError(err, endpoint, seen, who, form)
	}
	answer, err := seen.read(token, sent, secretsIn(form, who.reveal()))
	return answer, seen.header, err
}

// tokenAnswer reads a successful token answer before x/oauth2 does. That package
// would read other types than JSON (RFC 6749 §5.1), names in any case, and of a
// name that occurs twice the last. And it refuses an answer whose expires_in
// makes no sense. So it is given only the members that it has to judge.
type tokenAnswer struct {
	base    http.RoundTripper
	proof   string // of the client's key, "" if the token is to be bound to none
	header  http.Header
	kind    string   // media type of a successful answer
	plain   []byte   // the answer that x/oauth2 is given
	tokens  Tokens   // what x/oauth2 does not judge
	seconds float64  // expires_in
	defects []string // members that make no sense
	broken  error    // why the answer did not arrive whole
	err     error    // why the answer cannot be read
}

// RoundTrip implements http.RoundTripper.
func (t *tokenAnswer) RoundTrip(r *http.Request) (*http.Response, error) {
	base := t.base
	if base == nil {
		base = http.DefaultTransport
	}
	if t.proof != "" {
		r = r.Clone(r.Context())
		r.Header[HeaderProof] = []string{t.proof} // RFC 9449 §5
	}
	resp, err := base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	t.header = resp.Header
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return resp, nil
	}
	resp.Header = resp.Header.Clone()
	resp.Header.Set("Content-Type", "application/json")
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	t.kind = mediaType(t.header)
	if t.broken = err; err == nil {
		t.parse(body)
	}
	resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(t.plain), failing{err}))
	return resp, nil
}

// failing is the end of a body that could not be read.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return 0, io.EOF
}

// parse reads the answer. plain stays empty if it is not a JSON object.
func (t *tokenAnswer) parse(body []byte) {
	t.plain = append(t.plain, '{')
	if t.err = strictjson.Object(body, t.member); t.err != nil {
		var object map[string]json.RawMessage
		_ = json.Unmarshal(body, &object) // what is not an object holds no secrets
		t.plain, t.err = nil, strictjson.Without(t.err, secretsOf(object)...)
		return
	}
	t.plain = append(t.plain, '}')
}

// member reads one member. null is absence.
func (t *tokenAnswer) member(name string, v strictjson.Value) (err error) {
	if v.Null() {
		return nil
	}
	switch name {
	case "access_token", "token_type", "refresh_token", "error", "error_description", "error_uri":
		if _, err = v.Text(); err == nil {
			if len(t.plain) > 1 {
				t.plain = append(t.plain, ',')
			}
			t.plain = append(append(append(append(t.plain, '"'), name...), `":`...), v...)
		}
	case "id_token":
		t.tokens.IDToken, err = v.Text()
	case "scope":
		t.tokens.Scope, err = v.Text()
		t.tokens.HasScope = err == nil
	case "upgraded":
		t.tokens.Upgraded = v == "true"
		if !t.tokens.Upgraded && v != "false" {
			err = strictjson.ErrType
		}
	case "expires_in":
		t.seconds, err = secondsOf(v)
	}
	if err != nil {
		t.defects = append(t.defects, name)
	}
	return nil
}

// secondsOf reads expires_in: a number, or a string with one, as some servers
// send.
func secondsOf(v strictjson.Value) (float64, error) {
	n, err := v.Number()
	if text, e := v.Text(); e == nil && strings.Trim(text, "0123456789.") == "" { // ParseFloat reads "inf" and "0x1" too
		n, err = strconv.ParseFloat(text, 64)
	}
	if err != nil || n < 0 {
		return 0, strictjson.ErrType
	}
	return n, nil
}

// read returns what the answer says.
func (t *tokenAnswer) read(o *oauth2.Token, sent time.Time, secrets []string) (*Tokens, error) {
	// RFC 6749 §5.1: the client must understand the type; case does not matter.
	// A token that is not bound would be used without its key (RFC 9449 §5).
	if want := t.wantedType(); !strings.EqualFold(o.TokenType, want) {
		return nil, fmt.Errorf("%w: %q, not %s", ErrTokenType, t.typeOf(o, secrets), want)
	}
	a := &t.tokens
	a.Access, a.Refresh, a.Requested = o.AccessToken, o.RefreshToken, sent
	slices.Sort(t.defects)
	a.Defective = strings.Join(t.defects, ", ")
	// x/oauth2 computes Expiry from time.Now (M25); we use the injected clock.
	if seconds := time.Duration(min(t.seconds, maxExpiresIn)); seconds > 0 { // less than one counts as 0, or each request would renew
		a.Expires = sent.Add(seconds * time.Second)
	}
	return a, nil
}

func (t *tokenAnswer) wantedType() string {
	if t.proof != "" {
		return "DPoP"
	}
	return "Bearer"
}

// typeOf returns the type of a token, if it can be a name, as in "DPoP".
func (t *tokenAnswer) typeOf(o *oauth2.Token, secrets []string) string {
	name := strings.ToLower(o.TokenType)
	word := outbound.NewSaid(name, "", append(secrets, o.AccessToken, o.RefreshToken, t.tokens.IDToken)...).Word()
	if word == name {
		return o.TokenType
	}
	return word
}

// tokenError converts an error of x/oauth2. Its RetrieveError prints the whole
// body (M11), so it is taken apart and dropped.
func tokenError(err error, endpoint string, seen *tokenAnswer, who Credentials, form url.Values) error {
	var said *oauth2.RetrieveError
	if !errors.As(err, &said) || said.Response == nil {
		if errors.Is(err, context.Canceled) {
			return &Trouble{cause: context.Canceled}
		}
		return &Trouble{cause: seen.ownWords("token endpoint "+outbound.Address(endpoint), secretsIn(form, who.reveal()), err)}
	}
	var object map[string]json.RawMessage
	if errors.Is(strictjson.Unmarshal(said.Body, &object), strictjson.ErrDuplicate) || json.Unmarshal(said.Body, &object) != nil {
		object = nil // what is not an object, or can be read in two ways, has no members
	}
	status := said.Response.StatusCode
	code, t := call{address: endpoint, sent: who.sent(), client: who.id, form: form, secret: who.reveal(), header: seen.header, empty: len(said.Body) == 0}.tell("token endpoint answered", status, object)
	if status >= 400 && status < 500 && status != http.StatusTooManyRequests {
		return &Refusal{Status: status, Code: code, body: said.Body, told: t}
	}
	// This is trouble of the server, or a redirect, which is never followed
	// (M10). Some servers refuse with status 200 and an error member.
	return &Trouble{RetryAfter: outbound.RetryAfter(said.Response.Header), answered: tells(status), cause: &t}
}

// ownWords keeps from a library's error only what our own client said, which is
// redacted. Otherwise it keeps only where the error happened, because the
// library's text may hold the body.
func (t *tokenAnswer) ownWords(where string, secrets []string, err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("%s: %w", where, outbound.Redact(u))
	}
	if t.broken != nil { // the library does not wrap it
		return fmt.Errorf("%s: %w", where, t.broken)
	}
	for _, known := range []error{context.DeadlineExceeded, context.Canceled} {
		if errors.Is(err, known) {
			return fmt.Errorf("%s: %w", where, known)
		}
	}
	kind := typeWithout(t.kind, secrets)
	switch {
	case t.err != nil && (kind == "" || kind == "application/json"): // its text holds nothing of the answer
		return fmt.Errorf("%s: the answer could not be read: %w", where, strictjson.Without(t.err, secrets...))
	case t.err == nil:
		return fmt.Errorf("%s: the answer could not be read", where)
	}
	return fmt.Errorf("%s: the answer could not be read as JSON: it has the type %q", where, kind)
}
