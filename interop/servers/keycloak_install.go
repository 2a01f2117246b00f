package servers

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"example.com/gatehouse/internal/testkit/process"
)

const (
	keycloakVersion = "26.7.3"
	// keycloakSHA256 is the hash of the distribution on Maven Central.
	keycloakSHA256 = "27a6535553c3cdcd083872ba40629efafb3475e3b758e0c6f691395561dd0f1f"
	mavenPlugin    = "org.apache.maven.plugins:maven-dependency-plugin:3.9.0"
)

// keycloakRealms are imported in this order.
var keycloakRealms = []string{"realm-gatehouse.json", "realm-rotate.json"}

// installKeycloak downloads Keycloak and builds it for the file database: 20 s.
func installKeycloak(ctx context.Context, dir string) (dist string, err error) {
	return installOnce(dir, "keycloak", keycloakVersion+" "+keycloakSHA256, func(target string) error {
		if err := unpackKeycloak(ctx, target); err != nil {
			return err
		}
		return process.Run(ctx, "keycloak build", keycloakCommand(target, "build", "--db=dev-file"))
	})
}

// installKeycloakSeed has an installed Keycloak import the realms once, 20 s,
// and returns the directory with its database.
func installKeycloakSeed(ctx context.Context, dir string) (seed string, err error) {
	dist, err := installKeycloak(ctx, dir)
	if err != nil {
		return "", err
	}
	realms, err := sumOfAssets(keycloakRealms...)
	if err != nil {
		return "", err
	}
	seed, err = installOnce(dir, "keycloak-seed", keycloakVersion+" "+realms, func(target string) error {
		return seedKeycloak(ctx, dist, target)
	})
	return filepath.Join(seed, "h2"), err
}

// unpackKeycloak fetches the distribution through Maven and unpacks it into
// target without its top directory.
func unpackKeycloak(ctx context.Context, target string) error {
	tmp, err := os.MkdirTemp(filepath.Dir(target), "keycloak-zip-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	err = run(ctx, tmp, nil, "mvn", "-B", "-q", mavenPlugin+":copy",
		"-Dartifact=org.keycloak:keycloak-quarkus-dist:"+keycloakVersion+":zip", "-DoutputDirectory="+tmp)
	if err != nil {
		return err
	}
	name := "keycloak-quarkus-dist-" + keycloakVersion + ".zip"
	if err := checkSHA256(filepath.Join(tmp, name), keycloakSHA256); err != nil {
		return err
	}
	return unzip(filepath.Join(tmp, name), "keycloak-"+keycloakVersion+"/", target)
}

func checkSHA256(path, want string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want {
		return fmt.Errorf("%s has SHA-256 %s, want %s", filepath.Base(path), got, want)
	}
	return nil
}

// unzip unpacks what lies below prefix into target. An entry that points
// outside target is an error: os.Root refuses it.
func unzip(archive, prefix, target string) error {
	files, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer files.Close()
	root, err := os.OpenRoot(target)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, entry := range files.File {
		name, below := strings.CutPrefix(entry.Name, prefix)
		if !below || name == "" || entry.Mode().IsDir() {
			continue
		}
		if err := unzipFile(root, entry, name); err != nil {
			return fmt.Errorf("unzip %s: %w", entry.Name, err)
		}
	}
	return nil
}

func unzipFile(root *os.Root, entry *zip.File, name string) error {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	in, err := entry.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, entry.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in) // the hash of the archive was checked, so it is not a bomb
	return errors.Join(err, out.Close())
}

// seedKeycloak starts Keycloak on an empty database in target, has it import
// the realms, and stops it.
func seedKeycloak(ctx context.Context, dist, target string) error {
	home, err := keycloakHome(dist, filepath.Join(target, "home"))
	if err != nil {
		return err
	}
	imports := filepath.Join(home, "data", "import")
	if err := os.MkdirAll(imports, 0o755); err != nil {
		return err
	}
	for _, name := range keycloakRealms {
		if err := copyAsset(name, filepath.Join(imports, name)); err != nil {
			return err
		}
	}
	kc := &Keycloak{home: home, database: filepath.Join(target, "h2")}
	if err := kc.start(ctx, "--import-realm"); err != nil {
		return err
	}
	kc.proc.Stop()
	return os.RemoveAll(home)
}

// keycloakHome makes a home directory for one server at path. Parts that are
// only read are links into dist; what the server writes is separate.
func keycloakHome(dist, path string) (string, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return "", err
	}
	for _, part := range []string{"lib", "conf", "providers", "themes"} {
		if err := os.Symlink(filepath.Join(dist, part), filepath.Join(path, part)); err != nil {
			return "", err
		}
	}
	return path, nil
}
