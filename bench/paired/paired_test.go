package paired_test

import (
	"crypto/sha256"
	"strings"
	"testing"

	"example.com/gatehouse/bench/paired"
)

// hashes is an operation whose cost is a known multiple of another one's.
func hashes(name string, n int) paired.Subject {
	block := make([]byte, 512)
	return paired.Loop(name, func() {
		for range n {
			sum := sha256.Sum256(block)
			copy(block, sum[:])
		}
	})
}

func TestRatio(t *testing.T) {
	table, err := paired.Hold(9, 4, []paired.Subject{hashes("ten", 10), hashes("one hundred", 100)}, []paired.Limit{
		{Subject: "one hundred", Peer: "ten", AtMost: 10},
		{Subject: "ten", Peer: "one hundred", AtMost: 0.1},
	})
	if err != nil {
		t.Error(err)
	}
	got, err := table.Ratio("one hundred", "ten")
	if err != nil || got.Low > got.Median || got.Median > got.High {
		t.Errorf("spread %v, %v", got, err)
	}
	if _, err := table.Ratio("ten", "none"); err == nil {
		t.Error("a ratio to nobody")
	}
}

func TestHoldFails(t *testing.T) {
	_, err := paired.Hold(paired.MinRounds, 2, []paired.Subject{hashes("ten", 10), hashes("twenty", 20)}, []paired.Limit{
		{Subject: "twenty", Peer: "ten", AtMost: 1},
		{Subject: "ten", Peer: "twenty", AtMost: 1},
		{Subject: "ten", Peer: "thirty", AtMost: 1},
	})
	if err == nil {
		t.Fatal("twice is not at most once")
	}
	for text, want := range map[string]bool{"twenty costs": true, "ten costs": false, `"thirty"`: true} {
		if strings.Contains(err.Error(), text) != want {
			t.Errorf("error %q, holds %q: %t", err, text, !want)
		}
	}
}

func TestMisuse(t *testing.T) {
	good := hashes("a", 1)
	for name, measure := range map[string]func() (*paired.Table, error){
		"no rounds":     func() (*paired.Table, error) { return paired.Measure(1, good) },
		"same name":     func() (*paired.Table, error) { return paired.Measure(paired.MinRounds, good, good) },
		"never started": func() (*paired.Table, error) { return paired.Measure(paired.MinRounds, still()) },
		"never stopped": func() (*paired.Table, error) { return paired.Measure(paired.MinRounds, endless()) },
	} {
		if _, err := measure(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func still() paired.Subject {
	return paired.Subject{Name: "still", Run: func(*paired.Watch, int) {}}
}

func endless() paired.Subject {
	return paired.Subject{Name: "endless", Run: func(w *paired.Watch, _ int) { w.Start() }}
}

// What a subject does while its watch is stopped is not counted. If it were,
// "paused" would cost eleven times "plain". Reading the clock is a system call,
// and part of every Start and Stop is counted. Here that happens three times in
// an operation, so the operation is long in comparison.
func TestPause(t *testing.T) {
	var kept []*[256]byte
	outer, aside := hashes("", 400), hashes("", 4000)
	table, err := paired.Hold(9, 4, []paired.Subject{
		hashes("plain", 400),
		{Name: "paused", Run: func(w *paired.Watch, n int) {
			for range n {
				outer.Run(w, 1)
				w.Start()
				resume := w.Pause()
				aside.Run(new(paired.Watch), 1)
				kept = append(kept[:0], new([256]byte))
				resume()
				w.Stop()
				w.Pause()()
			}
		}},
	}, []paired.Limit{{Subject: "paused", Peer: "plain", AtMost: 1.6}})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := table.Row("paused"); err != nil || r.Allocs != 0 {
		t.Errorf("%v allocations, %v; they were made while the watch stood", r.Allocs, err)
	}
}

func TestMarkdown(t *testing.T) {
	var sink []byte
	table, err := paired.Measure(paired.MinRounds,
		paired.Loop("lean", func() { clear(sink) }),
		paired.Loop("fat", func() { sink = make([]byte, 4096) }))
	if err != nil {
		t.Fatal(err)
	}
	text := table.Markdown("fat")
	lines := strings.Split(text, "\n")
	if len(lines) != 5 || lines[0] != "| subject | µs | × fat | allocs | bytes |" || lines[1] != "|---|--:|--:|--:|--:|" {
		t.Fatalf("table\n%s", text)
	}
	if !strings.HasSuffix(lines[2], " | 0 | 0 |") || !strings.HasSuffix(lines[3], " | 1 | 1 | 4096 |") {
		t.Errorf("rows\n%s", text)
	}
}

// A crowd makes as many calls as it is asked for, and those of different ops at
// the same time: each waits here for the other.
func TestCrowd(t *testing.T) {
	const n = 10
	meet := make(chan struct{})
	var one, other int
	paired.Crowd("both",
		func() { one++; meet <- struct{}{} },
		func() { other++; <-meet },
	).Run(new(paired.Watch), n)
	if one != n/2 || other != n/2 {
		t.Errorf("%d and %d calls, want %d of each", one, other, n/2)
	}
}
