// Package authrequest is what a sign-in asks of the provider besides what the
// protocol needs: prompt, acr_values, hints, languages, the claims parameter and
// parameters of the provider's own (OpenID Connect Core §3.1.2.1, §5.5). It knows
// their grammar, how those of a request lie over those of a configuration, and
// which of them have to be checked when the answer comes.
//
// It knows names and texts. It must not know requests, cookies or tokens: its
// caller decides who may ask for what, and where claims come from.
package authrequest

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// maxParams bounds all parameters together, in bytes as they are sent. Servers
	// read addresses of 8 KiB, some of 16.
	maxParams = 8 << 10
	// maxText bounds a hint, in bytes. The longest addresses of people have 254
	// characters (RFC 5321 §4.5.3.1).
	maxText = 1000
	// minAge is the least max_age: a number of seconds. prompt=login asks for
	// less.
	minAge = time.Second
)

// own are the parameters that only the caller sets.
var own = []string{
	"client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce",
	"code_challenge", "code_challenge_method", "max_age", "request", "request_uri", "dpop_jkt",
}

// typed are the parameters that are fields of a Request.
var typed = []string{"prompt", "acr_values", "login_hint", "ui_locales", "claims_locales", "display", "claims"}

// prompts are the values of prompt (Core §3.1.2.1, Initiating User Registration
// §3). A provider may have others.
const (
	promptNone  = "none"
	promptLogin = "login"
)

// fieldParams is what errors call Request.Params.
const fieldParams = "Params"

// IsOwn reports whether only the caller sets the parameter of that name.
func IsOwn(name string) bool { return slices.Contains(own, name) }

// Request is what one request asks for. The zero value of a field asks for
// nothing.
type Request struct {
	Prompt        []string
	MaxAge        time.Duration
	ACRValues     []string
	LoginHint     string
	UILocales     []string
	ClaimsLocales []string
	Display       string
	Claims        Claims
	Params        url.Values // others, by name
}

// Over returns the parameters of r laid over those of base, which stays as it
// is. MaxAge is not among them, because only the caller sets that. The error
// names the field that cannot be sent.
func (r Request) Over(base url.Values) (url.Values, error) {
	out := url.Values{}
	for name, values := range base {
		out[name] = slices.Clone(values)
	}
	if r.MaxAge != 0 && r.MaxAge < minAge {
		return nil, fmt.Errorf("MaxAge: %v is less than a second; Prompt \"login\" asks for a new authentication", r.MaxAge)
	}
	for name, values := range r.Params {
		switch {
		case IsOwn(name):
			return nil, fmt.Errorf("%s: %q is set by gatehouse", fieldParams, name)
		case slices.Contains(typed, name):
			return nil, fmt.Errorf("%s: %q has a field of its own", fieldParams, name)
		}
		out[name] = slices.Clone(values)
	}
	for _, list := range []struct {
		name, field string
		words       []string
	}{
		{"prompt", "Prompt", r.Prompt}, {"acr_values", "ACRValues", r.ACRValues},
		{"ui_locales", "UILocales", r.UILocales}, {"claims_locales", "ClaimsLocales", r.ClaimsLocales},
	} {
		for _, word := range list.words {
			if !isWord(word) {
				return nil, fmt.Errorf("%s: %.40q is not one word", list.field, word)
			}
		}
		if len(list.words) > 0 {
			out.Set(list.name, strings.Join(list.words, " "))
		}
	}
	if r.LoginHint != "" {
		out.Set("login_hint", r.LoginHint)
	}
	if r.Display != "" {
		out.Set("display", r.Display)
	}
	claims, err := r.Claims.encode()
	if err != nil {
		return nil, fmt.Errorf("Claims: %w", err)
	}
	if claims != "" {
		out.Set("claims", claims)
	}
	return out, nil
}

// isWord reports whether a text can stand in a list that spaces separate.
func isWord(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' })
}

// Hint checks a login_hint that a stranger sent.
func Hint(hint string) error {
	if len(hint) > maxText {
		return fmt.Errorf("login_hint has %d bytes, more than %d", len(hint), maxText)
	}
	if !utf8.ValidString(hint) || strings.ContainsFunc(hint, unicode.IsControl) {
		return errors.New("login_hint has bytes that are no text")
	}
	return nil
}

// Asking is what parameters mean for the answer.
type Asking struct {
	Params    url.Values
	Fresh     bool      // prompt=login: the person has to authenticate anew
	Silent    bool      // prompt=none: the provider may not show a page
	Essential Essential // claims that must come with a value
}

// Read judges parameters. The error says what no provider could understand.
func Read(params url.Values) (Asking, error) {
	a := Asking{Params: params}
	for _, name := range typed {
		if n := len(params[name]); n > 1 { // RFC 6749 §3.1
			return a, fmt.Errorf("%s is there %d times", name, n)
		}
	}
	if n := len(params.Encode()); n > maxParams {
		return a, fmt.Errorf("the parameters have %d bytes, more than %d", n, maxParams)
	}
	if params.Has("login_hint") {
		if err := Hint(params.Get("login_hint")); err != nil {
			return a, err
		}
	}
	if display := params.Get("display"); params.Has("display") && !isWord(display) {
		return a, fmt.Errorf("display %.40q is not one word", display)
	}
	prompt := strings.Fields(params.Get("prompt"))
	a.Fresh, a.Silent = slices.Contains(prompt, promptLogin), slices.Contains(prompt, promptNone)
	if a.Silent && len(prompt) > 1 { // Core §3.1.2.1
		return a, errors.New("prompt: none stands alone")
	}
	var err error
	if params.Has("claims") {
		if a.Essential, err = essentialOf(params.Get("claims")); err != nil {
			return a, fmt.Errorf("claims: %w", err)
		}
	}
	return a, nil
}

// ForGrant returns the parameters of an authorization in which nobody signs in
// anew: without what is about the person and their authentication.
func (a Asking) ForGrant() url.Values {
	out := maps.Clone(a.Params)
	for _, name := range []string{"acr_values", "claims"} {
		delete(out, name)
	}
	prompt := slices.DeleteFunc(strings.Fields(out.Get("prompt")), func(p string) bool { return p == promptNone || p == promptLogin })
	if delete(out, "prompt"); len(prompt) > 0 {
		out.Set("prompt", strings.Join(prompt, " "))
	}
	return out
}

// Silenced returns params that ask for a silent sign-in, whatever they asked for.
func Silenced(params url.Values) url.Values {
	out := maps.Clone(params)
	if out == nil {
		out = url.Values{}
	}
	out.Set("prompt", promptNone)
	return out
}

// Refuses reports whether an error of the provider says that a silent sign-in
// needs the person (Core §3.1.2.6).
func Refuses(code string) bool {
	switch code {
	case "login_required", "interaction_required", "consent_required", "account_selection_required":
		return true
	}
	return false
}
