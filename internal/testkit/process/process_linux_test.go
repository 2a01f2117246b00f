package process

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// orphanVariable makes the test binary start a process and die of SIGKILL.
const orphanVariable = "GATEHOUSE_TEST_ORPHAN"

func TestMain(m *testing.M) {
	if os.Getenv(orphanVariable) != "" {
		startOrphan()
	}
	os.Exit(m.Run())
}

// What this program started ends with it, even if it is killed.
func TestOrphansEnd(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), orphanVariable+"=1")
	parent.ExtraFiles = []*os.File{write}
	output, err := parent.CombinedOutput()
	write.Close()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the parent ended with %v: %s", err, output)
	}
	// The pipe ends when the last process that holds it has ended.
	if err := read.SetReadDeadline(time.Now().Add(3 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(read)
	if err != nil || string(said) != "alive\n" {
		t.Errorf("the orphan said %q and lives: %v", said, err)
	}
}

func startOrphan() {
	cmd := sh("echo alive >&3; echo ready; exec sleep 600")
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "pipe")}
	if _, err := Start(context.Background(), "thing", cmd, lineIs("ready")); err != nil {
		panic(err)
	}
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way
}
