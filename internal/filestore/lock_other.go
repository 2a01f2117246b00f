//go:build !unix || solaris || aix

package filestore

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

// lockLife is how old a lock is whose process must have ended. It is held for one
// write to the disk.
const lockLife = time.Minute

// tryLock takes the lock, or reports that it is held. Where the system has no
// locks that end with their process, the lock is a file that only one can make.
func tryLock(path string) (release func(), held bool, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		return func() { _ = os.Remove(path) }, false, file.Close()
	}
	if !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrPermission) { // being removed counts as held
		return nil, false, err
	}
	if info, e := os.Stat(path); e == nil && time.Since(info.ModTime()) > lockLife {
		_ = os.Remove(path)
	}
	return nil, true, nil
}
