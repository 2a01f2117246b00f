package interop_test

import (
	"path/filepath"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// TestFileRegistrationStore is the contract of a RegistrationStore on a file. It
// writes to the disk some thousand times.
func TestFileRegistrationStore(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "clients.json")
	middlewaretest.TestRegistrationStore(t, func(*testing.T) gatehouse.RegistrationStore { return gatehouse.FileRegistrationStore(path) },
		middlewaretest.StoreCannotHang("it is a file of this machine"))
}
