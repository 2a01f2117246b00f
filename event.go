package gatehouse

import (
	"context"
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

// Event is one thing that happened, for logs, metrics and audit. It never
// holds a secret.
type Event struct {
	Name     EventName // what happened
	Time     time.Time // by the provider's clock
	Code     string    // code of the *Error, "" when it went well
	ID       string    // the id on the page and in the log
	Issuer   string
	Subject  string
	ClientID string
	Resource string // UMA resource id
	Err      error  // the cause, as in Error.Err
}

// emit tells the hook and the log of e.
func (p *Provider) emit(ctx context.Context, e Event) {
	e.Time, e.Issuer = p.now(), p.issuer
	level := slog.LevelInfo
	if e.Err != nil {
		level = slog.LevelWarn
	}
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
	p.logger.LogAttrs(ctx, level, "gatehouse: "+string(e.Name), attrs...)
	if p.events != nil {
		p.events(ctx, e)
	}
}
