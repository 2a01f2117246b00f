package servers

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// keycloakCommand is what bin/kc.sh would run in a home directory, less the
// shell around it: the pid is the server's own, and with the serial collector
// and the first compiler tier alone it starts sooner and takes less memory.
func keycloakCommand(home string, args ...string) *exec.Cmd {
	java := []string{
		"-Dkc.home.dir=" + home, "-Djboss.server.config.dir=" + filepath.Join(home, "conf"),
		"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xms64m", "-Xmx512m", "-XX:MaxMetaspaceSize=256m", "-XX:+ExitOnOutOfMemoryError",
		"-Dfile.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US",
		"-Djava.util.logging.manager=org.jboss.logmanager.LogManager",
		"-Djava.util.concurrent.ForkJoinPool.common.threadFactory=io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory",
		"--add-opens=java.base/java.util=ALL-UNNAMED", "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
		"--add-opens=java.base/java.security=ALL-UNNAMED", "--add-opens=java.base/java.lang=ALL-UNNAMED",
		"--enable-native-access=ALL-UNNAMED",
		"-cp", filepath.Join(home, "lib", "quarkus-run.jar"), "io.quarkus.bootstrap.runner.QuarkusEntryPoint",
	}
	cmd := exec.Command(javaProgram(), append(java, args...)...)
	cmd.Env = []string{"KC_BOOTSTRAP_ADMIN_USERNAME=" + keycloakAdmin, "KC_BOOTSTRAP_ADMIN_PASSWORD=" + keycloakAdmin}
	for _, variable := range os.Environ() {
		// Keycloak reads every variable that begins with KC_ as configuration.
		if !strings.HasPrefix(variable, "KC_") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	return cmd
}

func javaProgram() string {
	if home := os.Getenv("JAVA_HOME"); home != "" {
		return filepath.Join(home, "bin", "java")
	}
	return "java"
}

// keycloakServe serves the database in a directory on 127.0.0.1, at a port that
// the system chooses. The issuer follows the address in a request, so that each
// relay has its own issuers.
func keycloakServe(home, database string, options ...string) *exec.Cmd {
	return keycloakCommand(home, append([]string{
		"start", "--optimized", "--cache=local",
		"--http-enabled=true", "--http-host=127.0.0.1", "--http-port=0", "--hostname-strict=false",
		// TRACE_LEVEL_FILE=0 saves a trace file at every start.
		"--db-url=jdbc:h2:file:" + filepath.Join(database, "keycloak") + ";NON_KEYWORDS=VALUE;TRACE_LEVEL_FILE=0",
	}, options...)...)
}
