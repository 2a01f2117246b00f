//go:build unix

package replicas

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	"example.com/gatehouse"
	"example.com/gatehouse/example/internal/look"
	"example.com/gatehouse/example/printshop"
	"example.com/gatehouse/internal/testkit/opserver"
)

// command is the process that starts the replicas. It has all parties but the
// photo site itself.
type command struct {
	kind Kind
	options
	errs   io.Writer
	own    bool // the store's server is ours
	store  Store
	logger *slog.Logger
	failed chan error

	photosURL, shopURL, serverURL string
	secrets                       map[string]string // of the clients at the authorization server
	front                         *front
	ends                          []func(context.Context) error // what close has to do, last first
}

// people have accounts at the authorization server. Each has the handle as
// password.
var people = map[string]string{"alice": "Alice", "bob": "Bob", "carol": "Carol"}

// The clients at the authorization server.
const (
	photosClient = "photoz"
	shopClient   = "printshop"
)

func (c *command) atEnd(end func(context.Context) error) { c.ends = append(c.ends, end) }

// close ends what was started, the last first. A failure does not keep the rest
// from being ended.
func (c *command) close(ctx context.Context) error {
	var errs []error
	for _, end := range slices.Backward(c.ends) {
		errs = append(errs, end(ctx))
	}
	return errors.Join(errs...)
}

// start starts the store, the parties, the replicas and the front. After an
// error close has to be called, too.
func (c *command) start(ctx context.Context) error {
	c.failed = make(chan error, 1)
	c.logger = slog.New(slog.NewTextHandler(c.errs, &slog.HandlerOptions{Level: slog.LevelWarn}))
	c.secrets = map[string]string{photosClient: rand.Text(), shopClient: rand.Text()}
	if err := c.open(ctx); err != nil {
		return errors.New(strings.Join(strings.Fields(err.Error()), " ")) // some drivers write many lines
	}
	var listeners []net.Listener
	for _, p := range []*place{&c.photos, &c.shop, &c.server} {
		l, err := p.listen()
		if err != nil {
			return err
		}
		c.atEnd(func(context.Context) error {
			if err := l.Close(); !errors.Is(err, net.ErrClosed) { // closed by its server
				return err
			}
			return nil
		})
		listeners = append(listeners, l)
	}
	c.photosURL, c.shopURL, c.serverURL = origin(listeners[0]), origin(listeners[1]), origin(listeners[2])

	op, err := c.buildServer()
	if err != nil {
		return err
	}
	shop, shopProvider, err := c.buildShop()
	if err != nil {
		return err
	}
	c.atEnd(serve(listeners[2], op, c.failed))
	c.atEnd(func(ctx context.Context) error { return gatehouse.Shutdown(ctx, shop, shopProvider) })
	c.atEnd(serve(listeners[1], shop, c.failed))
	if err := c.startReplicas(ctx); err != nil {
		return err
	}
	c.atEnd(serve(listeners[0], c.front, c.failed))
	return nil
}

func origin(l net.Listener) string { return "http://" + l.Addr().String() }

// buildServer makes the authorization server, with the people and the clients.
func (c *command) buildServer() (*opserver.Server, error) {
	op, err := opserver.New(opserver.Config{
		Issuer: c.serverURL, Title: "Keyring", Hint: "This is a demonstration: the password is the name.", Style: look.ServerStyle(),
	})
	if err != nil {
		return nil, err
	}
	for handle, name := range people {
		err = errors.Join(err, op.AddUser(handle, handle, map[string]any{"name": name, "email": handle + "@example.org"}))
	}
	return op, errors.Join(err,
		op.AddClient(opserver.Client{
			ID: photosClient, Secret: c.secrets[photosClient], Name: "Photoz", HomeURI: c.photosURL + "/albums",
			RedirectURIs: []string{c.photosURL + "/auth/callback"}, PostLogoutRedirectURIs: []string{c.photosURL + "/auth/logout"},
			BackchannelLogoutURI: c.photosURL + "/auth/backchannel-logout", // whichever replica gets the token
		}),
		op.AddClient(opserver.Client{
			ID: shopClient, Secret: c.secrets[shopClient], Name: "Inkwell", HomeURI: c.shopURL + "/",
			RedirectURIs: []string{c.shopURL + "/auth/callback"}, PostLogoutRedirectURIs: []string{c.shopURL + "/auth/logout"},
		}))
}

// buildShop makes the print shop. It reaches the photo site through the front,
// as everybody does, and keeps its sign-ins in the same store.
func (c *command) buildShop() (*printshop.Shop, *gatehouse.Provider, error) {
	provider, err := gatehouse.NewProvider(c.serverURL, &gatehouse.ProviderConfig{Logger: c.logger})
	if err != nil {
		return nil, nil, err
	}
	sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{Store: c.store, Name: "shop"})
	if err != nil {
		return nil, nil, err
	}
	shop, err := printshop.New(printshop.Config{
		Base: c.shopURL, Provider: provider, Client: gatehouse.Client{ID: shopClient, Secret: gatehouse.NewSecret(c.secrets[shopClient])},
		Photos: c.photosURL, Suggest: "/u/alice/albums/1", Sessions: sessions, Transport: http.DefaultTransport.(*http.Transport).Clone(),
	})
	return shop, provider, err
}

// startReplicas starts all replicas at once.
func (c *command) startReplicas(ctx context.Context) error {
	all := make([]*replica, c.replicas)
	for i := range all {
		all[i] = &replica{number: i + 1, errs: c.errs, settings: settings{
			Number: i + 1, Addr: c.addr, Base: c.photosURL, Issuer: c.serverURL, PrintShop: c.shopURL + "/order",
			ClientID: photosClient, ClientSecret: c.secrets[photosClient],
		}}
	}
	var err error
	if c.front, err = newFront(all, c.logger); err != nil {
		return err
	}
	c.atEnd(func(context.Context) error {
		everywhere(all, func(r *replica) error {
			r.retire()
			return nil
		})
		return nil
	})
	return everywhere(all, func(r *replica) error { return r.start(ctx) })
}

// everywhere calls do for all replicas at once, and waits for all.
func everywhere(all []*replica, do func(*replica) error) error {
	errs := make([]error, len(all))
	var wait sync.WaitGroup
	for i, r := range all {
		wait.Go(func() { errs[i] = do(r) })
	}
	wait.Wait()
	return errors.Join(errs...)
}

// announce prints where everything is.
func (c *command) announce(out io.Writer) {
	for _, p := range []place{c.photos, c.shop, c.server} {
		if p.moved {
			fmt.Fprintf(out, "%s is in use; the %s has another port.\n", p.address, p.what)
		}
	}
	plural := "s"
	if c.replicas == 1 {
		plural = ""
	}
	fmt.Fprintf(out, "photo site            %s/  (%d replica%s)\n", c.photosURL, c.replicas, plural)
	fmt.Fprintf(out, "print shop            %s/\n", c.shopURL)
	fmt.Fprintf(out, "authorization server  %s\n", c.serverURL)
	if c.own {
		fmt.Fprintf(out, "store                 %s, for this run alone, at %s\n", c.kind.Name, c.addr)
	} else {
		fmt.Fprintf(out, "store                 %s, the one that -addr names\n", c.kind.Name)
	}
	fmt.Fprintf(out, "\nBegin at %s/; at the authorization server you are alice (password: alice).\n", c.photosURL)
	kept := "nothing is kept."
	if !c.own {
		kept = strings.Join([]string{"sign-ins and albums stay in the store.",
			"The authorization server is in the memory of this process: what was shared, and the right to renew tokens, goes with it."}, "\n")
	}
	fmt.Fprintln(out, "Ctrl-C ends the example; "+kept)
}
