package interop_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// clientsFile names the variable that makes the test binary another process with
// the registrations of that file.
const clientsFile = "INTEROP_TEST_CLIENTS"

// TestFileRegistrationStore is the contract of a RegistrationStore on a file, which
// processes share. It writes to the disk some thousand times.
func TestFileRegistrationStore(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "clients.json")
	middlewaretest.TestRegistrationStore(t, func(*testing.T) gatehouse.RegistrationStore { return gatehouse.FileRegistrationStore(path) },
		middlewaretest.StoreCannotHang("it is a file of this machine"),
		middlewaretest.StoreProcess(func(ctx context.Context) *exec.Cmd {
			cmd := exec.CommandContext(ctx, os.Args[0])
			cmd.Env = append(os.Environ(), clientsFile+"="+path)
			cmd.Stderr = t.Output()
			return cmd
		}))
}

// serveClients is the other process.
func serveClients(path string) error {
	store := struct {
		gatehouse.Store
		gatehouse.RegistrationStore
	}{gatehouse.NewMemoryStore(nil), gatehouse.FileRegistrationStore(path)}
	return middlewaretest.ServeStore(context.Background(), store, os.Stdin, os.Stdout)
}
