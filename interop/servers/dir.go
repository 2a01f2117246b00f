package servers

import (
	"bufio"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// DirVariable names the environment variable that says where to install, for
// programs that run outside the interop module. Inside it, the directory is
// .servers beside its go.mod.
const DirVariable = "GATEHOUSE_SERVERS"

const modulePath = "example.com/gatehouse/interop"

//go:embed assets
var assets embed.FS

// asset returns a file that is part of this package.
func asset(name string) ([]byte, error) {
	return fs.ReadFile(assets, "assets/"+name)
}

// installDir returns the directory of everything that is installed, and makes it.
func installDir() (string, error) {
	dir := os.Getenv(DirVariable)
	if dir == "" {
		root, err := moduleRoot()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(root, ".servers")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// moduleRoot finds the interop module at or above the working directory: go
// test runs in the directory of the package, go run wherever it is called.
func moduleRoot() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		if declaresModule(filepath.Join(dir, "go.mod")) {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not inside the module %s: set %s", wd, modulePath, DirVariable)
		}
	}
}

func declaresModule(gomod string) bool {
	f, err := os.Open(gomod)
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.TrimSpace(lines.Text()) == "module "+modulePath {
			return true
		}
	}
	return false
}

// installOnce runs install, which fills the directory dir/name, unless the
// directory exists and its stamp says version. It keeps other processes out in
// the meantime. A directory whose install failed has no stamp and is made
// again.
func installOnce(dir, name, version string, install func(target string) error) (string, error) {
	unlock, err := lock(filepath.Join(dir, name+".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	target := filepath.Join(dir, name)
	stamp := filepath.Join(target, "installed")
	if have, err := os.ReadFile(stamp); err == nil && string(have) == version {
		return target, nil
	}
	if err := os.RemoveAll(target); err != nil {
		return "", err
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return "", err
	}
	if err := install(target); err != nil {
		return "", fmt.Errorf("install %s: %w", name, err)
	}
	return target, os.WriteFile(stamp, []byte(version), 0o644)
}

// lock waits for the exclusive lock on a file. The system releases it when the
// process ends, however it ends.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}
