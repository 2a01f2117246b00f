//go:build unix

package backing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"example.com/gatehouse/internal/testkit/process"
)

// PgBouncer is a pooler on 127.0.0.1 in front of a PostgreSQL server.
type PgBouncer struct {
	dir, port string
	proc      *process.Process
}

// StartPgBouncer starts a PgBouncer in front of p. mode is its pool_mode, such
// as "transaction". It has at most four connections to the server, so that
// clients must share them, and looks for a server that was away five times a
// second instead of every 15 seconds. If PgBouncer is not installed, the error is
// exec.ErrNotFound.
func StartPgBouncer(ctx context.Context, p *Postgres, mode string) (*PgBouncer, error) {
	binary, err := find("pgbouncer", "apt-get install pgbouncer", "/usr/sbin/pgbouncer")
	if err != nil {
		return nil, err
	}
	credential, err := servant("postgres") // PgBouncer refuses to run as root
	if err != nil {
		return nil, err
	}
	b := new(PgBouncer)
	if b.dir, err = servantDir("gatehouse-pgbouncer-", credential); err != nil {
		return nil, err
	}
	err = startOnFreePort(func(port string) error {
		b.port = port
		return b.start(ctx, binary, credential, p, mode)
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(b.dir))
	}
	return b, nil
}

func (b *PgBouncer) start(ctx context.Context, binary string, credential *syscall.Credential, p *Postgres, mode string) error {
	ini, users := filepath.Join(b.dir, "pgbouncer.ini"), filepath.Join(b.dir, "users.txt")
	text := fmt.Sprintf(`[databases]
* = host=%[1]s port=%[2]s
[pgbouncer]
listen_addr = %[1]s
listen_port = %[3]s
unix_socket_dir =
auth_type = trust
auth_file = %[4]s
pool_mode = %[5]s
default_pool_size = 4
max_client_conn = 1000
server_login_retry = 0.2
`, host, p.port, b.port, users, mode)
	if err := os.WriteFile(users, []byte("\"postgres\" \"\"\n"), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(ini, []byte(text), 0o644); err != nil {
		return err
	}
	cmd := exec.Command(binary, ini)
	cmd.Dir = b.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	proc, err := process.Start(ctx, "pgbouncer", cmd, func(line []byte) bool {
		return bytes.Contains(line, []byte("process up"))
	})
	if err != nil {
		return err
	}
	b.proc = proc
	return nil
}

// DSN is the address of the database postgres through the pooler.
func (b *PgBouncer) DSN() string {
	return "postgres://postgres@" + host + ":" + b.port + "/postgres?sslmode=disable"
}

// Close ends the pooler.
func (b *PgBouncer) Close() error {
	b.proc.End = syscall.SIGQUIT // at once: SIGTERM waits for its clients in some versions
	b.proc.Stop()
	return os.RemoveAll(b.dir)
}
