package session_test

import (
	"errors"
	"testing"
	"time"

	"example.com/gatehouse/internal/session"
)

// A mark that cannot be read may have stood for a logout: nobody is signed in
// under it, and the next sign-in makes it readable again, after one more round.
// A mark of a newer version is left alone.
func TestUnreadableMark(t *testing.T) {
	for name, c := range map[string]struct {
		value []byte
		want  error
	}{
		"text":  {[]byte("somebody else's value"), session.ErrGarbage},
		"empty": {[]byte{}, session.ErrGarbage},
		"newer": {append([]byte{session.Version + 1, 0}, make([]byte, 40)...), session.ErrUnreadable},
	} {
		for i := range 2 {
			t.Run(name, func(t *testing.T) {
				w, ctx := newWorld(0), t.Context()
				rec, ref := w.login(t)
				key := session.MarkKey(rec.Marks[i].Name)
				if _, err := w.store.SwapCtx(ctx, key, nil, c.value, w.clock.Add(time.Hour)); err != nil {
					t.Fatal(err)
				}
				if _, err := w.a.Load(ctx, ref); !errors.Is(err, c.want) {
					t.Errorf("a request: %v", err)
				}
				w.clock = w.clock.Add(time.Minute)
				next := w.record(w.clock)
				again, err := w.a.ReadMarks(ctx, next, next.Begin, carriesNone)
				if c.want == session.ErrUnreadable {
					if !errors.Is(err, c.want) {
						t.Errorf("a sign-in: %v", err)
					}
					return
				}
				if err != nil || !again {
					t.Fatalf("a sign-in: again %v, %v", again, err)
				}
				if _, err := w.a.ReadMarks(ctx, next, next.Begin, carriesNone); err != nil {
					t.Fatal(err)
				}
				known := next.Marks
				again, err = w.a.ReadMarks(ctx, next, next.Begin, func(m session.Mark) bool { return m == known[0] || m == known[1] })
				if err != nil || again {
					t.Errorf("the next round: again %v, %v", again, err)
				}
				if signedIn(t, w.a, ref) {
					t.Error("the old session lives again")
				}
			})
		}
	}
}

// A mark of an older build has no end. Raised, it counts as one for the longest
// session; laid down by a sign-in alone, it lives as long as that one.
func TestMarkWithoutAnEnd(t *testing.T) {
	for name, c := range map[string]struct {
		number uint64
		life   time.Duration
	}{
		"raised": {1, 400 * 24 * time.Hour}, "laid down": {0, 12 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			w, ctx := newWorld(0), t.Context()
			rec := w.record(w.clock)
			key := session.MarkKey(rec.Marks[0].Name)
			old := session.EncodeMark(c.number, w.clock)[:session.HeadSize+8]
			if _, err := w.store.SwapCtx(ctx, key, nil, old, w.clock.Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			if _, err := w.a.ReadMarks(ctx, rec, rec.Begin, carriesNone); err != nil {
				t.Fatal(err)
			}
			values, err := w.store.FindManyCtx(ctx, []string{key})
			if err != nil {
				t.Fatal(err)
			}
			end, err := session.MarkEnd(values[0])
			if life := end.Sub(w.clock); err != nil || life < c.life || life > c.life+time.Hour || rec.Marks[0].Number != c.number {
				t.Errorf("it lives %v with the number %d, %v", life, rec.Marks[0].Number, err)
			}
		})
	}
}
