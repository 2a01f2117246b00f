package gatehouse

// Tested in internal/e2e/session.

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"example.com/gatehouse/internal/navigation"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/session"
)

// FrontchannelLogoutHandler is what the provider's page loads in a frame when a
// person signs out there (OpenID Connect Front-Channel Logout 1.0). Register its
// address at the provider as frontchannel_logout_uri, with
// frontchannel_logout_session_required.
//
// A GET with iss and sid ends the sessions of that session at the provider, on
// every replica, before it is answered. It needs no cookie, because browsers
// send none to a frame of another site. Any other GET is answered with 200 too
// and ends nothing. If the store fails, the answer is 503.
//
// Only the provider may show the answer in a frame: the origin of the issuer,
// and that of its end_session_endpoint. Nobody signs such a request, so nothing
// is revoked at the provider, and a logout that comes before the callback of its
// sign-in is lost. Where the provider has both, use the back channel.
func (rp *RelyingParty) FrontchannelLogoutHandler() http.Handler {
	wire("FrontchannelLogoutHandler", rp.checkMade())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		perBrowser(w.Header())
		defer rp.recovered(w, r)
		leaveBody(w, r)
		if err := rp.checkHeaderSize(r); err != nil {
			rp.refuse(w, r, err)
			return
		}
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			rp.refuse(w, r, errMethod.because(nil))
			return
		}
		if issuer, sid := rp.frontSID(r); sid != "" {
			if err := rp.logoutBySID(w, r, issuer, sid); err != nil {
				rp.refuse(w, r, err)
				return
			}
		}
		h := w.Header()
		h.Del("X-Frame-Options") // of middleware around us
		h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors "+rp.frameAncestors())
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		_, _ = io.WriteString(w, frontPage) // the same whether anything has ended or not
	})
}

const frontPage = "<!doctype html>\n<title>Sign-out</title>\n"

// frontSID returns the issuer and the sid of a request that is a logout of this
// provider (Front-Channel Logout §2), or "".
func (rp *RelyingParty) frontSID(r *http.Request) (issuer, sid string) {
	if len(r.URL.RawQuery) > maxQuery {
		return "", ""
	}
	query, err := navigation.Query(r.URL.RawQuery, "iss", "sid")
	if err != nil || len(query["iss"]) != 1 || len(query["sid"]) != 1 || !rp.provider.tokens.Owns(query.Get("iss")) {
		return "", ""
	}
	return query.Get("iss"), query.Get("sid")
}

// logoutBySID ends the sessions of one session at the provider. If the browser
// has sent the cookie of such a session, it deletes that.
func (rp *RelyingParty) logoutBySID(w http.ResponseWriter, r *http.Request, issuer, sid string) error {
	var found bool
	err := rp.provider.safely(r.Context(), func(ctx context.Context) (err error) {
		found, err = rp.sessions.keeper.LogoutFront(ctx, issuer, sid)
		return failure(err)
	})
	if err != nil {
		return err
	}
	if found {
		rp.provider.emitFor(r, Event{Name: EventLogout, Code: logoutFrontchannel, ClientID: rp.client.told()})
	}
	if ref, ok := rp.sessionRef(r); ok && ref.Marks[0] == session.MarksOf(issuer, "", sid)[0].Name {
		rp.clearCookie(w, rp.cookie)
	}
	return nil
}

// frameAncestors lists the origins whose pages may show the answer. No metadata
// is fetched for it, because anybody may ask.
func (rp *RelyingParty) frameAncestors() string {
	addresses := []string{rp.provider.issuer}
	if md := rp.provider.openid.Known(); md != nil {
		addresses = append(addresses, md.EndSessionEndpoint)
	}
	var origins []string
	for _, address := range addresses {
		u, err := url.Parse(address)
		if err != nil || !isPlainHost(u.Host) {
			continue // what would be another policy
		}
		if origin := outbound.Origin(u); !slices.Contains(origins, origin) {
			origins = append(origins, origin)
		}
	}
	if len(origins) == 0 {
		return "'none'"
	}
	return strings.Join(origins, " ")
}
