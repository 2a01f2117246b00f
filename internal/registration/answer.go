package registration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"example.com/gatehouse/internal/strictjson"
)

// ErrUnusable means that a client with these values cannot serve. Its text names
// the member and never a value of the answer.
var ErrUnusable = errors.New("the client that the provider registered cannot serve")

// Ask is what the provider is asked for, and what an answer to it may say.
type Ask struct {
	// Members are the metadata of the client, each by its name (RFC 7591 §2).
	Members map[string]json.RawMessage
	// Digest identifies the metadata, so that a change of the configuration is
	// noticed. It is kept with the client.
	Digest string
	// Can reports whether we can authenticate by a method.
	Can func(method string) bool
	// Suffices reports whether a secret is long enough for a method. nil means that
	// every secret is.
	Suffices func(method, secret string) bool
	// Verifies reports whether we can verify ID Tokens of an algorithm.
	Verifies func(algorithm string) bool
	// Trusts reports whether our token may be sent to a management address.
	Trusts func(address string) bool
}

// The members that are judged.
const (
	memberID        = "client_id"
	memberSecret    = "client_secret"
	memberExpires   = "client_secret_expires_at"
	memberManage    = "registration_client_uri"
	memberToken     = "registration_access_token"
	memberAuth      = "token_endpoint_auth_method"
	memberAuthAlg   = "token_endpoint_auth_signing_alg"
	memberRedirects = "redirect_uris"
	memberTypes     = "response_types"
	memberGrants    = "grant_types"
	memberSigning   = "id_token_signed_response_alg"
	memberInfo      = "userinfo_signed_response_alg"
)

const (
	// maxText is the longest id, secret or token that is taken, in bytes. Real
	// ones have some dozens, and a token that is a JWT some hundreds.
	maxText = 4 << 10
	// maxTime is the last second of the year 9999. What is later is never: oxd's
	// documents have milliseconds there.
	maxTime = 253402300799
)

// Judge reads an answer to a registration, a read or an update (RFC 7591 §3.2.1,
// RFC 7592 §3). had is the client that was read or updated, or nil. The answer
// may leave out what has not changed.
//
// changed has the names of the members that the provider set to other values. If
// the client cannot serve, the error wraps [ErrUnusable], and the client holds
// only what is needed to delete it, as far as the answer has that.
func (a Ask) Judge(body []byte, had *Client, now time.Time) (c Client, changed []string, err error) {
	var said map[string]json.RawMessage
	if err := strictjson.Unmarshal(body, &said); err != nil || said == nil {
		return a.Salvage(body), nil, fmt.Errorf("%w: the answer is not one JSON object", ErrUnusable)
	}
	if method, has := said[memberAuth]; has { // Glewlwyd answers a read with a list of it
		said[memberAuth] = strictjson.Single(method)
	}
	r := reader{said: said}
	c = Client{Since: now}
	if had != nil {
		c = *had
	}
	a.identify(&r, &c, had)
	a.expire(&r, &c, had, now)
	a.authenticate(&r, &c)
	a.serve(&r)
	a.sign(&r, &c, had)
	if r.wrong != "" {
		return a.Salvage(body), nil, fmt.Errorf("%w: %s", ErrUnusable, r.wrong)
	}
	return c, a.changed(said), nil
}

// identify reads who the client is, and how it is managed.
func (a Ask) identify(r *reader, c *Client, had *Client) {
	r.text(memberID, &c.ID)
	r.text(memberSecret, &c.Secret)
	r.text(memberToken, &c.Token)
	r.text(memberManage, &c.Manage)
	switch {
	case c.ID == "":
		r.refuse(memberID + " is missing")
	case had != nil && c.ID != had.ID:
		r.refuse(memberID + " is that of another client")
	case c.Manage != "" && !a.Trusts(c.Manage): // our token must not go elsewhere
		r.refuse(memberManage + " has another origin than the registration endpoint")
	}
	if c.Manage == "" || c.Token == "" { // either is of no use alone
		c.Manage, c.Token = "", ""
	}
}

// expire reads when the secret ends (RFC 7591 §3.2.1: 0 for never).
func (a Ask) expire(r *reader, c *Client, had *Client, now time.Time) {
	renewed := had == nil || had.Secret != c.Secret
	ends, has := r.number(memberExpires)
	switch {
	case !has && renewed, has && (ends == 0 || ends > maxTime):
		c.Expires = time.Time{}
	case has:
		c.Expires = time.Unix(int64(ends), 0).UTC()
	}
	if renewed || !c.Expires.Equal(had.Expires) {
		c.Since = now
	}
	if had == nil && c.Secret != "" && !c.Serves(now.Add(minLife)) {
		r.refuse(memberExpires + " is over, or about to be")
	}
	if c.Secret == "" {
		c.Expires = time.Time{}
	}
}

// authenticate judges how the client proves who it is.
func (a Ask) authenticate(r *reader, c *Client) {
	asked := ""
	if !decodes(a.Members[memberAuth], &asked) || asked == "" {
		asked = "client_secret_basic" // RFC 7591 §2
	}
	method := asked
	r.text(memberAuth, &method)
	switch {
	case !a.Can(method):
		r.refuse(memberAuth + " is a method that we cannot do")
	case method == "none" && asked != "none": // anybody could pass for this site
		r.refuse(memberAuth + " is none, and we asked for one")
	case strings.HasPrefix(method, "client_secret_") && c.Secret == "":
		r.refuse(memberSecret + " is missing, and " + memberAuth + " needs one")
	case a.Suffices != nil && !a.Suffices(method, c.Secret):
		r.refuse(memberSecret + " is too short for " + memberAuth)
	}
	alg, said := "", ""
	decodes(a.Members[memberAuthAlg], &alg)
	if r.text(memberAuthAlg, &said); alg != "" && said != "" && said != alg && strings.HasSuffix(method, "_jwt") {
		r.refuse(memberAuthAlg + " is not the one that we sign with")
	}
	if method == "none" || !strings.HasPrefix(method, "client_secret_") {
		c.Secret, c.Expires = "", time.Time{} // what is not used need not be kept
	}
	c.Auth = method
}

// serve judges the members without which no sign-in can end well. An answer
// that leaves them out has registered what was asked for.
func (a Ask) serve(r *reader) {
	if said, ok := r.list(memberRedirects); ok {
		var asked []string
		decodes(a.Members[memberRedirects], &asked)
		if !sameSet(asked, said) { // a code must go nowhere else
			r.refuse(memberRedirects + " are not those that we asked for")
		}
	}
	for _, name := range []string{memberTypes, memberGrants} {
		said, ok := r.list(name)
		var asked []string
		if !ok || !decodes(a.Members[name], &asked) {
			continue
		}
		if len(asked) > 0 && (!slices.ContainsFunc(asked, func(one string) bool { return hasWords(said, one) }) ||
			slices.Contains(asked, "authorization_code") && !slices.Contains(said, "authorization_code")) {
			r.refuse(name + " lack what we asked for")
		}
	}
}

// sign reads what signs ID Tokens and user info for the client, as far as we have
// asked for an algorithm: then no other counts. What the provider has not said
// again is as it was, unless our metadata has changed since.
func (a Ask) sign(r *reader, c *Client, had *Client) {
	for name, into := range map[string]*string{memberSigning: &c.Signing, memberInfo: &c.Info} {
		asked, said := "", ""
		decodes(a.Members[name], &asked)
		if r.text(name, &said); said == "none" && name == memberInfo { // it is not signed
			said, asked = "", ""
		}
		switch {
		case said != "" && !a.Verifies(said):
			r.refuse(name + " is an algorithm that we do not accept")
		case asked == "", said == "" && had != nil && had.Asked != a.Digest:
			*into = ""
		case said != "":
			*into = said
		case had == nil:
			*into = asked
		}
	}
}

// hasWords reports whether a list has a response type, whose words may be in any
// order (OAuth 2.0 Multiple Response Types §3).
func hasWords(list []string, want string) bool {
	return slices.ContainsFunc(list, func(one string) bool { return sameSet(strings.Fields(one), strings.Fields(want)) })
}

// changed returns the names of the members that came back with other values.
func (a Ask) changed(said map[string]json.RawMessage) (names []string) {
	for name, asked := range a.Members {
		if got, ok := said[name]; ok && !equal(name, asked, got) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// equal compares the values of a member. The order in a list of texts, and in a
// scope, says nothing.
func equal(name string, a, b json.RawMessage) bool {
	var lists [2][]string
	if name == "scope" {
		var texts [2]string
		if !decodes(a, &texts[0]) || !decodes(b, &texts[1]) {
			return false
		}
		return sameSet(strings.Fields(texts[0]), strings.Fields(texts[1]))
	}
	if decodes(a, &lists[0]) && decodes(b, &lists[1]) {
		return sameSet(lists[0], lists[1])
	}
	var values [2]any
	return decodes(a, &values[0]) && decodes(b, &values[1]) && reflect.DeepEqual(values[0], values[1])
}

func decodes(raw json.RawMessage, v any) bool { return len(raw) > 0 && json.Unmarshal(raw, v) == nil }

func sameSet(a, b []string) bool {
	set := map[string]bool{}
	for _, one := range a {
		set[one] = true
	}
	other := map[string]bool{}
	for _, one := range b {
		other[one] = true
	}
	return maps.Equal(set, other)
}

// Salvage reads what is needed to delete a client from an answer that is not
// used, even if it is cut off or repeats members: a management address and a
// token. The id is only for the log. An address that is not to be trusted is left
// out.
func (a Ask) Salvage(body []byte) Client {
	var c Client
	seen := map[string]*string{memberID: &c.ID, memberManage: &c.Manage, memberToken: &c.Token}
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return Client{}
	}
	for {
		name, err := d.Token()
		if err != nil {
			break
		}
		var value any
		if d.Decode(&value) != nil {
			break
		}
		text, ok := value.(string)
		usable := ok && Sendable(text)
		into, wanted := seen[fmt.Sprint(name)]
		switch {
		case !wanted, into == &c.ID && !usable:
		case into != &c.ID && (!usable || *into != "" && *into != text): // it says two things
			return Client{}
		default:
			*into = text
		}
	}
	if c.Manage == "" || c.Token == "" || !a.Trusts(c.Manage) {
		c.Manage, c.Token = "", ""
	}
	return c
}

// reader reads members and remembers the first that is wrong.
type reader struct {
	said  map[string]json.RawMessage
	wrong string
}

func (r *reader) refuse(why string) {
	if r.wrong == "" {
		r.wrong = why
	}
}

func (r *reader) has(name string) bool {
	raw, ok := r.said[name]
	return ok && !bytes.Equal(raw, []byte("null"))
}

// text reads a text, if it is there.
func (r *reader) text(name string, into *string) {
	if !r.has(name) {
		return
	}
	var text string
	if !decodes(r.said[name], &text) || !Sendable(text) {
		r.refuse(name + " is no text that could be sent")
		return
	}
	*into = text
}

// number reads a number of seconds, if it is there.
func (r *reader) number(name string) (n float64, ok bool) {
	if !r.has(name) {
		return 0, false
	}
	if !decodes(r.said[name], &n) || n < 0 {
		r.refuse(name + " is no number of seconds")
		return 0, false
	}
	return n, true
}

// list reads a list of texts, if it is there.
func (r *reader) list(name string) (list []string, ok bool) {
	if !r.has(name) {
		return nil, false
	}
	if !decodes(r.said[name], &list) {
		r.refuse(name + " is no list of texts")
		return nil, false
	}
	return list, true
}

// Sendable reports whether a text can be an id, a secret or a token: VSCHAR, as
// RFC 6749 appendix A says.
func Sendable(text string) bool {
	return len(text) <= maxText && !strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' })
}
