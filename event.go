package gatehouse

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// EventName names a kind of event, by a noun.
type EventName string

// The names of events.
const (
	EventLogin          EventName = "login"           // a sign-in ended in a session
	EventRefusal        EventName = "refusal"         // a sign-in, callback or request was refused
	EventRefresh        EventName = "refresh"         // a session's tokens were renewed, or not (Code)
	EventLogout         EventName = "logout"          // a session was ended here
	EventTicket         EventName = "ticket"          // a permission ticket was given out, or not (Code)
	EventRPT            EventName = "rpt"             // a requesting party token was obtained, or not (Code)
	EventDenial         EventName = "denial"          // a permission was missing
	EventRegistration   EventName = "registration"    // a resource was registered, updated or forgotten
	EventInsecureOption EventName = "insecure_option" // an option that weakens safety is on (Code); once, at start
	EventTrouble        EventName = "trouble"         // something failed that no request was refused for (Code)
	EventPanic          EventName = "panic"           // a part of the application panicked; Err names the type
)

// The codes of troubles. docs/errors.md explains them.
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
	Time     time.Time // by the provider's clock
	Code     string    // code of the *Error or of the trouble, "" when it went well
	ID       string    // the id on the page and in the log
	Issuer   string
	Subject  string
	ClientID string
	Resource string // UMA resource id
	Err      error  // the cause, as in Error.Err
}

// emit tells the log and the hook of e. It is the one edge to both: the issuer
// is always there, and what the hook gets the log has too. The caller holds no
// lock, for both may hang.
func (p *Provider) emit(ctx context.Context, e Event) {
	level := slog.LevelInfo
	if e.Err != nil {
		level = slog.LevelWarn
	}
	p.tell(ctx, level, e)
}

// emitPanic tells of a panic. The log alone gets the stack; the panic's text,
// which may quote anything, goes nowhere (RL8).
func (p *Provider) emitPanic(ctx context.Context, value any, stack []byte) {
	p.tell(ctx, slog.LevelError, Event{Name: EventPanic, Err: panicked(value)}, slog.String("stack", string(stack)))
}

// panicked says that something panicked, and not with what.
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
	p.logger.LogAttrs(ctx, level, "gatehouse: "+string(e.Name), append(attrs, more...)...)
	if p.events != nil {
		p.events(ctx, e)
	}
}
