//go:build unix

package backing

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"example.com/gatehouse/internal/testkit/process"
)

// RedisConfig says what kind of Redis to start.
type RedisConfig struct {
	// Dir holds the data, so that a later Redis finds it. If it is empty, Close
	// removes the data.
	Dir string
	// Port is where it listens. If it is empty, a free port is taken.
	Port string
	// Password is what clients must say; empty for none.
	Password string
	// TLS serves TLS and nothing else.
	TLS bool
	// Settings are further lines of redis.conf, such as "maxmemory 4mb". They
	// win over those that StartRedis sets.
	Settings []string
}

// Redis is a redis-server that this program started. Its methods are not for
// concurrent use, except Do.
type Redis struct {
	// Addr is host and port.
	Addr string
	// Password is what clients must say.
	Password string
	// TLS trusts the server's certificate. It is nil without TLS.
	TLS *tls.Config
	// Certificate is the file of that certificate, for other processes.
	Certificate string

	config  RedisConfig
	program string
	args    []string // before the name of the file of settings
	ready   string   // what the server says when it serves
	file    string
	remove  func() error
	process *process.Process // nil while it is stopped
}

// startPatience bounds the start of one server on a busy machine.
const startPatience = time.Minute

// StartRedis starts a redis-server and waits until it serves. Stop and Restart
// keep all data. Kill may lose the writes of the last two seconds, because the
// append-only file waits for a slow disk, unless Settings has "appendfsync
// always". Close ends the server.
func StartRedis(ctx context.Context, c RedisConfig) (*Redis, error) {
	return startRedis(ctx, c, "Ready to accept connections")
}

func startRedis(ctx context.Context, c RedisConfig, ready string, args ...string) (*Redis, error) {
	program, err := find("redis-server", "apt-get install redis-server")
	if err != nil {
		return nil, err
	}
	dir, remove, err := folder(c.Dir, "redis")
	if err != nil {
		return nil, err
	}
	r := &Redis{Password: c.Password, config: c, program: program, args: args, ready: ready, remove: remove}
	if err := r.begin(ctx, dir); err != nil {
		return nil, errors.Join(err, remove())
	}
	return r, nil
}

// portTries is how often another port is taken because somebody else took the
// one that was free.
const portTries = 5

// begin writes the settings and starts the server for the first time.
func (r *Redis) begin(ctx context.Context, dir string) error {
	if r.config.TLS {
		var err error
		if r.TLS, err = writeCertificate(dir); err != nil {
			return err
		}
		r.Certificate = filepath.Join(dir, certificateFile)
	}
	r.file = filepath.Join(dir, "redis.conf")
	for try := 1; ; try++ {
		port := r.config.Port
		if port == "" {
			free, err := freePorts(1)
			if err != nil {
				return err
			}
			port = free[0]
		}
		r.Addr = net.JoinHostPort(host, port)
		if err := os.WriteFile(r.file, r.settings(dir, port), 0o600); err != nil {
			return err
		}
		err := r.Restart(ctx)
		if err == nil || r.config.Port != "" || try == portTries || !strings.Contains(err.Error(), "in use") {
			return err
		}
	}
}

// settings returns the content of redis.conf.
func (r *Redis) settings(dir, port string) []byte {
	lines := []string{"bind " + host, "dir " + dir}
	if r.config.TLS {
		lines = append(lines, "port 0", "tls-port "+port, "tls-auth-clients no", "tls-cert-file "+filepath.Join(dir, certificateFile),
			"tls-key-file "+filepath.Join(dir, keyFile), "tls-ca-cert-file "+filepath.Join(dir, certificateFile))
	} else {
		lines = append(lines, "port "+port)
	}
	if r.Password != "" {
		lines = append(lines, "requirepass "+strconv.Quote(r.Password))
	}
	if len(r.args) == 0 { // not a Sentinel
		// A replica gets its copy at once.
		lines = append(lines, `save ""`, "appendonly yes", "maxmemory-policy noeviction", "repl-diskless-sync-delay 0")
		if r.Password != "" {
			lines = append(lines, "masterauth "+strconv.Quote(r.Password))
		}
	}
	return []byte(strings.Join(append(lines, r.config.Settings...), "\n") + "\n")
}

// Restart starts the server again on the same port and with the same data. If
// it runs, it is stopped first. Restart waits until the server has read its
// data.
func (r *Redis) Restart(ctx context.Context) error {
	r.Stop()
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	cmd := exec.Command(r.program, append([]string{r.file}, r.args...)...)
	p, err := process.Start(ctx, "redis-server", cmd, func(line []byte) bool { return bytes.Contains(line, []byte(r.ready)) })
	if err != nil {
		return err
	}
	r.process = p
	return nil
}

// Stop ends the server as its service manager would, with SIGTERM. Its data
// stays for Restart. It does nothing if the server has ended.
func (r *Redis) Stop() { r.end(syscall.SIGTERM) }

// Kill ends the server with SIGKILL. Its data stays for Restart.
func (r *Redis) Kill() { r.end(syscall.SIGKILL) }

func (r *Redis) end(by syscall.Signal) {
	if r.process == nil {
		return
	}
	p := r.process
	r.process = nil
	p.End = by
	p.Signal(syscall.SIGCONT) // one that hangs would not end
	// A replica that has just got its copy forgets a SIGTERM while it writes its
	// first append-only file. So it is asked again.
	again := time.NewTicker(askAgain)
	defer again.Stop()
	for range int(endPatience / askAgain) {
		p.Signal(by)
		select {
		case <-p.Done():
			return
		case <-again.C:
		}
	}
	p.Stop()
}

const (
	// askAgain is how often a server is asked to end.
	askAgain = 200 * time.Millisecond
	// endPatience bounds the asking. A master waits 10 s for its replicas.
	endPatience = 15 * time.Second
)

// Pause makes the server hang: it keeps its connections and answers nothing.
func (r *Redis) Pause() { r.signal(syscall.SIGSTOP) }

// Resume ends Pause.
func (r *Redis) Resume() { r.signal(syscall.SIGCONT) }

func (r *Redis) signal(s syscall.Signal) {
	if r.process != nil {
		r.process.Signal(s)
	}
}

// Running reports whether the server runs, or hangs.
func (r *Redis) Running() bool {
	if r.process == nil {
		return false
	}
	select {
	case <-r.process.Done():
		return false
	default:
		return true
	}
}

// Close ends the server. It removes data that has no directory of the caller.
func (r *Redis) Close() error {
	r.Stop()
	return r.remove()
}

// until repeats Do until accept takes the answer.
func (r *Redis) until(ctx context.Context, accept func(answer any) bool, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		answer, err := r.Do(ctx, args...)
		if err == nil && accept(answer) {
			return nil
		}
		timer := time.NewTimer(20 * time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("redis at %s, %s: last answer %.300v (error: %v): %w", r.Addr, strings.Join(args, " "), answer, err, context.Cause(ctx))
		}
	}
}

// says accepts an answer with the text.
func says(text string) func(any) bool {
	return func(answer any) bool {
		s, ok := answer.(string)
		return ok && strings.Contains(s, text)
	}
}

// Log returns the end of what the server has written, for a failure to show.
func (r *Redis) Log() string {
	if r.process == nil {
		return ""
	}
	return r.process.Log(process.LogShown)
}
