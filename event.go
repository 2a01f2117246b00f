package gatehouse

import (
	"context"
	"log/slog"
	"time"
)

// The names of events.
const (
	EventLogin    = "login"     // a sign-in ended in a session
	EventRefused  = "refused"   // a sign-in, callback or request was refused
	EventRefresh  = "refreshed" // a session's tokens were renewed, or not (Code)
	EventLogout   = "logout"    // a session was ended here
	EventTicket   = "ticket"    // a permission ticket was given out, or not (Code)
	EventGrant    = "grant"     // a requesting party token was obtained, or not (Code)
	EventDenied   = "denied"    // a permission was missing
	EventRegister = "register"  // a resource was registered, updated or forgotten
	EventInsecure = "insecure"  // an option that weakens safety is on (Code); once, at start
)

// Event is one thing that happened, for logs, metrics and audit. It never
// holds a secret.
type Event struct {
	Name     string    // one of the Event… constants
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
	p.logger.LogAttrs(ctx, level, "gatehouse: "+e.Name, attrs...)
	if p.events != nil {
		p.events(ctx, e)
	}
}
