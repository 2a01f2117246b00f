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

// childRemembers names the variable that makes that child's store [remembering].
const childRemembers = "MIDDLEWARETEST_REMEMBERS"

func TestMain(m *testing.M) {
	path := os.Getenv(childStore)
	if path == "" {
		world.Main(m)
	}
	store, err := openFileStore(path, time.Now)
	if err == nil && os.Getenv(childRemembers) != "" {
		err = middlewaretest.ServeStore(context.Background(), &remembering{fileStore: store, read: map[string][]byte{}}, os.Stdin, os.Stdout)
	} else if err == nil {
		err = middlewaretest.ServeStore(context.Background(), store, os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
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
	read map[string][]byte // its process has one goroutine
}

func (s *remembering) FindCtx(ctx context.Context, key string) ([]byte, bool, error) {
	if b := s.read[key]; b != nil {
		return b, true, nil
	}
	b, found, err := s.fileStore.FindCtx(ctx, key)
	s.read[key] = b
	return b, found, err
}

func (s *remembering) FindManyCtx(ctx context.Context, keys []string) (values [][]byte, err error) {
	return findEach(ctx, keys, s.FindCtx)
}

func (s *remembering) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	delete(s.read, key)
	return s.fileStore.SwapCtx(ctx, key, old, new, expiry)
}

// TestMemoryOfAProcessIsSeen: processes that count together lose no update, but one
// of them goes on to serve who has signed out at another.
func TestMemoryOfAProcessIsSeen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env   []string
		fails string
	}{
		"good":        {nil, ""},
		"remembering": {[]string{childRemembers + "=1"}, "at once on all"},
	} {
		t.Run(name, func(t *testing.T) {
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
			middlewaretest.WantFailingWithProcesses(t, store, child(t, path, c.env...), c.fails)
		})
	}
}

// fileStore keeps each key in a file, under a lock that processes share.
type fileStore struct {
	path string
	now  func() time.Time
	mu   sync.Mutex // of the goroutines: the lock below is of the process
	lock *os.File
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
	err := f(filepath.Join(s.path, "key"+key))
	return errors.Join(err, syscall.Flock(int(s.lock.Fd()), syscall.LOCK_UN))
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

func write(name string, value []byte, expiry time.Time) error {
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
	return os.WriteFile(name, text, 0o600)
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
	return s.locked(key, func(name string) error { return write(name, b, expiry) })
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
			return write(name, new, expiry)
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
