package gatehouse

import (
	"net/url"
	"strings"

	"example.com/gatehouse/internal/discovery"
	"example.com/gatehouse/internal/outbound"
)

const wellKnownOpenID = "/.well-known/openid-configuration"

// sources says where the documents of an issuer are.
type sources struct {
	issuer string
	name   bool   // the issuer is no address
	url    string // of the OpenID document, if it is not where the issuer says
	origin string // of url
	base   string // what the well-known addresses are appended to; "" if nobody knows
}

// sourcesOf returns where the documents of an issuer are. metadataURL was checked
// before, or is "".
func sourcesOf(issuer string, name bool, metadataURL string) sources {
	f := sources{issuer: issuer, name: name, url: metadataURL}
	if !name {
		f.base = issuer
	}
	if u, err := url.Parse(metadataURL); metadataURL != "" && err == nil {
		f.origin = outbound.Origin(u)
		if path, ok := strings.CutSuffix(u.EscapedPath(), wellKnownOpenID); ok {
			f.base = u.Scheme + "://" + u.Host + path
		}
	}
	return f
}

// openID is the address of the OpenID document.
func (f *sources) openID() string {
	if f.url != "" {
		return f.url
	}
	return appended(f.issuer, "openid-configuration")
}

// uma is the address of the UMA document, beside the OpenID document. It is "" if
// nobody knows where that is.
func (f *sources) uma() string {
	if f.base == "" {
		return ""
	}
	return appended(f.base, "uma2-configuration")
}

// rules are those for the addresses in the documents. With an issuer at an https
// address browsers are sent to https alone.
func (f *sources) rules(insecureHTTP bool) discovery.Rules {
	return discovery.Rules{
		HTTPS:        (hasScheme(f.issuer, "https") || f.name && hasScheme(f.url, "https")) && !insecureHTTP,
		InsecureHTTP: insecureHTTP,
		Inner:        f.origin,
	}
}

// hasScheme reports whether an address has the scheme, in any case (RFC 3986
// §3.1).
func hasScheme(address, scheme string) bool {
	has, _, _ := strings.Cut(address, ":")
	return strings.EqualFold(has, scheme)
}

// appended returns the well-known address as OpenID Connect Discovery §4 and
// UMA form it: after the issuer's path, with exactly one slash between.
func appended(issuer, name string) string {
	return strings.TrimSuffix(issuer, "/") + "/.well-known/" + name
}

// inserted returns the well-known address as RFC 8414 §3.1 forms it: before
// the issuer's path.
func inserted(issuer, name string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return appended(issuer, name)
	}
	u.Path, u.RawPath = "/.well-known/"+name+strings.TrimSuffix(u.Path, "/"), ""
	return u.String()
}
