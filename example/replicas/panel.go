//go:build unix

package replicas

import (
	_ "embed"
	"html/template"
	"strings"
	"sync"
)

const (
	// statesHeader tells a replica how all are. Only the front sets it.
	statesHeader = "X-Replica-States"
	// replicaHeader names the replica that made an answer.
	replicaHeader = "X-Replica"
	// controlPath is where the buttons are sent, with the number of a replica
	// behind it. The front answers there.
	controlPath = "/demo/replicas/"
)

var (
	//go:embed panel.html
	panelText string
	//go:embed states.html
	statesText string
	//go:embed intro.html
	introText string

	panelPage  = template.Must(template.New("panel").Parse(panelText))
	statesList = template.Must(template.New("states").Parse(statesText))
	introPage  = template.Must(template.New("intro").Parse(introText))
)

// line is one replica in the panel.
type line struct {
	Number   int
	State    state
	Answered bool
	Action   string
	To       state // what the button makes of it, "" for no button
}

// panel is what stands beside every page. Number is the replica that answers, 0
// for the front itself.
func panel(number int) template.HTML {
	return fill(panelPage, struct{ Number int }{number})
}

// lamps shows how the replicas are. Answered is the one that made the page, and
// stream the one whose event stream it stands in. Either may be 0.
func lamps(answered, stream int, states []state) template.HTML {
	var lines []line
	for i, s := range states {
		l := line{Number: i + 1, State: s, Answered: i+1 == answered}
		l.Action = controlPath + template.URLQueryEscaper(l.Number)
		switch s {
		case running:
			l.To = ended
		case ended:
			l.To = running
		}
		lines = append(lines, l)
	}
	return fill(statesList, struct {
		Stream int
		Lines  []line
	}{stream, lines})
}

func fill(t *template.Template, data any) template.HTML {
	var b strings.Builder
	if err := t.Execute(&b, data); err != nil {
		return ""
	}
	return template.HTML(b.String())
}

// writeStates and readStates carry the states from the front to a replica.
func writeStates(all []*replica) string {
	states := make([]string, len(all))
	for i, r := range all {
		states[i] = string(r.now())
	}
	return strings.Join(states, ",")
}

// A board has the states that a replica heard of last. It is safe for
// concurrent use.
type board struct {
	mu      sync.Mutex
	text    string
	changed chan struct{} // closed at the next change; nil if nobody waits
}

// hear takes note of the states that came with a request.
func (b *board) hear(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if text == b.text {
		return
	}
	b.text = text
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}

func (b *board) states() []state {
	b.mu.Lock()
	defer b.mu.Unlock()
	return readStates(b.text)
}

// Changed returns a channel that is closed at the next change.
func (b *board) Changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed == nil {
		b.changed = make(chan struct{})
	}
	return b.changed
}

func readStates(text string) []state {
	var states []state
	for s := range strings.SplitSeq(text, ",") {
		switch s := state(s); s {
		case starting, running, ending, ended:
			states = append(states, s)
		}
	}
	return states
}
