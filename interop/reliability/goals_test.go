package reliability_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse/interop/reliability"
	"example.com/gatehouse/interop/reliability/site"
)

// patience bounds all goals together. It only finds what hangs: .ci/run judges
// the time.
const patience = 10 * time.Minute

// TestPrograms builds every replica that the goals need, so that the time of the
// compiler is not part of theirs.
func TestPrograms(t *testing.T) {
	programs, err := reliability.NewPrograms()
	if err != nil {
		t.Fatal(err)
	}
	defer programs.Close()
	build(t, programs)
}

func build(t *testing.T, programs *reliability.Programs) {
	t.Helper()
	for _, one := range []func(context.Context) (string, error){programs.Plain, programs.Old, programs.Raced} {
		if _, err := one(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestGoals runs every goal once at a twentieth of its full scale, and fails on
// the limits of the full scale. Goals that judge times run alone. The others run
// together at the end, and the one that mostly waits runs beside all.
func TestGoals(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	programs, err := reliability.NewPrograms()
	if err != nil {
		t.Fatal(err)
	}
	defer programs.Close()
	build(t, programs)
	run := func(goal reliability.Goal) {
		r := &reliability.Run{Kind: site.Gatehouse, Programs: programs, Stores: reliability.Stores(), Note: t.Logf}
		begin := time.Now()
		figures, err := goal.Do(ctx, r)
		t.Logf("%s, %v: %s", goal.ID, time.Since(begin).Round(time.Second), reliability.Line(figures))
		if err != nil {
			t.Errorf("%s (%s): %v", goal.ID, goal.Title, err)
		}
		if missed := reliability.Missed(figures); len(missed) > 0 {
			t.Errorf("%s (%s): %s", goal.ID, goal.Title, reliability.Line(missed))
		}
	}
	var waiting, together sync.WaitGroup
	defer waiting.Wait()
	var later []reliability.Goal
	for _, goal := range reliability.Goals() {
		switch {
		case goal.Waits:
			waiting.Go(func() { run(goal) })
		case goal.Alone:
			run(goal)
		default:
			later = append(later, goal)
		}
	}
	for _, goal := range later {
		together.Go(func() { run(goal) })
	}
	together.Wait()
}
