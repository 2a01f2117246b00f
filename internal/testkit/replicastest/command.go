//go:build unix

package replicastest

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// name makes a test binary the command under test. It is what the process
// takes for its own name.
const name = "example-under-test"

// Main is for TestMain: it runs the tests, or main if this process is the
// command under test or one of its replicas. So the command has the race
// detector if the tests have it.
func Main(m *testing.M, main func()) {
	if os.Args[0] == name || len(os.Args) > 1 && os.Args[1] == replicaFlag {
		main()
		return
	}
	os.Exit(m.Run())
}

// replicaFlag is how a command starts its replicas.
const replicaFlag = "-replica"

// variable is in the environment of every process that a command starts, with
// the mark of the command.
const variable = "GATEHOUSE_REPLICAS_TEST"

const (
	// startTime bounds the start of the command, should it hang.
	startTime = 3 * time.Minute
	// stopTime is the promise: Ctrl-C ends everything within 10 s.
	stopTime = 10 * time.Second
)

// A Command is a running command.
type Command struct {
	// Photos, Shop and Server are origins.
	Photos, Shop, Server string
	// Said is what it printed at its start.
	Said string

	t    *testing.T
	cmd  *exec.Cmd
	mark string
	out  *bufio.Reader
	errs bytes.Buffer
	once sync.Once
	kill bool // a replica was killed
}

// loopback is what the command gets for its ports, unless args say otherwise.
var loopback = []string{"-photos", "127.0.0.1:0", "-printshop", "127.0.0.1:0", "-server", "127.0.0.1:0"}

// Start starts the command for the time of the test, on free ports. It waits
// until the command says that it serves.
func Start(t *testing.T, args ...string) *Command {
	t.Helper()
	c := prepare(t, append(slices.Clone(loopback), args...))
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	killer := time.AfterFunc(startTime, func() { _ = c.cmd.Process.Kill() })
	defer killer.Stop()
	c.out = bufio.NewReader(out)
	for !strings.Contains(c.Said, "Ctrl-C") {
		line, err := c.out.ReadString('\n')
		c.Said += line
		if err != nil {
			c.once.Do(func() { _ = c.cmd.Wait() })
			t.Fatalf("the command ended: %s%s", c.Said, &c.errs)
		}
		for who, to := range map[string]*string{"photo site ": &c.Photos, "print shop ": &c.Shop, "authorization server ": &c.Server} {
			if rest, ok := strings.CutPrefix(line, who); ok {
				*to = strings.TrimRight(strings.Fields(rest)[0], "/")
			}
		}
	}
	return c
}

// Refused runs a command that cannot start, and returns what it says. It must
// say that in one line, with exit status 1, and leave nothing.
func Refused(t *testing.T, environment []string, args ...string) string {
	t.Helper()
	c := prepare(t, append(slices.Clone(loopback), args...))
	c.cmd.Env = append(c.cmd.Env, environment...)
	killer := time.AfterFunc(startTime, func() { _ = c.cmd.Process.Kill() })
	defer killer.Stop()
	out, err := c.cmd.Output()
	exit, ok := errors.AsType[*exec.ExitError](err)
	said := c.errs.String()
	if !ok || exit.ExitCode() != 1 || len(out) > 0 || strings.Count(said, "\n") != 1 {
		t.Errorf("the command ended with %v; it printed %q and said %q", err, out, said)
	}
	c.nothingIsLeft()
	return said
}

func prepare(t *testing.T, args []string) *Command {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &Command{t: t, mark: rand.Text(), cmd: exec.Command(program, args...)}
	c.cmd.Args[0] = name
	c.cmd.Env = append(c.cmd.Environ(), variable+"="+c.mark)
	c.cmd.Stderr = &c.errs
	return c
}

// Stop presses Ctrl-C, and checks that the command ends well, in time, and
// leaves nothing behind. It is called at the end of the test as well.
func (c *Command) Stop() { c.once.Do(c.stop) }

func (c *Command) stop() {
	if err := c.cmd.Process.Signal(syscall.SIGINT); err != nil {
		c.t.Errorf("stop the command: %v", err)
	}
	late := false
	killer := time.AfterFunc(stopTime, func() {
		late = true
		_ = c.cmd.Process.Kill()
	})
	_, err := io.Copy(io.Discard, c.out)
	err = errors.Join(err, c.cmd.Wait())
	if !killer.Stop() && late {
		c.t.Errorf("the command does not end within %v of Ctrl-C", stopTime)
	}
	said := c.errs.String()
	if err != nil || strings.Contains(said, "DATA RACE") || strings.Contains(said, "by itself") != c.kill || c.t.Failed() {
		c.t.Errorf("the command ended with %v and said:\n%s", err, said)
	}
	c.nothingIsLeft()
}

// nothingIsLeft looks for processes that the command has started, on systems
// that list them with their environment.
func (c *Command) nothingIsLeft() {
	for _, pid := range c.Processes() {
		line, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
		if err == nil && len(line) > 0 {
			c.t.Errorf("still running: %s", bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
		}
	}
}

// Kill kills a replica as the kernel does when memory is short. It needs /proc.
func (c *Command) Kill(number string) {
	c.t.Helper()
	c.kill = true
	for _, pid := range c.Processes() {
		line, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
		if err != nil || !bytes.HasSuffix(line, []byte("\x00"+replicaFlag+"\x00"+number+"\x00")) {
			continue
		}
		n, err := strconv.Atoi(pid)
		if err == nil {
			err = syscall.Kill(n, syscall.SIGKILL)
		}
		if err != nil {
			c.t.Error(err)
		}
		return
	}
	c.t.Errorf("there is no replica %s", number)
}

// Processes returns the numbers of the processes of the command: itself, its
// replicas and what it started for its store. Systems without /proc give none.
func (c *Command) Processes() []string {
	var pids []string
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		environment, err := os.ReadFile(file)
		if err == nil && bytes.Contains(environment, []byte(variable+"="+c.mark)) {
			pids = append(pids, filepath.Base(filepath.Dir(file)))
		}
	}
	return pids
}
