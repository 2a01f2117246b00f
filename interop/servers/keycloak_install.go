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
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	keycloakVersion = "26.7.3"
	// keycloakSHA256 is the hash of the distribution on Maven Central.
	keycloakSHA256 = "27a6535553c3cdcd083872ba40629efafb3475e3b758e0c6f691395561dd0f1f"
	mavenPlugin    = "org.apache.maven.plugins:maven-dependency-plugin:3.9.0"
)

// keycloakRealms are imported in this order.
var keycloakRealms = []string{"realm-gatehouse.json", "realm-rotate.json"}

// A keycloakInstall is a Keycloak that is built, and the database of one that
// has imported the realms.
type keycloakInstall struct {
	dist string // the unpacked distribution
	seed string // the directory with the database
}

// installKeycloak downloads Keycloak, builds it for the file database, and
// imports the realms once: 60 s, of which a start from then on saves 50.
func installKeycloak(ctx context.Context, dir string) (keycloakInstall, error) {
	dist, err := installOnce(dir, "keycloak", keycloakVersion+" "+keycloakSHA256, func(target string) error {
		if err := unpackKeycloak(ctx, target); err != nil {
			return err
		}
		return run(ctx, target, nil, "sh", "bin/kc.sh", "build", "--db=dev-file")
	})
	if err != nil {
		return keycloakInstall{}, err
	}
	realms, err := sumOfAssets(keycloakRealms...)
	if err != nil {
		return keycloakInstall{}, err
	}
	seed, err := installOnce(dir, "keycloak-seed", keycloakVersion+" "+realms, func(target string) error {
		return seedKeycloak(ctx, dist, target)
	})
	return keycloakInstall{dist: dist, seed: seed}, err
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
	_, err = io.Copy(out, in) // the hash of the archive was checked: no bomb
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
	kc.proc.stop()
	return os.RemoveAll(home)
}

// keycloakHome makes a home directory for one server at path: the parts that
// are only read are links into dist, what the server writes is its own.
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

// keycloakCommand is what bin/kc.sh would run, less the shell around it: the
// pid is the server's own, and the first compiler tier alone starts sooner and
// takes less memory.
func keycloakCommand(home, database, address, url string, options ...string) *exec.Cmd {
	args := []string{
		"-Dkc.home.dir=" + home, "-Djboss.server.config.dir=" + filepath.Join(home, "conf"),
		"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xms64m", "-Xmx512m", "-XX:MaxMetaspaceSize=256m", "-XX:+ExitOnOutOfMemoryError",
		"-Dfile.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US",
		"-Djava.util.logging.manager=org.jboss.logmanager.LogManager",
		"-Djava.util.concurrent.ForkJoinPool.common.threadFactory=io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory",
		"--add-opens=java.base/java.util=ALL-UNNAMED", "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
		"--add-opens=java.base/java.security=ALL-UNNAMED", "--add-opens=java.base/java.lang=ALL-UNNAMED",
		"--enable-native-access=ALL-UNNAMED",
		"-cp", filepath.Join(home, "lib", "quarkus-run.jar"), "io.quarkus.bootstrap.runner.QuarkusEntryPoint",
		"start", "--optimized", "--cache=local", "--http-enabled=true", "--http-host=127.0.0.1",
		"--http-port=" + address[strings.LastIndexByte(address, ':')+1:], "--hostname=" + url,
		// TRACE_LEVEL_FILE=0 saves a trace file at every start.
		"--db-url=jdbc:h2:file:" + filepath.Join(database, "keycloak") + ";NON_KEYWORDS=VALUE;TRACE_LEVEL_FILE=0",
	}
	cmd := exec.Command("java", append(args, options...)...)
	cmd.Env = []string{"KC_BOOTSTRAP_ADMIN_USERNAME=" + keycloakAdmin, "KC_BOOTSTRAP_ADMIN_PASSWORD=" + keycloakAdmin}
	for _, variable := range os.Environ() {
		// Keycloak reads every variable that begins with KC_ as configuration.
		if !strings.HasPrefix(variable, "KC_") && !strings.HasPrefix(variable, "JAVA_OPTS") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	return cmd
}

// keycloakStart bounds one start: 8 s from the seed and 18 s with the import
// on an idle machine.
const keycloakStart = 3 * time.Minute
