// Package filestore keeps values by name in one file, for the processes of one
// machine. A change is compare-and-swap: whole or not at all, whatever crashes.
//
// It knows files. It must not know what the values mean.
package filestore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"example.com/gatehouse/internal/swap"
)

const (
	// maxFile bounds the file: a hundred values of the greatest size.
	maxFile = 8 << 20
	// lockPause is the pause before the lock is tried again. It is held for a
	// write to the disk.
	lockPause = 5 * time.Millisecond
)

// File is a file of values. It is safe for concurrent use, also by other
// processes of the same machine. The file and its lock have mode 0600.
type File struct{ path string }

// New returns the File at a path. It does no I/O.
func New(path string) *File { return &File{path} }

// Find returns the value under a name, or nil if there is none.
func (f *File) Find(ctx context.Context, name string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	values, err := f.read() // a file is replaced whole, so reading takes no lock
	return values[name], err
}

// Swap replaces old with value if exactly old is there. A nil old means that
// nothing may be there; a nil value deletes. It reports whether value is there
// now.
func (f *File) Swap(ctx context.Context, name string, old, value []byte) (swapped bool, err error) {
	release, err := f.lock(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	values, err := f.read()
	if err != nil {
		return false, err
	}
	switch have := values[name]; {
	case swap.Same(have, value):
		return true, nil
	case !swap.Same(have, old):
		return false, nil
	case value == nil:
		delete(values, name)
	default:
		values[name] = value
	}
	err = f.write(values)
	return err == nil, err
}

// read returns all values. A file that is not there, or is empty, has none.
func (f *File) read() (map[string][]byte, error) {
	values := map[string][]byte{}
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return values, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxFile:
		return nil, fmt.Errorf("%s has more than %d bytes", f.path, maxFile)
	case len(bytes.TrimSpace(text)) == 0:
		return values, nil
	}
	if json.Unmarshal(text, &values) != nil || values == nil {
		return nil, fmt.Errorf("%s is no file of registrations", f.path) // without its content
	}
	for name, value := range values {
		if value == nil {
			delete(values, name)
		}
	}
	return values, nil
}

// write replaces the file: the new one is complete and on the disk before it has
// the name.
func (f *File) write(values map[string][]byte) (err error) {
	text, err := json.MarshalIndent(values, "", "\t")
	if err != nil {
		return err
	}
	if len(text) > maxFile {
		return fmt.Errorf("%s would have more than %d bytes", f.path, maxFile)
	}
	path := f.path
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // a link stays what it is
	}
	next, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(next.Name()) // best effort: nobody reads it
		}
	}()
	_, err = next.Write(append(text, '\n'))
	if err == nil {
		err = next.Sync()
	}
	if e := next.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(next.Name(), path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	return err
}

// syncDir brings a new name to the disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	_ = d.Sync() // not every file system can, and the name is there all the same
	return d.Close()
}

// lock waits until no other process changes the file.
func (f *File) lock(ctx context.Context) (release func(), err error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		release, held, err := tryLock(f.path + ".lock")
		if err != nil || !held {
			return release, err
		}
		if err := swap.Pause(ctx, lockPause); err != nil {
			return nil, err
		}
	}
}
