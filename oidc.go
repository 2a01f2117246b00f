package gatehouse

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/token"
)

// RelyingParty signs people in at one provider. It is safe for concurrent use.
type RelyingParty struct {
	provider *Provider
	sessions *Sessions
	client   Client
	config   RelyingPartyConfig
	redirect *url.URL
	need     []Requirement
	cross    *http.CrossOriginProtection

	cookie        string // name of the session cookie
	attemptPrefix string // of the names of attempt cookies
	logoutCookie  string // name of the cookie of a logout under way
	binding       string // what sealed cookies are bound to
	secure        bool   // cookies are Secure with the __Host- prefix
}

// NewRelyingParty makes a RelyingParty. It does no I/O, and its error lists
// every problem of the config.
func NewRelyingParty(p *Provider, c RelyingPartyConfig) (*RelyingParty, error) {
	redirect, cross, err := c.complete(p)
	if err != nil {
		return nil, err
	}
	rp := &RelyingParty{provider: p, client: c.Client, redirect: redirect, config: c, cross: cross, sessions: c.Sessions}
	if rp.sessions == nil {
		own, err := NewSessions(SessionsConfig{Now: p.clock})
		if err != nil {
			return nil, err
		}
		own.named = false
		rp.sessions = own
	}
	rp.nameCookies()
	if err := rp.sessions.attach(rp); err != nil { // another one was attached meanwhile
		var wrong problems
		wrong.wrap("Sessions", err)
		return nil, wrong.in("NewRelyingParty")
	}
	return rp, nil
}

// Sessions returns where the sign-ins are kept: RelyingPartyConfig.Sessions, or
// the own one made without it.
func (rp *RelyingParty) Sessions() *Sessions { return rp.sessions }

// Shutdown waits until the work that requests left behind is done, or ctx is:
// that of the Sessions, the OwnerGrants and the Provider too. Serve no requests
// any more when calling it.
func (rp *RelyingParty) Shutdown(ctx context.Context) error {
	errs := []error{rp.sessions.Shutdown(ctx)}
	if rp.config.OwnerGrants != nil {
		errs = append(errs, rp.config.OwnerGrants.Shutdown(ctx))
	}
	return errors.Join(append(errs, rp.provider.Shutdown(ctx))...)
}

// With derives a stricter guard: one that also asks for the requirements. It
// shares everything with rp and leaves rp as it is.
func (rp *RelyingParty) With(requirements ...Requirement) *RelyingParty {
	wire("With", rp.checkMade())
	for _, q := range requirements {
		wire("With", rp.checkRequirement(q))
	}
	derived := *rp
	derived.need = append(slices.Clip(slices.Clone(rp.need)), requirements...)
	return &derived
}

func (rp *RelyingParty) checkRequirement(q Requirement) error {
	switch {
	case q.met == nil && !q.step.grant:
		return errors.New("the Requirement is the zero value, which requires nothing")
	case q.step.grant && rp.config.OwnerGrants == nil:
		return errors.New("OwnerGrant needs RelyingPartyConfig.OwnerGrants")
	}
	return nil
}

// checkMade implements madeGuard.
func (rp *RelyingParty) checkMade() error {
	if rp == nil || rp.sessions == nil {
		return errors.New("the RelyingParty was not made by NewRelyingParty")
	}
	return nil
}

// RequireLogin lets only people pass who are signed in and meet the
// requirements. A navigation is sent to sign-in and comes back; everything else
// gets 401 with a JSON body that names LoginURL. What next serves is marked
// "Cache-Control: no-store" and "Vary: Cookie"; a Cache-Control that next sets
// itself wins.
func (rp *RelyingParty) RequireLogin(next http.Handler) http.Handler {
	wire("RequireLogin", rp.checkMade())
	return protect("RequireLogin", rp)(next)
}

// OptionalLogin puts the identity on the context if somebody is signed in and
// meets the requirements, and lets everybody pass. It never redirects. An
// unsafe request from another site passes as nobody. When the store is in
// trouble the answer is 503, because signed out is not what that means. What
// nobody in particular gets is marked "Cache-Control: private" where no other
// Cache-Control is set, the rest as RequireLogin does.
func (rp *RelyingParty) OptionalLogin(next http.Handler) http.Handler {
	wire("OptionalLogin", errors.Join(rp.checkMade(), checkHandler(next)))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, ok := decide(optional{rp}, w, r)
		if ok && id == nil {
			anonymous(w.Header())
		}
		if ok {
			serveAs(w, r, next, id)
		}
	})
}

// Check implements Guard: it tells who the request's session is for.
func (rp *RelyingParty) Check(r *http.Request) (*Identity, error) {
	if err := rp.checkOrigin(r); err != nil {
		return nil, err
	}
	live, err := rp.load(r)
	if errors.Is(err, session.ErrNone) {
		return nil, errLoginRequired.because(nil)
	}
	if err != nil {
		return nil, err
	}
	if err := live.renewDue(r.Context()); err != nil {
		return nil, err
	}
	live.touch(r.Context())
	id := live.identity()
	if err := rp.meet(r, live, id); err != nil {
		return nil, err
	}
	return id, nil
}

// checkOrigin refuses unsafe requests from other sites (decision 15). A
// WebSocket handshake is a GET that other sites may send with our cookies, so
// it is judged as unsafe.
func (rp *RelyingParty) checkOrigin(r *http.Request) error {
	judged := r
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || r.Method == http.MethodConnect {
		judged = &http.Request{Method: http.MethodPost, Header: r.Header, Host: r.Host, URL: r.URL}
	}
	if err := rp.cross.Check(judged); err != nil {
		return errCrossOrigin.because(err)
	}
	return nil
}

func (l *liveSession) identity() *Identity {
	rec := l.record()
	id := identityOf(rec, l.sessions.keeper.Ending(rec))
	id.session = l
	return id
}

// identityOf is who a login record is for, without the session.
func identityOf(rec *session.Record, ends time.Time) *Identity {
	return &Identity{
		Issuer: rec.Issuer, Subject: rec.Subject, ClientID: rec.ClientID, Via: ViaSession,
		AuthTime: rec.AuthTime, Scopes: strings.Fields(rec.Scope), Expires: ends, claims: rec.Claims,
	}
}

// refusal carries what a sign-in would have to ask for.
type refusal struct{ unmet []Requirement }

func (e *refusal) Error() string { return "unmet: " + requirementNames(e.unmet) }

func requirementNames(list []Requirement) string {
	names := make([]string, 0, len(list))
	for _, q := range list {
		names = append(names, q.name)
	}
	return strings.Join(names, ", ")
}

// stepUpWithin is how long a requirement that signing in did not meet stays
// 403 instead of another sign-in.
const stepUpWithin = time.Minute

// meet decides the requirements anew at each request.
func (rp *RelyingParty) meet(r *http.Request, live *liveSession, id *Identity) error {
	var unmet []Requirement
	helps := true
	now := rp.sessions.now()
	rec := live.record()
	// This session has just signed in to meet these requirements.
	again := len(rec.Asked) > 0 && string(rec.Asked) == string(rp.needDigest()) && now.Before(rec.AskedAt.Add(stepUpWithin))
	if again {
		// The provider has judged max_age by its clock, and the way back took
		// its time: for this minute its word counts.
		now = now.Add(-token.ClockSkew - stepUpWithin)
	}
	for _, q := range rp.need {
		ok, err := rp.isMet(r, q, id, now)
		if err != nil {
			return asError(err, errRequirement)
		}
		if !ok {
			unmet = append(unmet, q)
			helps = helps && q.step.helps
		}
	}
	if len(unmet) == 0 {
		return nil
	}
	if !helps || again && !onlyGrant(unmet) {
		return errForbidden.because(&refusal{unmet})
	}
	return errStepUp.because(&refusal{unmet})
}

func (rp *RelyingParty) isMet(r *http.Request, q Requirement, id *Identity, now time.Time) (bool, error) {
	switch {
	case q.step.grant:
		return rp.config.OwnerGrants.Has(r.Context(), id.Subject)
	case q.met == nil && !q.step.grant:
		return false, errors.New("a zero Requirement")
	}
	return q.met(r, id, now)
}

// needDigest recognises what this guard asks of a sign-in.
func (rp *RelyingParty) needDigest() []byte {
	if len(rp.need) == 0 {
		return nil
	}
	names := make([]string, 0, len(rp.need))
	for _, q := range rp.need {
		names = append(names, q.name+" "+strings.Join(q.step.scopes, " "))
	}
	return digest(names...)
}

// onlyGrant reports whether nothing but the owner's grant is missing. That is
// asked for without another sign-in.
func onlyGrant(unmet []Requirement) bool {
	return len(unmet) > 0 && !slices.ContainsFunc(unmet, func(q Requirement) bool { return !q.step.grant })
}

// Token returns the access token of the session on ctx. One that has expired is
// renewed first; one that is about to is renewed while it still serves. Errors are *Error: "login_required" without a session or when it
// has ended, "no_token" when the provider gave none, a 503 when it has expired
// and the provider cannot be reached.
func (rp *RelyingParty) Token(ctx context.Context) (*oauth2.Token, error) {
	live, err := rp.liveFrom(ctx)
	if err != nil {
		return nil, err
	}
	rec, err := live.fresh(ctx)
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: string(rec.Access), TokenType: "Bearer", Expiry: rec.Expires}, nil
}

func (rp *RelyingParty) liveFrom(ctx context.Context) (*liveSession, error) {
	id := IdentityFrom(ctx)
	if id == nil || id.session == nil || id.session.party.provider != rp.provider || id.session.party.client.ID != rp.client.ID {
		return nil, errLoginRequired.because(errors.New("no session of this relying party on the context"))
	}
	return id.session, nil
}
