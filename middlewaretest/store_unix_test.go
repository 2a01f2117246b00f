//go:build unix

package middlewaretest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/middlewaretest"
)

// childStore names the variable that tells a child process of
// TestStoreOfProcesses its file.
const childStore = "MIDDLEWARETEST_STORE"

// childIs names the variable that says what is wrong with that child's store.
const childIs = "MIDDLEWARETEST_IS"

func TestMain(m *testing.M) {
	path := os.Getenv(childStore)
	if path == "" {
		world.Main(m)
	}
	store, err := openFileStore(path, time.Now)
	if err == nil {
		err = middlewaretest.ServeStore(context.Background(), spoiled(store, os.Getenv(childIs)), os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// spoiled is a store with one fault, or with none.
func spoiled(store *fileStore, fault string) gatehouse.Store {
	switch fault {
	case "remembering":
		return &remembering{fileStore: store, read: map[string][]byte{}}
	case "remembering absences":
		return &remembering{fileStore: store, read: map[string][]byte{}, absences: true}
	}
	store.inPlace, store.lockFile = fault == "writing in place", fault == "locking with a file"
	return store
}

func TestStoreOfProcesses(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store")
	clock := middlewaretest.NewServer(t).Clock()
	middlewaretest.TestStore(t, func(t *testing.T) gatehouse.Store {
		store, err := openFileStore(path, clock.Now)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := store.lock.Close(); err != nil {
				t.Error(err)
			}
		})
		return store
	},
		middlewaretest.StoreClock(clock.Now, clock.Advance),
		middlewaretest.StoreCannotHang("its locks are held for microseconds"), middlewaretest.StoreProcess(child(t, path)))
}

// child is another process with the store in a file.
func child(t *testing.T, path string, env ...string) func(context.Context) *exec.Cmd {
	return func(ctx context.Context) *exec.Cmd {
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(append(os.Environ(), childStore+"="+path), env...)
		cmd.Stderr = t.Output()
		return cmd
	}
}

// remembering is a store that keeps what it has read in the memory of its process,
// and reads again only after a swap has failed. Its swaps are right.
type remembering struct {
	*fileStore
	read     map[string][]byte // its process has one goroutine
	absences bool              // only where there was nothing
}

func (s *remembering) FindCtx(ctx context.Context, key string) ([]byte, bool, error) {
	if b, ok := s.read[key]; ok {
		return b, b != nil, nil
	}
	b, found, err := s.fileStore.FindCtx(ctx, key)
	if !s.absences && found || s.absences && !found {
		s.read[key] = b
	}
	return b, found, err
}

func (s *remembering) FindManyCtx(ctx context.Context, keys []string) (values [][]byte, err error) {
	return findEach(ctx, keys, s.FindCtx)
}

func (s *remembering) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	delete(s.read, key)
	return s.fileStore.SwapCtx(ctx, key, old, new, expiry)
}

// TestFaultsOfProcessesAreSeen: processes that count together lose no update, but
// one of them goes on to serve who has signed out at another, or stops all others
// when it dies.
func TestFaultsOfProcessesAreSeen(t *testing.T) {
	t.Parallel()
	for fault, fails := range map[string]string{
		"good":                 "",
		"remembering":          "at once on all",
		"remembering absences": "at once on all",
		"writing in place":     "a process dies",
		"locking with a file":  "a process dies",
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "store")
			store, err := openFileStore(path, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := store.lock.Close(); err != nil {
					t.Error(err)
				}
			})
			store.lockFile = fault == "locking with a file"
			middlewaretest.WantFailingWithProcesses(t, store, child(t, path, childIs+"="+fault), fails)
		})
	}
}

// fileStore keeps each key in a file, under a lock that processes share.
type fileStore struct {
	path string
	now  func() time.Time
	mu   sync.Mutex // of the goroutines: the lock below is of the process
	lock *os.File

	inPlace  bool // a value is written over the old one
	lockFile bool // a file is the lock, and whoever makes it removes it
}

func openFileStore(path string, now func() time.Time) (*fileStore, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	return &fileStore{path: path, now: now, lock: lock}, err
}

type fileItem struct {
	Value  []byte
	Expiry time.Time
}

// locked runs f while no other process and no other goroutine does.
func (s *fileStore) locked(key string, f func(name string) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := syscall.Flock(int(s.lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	err := s.alone(func() error { return f(filepath.Join(s.path, "key"+key)) })
	return errors.Join(err, syscall.Flock(int(s.lock.Fd()), syscall.LOCK_UN))
}

// alone runs f while there is no file that is a lock.
func (s *fileStore) alone(f func() error) error {
	if !s.lockFile {
		return f()
	}
	name := filepath.Join(s.path, "in use")
	made, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f(), made.Close(), os.Remove(name))
}

func (s *fileStore) read(name string) ([]byte, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var item fileItem
	if err == nil {
		err = json.Unmarshal(text, &item)
	}
	if !s.now().Before(item.Expiry) {
		return nil, err
	}
	return item.Value, err
}

func (s *fileStore) write(name string, value []byte, expiry time.Time) error {
	if value == nil {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if last := time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC); expiry.After(last) {
		expiry = last // JSON has no later year
	}
	if first := time.Unix(0, 0); expiry.Before(first) {
		expiry = first
	}
	text, err := json.Marshal(fileItem{value, expiry})
	if err != nil {
		return err
	}
	if s.inPlace {
		return writeSlowly(name, text)
	}
	return errors.Join(os.WriteFile(name+".new", text, 0o600), os.Rename(name+".new", name))
}

// writeSlowly spends most of its time with a file that is half there.
func writeSlowly(name string, text []byte) error {
	f, err := os.Create(name)
	for i := 0; err == nil && i < len(text); i++ {
		_, err = f.Write(text[i : i+1])
	}
	return errors.Join(err, f.Close())
}

func (s *fileStore) FindCtx(_ context.Context, key string) (b []byte, found bool, err error) {
	err = s.locked(key, func(name string) error { b, err = s.read(name); return err })
	return b, b != nil, err
}

func (s *fileStore) FindManyCtx(ctx context.Context, keys []string) (values [][]byte, err error) {
	return findEach(ctx, keys, s.FindCtx)
}

// findEach reads values one by one.
func findEach(ctx context.Context, keys []string, find func(context.Context, string) ([]byte, bool, error)) (values [][]byte, err error) {
	for _, key := range keys {
		b, _, err := find(ctx, key)
		if err != nil {
			return nil, err
		}
		values = append(values, b)
	}
	return values, nil
}

func (s *fileStore) CommitCtx(_ context.Context, key string, b []byte, expiry time.Time) error {
	return s.locked(key, func(name string) error { return s.write(name, b, expiry) })
}

func (s *fileStore) DeleteCtx(ctx context.Context, key string) error {
	return s.CommitCtx(ctx, key, nil, time.Time{})
}

func (s *fileStore) SwapCtx(_ context.Context, key string, old, new []byte, expiry time.Time) (swapped bool, err error) {
	err = s.locked(key, func(name string) error {
		b, err := s.read(name)
		if err != nil {
			return err
		}
		same := func(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }
		switch {
		case same(b, new):
			swapped = true
		case same(b, old):
			swapped = true
			return s.write(name, new, expiry)
		}
		return nil
	})
	return swapped && err == nil, err
}

func (s *fileStore) Find(key string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), key)
}

func (s *fileStore) Commit(key string, b []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), key, b, expiry)
}

func (s *fileStore) Delete(key string) error { return s.DeleteCtx(context.Background(), key) }
