package redisstore_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/testkit/backing"
)

// TestReads: the commands that read keys on one server. A busy session costs one
// MGET, and no change of a key goes unseen for that.
func TestReads(t *testing.T) {
	r, p := startOne(t, backing.RedisConfig{})
	store := p.open(t)
	keys := []string{keyOf(t, 0), keyOf(t, 1), keyOf(t, 2)}
	name := p.config().Prefix + keys[0]
	do := func(args ...string) string {
		t.Helper()
		answer, err := r.Do(t.Context(), args...)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(answer)
	}
	// reads expects values, "" for absent, and the calls of GET and MGET.
	reads := func(what string, gets, mgets int, want ...string) {
		t.Helper()
		do("CONFIG", "RESETSTAT")
		values, err := store.FindManyCtx(t.Context(), keys)
		for i, value := range values {
			if i >= len(want) {
				t.Errorf("%s: place %d has %.20q, want an error", what, i, value)
			} else if string(value) != want[i] || (value == nil) != (want[i] == "") {
				t.Errorf("%s: place %d has %.20q, want %q", what, i, value, want[i])
			}
		}
		if (err != nil) != (want == nil) || err != nil && !strings.Contains(err.Error(), "WRONGTYPE") {
			t.Errorf("%s: error %v", what, err)
		}
		stats := do("INFO", "commandstats")
		for command, calls := range map[string]int{"get": gets, "mget": mgets} {
			if strings.Contains(stats, "cmdstat_"+command+":") != (calls > 0) || calls > 0 && !strings.Contains(stats, fmt.Sprintf("cmdstat_%s:calls=%d,", command, calls)) {
				t.Errorf("%s: want %d calls of %s:\n%s", what, calls, command, stats)
			}
		}
	}
	later := time.Now().Add(time.Hour)
	if err := store.CommitCtx(t.Context(), keys[0], []byte("record"), later); err != nil {
		t.Fatal(err)
	}
	reads("for the first time", 3, 0, "record", "", "")
	for range 3 {
		reads("again", 0, 1, "record", "", "")
	}
	if err := store.CommitCtx(t.Context(), keys[1], []byte("mark"), later); err != nil {
		t.Fatal(err)
	}
	reads("with a mark that is new", 0, 1, "record", "mark", "")
	mark := p.config().Prefix + keys[1]
	do("DEL", mark)
	do("RPUSH", mark, "x")
	reads("a list in the place of the new mark", 3, 1)
	do("DEL", mark)
	do("SET", mark, "mark")
	reads("with the mark again", 0, 1, "record", "mark", "")
	do("DEL", name)
	do("RPUSH", name, "x")
	reads("a list", 3, 1)
	reads("still a list", 3, 1)
	do("DEL", name)
	reads("gone", 3, 1, "", "mark", "")
	reads("gone, again", 0, 1, "", "mark", "")
	do("SET", name, "back")
	reads("back", 0, 1, "back", "mark", "")
}
