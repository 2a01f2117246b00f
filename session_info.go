package gatehouse

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"example.com/gatehouse/internal/session"
)

// sessionAnswer is what SessionHandler says.
type sessionAnswer struct {
	SignedIn bool            `json:"signed_in"`
	Issuer   string          `json:"issuer,omitempty"`
	Subject  string          `json:"subject,omitempty"`
	Claims   json.RawMessage `json:"claims,omitempty"`
	Expires  time.Time       `json:"expires,omitzero"` // the session ends then at the latest
	IdleEnds time.Time       `json:"idle_ends,omitzero"`
	LoginURL string          `json:"login_url,omitempty"`
}

// SessionHandler tells a single-page application by JSON who is signed in and
// until when:
//
//	{"signed_in":true,"issuer":"…","subject":"…","claims":{…},"expires":"…","idle_ends":"…"}
//	{"signed_in":false,"login_url":"/auth/login"}
//
// The answer is 200 in both cases. Asking does not count as activity: an
// application that asks every minute does not keep a session from its idle
// limit. Tokens are never in it. When the store is in trouble the answer is
// 503. It takes GET and HEAD.
func (rp *RelyingParty) SessionHandler() http.Handler {
	return rp.ownHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			rp.refuse(w, r, errMethod.because(nil))
			return
		}
		live, err := rp.load(r)
		switch {
		case errors.Is(err, session.ErrNone):
			writeJSON(w, http.StatusOK, sessionAnswer{LoginURL: rp.config.LoginURL})
		case err != nil:
			rp.refuse(w, r, err)
		default:
			writeJSON(w, http.StatusOK, live.answer())
		}
	}))
}

func (l *liveSession) answer() sessionAnswer {
	s, rec := l.sessions, l.record()
	a := sessionAnswer{
		SignedIn: true, Issuer: rec.Issuer, Subject: rec.Subject,
		Claims: rec.Claims, Expires: s.keeper.Ending(rec).UTC(),
	}
	if end := s.keeper.IdleEnding(rec); !end.IsZero() {
		a.IdleEnds = end.UTC()
	}
	return a
}
