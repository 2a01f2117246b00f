package paired

import (
	"fmt"
	"strings"
)

// Table is the result of a measurement.
type Table struct{ rows []Row }

// Row is the cost of one operation of a subject.
type Row struct {
	Name          string
	Allocs, Bytes float64 // objects and bytes of the heap, in the mean

	nanos []float64 // one figure a round
}

// Micros is the time of an operation in microseconds. It depends on the machine
// and the moment, so compare by Ratio.
func (r Row) Micros() Spread {
	s := spread(r.nanos)
	return Spread{s.Low / 1e3, s.Median / 1e3, s.High / 1e3}
}

func (t *Table) row(name string) (Row, bool) {
	for _, r := range t.rows {
		if r.Name == name {
			return r, true
		}
	}
	return Row{}, false
}

// Row returns the row of a subject, or an error if there is none.
func (t *Table) Row(name string) (Row, error) {
	r, ok := t.row(name)
	if !ok {
		return Row{}, fmt.Errorf("paired: no subject is called %q", name)
	}
	return r, nil
}

// Ratio is the cost of subject as a multiple of peer's, computed inside each
// round.
func (t *Table) Ratio(subject, peer string) (Spread, error) {
	a, err := t.Row(subject)
	if err != nil {
		return Spread{}, err
	}
	b, err := t.Row(peer)
	if err != nil {
		return Spread{}, err
	}
	ratios := make([]float64, len(a.nanos))
	for i := range ratios {
		ratios[i] = a.nanos[i] / b.nanos[i]
	}
	return spread(ratios), nil
}

// Markdown writes the table for a README, with a column of ratios for each of
// the peers.
func (t *Table) Markdown(peers ...string) string {
	var b strings.Builder
	b.WriteString("| subject | µs |")
	for _, p := range peers {
		fmt.Fprintf(&b, " × %s |", p)
	}
	b.WriteString(" allocs | bytes |\n|---|--:|" + strings.Repeat("--:|", len(peers)+2) + "\n")
	for _, r := range t.rows {
		fmt.Fprintf(&b, "| %s | %.3g |", r.Name, r.Micros().Median)
		for _, p := range peers {
			switch s, err := t.Ratio(r.Name, p); {
			case err != nil:
				b.WriteString(" |")
			case p == r.Name:
				b.WriteString(" 1 |")
			default:
				fmt.Fprintf(&b, " %s |", s)
			}
		}
		fmt.Fprintf(&b, " %.0f | %.0f |\n", r.Allocs, r.Bytes)
	}
	return b.String()
}
