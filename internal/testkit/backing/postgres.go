//go:build unix

package backing

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"example.com/gatehouse/internal/testkit/ports"
	"example.com/gatehouse/internal/testkit/process"
)

// PostgresConfig says how a PostgreSQL server runs. The zero value is a server
// with the settings of a fresh installation, but without fsync: what it has
// committed survives every death of its processes, but not one of the machine.
type PostgresConfig struct {
	// Settings are lines of postgresql.conf, such as "max_connections": "5".
	Settings map[string]string
	// StandbyOf makes the server a hot standby, which replicates that one and
	// takes over its settings.
	StandbyOf *Postgres
}

// Postgres is a PostgreSQL server on 127.0.0.1, with a directory of its own.
// Its methods are safe for concurrent use.
type Postgres struct {
	binary, dir, port string
	settings          []string
	credential        *syscall.Credential

	mu   sync.Mutex
	proc *process.Process
}

// A StopMode is one of the ways in which PostgreSQL ends.
type StopMode syscall.Signal

const (
	Smart     = StopMode(syscall.SIGTERM) // when the last client has left
	Fast      = StopMode(syscall.SIGINT)  // clients are disconnected
	Immediate = StopMode(syscall.SIGQUIT) // like a crash
)

// StartPostgres makes a database cluster in a temporary directory and starts
// its server. Close ends it and removes the directory. If PostgreSQL is not
// installed, the error is exec.ErrNotFound.
func StartPostgres(ctx context.Context, config PostgresConfig) (*Postgres, error) {
	initdb, err := postgresProgram("initdb")
	if err != nil {
		return nil, err
	}
	p := &Postgres{binary: filepath.Join(filepath.Dir(initdb), "postgres")}
	if p.credential, err = servant("postgres"); err != nil {
		return nil, err
	}
	if p.dir, err = servantDir("gatehouse-postgres-", p.credential); err != nil {
		return nil, err
	}
	p.settings = []string{"listen_addresses=" + host, "unix_socket_directories=", "fsync=off", "timezone=UTC"}
	if config.StandbyOf != nil {
		p.settings = slices.Clone(config.StandbyOf.settings) // it must not have less room
	}
	for name, value := range config.Settings {
		p.settings = append(p.settings, name+"="+value)
	}
	err = p.create(ctx, initdb, config.StandbyOf)
	if err == nil {
		err = startOnFreePort(func(port string) error {
			p.port = port
			return p.Restart(ctx)
		})
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(p.dir))
	}
	return p, nil
}

// create makes the directory of data.
func (p *Postgres) create(ctx context.Context, initdb string, primary *Postgres) error {
	if primary != nil {
		copy := filepath.Join(filepath.Dir(initdb), "pg_basebackup")
		return p.run(ctx, copy, "-D", p.data(), "-d", primary.DSN(), "--write-recovery-conf", "--checkpoint=fast", "--no-sync")
	}
	return p.run(ctx, initdb, "-D", p.data(), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync")
}

func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }

func (p *Postgres) run(ctx context.Context, program string, args ...string) error {
	return process.Run(ctx, filepath.Base(program), p.command(program, args...))
}

func (p *Postgres) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir = p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.credential}
	return cmd
}

// DSN is the address of the database postgres, as its superuser.
func (p *Postgres) DSN() string {
	return "postgres://postgres@" + p.Addr() + "/postgres?sslmode=disable"
}

// Addr is the host and port of the server.
func (p *Postgres) Addr() string { return host + ":" + p.port }

// Restart starts the server again, on the same port and data. A server that
// runs is stopped first, in mode Fast.
func (p *Postgres) Restart(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stop(Fast)
	args := []string{"-D", p.data(), "-p", p.port}
	for _, s := range p.settings {
		args = append(args, "-c", s)
	}
	proc, err := process.Start(ctx, "postgres", p.command(p.binary, args...), func(line []byte) bool {
		return bytes.Contains(line, []byte("database system is ready to accept"))
	})
	if err != nil {
		return err
	}
	p.proc = proc
	return nil
}

// Stop stops the server and waits for its end.
func (p *Postgres) Stop(mode StopMode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stop(mode)
}

func (p *Postgres) stop(mode StopMode) {
	if p.proc != nil {
		p.signal(syscall.SIGCONT)
		p.proc.End = syscall.Signal(mode)
		p.proc.Stop()
		p.proc = nil
	}
}

// Kill ends all processes of the server at once, as if the machine had died.
func (p *Postgres) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proc != nil {
		p.signal(syscall.SIGKILL)
		<-p.proc.Done()
		p.proc = nil
	}
}

// Pause makes the server hang: its processes get no time until Resume.
func (p *Postgres) Pause() { p.signalLocked(syscall.SIGSTOP) }

// Resume ends Pause.
func (p *Postgres) Resume() { p.signalLocked(syscall.SIGCONT) }

func (p *Postgres) signalLocked(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proc != nil {
		p.signal(sig)
	}
}

// signal sends sig to every process of the server. Each leads a session of its
// own, so the process group holds only the first, which starts the others.
func (p *Postgres) signal(sig syscall.Signal) {
	p.proc.Signal(sig)
	for _, pid := range children(p.proc.PID()) {
		// An error means that the process has ended meanwhile.
		_ = syscall.Kill(pid, sig)
	}
}

// Log is the end of the server's log.
func (p *Postgres) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proc == nil {
		return ""
	}
	return p.proc.Log(process.LogShown)
}

// Close ends the server and removes its data.
func (p *Postgres) Close() error {
	p.Stop(Immediate)
	return os.RemoveAll(p.dir)
}

// children lists the processes that parent has started, which Linux tells in
// /proc.
func children(parent int) []int {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	var pids []int
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		// pid (name) state parent …; the name may hold anything.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) < 2 || string(fields[1]) != strconv.Itoa(parent) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// postgresProgram finds a program of PostgreSQL: on PATH, or else in the newest
// version where Debian keeps them.
func postgresProgram(name string) (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil {
		return "", err
	}
	version := func(path string) int {
		v, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		if err != nil {
			return -1
		}
		return v
	}
	slices.SortFunc(found, func(a, b string) int { return cmp.Compare(version(b), version(a)) })
	path, err := find(name, "apt-get install postgresql", found...)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path) // the other programs lie beside the real one
}

// servant is the user as whom a server runs that refuses to run as root: the
// named one, or nobody. It is nil if this program does not run as root.
func servant(name string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, fmt.Errorf("as whom should %s run: %w", name, err)
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
	if err := cmp.Or(err, gidErr); err != nil {
		return nil, fmt.Errorf("user %s: %w", u.Username, err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// servantDir makes a temporary directory that belongs to that user.
func servantDir(pattern string, owner *syscall.Credential) (string, error) {
	dir, err := os.MkdirTemp("", pattern)
	if err != nil || owner == nil {
		return dir, err
	}
	if err := os.Chown(dir, int(owner.Uid), int(owner.Gid)); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

// startOnFreePort tries another port if somebody else took the first.
func startOnFreePort(start func(port string) error) error {
	var last error
	for range portTries {
		port, err := ports.Free()
		if err != nil {
			return err
		}
		if last = start(port); last == nil {
			return nil
		}
		if !strings.Contains(last.Error(), "ddress already in use") {
			return last
		}
	}
	return last
}
