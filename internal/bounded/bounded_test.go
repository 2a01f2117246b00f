package bounded_test

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse/internal/bounded"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func put(m *bounded.Memory[string], name string, size int, until time.Time) *string {
	return m.Put(bounded.KeyOf(name), size, now, until, func(v *string) { *v = name })
}

func kept(m *bounded.Memory[string], at time.Time, names ...string) (list []string) {
	for _, name := range names {
		if v := m.Get(bounded.KeyOf(name), at); v != nil && *v == name {
			list = append(list, name)
		}
	}
	return list
}

func TestKeyOf(t *testing.T) {
	for _, n := range []int{0, 1, 511, 512, 513, 5000} {
		token := strings.Repeat("a", n)
		if bounded.KeyOf(token) != sha256.Sum256([]byte(token)) {
			t.Errorf("%d bytes: not the SHA-256", n)
		}
	}
}

// Expired values go first, then the oldest.
func TestMemoryIsBounded(t *testing.T) {
	m := bounded.New[string](100)
	put(m, "short", 40, now.Add(time.Second))
	put(m, "a", 30, now.Add(time.Hour))
	put(m, "b", 30, now.Add(time.Hour))
	if got := fmt.Sprint(kept(m, now, "short", "a", "b")); got != "[short a b]" {
		t.Errorf("kept %s", got)
	}
	if got := fmt.Sprint(kept(m, now.Add(time.Second), "short", "a")); got != "[a]" {
		t.Errorf("after a second: %s", got)
	}
	put(m, "c", 60, now.Add(time.Hour))
	if got := fmt.Sprint(kept(m, now, "short", "a", "b", "c")); got != "[b c]" {
		t.Errorf("when full: %s", got)
	}
	put(m, "huge", 1000, now.Add(time.Hour))
	if got := fmt.Sprint(kept(m, now, "b", "c", "huge")); got != "[huge]" {
		t.Errorf("beside a huge one: %s", got)
	}
}

// A value that was replaced meanwhile is not forgotten.
func TestMemoryForgets(t *testing.T) {
	m := bounded.New[string](100)
	old := put(m, "a", 10, now.Add(time.Hour))
	put(m, "a", 10, now.Add(time.Hour))
	m.Forget(bounded.KeyOf("a"), old)
	if len(kept(m, now, "a")) != 1 {
		t.Error("the new value is gone")
	}
	m.Forget(bounded.KeyOf("a"), m.Get(bounded.KeyOf("a"), now))
	if len(kept(m, now, "a")) != 0 {
		t.Error("it is still there")
	}
}

// Whatever was put, replaced and forgotten before, the newest value of each key
// is found, also by those who read meanwhile.
func TestMemoryFindsTheNewest(t *testing.T) {
	const keys, puts = 300, 20_000
	m := bounded.New[string](200) // holds 200 of size 1
	random := rand.New(rand.NewPCG(1, 2))
	newest, order := map[string]*string{}, []string{}
	var readers sync.WaitGroup
	done := make(chan struct{})
	readers.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			default:
			}
			name := fmt.Sprint(n % keys)
			if v := m.Get(bounded.KeyOf(name), now); v != nil && *v != name {
				t.Errorf("under %s is %s", name, *v)
				return
			}
		}
	})
	for range puts {
		name := fmt.Sprint(random.IntN(keys))
		if random.IntN(4) == 0 {
			m.Forget(bounded.KeyOf(name), newest[name])
			delete(newest, name)
			continue
		}
		newest[name] = put(m, name, 1, now.Add(time.Hour))
		if order = append(order, name); len(order) > 200 {
			gone := order[0]
			if order = order[1:]; !slices.Contains(order, gone) {
				delete(newest, gone)
			}
		}
	}
	close(done)
	readers.Wait()
	for n := range keys {
		name := fmt.Sprint(n)
		if got := m.Get(bounded.KeyOf(name), now); got != newest[name] {
			t.Errorf("%s: another value than the newest", name)
		}
	}
}
