package wire

import (
	"net/http"
	"net/url"
	"strings"
)

// Kind says what a message means, judged by its content.
type Kind struct {
	Title string
	Text  string
	Tone  string // "yes", "no", "ask" or "": a class of the style sheet
}

// none is the kind of messages that say nothing about the protocol.
var none = Kind{}

// The kinds. Each text explains the message to somebody who sees it for the
// first time.
var (
	unreachable = Kind{"Nobody answers", "The connection was refused. Whoever asked has to decide without an answer.", "no"}

	metadata    = Kind{"Reads what the server offers", "All addresses come from this document; none is built in. It is kept for an hour.", ""}
	umaMetadata = Kind{"Reads what the server offers for UMA", "The second document adds the addresses of the protection API: where resources are registered and tickets are given out.", ""}
	keys        = Kind{"Fetches the public keys", "With these keys the site verifies the signature of an ID Token by itself.", ""}

	toSignIn = Kind{"Sends the browser to sign in", "No password ever passes through this site. State, nonce and code challenge are new for each sign-in.", "ask"}
	toGrant  = Kind{"Asks the owner for a grant", "The scope uma_protection: may this site register what you own, and hand out tickets for it, even while you are away?", "ask"}
	toLogout = Kind{"Signs out here, then there", "The session here has ended already. Now the browser goes to end the one at the server.", ""}
	cameBack = Kind{"The browser comes back with a code", "The code is good for one use, and only together with the verifier that this site kept.", ""}
	loggedIn = Kind{"Turns the code into tokens", "The ID Token says who signed in. The site checks its signature, issuer, audience, nonce and times before it trusts it.", "yes"}
	gotPAT   = Kind{"Turns the code into a PAT", "A protection API token: with it the site acts for this owner at the authorization server. It is kept apart from the session, so that strangers can be answered after the owner has signed out.", "yes"}
	ownPAT   = Kind{"Gets a token for itself", "Client credentials: the site proves who it is and acts for nobody else.", "yes"}
	renewed  = Kind{"Renews a token", "The refresh token brings a new access token while the person is away.", ""}
	userInfo = Kind{"Asks who has signed in", "The user info must name the same subject as the ID Token, or the sign-in fails.", ""}
	revoked  = Kind{"Revokes a token", "A token that is no longer needed is revoked.", ""}

	registered = Kind{"Puts the album under protection", "Registered with the owner's own token, so it belongs to them at the authorization server. From now on that server decides who may do what; the photo site keeps no list of friends.", "yes"}
	updated    = Kind{"Updates the description", "The owner’s decisions stay as they are.", ""}
	removed    = Kind{"Takes the album out of protection", "Everything that its owner had decided goes with it.", ""}
	looked     = Kind{"Looks up what is registered", "The authorization server remembers, so the site finds its resources again.", ""}
	asksTicket = Kind{"Asks for a ticket", "“Somebody wants this. I do not know who.” The request names the album and the scope that is missing. The ticket stands for that request.", "ask"}
	noTicket   = Kind{"Gets no ticket", "The authorization server did not give a ticket for this.", "no"}

	challenged = Kind{"“Not without permission”", "401 with a ticket, and the address of the one server that can turn it into a permission. The answer is the same for no token, an expired one and a weak one.", "ask"}
	lured      = Kind{"“Ask my own server”", "This is a genuine challenge, but the authorization server that it names belongs to whoever sent it. The shop trusts one issuer and compares it exactly, so the request ends here: nothing was sent there, no ticket, no secret, no ID Token.", "no"}
	warned     = Kind{"“I cannot even ask”", "The photo site could not get a ticket, so it lets nobody in and says why: 403 with a Warning. It fails closed.", "no"}
	unsure     = Kind{"“I cannot look it up”", "The token may be good, but nobody can be asked what it holds. The photo site does not guess. It answers 503, and the same token may work later.", "no"}
	used       = Kind{"Comes with the permission", "The requesting party token (RPT) opens exactly what the owner allowed, for this person at this client.", "yes"}

	needInfo  = Kind{"“Who is asking?”", "The ticket alone identifies nobody. The server wants an ID Token, and gives a new ticket because the old one is used up.", "ask"}
	submitted = Kind{"“I have asked the owner”", "The server now knows who is asking, and the policy says no. The owner finds the request in the inbox; a new ticket stands for it.", "ask"}
	denied    = Kind{"“No”", "The owner has decided against it. There is nothing to wait for.", "no"}
	granted   = Kind{"The ticket becomes a permission", "An RPT. It was given to this client for this person, for what the owner's policy allows.", "yes"}
	upgraded  = Kind{"The permission grows", "The client showed the RPT it had; the new one holds both permissions, and the old one is dropped.", "yes"}
	misfit    = Kind{"The token endpoint refuses", "The request did not satisfy the server. The member “error” says why.", "no"}

	active   = Kind{"Looks up what the token holds", "Introspection: active, and the list of permissions with their scopes. The photo site compares it with what the request needs.", "yes"}
	inactive = Kind{"The token is worth nothing", "Introspection says no: it has expired, or the owner has taken back what it held.", "no"}

	decided = Kind{"The owner decides", "At the authorization server, on its own page. The photo site is not told. It finds out when the next request comes.", "yes"}
	failed  = Kind{"That did not work", "The answer is an error. The request ends here.", "no"}
)

// kind determines the kind of a message from what was seen on the wire.
func (x *exchange) kind() Kind {
	switch {
	case x.failed:
		return unreachable
	case x.form.Has("grant_type"):
		return x.grantKind()
	case x.from.ID == browser.ID:
		return x.browserKind()
	case x.form.Has("token") && x.answer["active"] != nil:
		if x.answer["active"] == true {
			return active
		}
		return inactive
	case x.form.Has("token") && x.status == http.StatusOK:
		return revoked
	case x.answer["keys"] != nil:
		return keys
	case x.answer["permission_endpoint"] != nil && x.answer["issuer"] != nil && !x.mentionsSignIn():
		return umaMetadata
	case x.answer["issuer"] != nil && x.answer["token_endpoint"] != nil:
		return metadata
	}
	return x.protectionKind()
}

// mentionsSignIn distinguishes the OpenID document from that of UMA. Some
// servers give both the same members.
func (x *exchange) mentionsSignIn() bool { return x.answer["userinfo_endpoint"] != nil }

// protectionKind determines the kind of a call with JSON: to the protection
// API, to the photo site, or for user info.
func (x *exchange) protectionKind() Kind {
	if k, ok := x.resourceKind(); ok {
		return k
	}
	sent, _ := x.sent.(map[string]any)
	_, list := x.sent.([]any)
	bearer := strings.HasPrefix(x.requestHeader.Get("Authorization"), "Bearer ")
	switch {
	case list && x.answer["ticket"] != nil:
		return asksTicket
	case list:
		return noTicket
	case sent["resource_scopes"] != nil && x.status >= 400:
		return failed
	case sent["resource_scopes"] != nil && x.method == http.MethodPost:
		return registered
	case sent["resource_scopes"] != nil:
		return updated
	case bearer && x.method == http.MethodDelete && x.to.ID == "server" && x.status < 400:
		return removed
	case bearer && x.answer["sub"] != nil:
		return userInfo
	case bearer && x.status < 300 && x.to.ID == "server":
		return looked
	case bearer && x.status < 300:
		return used
	case x.status >= 400:
		return failed
	}
	return none
}

// resourceKind judges what a resource server says no with.
func (x *exchange) resourceKind() (Kind, bool) {
	switch {
	case x.to.ID == "mallory" && x.status == http.StatusUnauthorized:
		return lured, true
	case x.status == http.StatusUnauthorized && strings.HasPrefix(x.responseHeader.Get("Www-Authenticate"), "UMA "):
		return challenged, true
	case x.status == http.StatusForbidden && strings.HasPrefix(x.responseHeader.Get("Warning"), "199 "):
		return warned, true
	case x.status == http.StatusServiceUnavailable && strings.HasPrefix(x.responseHeader.Get("Warning"), "199 "):
		return unsure, true
	}
	return none, false
}

// browserKind judges what browsers and strangers send, and where they are sent.
func (x *exchange) browserKind() Kind {
	if k, ok := x.resourceKind(); ok {
		return k
	}
	query := x.url.Query()
	to, err := url.Parse(x.responseHeader.Get("Location"))
	if err != nil || x.status < 300 || x.status >= 400 {
		to = &url.URL{}
	}
	next := to.Query()
	switch {
	case next.Get("response_type") == "code" && strings.Contains(" "+next.Get("scope")+" ", " uma_protection "):
		return toGrant
	case next.Get("response_type") == "code":
		return toSignIn
	case next.Has("post_logout_redirect_uri"):
		return toLogout
	case query.Has("code") && query.Has("state") && x.to.ID != "server":
		return cameBack
	case x.to.ID == "server" && x.method == http.MethodPost && (x.form.Has("person") || x.form.Has("decision")) && x.status < 400:
		return decided
	case x.status >= 500:
		return failed
	}
	return none
}

// grantKind judges token requests.
func (x *exchange) grantKind() Kind {
	ok := x.status < 300
	scope, _ := x.answer["scope"].(string)
	protection := strings.Contains(" "+scope+" ", " uma_protection ")
	switch grant := x.form.Get("grant_type"); {
	case grant == "urn:ietf:params:oauth:grant-type:uma-ticket":
		return x.ticketKind()
	case !ok:
		return misfit
	case grant == "authorization_code" && protection:
		return gotPAT
	case grant == "authorization_code":
		return loggedIn
	case grant == "refresh_token":
		return renewed
	case grant == "client_credentials":
		return ownPAT
	}
	return none
}

// ticketKind judges the answers of UMA Grant §3.3.5 and §3.3.6, and Keycloak's.
func (x *exchange) ticketKind() Kind {
	code, _ := x.answer["error"].(string)
	description, _ := x.answer["error_description"].(string)
	switch {
	case x.status < 300 && x.answer["upgraded"] == true:
		return upgraded
	case x.status < 300:
		return granted
	case code == "need_info":
		return needInfo
	case code == "request_submitted", code == "access_denied" && description == "request_submitted":
		return submitted
	case code == "request_denied", code == "access_denied":
		return denied
	}
	return misfit
}
