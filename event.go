package gatehouse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/gatehouse/internal/flight"
	"example.com/gatehouse/internal/navigation"
	"example.com/gatehouse/internal/outbound"
)

// EventName is the name of a kind of event. It is a noun.
type EventName string

// The names of events.
const (
	EventLogin          EventName = "login"           // a sign-in ended in a session
	EventRefusal        EventName = "refusal"         // a sign-in, callback or request was refused
	EventRefresh        EventName = "refresh"         // a session's tokens were renewed; if Code is set, they were not
	EventLogout         EventName = "logout"          // this process ended a session
	EventTicket         EventName = "ticket"          // a permission ticket was issued; if Code is set, it was not
	EventRPT            EventName = "rpt"             // a requesting party token was obtained; if Code is set, it was not
	EventDenial         EventName = "denial"          // a request lacked a permission, or an owner's grant ended
	EventRegistration   EventName = "registration"    // a resource was registered, updated or forgotten; if Code is set, a call failed
	EventClient         EventName = "client"          // a client registered itself, or was adopted, renewed, updated or removed; Code names it
	EventInsecureOption EventName = "insecure_option" // an option that weakens security is on; Code names it; sent once, at start
	EventTrouble        EventName = "trouble"         // something failed, but no request was refused for it; Code names it
	EventPanic          EventName = "panic"           // code of the application panicked; Err names the type of the panic value
)

// The codes of EventTrouble. docs/errors.md explains them.
const (
	troubleMetadata      = "metadata_outage"
	troubleDocument      = "metadata_unusable"
	troubleMember        = "metadata_defect"
	troubleKey           = "skipped_key"
	troubleKeyUse        = "other_key_use"
	troubleServiceToken  = "service_token_outage"
	troubleServiceClient = "service_token_refused"
	troubleClientSecret  = "client_secret_outage"
	troubleRevocation    = "unrevoked_token"
	troubleRevoker       = "revocation_refused"
	troubleGarbage       = "garbage_record"
	troubleUnsealed      = "unsealed_grant"
	troubleIdle          = "idle_time_loss"
	troubleList          = "unlisted_session"
	troubleClaims        = "old_claims"
	troubleEnd           = "end_loss"
	troubleTicket        = "long_ticket"
	troubleClaim         = "defective_claim"
	troubleSource        = "claim_source"
	troubleAnswer        = "defective_token_answer"
	troubleHost          = "other_host"
	troubleReturnPath    = "dropped_return_path"
	troubleOrphan        = "orphan_client"
	troubleChanged       = "changed_client_metadata"
)

// The codes of events that are no failure.
const (
	logoutLocal        = "local"        // the person signed out here alone
	logoutBackchannel  = "backchannel"  // the provider sent a logout token; once for all sessions that it names
	logoutFrontchannel = "frontchannel" // the provider's page in a browser did; once for all of them
	logoutRevoked      = "revoked"      // Revoke or RevokeAll ended the session
	logoutReplaced     = "replaced"     // the next sign-in in the same browser did
	logoutOldest       = "oldest"       // the person signed in once more and already had 100 sessions
	rptNeedInfo        = "need_info"
	rptSubmitted       = "request_submitted"

	clientRegistered = "registered"
	clientRenewed    = "renewed"
	clientUpdated    = "updated"
	clientRemoved    = "removed"
)

// Event is one thing that happened, for logs, metrics and audit. It never
// holds a secret.
type Event struct {
	Name     EventName // what happened
	Time     time.Time // when it happened, by the provider's clock
	Code     string    // code of the *Error or of the trouble, "" for success
	ID       string    // the Error.ID of the answer, if there was one
	Method   string    // of the request that was refused
	Path     string    // of that request, as the client sent it, shortened, without the query
	Issuer   string    // the provider's issuer
	Subject  string    // the person, if known
	ClientID string    // the client, if known
	Resource string    // UMA resource id
	Err      error     // the cause, as in Error.Err; nil for success
}

// emit writes e to the log and passes it to the Events hook. Every event goes
// through here, so both always get the same events, with the issuer. Both may
// hang, so callers hold no lock. If ctx is that of a flight, both are called
// when all who share the flight have its result.
func (p *Provider) emit(ctx context.Context, e Event) { p.tell(ctx, levelOf(e), e) }

// emitFor is emit for what became of one request. The query is left out,
// because that of a callback holds the code and the state.
func (p *Provider) emitFor(r *http.Request, e Event) {
	path, _, _ := strings.Cut(navigation.Address(r), "?")
	e.Method, e.Path = clip(r.Method), clip(path)
	p.emit(r.Context(), e)
}

// levels has the level in the log of each code that is not at the default,
// WARN. The level follows the code alone, so that an alert on one level finds
// the same failures always.
//
//   - ERROR is a mistake in the program, in its configuration or in its
//     registration at the provider. It stays until somebody mends it.
//   - WARN is what an attack, a fault or an outage looks like.
//   - INFO happens to honest people every day.
var levels = map[string]slog.Level{
	errInternal.code:        slog.LevelError,
	errNotMounted.code:      slog.LevelError,
	errAuthRequest.code:     slog.LevelError,
	errLogoutURL.code:       slog.LevelError,
	errCertificate.code:     slog.LevelError,
	errMetadataMissing.code: slog.LevelError,
	errMetadataInvalid.code: slog.LevelError,
	errMetadataIssuer.code:  slog.LevelError,
	errClientRefused.code:   slog.LevelError,
	errRecordTooLarge.code:  slog.LevelError,
	errGrantTooLarge.code:   slog.LevelError,
	errNeedInvalid.code:     slog.LevelError,
	errResourceInvalid.code: slog.LevelError,
	errClientAuth.code:      slog.LevelError,
	errResponseKind.code:    slog.LevelError,
	errEndpoint.code:        slog.LevelError,
	errKeys.code:            slog.LevelError,
	errUserInfoAccess.code:  slog.LevelError,
	errTicketMistake.code:   slog.LevelError,
	troubleDocument:         slog.LevelError,
	troubleServiceClient:    slog.LevelError,
	troubleRevoker:          slog.LevelError,
	troubleOrphan:           slog.LevelError,

	errRegistrationRefused.code:    slog.LevelError,
	errRegistrationUnusable.code:   slog.LevelError,
	errRegistrationUnreadable.code: slog.LevelError,
	errRegistrationDeleted.code:    slog.LevelError,
	errRegistrationNone.code:       slog.LevelError,

	errLoginRequired.code:  slog.LevelInfo,
	errTokenRequired.code:  slog.LevelInfo,
	errStepUp.code:         slog.LevelInfo,
	errTokenEnded.code:     slog.LevelInfo,
	errNoNavigation.code:   slog.LevelInfo,
	errNotFound.code:       slog.LevelInfo,
	errMethod.code:         slog.LevelInfo,
	errStateMissing.code:   slog.LevelInfo,
	errAttemptExpired.code: slog.LevelInfo,
	errStateUsed.code:      slog.LevelInfo,
	errInteraction.code:    slog.LevelInfo,
	errSuperseded.code:     slog.LevelInfo,
	errPermission.code:     slog.LevelInfo,
	errProofNonce.code:     slog.LevelInfo,

	errClaimsNeeded.code:       slog.LevelInfo,
	errClaimsSent.code:         slog.LevelInfo,
	errClaimsStateMissing.code: slog.LevelInfo,
	errClaimsExpired.code:      slog.LevelInfo,
	errClaimsStateUsed.code:    slog.LevelInfo,
	errClaimsNotGiven.code:     slog.LevelInfo,
	errClaimsSubmitted.code:    slog.LevelInfo,

	troubleKeyUse:      slog.LevelInfo,
	logoutLocal:        slog.LevelInfo,
	logoutBackchannel:  slog.LevelInfo,
	logoutFrontchannel: slog.LevelInfo,
	logoutRevoked:      slog.LevelInfo,
	logoutReplaced:     slog.LevelInfo,
	logoutOldest:       slog.LevelInfo,
	rptNeedInfo:        slog.LevelInfo,
	rptSubmitted:       slog.LevelInfo,
	clientRegistered:   slog.LevelInfo,
	clientRenewed:      slog.LevelInfo,
	clientUpdated:      slog.LevelInfo,
	clientRemoved:      slog.LevelInfo,
}

// levelOf returns the level of an event in the log.
func levelOf(e Event) slog.Level {
	if level, ok := levels[e.Code]; ok {
		return level
	}
	if e.Code == "" && e.Err == nil {
		return slog.LevelInfo
	}
	return slog.LevelWarn
}

// isMistake reports whether somebody has to mend the program or its
// configuration, because waiting does not help.
func isMistake(code string) bool { return levels[code] == slog.LevelError }

// firsts remembers what was logged once and need not be again, such as a value
// of a store that cannot be read. The zero value is ready to use.
type firsts struct {
	mu   sync.Mutex
	keys []string // newest last
}

// maxUnread is how many values that cannot be read are remembered, so that each
// is logged once.
const maxUnread = 256

// first reports whether key is met for the first time.
func (f *firsts) first(key string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if slices.Contains(f.keys, key) {
		return false
	}
	f.keys = append(f.keys[max(0, len(f.keys)-maxUnread+1):], key)
	return true
}

// troubleOf returns the code of a trouble: outage, or mistaken if waiting does
// not help.
func troubleOf(err error, outage, mistaken string) string {
	if mistake(err) != nil {
		return mistaken
	}
	return outage
}

// logAlone logs a refusal that belongs to no provider, because the identity is
// one of the application's own.
func logAlone(r *http.Request, e *Error) {
	path, _, _ := strings.Cut(navigation.Address(r), "?")
	attrs := []slog.Attr{slog.String("code", e.Code), slog.String("id", e.ID), slog.String("method", clip(r.Method)), slog.String("path", clip(path))}
	if e.subject != "" {
		attrs = append(attrs, slog.String("subject", e.subject))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.String("error", e.Err.Error()))
	}
	slog.Default().LogAttrs(r.Context(), levelOf(Event{Code: e.Code, Err: e.Err}), "gatehouse: "+string(EventRefusal), attrs...)
}

// emitPanic reports a panic. Only the log gets the stack. The panic value is
// reported nowhere, because its text may quote a secret (RL8).
func (p *Provider) emitPanic(ctx context.Context, value any, stack []byte) {
	p.tell(ctx, slog.LevelError, Event{Name: EventPanic, Err: panicked(value)}, slog.String("stack", string(stack)))
}

// panicked returns an error that names the type of a panic value, but not the
// value.
func panicked(value any) error { return fmt.Errorf("panic of type %T", value) }

func (p *Provider) tell(ctx context.Context, level slog.Level, e Event, more ...slog.Attr) {
	e.Time, e.Issuer = p.now(), p.issuer
	attrs := append(make([]slog.Attr, 0, 9+len(more)), slog.String("issuer", e.Issuer))
	add := func(name, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(name, value))
		}
	}
	add("code", e.Code)
	add("id", e.ID)
	add("method", e.Method)
	add("path", e.Path)
	add("subject", e.Subject)
	add("client_id", e.ClientID)
	add("resource", e.Resource)
	if e.Err != nil {
		add("error", e.Err.Error())
	}
	flight.After(ctx, func(ctx context.Context) {
		p.logger.LogAttrs(ctx, level, "gatehouse: "+string(e.Name), append(attrs, more...)...)
		p.describe(ctx, e)
		if p.events != nil {
			p.events(ctx, e)
		}
	})
}

// describe writes what a server said about a refused request or refresh to the
// log, in a line of its own at DEBUG. No hook gets it: it is redacted, but it is
// still free text of somebody else. That of an exchange is left out, because it
// may be about the person and their claims.
func (p *Provider) describe(ctx context.Context, e Event) {
	said, ok := errors.AsType[outbound.Detailed](e.Err)
	if !ok || e.Name != EventRefusal && e.Name != EventRefresh && e.Name != EventTicket || !p.logger.Enabled(ctx, slog.LevelDebug) {
		return
	}
	if text := said.Detail(); text != "" {
		p.logger.LogAttrs(ctx, slog.LevelDebug, "gatehouse: description", slog.String("issuer", e.Issuer),
			slog.String("code", e.Code), slog.String("id", e.ID), slog.String("description", text))
	}
}
