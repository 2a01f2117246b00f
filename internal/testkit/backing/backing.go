// Package backing starts the databases that stores need, each a real server on
// loopback with data of its own, for tests and examples. It knows how a
// database starts, stops, hangs and comes back. It must not know what gatehouse
// keeps there, and it has no testing.T.
//
// A program that is not installed is an error that wraps exec.ErrNotFound and
// says what to install.
package backing

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"example.com/gatehouse/internal/testkit/ports"
)

// host is the address on which every server listens.
const host = "127.0.0.1"

// find returns the path of a program that hint says how to install. Debian
// keeps some programs in directories that are not on the PATH.
func find(name, hint string, elsewhere ...string) (string, error) {
	path, err := exec.LookPath(name)
	for i := 0; err != nil && i < len(elsewhere); i++ {
		path, err = exec.LookPath(elsewhere[i])
	}
	if err != nil {
		return "", fmt.Errorf("%s is not installed (%s): %w", name, hint, exec.ErrNotFound)
	}
	return path, nil
}

// freePorts returns n different ports of loopback on which nobody listens.
func freePorts(n int) ([]string, error) {
	free := make([]string, n)
	for i := range free {
		var err error
		if free[i], err = ports.Free(); err != nil {
			return nil, err
		}
	}
	return free, nil
}

// folder returns the directory of a server's data: dir, or a new one that only
// we can read. remove deletes the new one.
func folder(dir, name string) (path string, remove func() error, err error) {
	if dir != "" {
		return dir, func() error { return nil }, os.MkdirAll(dir, 0o700)
	}
	path, err = os.MkdirTemp("", "gatehouse-"+name+"-")
	if err != nil {
		return "", nil, err
	}
	return path, func() error { return os.RemoveAll(path) }, nil
}

// closing closes servers that were started, the last one first.
func closing[S interface{ Close() error }](servers []S) error {
	var errs []error
	for i := len(servers) - 1; i >= 0; i-- {
		errs = append(errs, servers[i].Close())
	}
	return errors.Join(errs...)
}
