package middlewaretest

import (
	"context"
	"errors"
	"os/exec"
	"testing"

	"example.com/gatehouse"
)

// WantFailingWithProcesses expects those of the parts for several processes to
// fail that fails names, and no others.
func WantFailingWithProcesses(t *testing.T, store gatehouse.Store, command func(context.Context) *exec.Cmd, fails string) {
	t.Helper()
	s := newStoreRun(store, inMemory, StoreProcess(command))
	for _, p := range storeParts() {
		if p.needs == nil || !p.needs(s.suite) {
			continue
		}
		var err error
		for tries := 10; tries > 0 && err == nil; tries-- { // not every process dies in the middle of something
			ctx, cancel := context.WithTimeout(t.Context(), storePatience)
			err = p.run(ctx, s)
			cancel()
			if p.name != fails {
				break // a good store passes
			}
		}
		if (err != nil) != (p.name == fails) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", p.name, err)
		}
	}
}
