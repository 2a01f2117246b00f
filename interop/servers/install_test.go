package servers

import (
	"archive/zip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestInstallOnce(t *testing.T) {
	dir := t.TempDir()
	broken := errors.New("broken")
	for _, step := range []struct {
		name, version string
		fail          error
		wantRun       bool
	}{
		{"first", "1", nil, true},
		{"there already", "1", nil, false},
		{"other version fails", "2", broken, true},
		{"is tried again", "2", nil, true},
		{"and is there", "2", nil, false},
	} {
		ran := false
		target, err := installOnce(dir, "thing", step.version, func(target string) error {
			ran = true
			if left, err := os.ReadDir(target); err != nil || len(left) > 0 {
				t.Errorf("%s: the directory holds %v: %v", step.name, left, err)
			}
			if err := os.WriteFile(filepath.Join(target, "file"), nil, 0o644); err != nil {
				t.Error(err)
			}
			return step.fail
		})
		if ran != step.wantRun || !errors.Is(err, step.fail) {
			t.Errorf("%s: ran %t, error %v", step.name, ran, err)
		}
		if err == nil && target != filepath.Join(dir, "thing") {
			t.Errorf("%s: target %q", step.name, target)
		}
	}
}

// Debian's packages are requested only if something is missing. Without apt-get
// there is an error.
func TestInstallDebian(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir) // which has no apt-get
	for _, there := range []string{"", "/usr/sbin/thing"} {
		got, err := installDebian(t.Context(), dir, func() string { return there }, "thing")
		if got != there || (err == nil) != (there != "") {
			t.Errorf("with %q: %q, %v", there, got, err)
		}
	}
}

func TestInstallDir(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := installDir(); err != nil || got != filepath.Join(root, ".servers") {
		t.Errorf("in the module: %q, %v", got, err)
	}
	elsewhere := filepath.Join(t.TempDir(), "servers")
	t.Setenv(DirVariable, elsewhere)
	if got, err := installDir(); err != nil || got != elsewhere {
		t.Errorf("by the variable: %q, %v", got, err)
	}
	t.Setenv(DirVariable, "")
	t.Chdir(t.TempDir())
	if got, err := installDir(); err == nil || !strings.Contains(err.Error(), DirVariable) {
		t.Errorf("outside the module: %q, %v", got, err)
	}
}

func TestCheckSHA256(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("abc"), 0o644); err != nil {
		t.Fatal(err)
	}
	const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-4
	if err := checkSHA256(path, abc); err != nil {
		t.Error(err)
	}
	if err := checkSHA256(path, keycloakSHA256); err == nil {
		t.Error("a wrong hash was taken")
	}
}

func TestUnzip(t *testing.T) {
	for _, test := range []struct {
		name    string
		entries []string
		want    []string // files that are there afterwards
		wantErr bool
	}{
		{"below the prefix", []string{"top/", "top/lib/a.jar", "top/b", "other/c"}, []string{"lib/a.jar", "b"}, false},
		{"way out", []string{"top/../../evil"}, nil, true},
		{"twice", []string{"top/b", "top/b"}, []string{"b"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			target := filepath.Join(t.TempDir(), "target")
			if err := os.Mkdir(target, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := unzip(zipOf(t, test.entries), "top/", target); (err != nil) != test.wantErr {
				t.Errorf("error %v", err)
			}
			for _, name := range test.want {
				if got, err := os.ReadFile(filepath.Join(target, name)); err != nil || string(got) != "content" {
					t.Errorf("%s: %q, %v", name, got, err)
				}
			}
			if _, err := os.Stat(filepath.Join(target, "..", "evil")); err == nil {
				t.Error("a file was written outside")
			}
		})
	}
}

func zipOf(t *testing.T, entries []string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.zip")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := zip.NewWriter(f)
	for _, name := range entries {
		entry, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			continue
		}
		if _, err := entry.Write([]byte("content")); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestIsLoopback(t *testing.T) {
	for address, want := range map[string]bool{
		"http://127.0.0.1:80/x":          true,
		"https://localhost/":             true,
		"data:text/css,a":                true,
		"http://127.0.0.1.example.org/":  false,
		"https://user@example.org/":      false,
		"https://127.0.0.1@example.org/": false,
		"chrome-error://chromewebdata/":  false,
		"://":                            false,
	} {
		if got := isLoopback(address); got != want {
			t.Errorf("%s: %t", address, got)
		}
	}
}
