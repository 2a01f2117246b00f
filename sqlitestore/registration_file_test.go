package sqlitestore_test

import (
	"os"
	"path/filepath"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// memoryDir is a file system in memory, on Linux. The contract writes some
// thousand times, and each write waits until the disk has it.
const memoryDir = "/dev/shm"

// TestFileRegistrationStore is the contract of the other store for one machine. It
// stands here because the race detector makes it ten times slower. Each
// part has a file of its own: a file is read whole, and some parts leave large
// values.
func TestFileRegistrationStore(t *testing.T) {
	t.Parallel()
	middlewaretest.TestRegistrationStore(t, func(t *testing.T) gatehouse.RegistrationStore {
		dir, err := os.MkdirTemp(memoryDir, "gatehouse-")
		if err != nil { // another system
			dir = t.TempDir()
		}
		t.Cleanup(func() {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
		return gatehouse.FileRegistrationStore(filepath.Join(dir, "clients.json"))
	}, middlewaretest.StoreCannotHang("it is a file of this machine"))
}
