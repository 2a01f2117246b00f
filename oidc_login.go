package gatehouse

// Tested in internal/e2e/signin.

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"example.com/gatehouse/internal/attempt"
	"example.com/gatehouse/internal/navigation"
	"example.com/gatehouse/internal/seal"
	"example.com/gatehouse/internal/storekey"
)

const (
	// maxAttempts is the number of sign-ins that one browser may have under
	// way. Beyond it, the oldest is dropped.
	maxAttempts = 8
	// maxAttemptsSeen bounds how many attempt cookies of one request are
	// opened.
	maxAttemptsSeen = 4 * maxAttempts

	// digestSize is the length of the digests that recognise a session or a
	// set of requirements. It is enough to tell them apart, but not for
	// security.
	digestSize = 8
)

// LoginHandler starts a sign-in on GET, or on POST from our own pages.
// Afterwards the person returns to the path in the parameter "return_to".
// Prefetches and frames do not start a sign-in; they get 403.
func (rp *RelyingParty) LoginHandler() http.Handler {
	wire("LoginHandler", rp.checkMade())
	return rp.ownHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch err := rp.checkOrigin(r); {
		case r.Method != http.MethodGet && r.Method != http.MethodPost:
			w.Header().Set("Allow", "GET, POST")
			rp.refuse(w, r, errMethod.because(nil))
			return
		case err != nil:
			rp.refuse(w, r, err)
			return
		case !navigation.MayOpenPage(r):
			rp.refuse(w, r, errNoNavigation.because(nil))
			return
		}
		location, err := rp.AuthURL(w, r, r.URL.Query().Get("return_to"))
		if err != nil {
			rp.refuse(w, r, err)
			return
		}
		redirect(w, location)
	}))
}

// AuthURL starts a sign-in and returns the address at the provider to redirect
// to. It sets the attempt's cookie on w. After sign-in the person returns to
// the path returnTo, or to HomeURL if returnTo is not a path of this site.
func (rp *RelyingParty) AuthURL(w http.ResponseWriter, r *http.Request, returnTo string) (string, error) {
	return rp.begin(w, r, rp.newAttempt(r, returnTo))
}

// newAttempt returns an attempt that asks for everything this guard requires
// and a sign-in can provide. The owner's grant is requested later, once it is
// known who has signed in.
func (rp *RelyingParty) newAttempt(r *http.Request, returnTo string) *attempt.Attempt {
	a := attempt.New(rp.sessions.now())
	a.ReturnTo, a.From, a.Asked = rp.returnPath(returnTo), rp.sessionDigest(r), rp.needDigest()
	for _, q := range rp.need {
		if q.step.aged {
			a.AskAge(q.step.maxAge)
		}
		a.AskScopes(q.step.scopes...)
	}
	return a
}

// returnPath returns the path to go to after sign-in. It is wish if that is a
// path of this site that a GET may safely open (R1, RT6), and HomeURL
// otherwise.
func (rp *RelyingParty) returnPath(wish string) string {
	c := &rp.config
	target, ok := navigation.ReturnPath(wish, c.RedirectURL, c.LoginURL, c.LogoutURL, c.LoggedOutURL)
	if !ok {
		return c.HomeURL
	}
	return target
}

// begin sets the attempt's cookie and returns the address of the authorization
// request (OpenID Connect Core §3.1.2.1).
func (rp *RelyingParty) begin(w http.ResponseWriter, r *http.Request, a *attempt.Attempt) (string, error) {
	if err := checkHeaderSize(r); err != nil { // refuse now what the callback would refuse after sign-in
		return "", err
	}
	md, err := rp.provider.Metadata(r.Context())
	if err != nil {
		return "", err
	}
	if md.AuthorizationEndpoint == "" {
		return "", errMetadataInvalid.because(errors.New("no authorization_endpoint"))
	}
	if a.Grant {
		a.Scopes = strings.Join(rp.config.OwnerGrants.scopes(r.Context()), " ")
	}
	if err := rp.writeAttempt(w, r, a); err != nil {
		return "", err
	}
	config := oauth2.Config{
		ClientID: rp.client.ID, RedirectURL: rp.config.RedirectURL, Scopes: rp.scopesOf(a),
		Endpoint: oauth2.Endpoint{AuthURL: md.AuthorizationEndpoint},
	}
	options := []oauth2.AuthCodeOption{
		oidc.Nonce(a.Nonce()),
		oauth2.S256ChallengeOption(a.Verifier()), // PKCE is always used: RFC 9700 §2.1.1
	}
	if a.Aged {
		options = append(options, oauth2.SetAuthURLParam("max_age", fmt.Sprint(int64(a.MaxAge/time.Second))))
	}
	location := config.AuthCodeURL(a.State(), options...)
	if len(rp.config.AuthParams) > 0 { // appended, because resource may be repeated (RFC 8707 §2)
		location += "&" + rp.config.AuthParams.Encode()
	}
	return location, nil
}

// scopesOf returns the scopes that the attempt asks for, openid first.
func (rp *RelyingParty) scopesOf(a *attempt.Attempt) []string {
	scopes := append([]string{oidc.ScopeOpenID}, rp.config.Scopes...)
	for _, s := range strings.Fields(a.Scopes) {
		if !slices.Contains(scopes, s) {
			scopes = append(scopes, s)
		}
	}
	return scopes
}

// attemptName returns the name of the cookie of the attempt with that state.
func (rp *RelyingParty) attemptName(state string) string {
	return rp.attemptPrefix + state[:8]
}

// writeAttempt sets the attempt's cookie. It deletes the oldest attempt
// cookies beyond maxAttempts.
func (rp *RelyingParty) writeAttempt(w http.ResponseWriter, r *http.Request, a *attempt.Attempt) error {
	ring, err := rp.sessions.ring(r.Context())
	if err != nil {
		return err
	}
	name := rp.attemptName(a.State())
	value := a.Seal(ring, rp.binding+name)
	rp.dropOldAttempts(w, r)
	rp.setCookie(w, name, value, attempt.Life)
	return nil
}

// readAttempt opens the attempt that state belongs to. Its cookie is bound to
// this relying party and to the cookie's name (RFC 9700 §4.7).
func (rp *RelyingParty) readAttempt(r *http.Request, state string) (*attempt.Attempt, error) {
	if !attempt.ValidState(state) {
		return nil, errStateUnknown.because(errors.New("state is not one of ours"))
	}
	name := rp.attemptName(state)
	value, found := navigation.Cookie(r, name)
	if !found {
		return nil, errStateUnknown.because(errors.New("no attempt cookie for this state"))
	}
	a, err := rp.openAttempt(r, name, value)
	if err != nil {
		return nil, err
	}
	return a, a.Check(state, rp.sessions.now())
}

func (rp *RelyingParty) openAttempt(r *http.Request, name, value string) (*attempt.Attempt, error) {
	ring, err := rp.sessions.ring(r.Context())
	if err != nil {
		return nil, err
	}
	a, err := attempt.Open(ring, rp.binding+name, value)
	if errors.Is(err, seal.ErrUnknownKey) {
		if again, ok := rp.sessions.reread(r.Context()); ok {
			a, err = attempt.Open(again, rp.binding+name, value)
		}
	}
	return a, err
}

// dropOldAttempts makes room for one more attempt. It first deletes cookies
// that cannot be opened, then the oldest.
func (rp *RelyingParty) dropOldAttempts(w http.ResponseWriter, r *http.Request) {
	type known struct {
		name  string
		begin time.Time
	}
	var have []known
	for _, c := range r.Cookies() {
		if !strings.HasPrefix(c.Name, rp.attemptPrefix) || len(have) >= maxAttemptsSeen {
			continue
		}
		k := known{name: c.Name}
		if a, err := rp.openAttempt(r, c.Name, c.Value); err == nil {
			k.begin = a.Begin
		}
		have = append(have, k)
	}
	slices.SortFunc(have, func(x, y known) int { return y.begin.Compare(x.begin) })
	for i := maxAttempts - 1; i < len(have); i++ {
		rp.clearCookie(w, have[i].name)
	}
}

// sessionDigest returns a digest of the id in the request's session cookie, or
// nil if there is none.
func (rp *RelyingParty) sessionDigest(r *http.Request) []byte {
	ref, ok := rp.sessionRef(r)
	if !ok {
		return nil
	}
	return digest("session", ref.ID)
}

func digest(parts ...string) []byte {
	return []byte(storekey.Of("gatehouse/digest", parts...)[:digestSize])
}
