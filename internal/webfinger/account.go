// Package webfinger finds out who is the OpenID provider of an account: the forms
// in which a person may write it, the one request that asks its host, and the
// answer (OpenID Connect Discovery §2, RFC 7033).
//
// It knows accounts, links and hosts that may be slow, large or hostile. It must
// not know which issuers are trusted: its caller has that list.
package webfinger

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxAccount is the longest account, in bytes: an address of e-mail has at most
	// 254, and few people enter a longer URL.
	MaxAccount = 512
	// maxHost and maxLabel are the longest name of a host and of a part of it, in
	// bytes (RFC 1035 §2.3.4).
	maxHost, maxLabel = 253, 63
)

// ErrAccount means that a text is no account. An error that wraps it says why, and
// does not quote the text.
var ErrAccount = errors.New("webfinger: not an account")

// Account is an account in normal form.
type Account struct {
	// Resource is what the host is asked about.
	Resource string
	// Host is who is asked: a name or an address, with a port if the account has
	// one.
	Host string
}

// Parse reads what a person has entered (Discovery §2.1.2): name@example.org,
// acct:name@example.org, https://example.org/name, example.org/name or
// example.org:8443.
func Parse(input string) (Account, error) {
	input = strings.TrimSpace(input)
	switch {
	case input == "":
		return Account{}, wrong("empty")
	case len(input) > MaxAccount:
		return Account{}, wrong("more than " + strconv.Itoa(MaxAccount) + " bytes")
	case !utf8.ValidString(input), strings.ContainsFunc(input, func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsPrint(c) }):
		return Account{}, wrong("it has blanks or controls")
	case strings.ContainsRune("=@!", rune(input[0])): // §2.1.1: XRIs are reserved
		return Account{}, wrong("it is an XRI, or has nothing before the @")
	}
	switch scheme, rest := cutScheme(input); scheme {
	case "":
		return withoutScheme(rest)
	case "acct":
		return ofAcct(rest)
	case "https":
		rest, ok := strings.CutPrefix(rest, "//")
		if !ok {
			return Account{}, wrong("https without //")
		}
		return ofURL(rest)
	}
	return Account{}, wrong("it has a scheme other than acct and https")
}

func wrong(why string) error { return fmt.Errorf("%w: %s", ErrAccount, why) }

// cutScheme splits off the scheme, in lower case. What looks like a scheme with a
// number behind it is a host with a port (§2.2.3).
func cutScheme(input string) (scheme, rest string) {
	before, after, found := strings.Cut(input, ":")
	if !found || before == "" || strings.ContainsFunc(before, func(c rune) bool { return c >= utf8.RuneSelf || !isAlnum(byte(c)) && !strings.ContainsRune("+-.", c) }) {
		return "", input
	}
	tail := strings.TrimLeft(after, "0123456789")
	if len(tail) < len(after) && (tail == "" || strings.ContainsRune("/?#", rune(tail[0]))) {
		return "", input
	}
	return strings.ToLower(before), after
}

// withoutScheme makes steps 1 to 3 of §2.1.2: a name and a host alone are an
// account, and all else is a URL.
func withoutScheme(input string) (Account, error) {
	authority, rest := cutAuthority(input)
	if name, host, found := strings.Cut(authority, "@"); found && rest == "" && !strings.Contains(host, ":") && !strings.Contains(name, ":") {
		return ofAcct(input)
	}
	return ofURL(input)
}

// ofAcct reads user@host (RFC 7565 §7).
func ofAcct(input string) (Account, error) {
	input, _, _ = strings.Cut(input, "#") // step 5
	user, host, found := strings.Cut(input, "@")
	if !found || user == "" {
		return Account{}, wrong("there is no name before an @")
	}
	if strings.ContainsAny(user, ":/?[]") {
		return Account{}, wrong("its name has a character that no account has")
	}
	user, err := escaped(user)
	if err != nil {
		return Account{}, err
	}
	name, port, err := checkHost(host)
	if err == nil && port != "" {
		err = wrong("an account has no port")
	}
	if err != nil {
		return Account{}, err
	}
	return Account{Resource: "acct:" + user + "@" + host, Host: name}, nil
}

// ofURL reads what follows "https://".
func ofURL(input string) (Account, error) {
	input, _, _ = strings.Cut(input, "#") // step 5
	authority, rest := cutAuthority(input)
	user, host, found := strings.Cut(authority, "@")
	switch {
	case !found:
		user, host = "", authority
	case user == "":
		return Account{}, wrong("there is nothing before the @")
	case strings.Contains(user, ":"):
		return Account{}, wrong("it has a password")
	}
	name, port, err := checkHost(host)
	if err != nil {
		return Account{}, err
	}
	if user, err = escaped(user); err != nil {
		return Account{}, err
	}
	if rest, err = escaped(rest); err != nil {
		return Account{}, err
	}
	if !strings.HasPrefix(rest, "/") { // RFC 3986 §6.2.3, and the example of §2.2.3
		rest = "/" + rest
	}
	if found {
		user += "@"
	}
	at := Account{Resource: "https://" + user + host + rest, Host: name}
	if port != "" {
		at.Host += ":" + port
	}
	return at, nil
}

// cutAuthority splits a URL without a scheme where its authority ends (RFC 3986
// §3.2).
func cutAuthority(input string) (authority, rest string) {
	if i := strings.IndexAny(input, "/?#"); i >= 0 {
		return input[:i], input[i:]
	}
	return input, ""
}

// escaped is a part of a URI in which all is percent-encoded that has to be. What
// is encoded already stays as it is (§2.2.4).
func escaped(part string) (string, error) {
	const plain = "-._~:/?#[]@!$&'()*+,;=%"
	var out strings.Builder
	for i := range len(part) {
		c := part[i]
		switch {
		case c == '%' && (len(part) < i+3 || !isHex(part[i+1]) || !isHex(part[i+2])):
			return "", wrong("a % is not followed by two digits")
		case c == '\\': // which browsers take for a slash
			return "", wrong("it has a backslash")
		case c < utf8.RuneSelf && (isAlnum(c) || strings.IndexByte(plain, c) >= 0):
			out.WriteByte(c)
		default:
			fmt.Fprintf(&out, "%%%02X", c)
		}
	}
	return out.String(), nil
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// checkHost reads a host that may have a port. name is in lower case, and an
// address of IPv6 has its brackets.
func checkHost(host string) (name, port string, err error) {
	if strings.ContainsFunc(host, func(c rune) bool { return c >= utf8.RuneSelf }) {
		return "", "", wrong("its host has letters other than a to z; write it in the form xn--…")
	}
	name = host
	literal := strings.HasPrefix(host, "[")
	if end := strings.LastIndexByte(host, ']'); literal && end < 0 {
		return "", "", wrong("its address of IPv6 is none")
	} else if literal {
		name, port = host[:end+1], host[end+1:]
		if a, err := netip.ParseAddr(name[1:end]); err != nil || !a.Is6() || a.Zone() != "" {
			return "", "", wrong("its address of IPv6 is none")
		}
	} else if i := strings.IndexByte(host, ':'); i >= 0 {
		name, port = host[:i], host[i:]
	}
	if port != "" {
		port = port[1:] // after the colon, if it is one
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host[len(name)] != ':' || strings.Trim(port, "0123456789") != "" {
			return "", "", wrong("its port is none")
		}
	}
	name = strings.ToLower(name)
	if !literal && !isName(name) {
		return "", "", wrong("its host is none")
	}
	return name, port, nil
}

// isName reports whether a text is the name of a host or an address of IPv4. What
// ends in a number is an address, in no other form than four of them.
func isName(name string) bool {
	if len(name) > maxHost {
		return false
	}
	last := ""
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
		last = label
	}
	if '0' <= last[0] && last[0] <= '9' { // no top-level domain begins so
		_, err := netip.ParseAddr(name)
		return err == nil
	}
	return true
}

// Rel is the relation of the link to an issuer (Discovery §2).
const Rel = "http://openid.net/specs/connect/1.0/issuer"

// Address is where the host of an account is asked about it (RFC 7033 §4).
func (a Account) Address() string {
	return "https://" + a.Host + "/.well-known/webfinger?resource=" + url.QueryEscape(a.Resource) + "&rel=" + url.QueryEscape(Rel)
}
