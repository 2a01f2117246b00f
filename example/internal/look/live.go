package look

import (
	"context"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"strings"
	"time"

	"example.com/gatehouse"
)

// Live is the part of a panel that changes while the page is open. Whoever is
// signed in gets it as an event stream.
type Live struct {
	// Show makes the content, for a page and for its stream.
	Show func(*http.Request) template.HTML
	// Changed returns a channel that is closed at the next change.
	Changed func() <-chan struct{}
}

// EventsPath and ScriptPath are where Events and Script have to be mounted.
const (
	EventsPath = "/events"
	ScriptPath = "/live.js"
)

const (
	// gatherTime is how long the stream waits for more after a change. One click
	// causes many messages.
	gatherTime = 100 * time.Millisecond
	// restTime is the longest silence of a stream. Proxies close silent
	// connections, and a browser that has gone is noticed only by writing.
	restTime = 15 * time.Second
	// retryTime is when a browser connects again after the stream has ended.
	retryTime = time.Second
)

// Events is the event stream behind the panel. It has to be behind a guard that
// lets everybody in, because a browser does not tell its script why a stream was
// refused. It ends when the person's session does.
func (l *Look) Events(w http.ResponseWriter, r *http.Request) {
	ctx := gatehouse.Live(r.Context())
	stream := http.NewResponseController(w)
	_ = stream.SetWriteDeadline(time.Time{}) // it goes on for longer than other answers
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	fmt.Fprintf(w, "retry: %d\n\n", retryTime.Milliseconds())
	if gatehouse.IdentityFrom(ctx) == nil {
		sendEvent(w, "end", gatehouse.CodeLoginRequired)
		return
	}
	var sent template.HTML
	for {
		changed := l.config.Live.Changed()
		if now := l.config.Live.Show(r); now != sent {
			sendEvent(w, "panel", string(now))
			sent = now
		} else {
			fmt.Fprint(w, ":\n\n")
		}
		if stream.Flush() != nil {
			return
		}
		rest := time.NewTimer(restTime)
		select {
		case <-changed:
			rest.Reset(gatherTime)
			select {
			case <-rest.C:
			case <-ctx.Done():
			}
		case <-rest.C:
		case <-ctx.Done():
		}
		rest.Stop()
		if ctx.Err() != nil {
			sendEvent(w, "end", gatehouse.ErrorCode(context.Cause(ctx)))
			return
		}
	}
}

// sendEvent writes one event. An error means that nobody listens any more, and
// shows at the next flush.
func sendEvent(w io.Writer, name, data string) {
	fmt.Fprintf(w, "event: %s\n", name)
	for line := range strings.SplitSeq(strings.ReplaceAll(data, "\r", ""), "\n") {
		fmt.Fprintf(w, "data: %s\n", line)
	}
	fmt.Fprint(w, "\n")
}

//go:embed live.js
var script string

// Script serves the script that shows what Events sends.
func Script(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	w.Header().Set("Cache-Control", "max-age=300")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = io.WriteString(w, script)
}
