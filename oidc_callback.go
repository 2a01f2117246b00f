package gatehouse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.com/gatehouse/internal/attempt"
	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/strictjson"
	signed "example.com/gatehouse/internal/token"
)

const (
	// callbackTimeout bounds all that a callback does, so that it answers
	// within 10 s (G5) even when the provider hangs.
	callbackTimeout = 9 * time.Second
	// maxCode bounds the authorization code.
	maxCode = 8 << 10
)

// CallbackHandler takes the answer of the provider at RedirectURL, finishes the
// sign-in and sends the person to where they wanted to go.
func (rp *RelyingParty) CallbackHandler() http.Handler {
	return rp.ownHandler(rp.withApp(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Referrer-Policy", "no-referrer")
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			rp.refuse(w, r, errMethod.because(nil))
			return
		}
		// A browser that leaves does not undo what its code has bought (M14).
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), callbackTimeout)
		defer cancel()
		r = r.WithContext(ctx)
		if err := rp.finish(w, r); err != nil {
			rp.refuse(w, r, err)
		}
	})))
}

// made is what a callback has made so far and nobody holds yet.
type made struct {
	refresh string // the refresh token that the code has bought
	session string // store key of the session
	sent    bool   // the answer is on its way: all is handed over
}

// finish carries a sign-in through and sends the browser on. An error or a panic
// leaves nothing half-made (RL8).
func (rp *RelyingParty) finish(w http.ResponseWriter, r *http.Request) error {
	var m made
	defer func() { rp.undo(w, r, &m) }()
	a, code, err := rp.readResponse(w, r)
	if err != nil {
		return err
	}
	answer, err := rp.redeem(r.Context(), a, code)
	if err != nil {
		return err
	}
	if len(a.From) == 0 {
		// Where the browser had a session already the token may be of the same
		// grant, which would end with it (RFC 7009 §2.1).
		m.refresh = answer.Refresh
	}
	location, err := rp.conclude(w, r, a, answer, &m)
	if err != nil {
		return err
	}
	redirect(w, location)
	m.sent = true
	return nil
}

// undo ends what a callback has made and could not hand over.
func (rp *RelyingParty) undo(w http.ResponseWriter, r *http.Request, m *made) {
	if m.sent {
		return
	}
	rp.revokeLater(m.refresh)
	if m.session != "" {
		rp.unsetCookie(w, rp.cookie)
		_, _ = rp.sessions.keeper.End(context.WithoutCancel(r.Context()), m.session)
	}
}

// conclude verifies what the code has bought and makes a session or a grant of
// it. It returns where to go.
func (rp *RelyingParty) conclude(w http.ResponseWriter, r *http.Request, a *attempt.Attempt, answer *backchannel.Tokens, m *made) (string, error) {
	ctx := r.Context()
	token, err := rp.provider.tokens.SignIn(ctx, answer.IDToken, signed.SignIn{
		Client: rp.client.ID, Nonce: a.Nonce(), Began: a.Begin, Aged: a.Aged, MaxAge: a.MaxAge, Access: answer.Access,
	})
	if err != nil {
		return "", tokenFailure(err)
	}
	if a.Grant {
		return rp.finishGrant(r, a, token, answer)
	}
	claims, err := rp.gatherClaims(ctx, token, answer)
	if err != nil {
		return "", err
	}
	rec := rp.newRecord(a, token, claims, answer)
	if err := rp.onSignIn(ctx, rec); err != nil {
		return "", err
	}
	return rp.establish(w, r, a, rec, m)
}

// onSignIn asks the application before a session exists.
func (rp *RelyingParty) onSignIn(ctx context.Context, rec *session.Record) error {
	if rp.config.OnSignIn == nil {
		return nil
	}
	live := &liveSession{sessions: rp.sessions, party: rp, now: session.Stored{Record: rec}}
	id := live.identity()
	id.session = nil // there is none yet
	if err := rp.config.OnSignIn(ctx, id); err != nil {
		e := *asError(err, errOnSignIn)
		if e.Status == 0 {
			e.Status = http.StatusForbidden // the application has refused, and said no more
		}
		return &e
	}
	rec.Claims = id.claims
	return nil
}

// responseParams are the parameters of an authorization answer; each may occur
// once (RFC 6749 §3.1).
var responseParams = []string{"state", "code", "iss", "error", "error_description", "error_uri"}

// readResponse checks an authorization answer (OpenID Connect Core §3.1.2.7,
// RFC 6749 §4.1.2, RFC 9207 §2.4) and uses its state up.
func (rp *RelyingParty) readResponse(w http.ResponseWriter, r *http.Request) (*attempt.Attempt, string, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, "", errResponse.because(errors.New("query is malformed"))
	}
	for _, name := range responseParams {
		if len(q[name]) > 1 {
			return nil, "", errResponse.because(fmt.Errorf("%s occurs %d times", name, len(q[name])))
		}
	}
	state := q.Get("state")
	if state == "" {
		return nil, "", errStateMissing.because(nil)
	}
	a, err := rp.readAttempt(r, state)
	if err != nil {
		return nil, "", err
	}
	if err := rp.checkResponseIssuer(r.Context(), q); err != nil {
		return nil, "", err
	}
	code := q.Get("code")
	if !q.Has("error") && (code == "" || len(code) > maxCode) {
		return nil, "", errResponse.because(fmt.Errorf("code of %d bytes", len(code)))
	}
	if err := rp.useState(r.Context(), a); err != nil {
		return nil, "", err
	}
	rp.clearCookie(w, rp.attemptName(state))
	if q.Has("error") {
		// The text of the error is the provider's and stays out of the page.
		return nil, "", errRefusedThere.because(fmt.Errorf("error %q", clip(q.Get("error"))))
	}
	return a, code, nil
}

// checkResponseIssuer is the defence against mix-up of RFC 9207 §2.4.
func (rp *RelyingParty) checkResponseIssuer(ctx context.Context, q url.Values) error {
	if q.Has("iss") {
		if iss := q.Get("iss"); iss != rp.provider.issuer {
			return errResponseIssuer.because(fmt.Errorf("iss is %q", clip(iss)))
		}
		return nil
	}
	md, err := rp.provider.Metadata(ctx)
	if err != nil {
		return err
	}
	if md.ResponseIssuer {
		return errResponseIssuer.because(errors.New("iss is missing, though the provider announces it"))
	}
	return nil
}

// useState marks the state used for the rest of its life: an answer counts once
// over all replicas (R9).
func (rp *RelyingParty) useState(ctx context.Context, a *attempt.Attempt) error {
	first, err := rp.sessions.keeper.Spend(ctx, a.State(), a.Ends())
	if err != nil {
		return failure(err)
	}
	if !first {
		return errStateUsed.because(nil)
	}
	return nil
}

// redeem sends the code, once (OpenID Connect Core §3.1.3.1, RFC 7636 §4.5).
func (rp *RelyingParty) redeem(ctx context.Context, a *attempt.Attempt, code string) (*backchannel.Tokens, error) {
	answer, err := rp.provider.requestToken(ctx, rp.client, url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {code},
		"redirect_uri":  {rp.config.RedirectURL},
		"code_verifier": {a.Verifier()},
	})
	if refusal, ok := errors.AsType[*backchannel.Refusal](err); ok {
		switch refusal.Code {
		case "invalid_client", "unauthorized_client", "unsupported_grant_type":
			return nil, errClientRefused.because(refusal)
		}
		if refusal.Status == http.StatusUnauthorized {
			return nil, errClientRefused.because(refusal)
		}
		return nil, errCodeRefused.because(refusal)
	}
	if err != nil {
		return nil, asError(err, errProviderUnavailable)
	}
	if answer.IDToken == "" {
		return nil, errIDTokenMissing.because(nil)
	}
	return answer, nil
}

// gatherClaims joins the ID Token's claims with the user info (OpenID Connect
// Core §5.3). Those of the ID Token win, because they are signed.
func (rp *RelyingParty) gatherClaims(ctx context.Context, token *signed.IDToken, answer *backchannel.Tokens) ([]byte, error) {
	md, err := rp.provider.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	if rp.config.SkipUserInfo || md.UserInfoEndpoint == "" {
		return token.Payload(), nil
	}
	told, err := rp.provider.userInfo(ctx, md.UserInfoEndpoint, answer.Access, token.Subject())
	if err != nil {
		return nil, err
	}
	return mergeClaims(token.Payload(), told)
}

// newRecord is the login that an attempt ended in.
func (rp *RelyingParty) newRecord(a *attempt.Attempt, proof *signed.IDToken, claims []byte, answer *backchannel.Tokens) *session.Record {
	now := rp.sessions.now()
	rec := &session.Record{
		Issuer: rp.provider.issuer, Subject: proof.Subject(), ClientID: rp.client.ID, SID: proof.SID(),
		Begin: a.Begin, Seen: now, AuthTime: proof.AuthTime(), Claims: claims, Scope: answer.Scope,
		Access: session.Token(answer.Access), Expires: answer.Expires, Requested: answer.Requested,
		Refresh: session.Token(answer.Refresh), IDToken: session.Token(answer.IDToken),
		Marks: session.MarksOf(rp.provider.issuer, proof.Subject(), proof.SID()),
	}
	if !answer.HasScope { // RFC 6749 §5.1: left out means as requested
		rec.Scope = strings.Join(rp.scopesOf(a), " ")
	}
	if len(a.Asked) > 0 {
		rec.Asked, rec.AskedAt = a.Asked, now
	}
	return rec
}

// establish turns a verified sign-in into a session under a new id, and ends
// the one the browser had (R5). It returns where to go.
func (rp *RelyingParty) establish(w http.ResponseWriter, r *http.Request, a *attempt.Attempt, rec *session.Record, m *made) (string, error) {
	ctx, keeper := r.Context(), rp.sessions.keeper
	read := rp.sessions.now()
	again, err := keeper.ReadMarks(ctx, rec, a.Begin, func(m session.Mark) bool { return a.Carries(attempt.Mark(m)) })
	if err != nil {
		return "", failure(err)
	}
	if again {
		return rp.restart(w, r, a, rec.Marks) // the provider goes on with the same grant
	}
	ref := session.NewRef(rec.Marks)
	m.session = ref.Key
	if err := keeper.Create(ctx, ref, rec, read); err != nil {
		return "", failure(err)
	}
	if err := rp.settle(ctx, r, rec, ref); err != nil {
		return "", err
	}
	rp.provider.emit(ctx, Event{Name: EventLogin, Subject: rec.Subject, ClientID: rec.ClientID})
	rp.setCookie(w, rp.cookie, ref.Cookie(), keeper.Ending(rec).Sub(rp.sessions.now()))
	return rp.returnPath(a.ReturnTo), nil
}

// settle does what a new session brings with it.
func (rp *RelyingParty) settle(ctx context.Context, r *http.Request, rec *session.Record, ref session.Ref) error {
	if err := rp.sessions.keeper.Enlist(ctx, ref, rec); err != nil {
		rp.provider.emit(ctx, Event{Name: EventTrouble, Code: troubleList, Subject: rec.Subject, ClientID: rec.ClientID, Err: err})
	}
	old, err := rp.replaceOld(ctx, r, rec)
	if err != nil {
		return err
	}
	return rp.renewApp(ctx, rec, old)
}

// restart begins the sign-in anew, in knowledge of the marks read.
func (rp *RelyingParty) restart(w http.ResponseWriter, r *http.Request, a *attempt.Attempt, marks [2]session.Mark) (string, error) {
	next, err := a.Again(rp.sessions.now(), attempt.Mark(marks[0]), attempt.Mark(marks[1]))
	if err != nil {
		return "", failure(err)
	}
	return rp.begin(w, r, next)
}

// replaceOld ends the session that the browser had before, whoever's it was, and
// returns it. Its refresh token is revoked if it was another person's or
// provider's; otherwise it may be of the same grant as the new one, and servers
// end a grant with its token (RFC 7009 §2.1).
func (rp *RelyingParty) replaceOld(ctx context.Context, r *http.Request, next *session.Record) (*session.Record, error) {
	ref, ok := rp.sessionRef(r)
	if !ok {
		return nil, nil
	}
	old, err := rp.sessions.keeper.End(ctx, ref.Key)
	if errors.Is(err, session.ErrUnreadable) { // another key's: it cannot stand in the way of this sign-in
		return nil, nil
	}
	if err != nil || old == nil {
		return nil, failure(err)
	}
	if old.Issuer == next.Issuer && old.ClientID == next.ClientID && old.Subject == next.Subject {
		old.Refresh = nil
	}
	if owner := rp.sessions.partyOf(old); owner != nil {
		owner.ended(ctx, old, "replaced")
	}
	return old, nil
}

// finishGrant keeps an owner's grant. It makes no session: the person must be
// signed in already, as the same.
func (rp *RelyingParty) finishGrant(r *http.Request, a *attempt.Attempt, token *signed.IDToken, answer *backchannel.Tokens) (string, error) {
	grants := rp.config.OwnerGrants
	if grants == nil { // begun at another relying party of this client and address
		return "", errInternal.because(errors.New("this relying party has no OwnerGrants"))
	}
	live, err := rp.load(r)
	if errors.Is(err, session.ErrNone) {
		return "", errGrantSubject.because(errors.New("nobody is signed in any more"))
	}
	if err != nil {
		return "", err
	}
	if live.record().Subject != token.Subject() || !bytes.Equal(a.From, rp.sessionDigest(r)) {
		return "", errGrantSubject.because(nil)
	}
	if err := grants.keep(r.Context(), token.Subject(), answer); err != nil {
		return "", asError(err, errStoreUnavailable)
	}
	has, err := grants.Has(r.Context(), token.Subject())
	if err != nil {
		return "", asError(err, errStoreUnavailable)
	}
	if !has { // asking again would go round for ever
		return "", errOwnerRefused.because(nil)
	}
	return rp.returnPath(a.ReturnTo), nil
}

// maxUserInfo caps a user info answer: it has to fit into a login record.
const maxUserInfo = 32 << 10

// userInfo asks the user info endpoint (OpenID Connect Core §5.3.1) and returns
// the claims of the person with that subject. It is not go-oidc that asks: that
// reads names case-blind, takes the last of two and verifies signed answers
// with keys of its own (docs/design.md). Signed answers are not taken yet.
func (p *Provider) userInfo(ctx context.Context, endpoint, access, subject string) (map[string]json.RawMessage, error) {
	ctx = outbound.WithLimit(ctx, maxUserInfo)
	a, err := p.channel.AsBearer(ctx, http.MethodGet, endpoint, access, backchannel.Body{}) // never in the query (RP-U1)
	if err != nil {
		return nil, errUserInfo.because(err)
	}
	if a.Status != http.StatusOK {
		return nil, errUserInfo.because(fmt.Errorf("user info endpoint answered %d", a.Status))
	}
	var claims map[string]json.RawMessage
	if strictjson.Unmarshal(a.Body, &claims) != nil {
		return nil, errUserInfo.because(errors.New("user info is not strict JSON"))
	}
	var sub string
	if json.Unmarshal(claims["sub"], &sub) != nil || sub != subject { // §5.3.2: must be compared, else not used
		return nil, errUserInfoSub.because(nil)
	}
	return claims, nil
}

// mergeClaims joins two sets of claims, the first winning. Values are kept as
// they stand, so that no number loses its precision.
func mergeClaims(signed []byte, told map[string]json.RawMessage) ([]byte, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(signed, &all); err != nil {
		return nil, errIDTokenMalformed.because(errors.New("claims are not a JSON object"))
	}
	for name, value := range told {
		if _, ok := all[name]; !ok {
			all[name] = value
		}
	}
	merged, err := json.Marshal(all)
	if err != nil {
		return nil, errUserInfo.because(errors.New("user info cannot be stored"))
	}
	return merged, nil
}
