package gatehouse

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"example.com/gatehouse/internal/flight"
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
	EventInsecureOption EventName = "insecure_option" // an option that weakens security is on; Code names it; sent once, at start
	EventTrouble        EventName = "trouble"         // something failed, but no request was refused for it; Code names it
	EventPanic          EventName = "panic"           // code of the application panicked; Err names the type of the panic value
)

// The codes of EventTrouble. docs/errors.md explains them.
const (
	troubleMetadata     = "metadata_outage"
	troubleServiceToken = "service_token_outage"
	troubleRevocation   = "unrevoked_token"
	troubleGarbage      = "garbage_record"
	troubleIdle         = "idle_time_loss"
	troubleList         = "unlisted_session"
	troubleTicket       = "long_ticket"
)

// Event is one thing that happened, for logs, metrics and audit. It never
// holds a secret.
type Event struct {
	Name     EventName // what happened
	Time     time.Time // when it happened, by the provider's clock
	Code     string    // code of the *Error or of the trouble, "" for success
	ID       string    // the Error.ID of the answer, if there was one
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
func (p *Provider) emit(ctx context.Context, e Event) {
	level := slog.LevelInfo
	if e.Err != nil {
		level = slog.LevelWarn
	}
	p.tell(ctx, level, e)
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
	attrs := []slog.Attr{slog.String("issuer", e.Issuer)}
	add := func(name, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(name, value))
		}
	}
	add("code", e.Code)
	add("id", e.ID)
	add("subject", e.Subject)
	add("client_id", e.ClientID)
	add("resource", e.Resource)
	if e.Err != nil {
		add("error", e.Err.Error())
	}
	flight.After(ctx, func(ctx context.Context) {
		p.logger.LogAttrs(ctx, level, "gatehouse: "+string(e.Name), append(attrs, more...)...)
		if p.events != nil {
			p.events(ctx, e)
		}
	})
}
