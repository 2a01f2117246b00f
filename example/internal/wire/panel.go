package wire

import (
	"crypto/rand"
	_ "embed"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

//go:embed panel.html
var panelText string

var panel = template.Must(template.New("panel").Parse(panelText))

// Switch is the button that stops and starts the authorization server.
type Switch struct {
	Running bool
	Action  string // where its form is posted to
	Address string // of the server
}

// Step is one click as the panel shows it.
type Step struct {
	Title    string
	Messages []Message
}

// Panel writes what the browser of r caused: its latest click in full, and
// earlier ones folded. If button is nil, the button is left out.
func (rec *Recorder) Panel(r *http.Request, button *Switch) template.HTML {
	var latest *Step
	steps := rec.Steps(r)
	if n := len(steps); n > 0 {
		latest, steps = &steps[n-1], steps[:n-1]
		slices.Reverse(steps)
	}
	var b strings.Builder
	err := panel.Execute(&b, struct {
		Latest  *Step
		Earlier []Step
		Others  []Step
		Button  *Switch
	}{latest, steps, rec.strangers(), button})
	if err != nil {
		return "The messages cannot be shown."
	}
	return template.HTML(b.String())
}

// Steps returns what the browser of r caused, oldest first. Clicks without a
// protocol message are left out, except the latest.
func (rec *Recorder) Steps(r *http.Request) []Step {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	var t *thread
	if v, ok := r.Context().Value(visitKey{}).(*visit); ok {
		t = v.thread
	} else if c, err := r.Cookie(cookie); err == nil && len(c.Value) == len(rand.Text()) {
		t = rec.threads[hashOf(c.Value)]
	}
	if t == nil || t == rec.common {
		return nil
	}
	return t.shown(true)
}

func (rec *Recorder) strangers() []Step {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return rec.common.shown(false)
}

// shown copies the steps. The lock is held.
func (t *thread) shown(latest bool) []Step {
	var out []Step
	for i, s := range t.steps {
		copied := Step{Title: s.title, Messages: shownCalls(s.calls)}
		number(copied.Messages, 1)
		if len(copied.Messages) > 0 || (latest && i == len(t.steps)-1) {
			out = append(out, copied)
		}
	}
	return out
}

// number numbers messages as the diagrams do, from next on. It returns the
// number after the last one.
func number(messages []Message, next int) int {
	for i := range messages {
		messages[i].Number = next
		next = number(messages[i].Inner, next+1)
	}
	return next
}

// shownCalls copies the calls that say something about the protocol. A request
// that says nothing itself, such as that for the page, is replaced by the calls
// that it took to answer it.
func shownCalls(calls []*call) []Message {
	var out []Message
	for _, c := range calls {
		inner := shownCalls(c.inner)
		if c.message.Kind == none {
			out = append(out, inner...)
			continue
		}
		m := c.message
		m.Inner = inner
		if n := len(out); n > 0 && out[n-1].like(m) {
			out[n-1].Again = append(out[n-1].Again, m.Request.Line)
			continue
		}
		out = append(out, m)
	}
	return out
}

// like reports whether a message is like the one before it, except for its
// address.
func (m Message) like(o Message) bool {
	return o.Kind == used && m.Kind == used && m.From == o.From && m.To == o.To && len(o.Inner) == 0 &&
		slices.Equal(m.Request.Lines, o.Request.Lines) && m.Response.Line == o.Response.Line && len(o.Response.Lines) == 0
}

// count is how many messages a step has, inner ones included.
func count(messages []Message) int {
	n := len(messages)
	for _, m := range messages {
		n += count(m.Inner) + len(m.Again)
	}
	return n
}

// Count says how many messages the step has.
func (s Step) Count() string {
	n := count(s.Messages)
	if n == 1 {
		return "1 message"
	}
	return strconv.Itoa(n) + " messages"
}
