package filestore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"example.com/gatehouse/internal/filestore"
)

func swap(t *testing.T, f *filestore.File, name, old, value string, want bool) {
	t.Helper()
	bytes := func(s string) []byte {
		if s == "" {
			return nil
		}
		return []byte(s)
	}
	if got, err := f.Swap(t.Context(), name, bytes(old), bytes(value)); err != nil || got != want {
		t.Errorf("%s: %q for %q: %v, %v", name, value, old, got, err)
	}
}

// TestSwap: values by name, as the contract of a store says.
func TestSwap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clients")
	f := filestore.New(path)
	if v, err := f.Find(t.Context(), "a"); v != nil || err != nil {
		t.Errorf("%q, %v before there is a file", v, err)
	}
	swap(t, f, "a", "", "1", true)
	swap(t, f, "a", "", "1", true) // repeated
	swap(t, f, "a", "", "2", false)
	swap(t, f, "a", "x", "2", false)
	swap(t, f, "b", "", "\x00\xff", true)
	swap(t, f, "a", "1", "2", true)
	swap(t, f, "a", "1", "", false)
	swap(t, f, "a", "2", "", true)
	swap(t, f, "a", "2", "", true)
	if v, err := filestore.New(path).Find(t.Context(), "b"); string(v) != "\x00\xff" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	for _, file := range []string{path, path + ".lock"} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
	}
}

// TestTwoAtOnce: many writers, each with a File of its own as processes have,
// lose no update. Each writes its own name too: a Swap to what another has
// written meanwhile is none.
func TestTwoAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clients")
	var wg sync.WaitGroup
	for writer := range 4 {
		wg.Go(func() {
			f := filestore.New(path)
			for done := 0; done < 10; {
				old, err := f.Find(t.Context(), "n")
				if err != nil {
					t.Error(err)
					return
				}
				n := 0
				fmt.Sscan(string(old), &n)
				if ok, err := f.Swap(t.Context(), "n", old, fmt.Appendf(nil, "%d by %d", n+1, writer)); err != nil {
					t.Error(err)
					return
				} else if ok {
					done++
				}
			}
		})
	}
	wg.Wait()
	if v, err := filestore.New(path).Find(t.Context(), "n"); !strings.HasPrefix(string(v), "40 ") || err != nil {
		t.Errorf("%s, %v; want 40", v, err)
	}
}

// TestBadFiles: what is no file of ours is an error, and is not replaced.
func TestBadFiles(t *testing.T) {
	for _, content := range []string{"[client]\nid = hush", `["a"]`, `{"a":7}`, `{"a":"not base64!"}`, `{"a":"aGk="`, strings.Repeat(" ", 9<<20)} {
		path := filepath.Join(t.TempDir(), "clients")
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		f := filestore.New(path)
		_, err := f.Find(t.Context(), "a")
		if err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%.20q: %v", content, err)
		}
		if _, err := f.Swap(t.Context(), "a", nil, []byte("x")); err == nil {
			t.Errorf("%.20q was replaced", content)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != content {
			t.Errorf("%.20q became %.20q, %v", content, after, err)
		}
	}
	for _, content := range []string{"", "\n", "{}", `{"a":null}`} {
		path := filepath.Join(t.TempDir(), "clients")
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		swap(t, filestore.New(path), "a", "", "x", true)
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%q: %v, %v", content, info, err)
		}
	}
}

// TestKept: a write that cannot be made leaves the file as it was, and nothing
// beside it.
func TestKept(t *testing.T) {
	dir := t.TempDir()
	f := filestore.New(filepath.Join(dir, "clients"))
	swap(t, f, "a", "", "1", true)
	if _, err := f.Swap(t.Context(), "b", nil, make([]byte, 8<<20)); err == nil {
		t.Error("a file of more than 8 MiB was written")
	}
	gone := filestore.New(filepath.Join(dir, "no", "clients"))
	if _, err := gone.Swap(t.Context(), "a", nil, []byte("1")); err == nil {
		t.Error("written into a directory that is not there")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Swap(ctx, "a", []byte("1"), []byte("2")); err == nil {
		t.Error("a cancelled call wrote")
	}
	if _, err := f.Find(ctx, "a"); err == nil {
		t.Error("a cancelled call read")
	}
	if v, err := f.Find(t.Context(), "a"); string(v) != "1" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("%v, %v; want the file and its lock", left, err)
	}
}

// TestLink: a link to the file stays a link.
func TestLink(t *testing.T) {
	dir := t.TempDir()
	there, link := filepath.Join(dir, "there"), filepath.Join(dir, "link")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(there, link); err != nil {
		t.Fatal(err)
	}
	swap(t, filestore.New(link), "a", "", "1", true)
	if v, err := filestore.New(there).Find(t.Context(), "a"); string(v) != "1" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
}
