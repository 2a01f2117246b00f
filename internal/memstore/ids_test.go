package memstore_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"example.com/gatehouse/internal/memstore"
)

// TestIDKeys: any issuer, owner and name are kept apart.
func TestIDKeys(t *testing.T) {
	long := strings.Repeat("n", 1024)
	var ids memstore.IDs
	for i, k := range [][3]string{
		{}, {"ab", "c", "d"}, {"a", "bc", "d"}, {"a", "b", "cd"}, {"abcd", "", ""}, {"", "abcd", ""}, {"", "", "abcd"},
		{"a", "\x01b", ""}, {"a", "", "\x01b"}, {"a", "b", long}, {"a", "b" + long, ""}, {"a", "b", long + "n"}, {"a" + long, "b", ""},
	} {
		id := fmt.Sprint(i)
		if winner, err := ids.PutIfAbsent(t.Context(), k[0], k[1], k[2], id); err != nil || winner != id {
			t.Errorf("%.20q has another entry's id %s, %v", k, winner, err)
		}
		if got, err := ids.ID(t.Context(), k[0], k[1], k[2]); err != nil || got != id {
			t.Errorf("%.20q: id %q, %v", k, got, err)
		}
	}
}

// TestIDs: the first id wins, and only the stored id can be dropped.
func TestIDs(t *testing.T) {
	var ids memstore.IDs
	kept := func(want string) {
		t.Helper()
		if got, err := ids.ID(t.Context(), "as", "ana", "album"); err != nil || got != want {
			t.Errorf("kept %q, %v, want %q", got, err, want)
		}
	}
	drop := func(id string) {
		t.Helper()
		if err := ids.Drop(t.Context(), "as", "ana", "album", id); err != nil {
			t.Error(err)
		}
	}
	kept("")
	drop("1")
	for _, id := range []string{"1", "2"} {
		if winner, err := ids.PutIfAbsent(t.Context(), "as", "ana", "album", id); err != nil || winner != "1" {
			t.Errorf("put %s: winner %q, %v", id, winner, err)
		}
	}
	drop("2")
	kept("1")
	drop("1")
	kept("")

	winners := make(chan string, 20)
	var wg sync.WaitGroup
	for i := range cap(winners) {
		wg.Go(func() {
			winner, err := ids.PutIfAbsent(t.Context(), "as", "", "race", fmt.Sprint("id ", i))
			if err != nil {
				t.Error(err)
			}
			winners <- winner
		})
	}
	wg.Wait()
	first := <-winners
	for range cap(winners) - 1 {
		if w := <-winners; w != first {
			t.Errorf("two winners: %q and %q", first, w)
		}
	}
}
