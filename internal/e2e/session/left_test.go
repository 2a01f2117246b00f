package session_test

import (
	"encoding/json"
	"flag"
	"os"
	"testing"

	"example.com/gatehouse/internal/e2e/stories"
)

// Two builds are tried on each other by these files, for example in a worktree
// of the build before:
//
//	go test ./internal/e2e/session -run TestLeft -leave FILE
//	go test ./internal/e2e/session -run TestLeft -take FILE
var (
	leave = flag.String("leave", "", "write what this build leaves in a store and in browsers to a file")
	take  = flag.String("take", "", "take over what another build has left in a file")
)

// TestLeftByThisBuild: a replica that starts takes over from one that ends.
func TestLeftByThisBuild(t *testing.T) {
	all := map[string]stories.Left{}
	for name, keys := range stories.LeftKeys() {
		t.Run(name, func(t *testing.T) {
			all[name] = stories.Leave(t, keys)
			stories.Take(t, stories.InMemory, keys, all[name])
		})
	}
	if *leave == "" {
		return
	}
	text, err := json.MarshalIndent(all, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*leave, append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestLeftByAnother takes over what another build has left.
func TestLeftByAnother(t *testing.T) {
	stories.TakeOver(t, stories.InMemory)
	if *take == "" {
		return
	}
	text, err := os.ReadFile(*take)
	if err != nil {
		t.Fatal(err)
	}
	stories.TakeFile(t, stories.InMemory, "another build", text)
}
