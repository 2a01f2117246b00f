//go:build unix

package replicas

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"example.com/gatehouse"
)

// A Store is everything that the replicas share. The Store of each store module
// has these methods.
type Store interface {
	gatehouse.Store
	gatehouse.ResourceIDs
	gatehouse.GrantStore
}

// A Kind is a kind of store that the command can run on. Every field is
// required, but Missing only where Begin needs something.
type Kind struct {
	// Name is what people call it, such as "Redis".
	Name string
	// Addr says what the flag -addr takes.
	Addr string
	// Missing is the whole message for a machine on which Begin finds no server
	// to start: what is missing, and how to go on.
	Missing string
	// Begin starts a server for the time of the command, and returns its
	// address and what ends it. If the server is not installed, the error is
	// exec.ErrNotFound.
	Begin func(ctx context.Context) (addr string, end func(), err error)
	// Open opens the store at an address. Each process calls it once. What it
	// returns second closes the store. If the store has a method Migrate, the
	// command calls that once, before the replicas start.
	Open func(ctx context.Context, addr string) (Store, func(), error)
}

// Main is the whole main function of a command. It does not return.
func Main(k Kind) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := Run(ctx, k, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	default:
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

const (
	// beginTime bounds the start of a store's server. PostgreSQL takes 2 s to
	// make its files, and far more on a busy machine.
	beginTime = time.Minute
	// storeTime is how long the store may take to show that it is there.
	storeTime = 5 * time.Second
	// stopTime bounds the end of the whole command.
	stopTime = 8 * time.Second
)

// Run runs the command until ctx ends. Each replica writes its warnings to errs
// as well, so errs must be safe for concurrent use.
func Run(ctx context.Context, k Kind, args []string, in io.Reader, out, errs io.Writer) error {
	if len(args) > 0 && args[0] == replicaFlag {
		return runReplica(ctx, k, in, out)
	}
	o, err := parseFlags(k, args, errs)
	if err != nil {
		return err
	}
	c := &command{kind: k, options: o, errs: errs}
	err = c.start(ctx)
	if err == nil {
		c.announce(out)
		select {
		case <-ctx.Done():
		case err = <-c.failed:
		}
	} else if ctx.Err() != nil {
		err = nil // stopped while it started
	}
	ending, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	return errors.Join(err, c.close(ending))
}

// options is what the command line says.
type options struct {
	replicas             int
	addr                 string // of the store, "" for a server of our own
	photos, shop, server place
}

// mostReplicas bounds the processes on one machine.
const mostReplicas = 8

// parseFlags reads the command line.
func parseFlags(k Kind, args []string, errs io.Writer) (options, error) {
	o := options{
		photos: place{what: "photo site", address: "127.0.0.1:8080"},
		shop:   place{what: "print shop", address: "127.0.0.1:8081"},
		server: place{what: "authorization server", address: "127.0.0.1:8082"},
	}
	f := flag.NewFlagSet("example", flag.ContinueOnError)
	f.SetOutput(errs)
	f.IntVar(&o.replicas, "replicas", 2, fmt.Sprintf("processes that serve the photo site, 1 to %d", mostReplicas))
	f.StringVar(&o.addr, "addr", "", k.Addr)
	f.Var(&o.photos, "photos", "address of the photo site, where the front is; port 0 chooses a free one")
	f.Var(&o.shop, "printshop", "address of the print shop; port 0 chooses a free one")
	f.Var(&o.server, "server", "address of the authorization server; port 0 chooses a free one")
	if err := f.Parse(args); err != nil {
		return options{}, err
	}
	switch {
	case f.NArg() > 0:
		return options{}, fmt.Errorf("%q is not a flag", f.Arg(0))
	case o.replicas < 1 || o.replicas > mostReplicas:
		return options{}, fmt.Errorf("-replicas %d: there can be 1 to %d", o.replicas, mostReplicas)
	}
	return o, nil
}

// open starts a server for the store unless there is one, opens the store and
// makes it ready.
func (c *command) open(ctx context.Context) error {
	begin, cancel := context.WithTimeout(ctx, beginTime)
	defer cancel()
	if c.addr == "" {
		addr, end, err := c.kind.Begin(begin)
		switch {
		case errors.Is(err, exec.ErrNotFound):
			return errors.New(c.kind.Missing)
		case err != nil:
			return fmt.Errorf("%s cannot be started: %w", c.kind.Name, err)
		}
		c.addr, c.own = addr, true
		c.atEnd(func(context.Context) error {
			end()
			return nil
		})
	}
	begin, cancel = context.WithTimeout(ctx, storeTime)
	defer cancel()
	store, closeStore, err := c.kind.Open(begin, c.addr)
	if err != nil {
		return fmt.Errorf("%s cannot be opened: %w", c.kind.Name, err)
	}
	c.store = store
	c.atEnd(func(context.Context) error {
		closeStore()
		return nil
	})
	if m, ok := store.(interface{ Migrate(context.Context) error }); ok {
		if err := m.Migrate(begin); err != nil {
			return fmt.Errorf("%s cannot be made ready: %w", c.kind.Name, err)
		}
	}
	if _, _, err := store.FindCtx(begin, noKey); err != nil {
		return fmt.Errorf("%s does not answer: %w", c.kind.Name, err)
	}
	// A replica of another server answers, but takes no changes. Commands that
	// start at the same time write the same, which a swap allows.
	value := []byte("written once at the start")
	_, err = store.SwapCtx(begin, noKey, nil, value, time.Now().Add(storeTime))
	if err == nil {
		_, err = store.SwapCtx(begin, noKey, value, nil, time.Time{})
	}
	if err != nil {
		return fmt.Errorf("%s takes no changes: %w", c.kind.Name, err)
	}
	return nil
}

// noKey is a key that nobody else uses.
var noKey = strings.Repeat("A", 43)
