//go:build unix

package replicas

import (
	_ "embed"
	"html/template"
	"strings"
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
	//go:embed intro.html
	introText string

	panelPage = template.Must(template.New("panel").Parse(panelText))
	introPage = template.Must(template.New("intro").Parse(introText))
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
func panel(number int, states []state) template.HTML {
	var lines []line
	for i, s := range states {
		l := line{Number: i + 1, State: s, Answered: i+1 == number}
		l.Action = controlPath + template.URLQueryEscaper(l.Number)
		switch s {
		case running:
			l.To = ended
		case ended:
			l.To = running
		}
		lines = append(lines, l)
	}
	return fill(panelPage, struct {
		Number int
		Lines  []line
	}{number, lines})
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
