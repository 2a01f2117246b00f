package interop_test

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/gatehouse/internal/testkit/ports"
)

// exampleTime bounds the start of the example, and its end, should it hang.
const exampleTime = 3 * time.Minute

// The programs that "go run ./example" and "go run -C redisstore ./example" run,
// each built once for all tests, with the race detector.
var (
	buildExample  = sync.OnceValues(func() (string, error) { return build("..") })
	buildReplicas = sync.OnceValues(func() (string, error) { return build("../redisstore") })
)

func build(module string) (string, error) {
	dir, err := os.MkdirTemp("", "gatehouse-example-")
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "example")
	out, err := exec.Command("go", "build", "-C", module, "-race", "-o", program, "./example").CombinedOutput()
	if err != nil {
		return "", errors.Join(err, errors.New(string(out)), os.RemoveAll(dir))
	}
	return program, nil
}

// removeExamples removes the programs.
func removeExamples() error {
	var errs []error
	for _, build := range []func() (string, error){buildExample, buildReplicas} {
		program, err := build()
		if err == nil { // the tests that needed it have reported the error
			errs = append(errs, os.RemoveAll(filepath.Dir(program)))
		}
	}
	return errors.Join(errs...)
}

// An example is the running example.
type example struct {
	photos, shop, server string // addresses, without a slash at the end
	mallory              string // "" if the program has none
	elsewhere            string // of the sign-in service, if it is another than server
}

// startExample starts the example as a process for the time of the test, on
// free ports unless the arguments name others.
func startExample(t *testing.T, args ...string) *example {
	t.Helper()
	e := startProgram(t, buildExample, append([]string{"-mallory", "127.0.0.1:0"}, args...)...)
	if e.mallory == "" {
		t.Fatalf("the example says %+v", e)
	}
	return e
}

// startProgram does it with one of the two programs.
func startProgram(t *testing.T, build func() (string, error), args ...string) *example {
	t.Helper()
	program, err := build()
	if err != nil {
		t.Fatalf("build the example: %v", err)
	}
	args = append([]string{"-photos", freePort(t), "-printshop", freePort(t), "-server", freePort(t)}, args...)
	cmd := exec.Command(program, args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killer := time.AfterFunc(exampleTime, func() { cmd.Process.Kill() })
	e, rest := readExample(bufio.NewReader(out))
	started := killer.Stop()
	t.Cleanup(func() { stopExample(t, cmd, rest, &said) })
	if !started || e.photos == "" || e.shop == "" || e.server == "" {
		t.Fatalf("the example says %+v", e)
	}
	return e
}

// readExample reads the addresses that the example prints.
func readExample(out *bufio.Reader) (*example, *bufio.Reader) {
	e := &example{}
	for {
		line, err := out.ReadString('\n')
		for name, to := range map[string]*string{"photo site ": &e.photos, "print shop ": &e.shop,
			"authorization server ": &e.server, "sign-in service ": &e.elsewhere, "Mallory's site ": &e.mallory} {
			if address, ok := strings.CutPrefix(line, name); ok {
				*to = strings.TrimRight(strings.Fields(address)[0], "/")
			}
		}
		if err != nil || strings.HasPrefix(line, "Ctrl-C") {
			return e, out
		}
	}
}

// stopExample ends the example as Ctrl-C does.
func stopExample(t *testing.T, cmd *exec.Cmd, out *bufio.Reader, said *bytes.Buffer) {
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Errorf("stop the example: %v", err)
	}
	killer := time.AfterFunc(exampleTime, func() { cmd.Process.Kill() })
	defer killer.Stop()
	if _, err := out.WriteTo(&bytes.Buffer{}); err != nil {
		t.Errorf("read the example: %v", err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the example ended with %v", err)
	}
	if bytes.Contains(said.Bytes(), []byte("DATA RACE")) || t.Failed() {
		t.Errorf("the example said:\n%s", said)
	}
}

// freePort returns an address at which nobody listens, for a program whose
// address must be known before it starts, or that stops and starts there again.
func freePort(t testing.TB) string {
	t.Helper()
	port, err := ports.Free()
	if err != nil {
		t.Fatal(err)
	}
	return "127.0.0.1:" + port
}
