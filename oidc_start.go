package gatehouse

// Tested in internal/e2e/signin.

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"example.com/gatehouse/internal/authrequest"
	"example.com/gatehouse/internal/authresponse"
	"example.com/gatehouse/internal/navigation"
	"example.com/gatehouse/internal/outbound"
)

// loginStart is what a request to LoginHandler says.
type loginStart struct {
	wish  string // where to go afterwards
	hint  string // login_hint
	third bool   // another site begins the sign-in (OpenID Connect Core §4)
}

// The parameters of a third-party start. Nothing else of a request to LoginHandler
// reaches the provider.
const (
	startIssuer = "iss"
	startHint   = "login_hint"
	startTarget = "target_link_uri"
)

// readStart reads a request to LoginHandler: the form that was posted, or the
// address. A stray ";" or "%" elsewhere does no harm.
func (rp *RelyingParty) readStart(r *http.Request) (s loginStart, err error) {
	form, err := navigation.Form(r)
	if err != nil {
		return s, errBodySlow.because(err)
	}
	query, broken := navigation.Query(r.URL.RawQuery, startIssuer, startHint, startTarget)
	if s.wish = query.Get("return_to"); form.Has("return_to") {
		s.wish = form.Get("return_to")
	}
	from := query
	if form.Has(startIssuer) {
		from, broken = form, nil
	}
	if from.Has(startIssuer) {
		if broken != nil {
			return s, errStart.because(broken)
		}
		if err := rp.readThird(from, &s); err != nil {
			return s, err
		}
	}
	if path, ok := rp.returnPath(s.wish); ok && navigation.ServedBy(path, rp.address(r)) {
		rp.tellDropped(r, s.wish, "it is the address of LoginHandler")
		s.wish = ""
	}
	return s, nil
}

// readThird reads a third-party start. An issuer that is not ours ends it before
// anything is sent: we fetch nothing that a stranger names (RT9).
func (rp *RelyingParty) readThird(from url.Values, s *loginStart) error {
	for _, name := range []string{startIssuer, startHint, startTarget} {
		if n := len(from[name]); n > 1 { // RFC 6749 §3.1
			return errStart.because(fmt.Errorf("%s occurs %d times", name, n))
		}
	}
	if iss := from.Get(startIssuer); !rp.provider.tokens.Owns(iss) {
		return errStartIssuer.because(fmt.Errorf("iss is %s, not %s", outbound.Quote(iss), rp.provider.issuer))
	}
	if s.hint = from.Get(startHint); authrequest.Hint(s.hint) != nil {
		return errStart.because(authrequest.Hint(s.hint))
	}
	if s.third = true; from.Has(startTarget) {
		s.wish = from.Get(startTarget)
	}
	return nil
}

// startLogin answers a request to LoginHandler.
func (rp *RelyingParty) startLogin(w http.ResponseWriter, r *http.Request) (departure, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		return departure{}, errMethod.because(nil)
	}
	s, err := rp.readStart(r)
	if err != nil {
		return departure{}, err
	}
	if !s.third { // a third-party start comes from another site, and does no more than a link to here
		if err := rp.checkOrigin(r); err != nil {
			return departure{}, err
		}
	}
	if !navigation.MayOpenPage(r) {
		return departure{}, errNoNavigation.because(nil)
	}
	if err := rp.mayStart(w, r); err != nil {
		return departure{}, err
	}
	if again, ok := rp.byLink(r, s); ok {
		return again, nil
	}
	return rp.start(w, r, s.wish, s.hint)
}

// byLink returns the address with which a start that another site has posted begins
// once more. With form_post neither that form nor the answer brings the cookies of
// the session that is replaced, but a link does.
func (rp *RelyingParty) byLink(r *http.Request, s loginStart) (departure, bool) {
	path, ok := navigation.LocalPath(navigation.Path(rp.address(r)))
	if !ok || !s.third || r.Method != http.MethodPost || rp.asked.Mode != authresponse.FormPost || rp.checkNoLink(r) == nil {
		return departure{}, false
	}
	form, err := navigation.Form(r)
	if err != nil || !form.Has(startIssuer) {
		return departure{}, false
	}
	params := url.Values{startIssuer: {form.Get(startIssuer)}, startTarget: {rp.wayBack(r, s.wish)}}
	if s.hint != "" {
		params.Set(startHint, s.hint)
	}
	return departure{endpoint: (&url.URL{Path: path}).EscapedPath(), params: params.Encode(), here: true}, true
}

// mayStart reports whether a sign-in may begin with this request.
func (rp *RelyingParty) mayStart(w http.ResponseWriter, r *http.Request) error {
	perBrowser(w.Header())
	if r.Method == http.MethodHead || navigation.IsPrefetch(r) {
		return errNoNavigation.because(errors.New("HEAD or a prefetch"))
	}
	return rp.checkMounted(r)
}
