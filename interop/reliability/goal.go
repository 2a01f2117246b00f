package reliability

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Goal is one of the figures that docs/reliability.md promises.
type Goal struct {
	ID    string
	Title string
	// Peers says that bare scs can be measured in the same way.
	Peers bool
	// Alone says that its limits are about short times, so that nothing else may
	// run beside it. Waits says that it mostly waits, and disturbs nobody.
	Alone, Waits bool

	run func(context.Context, *Run) error
}

// Goals returns all goals, in the order in which they disturb each other least.
func Goals() []Goal {
	return []Goal{
		{ID: "G6", Title: "a start without the provider", Waits: true, run: lateProvider},
		{ID: "G9", Title: "the cost of a session", Peers: true, Alone: true, run: sessionCost},
		{ID: "G12", Title: "a flood of sign-ins that begin", Peers: true, Alone: true, run: startFlood},
		{ID: "G5", Title: "a provider that is away", Alone: true, run: providerAway},
		{ID: "G8", Title: "logout is fast and final", Peers: true, Alone: true, run: logoutFinal},
		{ID: "G2", Title: "a store that hangs", Peers: true, Alone: true, run: hangs},
		{ID: "G1", Title: "a restart of the store loses no login", Peers: true, Alone: true, run: restarts},
		{ID: "G7", Title: "one refresh at a time", Peers: true, run: refreshOnce},
		{ID: "G13", Title: "everything at once, for a while", run: soak},
		{ID: "G14", Title: "rolling restarts of two builds", run: rolling},
	}
}

// GoalNamed returns the goal with that id.
func GoalNamed(id string) (Goal, bool) {
	all := Goals()
	i := slices.IndexFunc(all, func(g Goal) bool { return g.ID == id })
	if i < 0 {
		return Goal{}, false
	}
	return all[i], true
}

// shortPart is the part of the full scale that a short form has at least.
const shortPart = 20

// A Run is one run of a goal.
type Run struct {
	// Full is the full scale.
	Full bool
	// Kind is what the site is made with.
	Kind string
	// Programs builds the site.
	Programs *Programs
	// Stores are the databases to run on, "redis" and "postgres".
	Stores []string
	// Note takes what is worth saying while it runs; nil drops it.
	Note func(format string, args ...any)

	figures figures
}

// Do runs a goal and returns its figures. The error says why they could not be
// measured; that a limit is missed is no error.
func (g Goal) Do(ctx context.Context, r *Run) ([]Figure, error) {
	err := g.run(ctx, r)
	return r.figures.list(), err
}

// of returns n at the full scale, and a twentieth of it in the short form.
func (r *Run) of(n int) int {
	if r.Full {
		return n
	}
	return (n + shortPart - 1) / shortPart
}

// during is of for a time, with a least time for the short form.
func (r *Run) during(full, least time.Duration) time.Duration {
	if r.Full {
		return full
	}
	return max(full/shortPart, least)
}

func (r *Run) note(format string, args ...any) {
	if r.Note != nil {
		r.Note(format, args...)
	}
}

// A Figure is one measured number and its limit.
type Figure struct {
	Name  string
	Value float64
	Unit  string // "" for a count
	Rule  Rule
	Limit float64
}

// Rule says how a figure is judged.
type Rule string

// The rules.
const (
	Shown   Rule = "" // only shown
	AtMost  Rule = "≤"
	AtLeast Rule = "≥"
	Exactly Rule = "="
)

// Met reports whether the figure keeps its limit.
func (f Figure) Met() bool {
	switch f.Rule {
	case AtMost:
		return f.Value <= f.Limit
	case AtLeast:
		return f.Value >= f.Limit
	case Exactly:
		return f.Value == f.Limit
	}
	return true
}

// Worse reports whether the figure is further from its limit than another one
// of the same name.
func (f Figure) Worse(other Figure) bool {
	switch f.Rule {
	case AtLeast:
		return f.Value < other.Value
	case Exactly:
		return !f.Met() && other.Met()
	}
	return f.Value > other.Value
}

// String is "lost 0 (= 0)".
func (f Figure) String() string {
	text := f.Name + " " + number(f.Value, f.Unit)
	if f.Rule != Shown {
		text += fmt.Sprintf(" (%s %s)", f.Rule, number(f.Limit, f.Unit))
	}
	if !f.Met() {
		text += " MISSED"
	}
	return text
}

func number(v float64, unit string) string {
	text := fmt.Sprintf("%.3f", v)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	if unit != "" {
		text += " " + unit
	}
	return text
}

// Line is the figures of a run on one line.
func Line(all []Figure) string {
	parts := make([]string, len(all))
	for i, f := range all {
		parts[i] = f.String()
	}
	return strings.Join(parts, "; ")
}

// Missed returns the figures that miss their limits.
func Missed(all []Figure) []Figure {
	var out []Figure
	for _, f := range all {
		if !f.Met() {
			out = append(out, f)
		}
	}
	return out
}

// Worst returns the worst of each figure over several runs.
func Worst(runs [][]Figure) []Figure {
	var out []Figure
	for _, run := range runs {
		for _, f := range run {
			i := slices.IndexFunc(out, func(o Figure) bool { return o.Name == f.Name })
			switch {
			case i < 0:
				out = append(out, f)
			case f.Worse(out[i]):
				out[i] = f
			}
		}
	}
	return out
}
