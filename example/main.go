// Command example shows gatehouse at work. It runs a photo site, a print shop
// and an OpenID provider with UMA authorization server in one process, each on
// a loopback port, and Mallory on another. They talk over TCP, and each page
// shows the messages that just passed.
//
//	go run ./example
//
// With -only provider it runs only a provider and authorization server to
// develop against, and prints its client and its people. -user adds a person
// with claims, or claims to a person who is there already:
//
//	go run ./example -only provider -user 'ana:groups=staff,admin'
//
// With -issuer, -client-id and -client-secret, people sign in at a real
// provider. Two servers can then be the authorization server:
//
//   - The provider itself, if it has a uma2-configuration and the print shop has
//     a client of its own there (-printshop-client-id, -printshop-client-secret).
//     There is no embedded server. With Keycloak, owners share in its account
//     console.
//   - Otherwise the embedded server. It accepts ID Tokens of the provider, made
//     for the print shop, as proof of who is asking: whoever the provider calls
//     bob is the bob that an owner has named. An owner needs an account at the
//     embedded server as well, because owners decide there. So they connect one,
//     once, by signing in at the embedded server. The photo site registers albums
//     with the grant that they give there.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// stopTime is how long requests, and the work that they started, may take at
// the end.
const stopTime = 5 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

// run starts the example and ends with ctx.
func run(ctx context.Context, args []string, out, errs io.Writer) error {
	o, err := parseFlags(args, errs)
	if err != nil {
		return err
	}
	o.logger = slog.New(slog.NewTextHandler(errs, &slog.HandlerOptions{Level: slog.LevelWarn}))
	d, err := begin(ctx, o)
	if err != nil {
		return err
	}
	d.announce(out)
	select {
	case <-ctx.Done():
	case err = <-d.fail():
	}
	ending, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	return errors.Join(err, d.close(ending))
}

// program runs until it is told to end, or fails.
type program interface {
	announce(io.Writer)
	fail() <-chan error
	close(context.Context) error
}

// begin starts what the command line asks for.
func begin(ctx context.Context, o options) (program, error) {
	if o.only == "provider" {
		return startProvider(o)
	}
	return start(ctx, o)
}

// parseFlags reads the command line.
func parseFlags(args []string, errs io.Writer) (options, error) {
	o := options{
		photos:  place{what: "photo site", address: "127.0.0.1:8080"},
		shop:    place{what: "print shop", address: "127.0.0.1:8081"},
		server:  place{what: "authorization server", address: "127.0.0.1:8082"},
		mallory: place{what: "site of Mallory", address: "127.0.0.1:8083"},
	}
	f := flag.NewFlagSet("example", flag.ContinueOnError)
	f.SetOutput(errs)
	f.StringVar(&o.photos.address, "photos", o.photos.address, "address of the photo site; port 0 chooses a free one")
	f.StringVar(&o.shop.address, "printshop", o.shop.address, "address of the print shop; port 0 chooses a free one")
	f.StringVar(&o.server.address, "server", o.server.address, "address of the embedded server; port 0 chooses a free one")
	f.StringVar(&o.mallory.address, "mallory", o.mallory.address, "address of Mallory's site; port 0 chooses a free one")
	f.StringVar(&o.only, "only", "", "\"provider\" starts the embedded server alone, to develop against")
	f.Func("redirect-uri", "redirect URI of the client of -only provider, may be repeated\n(default "+devRedirect+")", func(raw string) error {
		o.redirects = append(o.redirects, raw)
		return checkRedirect(raw)
	})
	f.Func("user", "person of -only provider, with claims, as 'ana:groups=staff,admin;dept=print'; may be repeated.\nA value with a comma is a list; true and false are booleans", func(raw string) error {
		p, err := parsePerson(raw)
		o.users = append(o.users, p)
		return err
	})
	f.StringVar(&o.issuer, "issuer", "", "OpenID provider to sign in at, instead of the embedded server.\nRegister <photos>/auth/callback and <printshop>/auth/callback there")
	f.StringVar(&o.client.id, "client-id", "", "client at -issuer, of the photo site, and of the print shop too\nunless that has its own")
	f.StringVar(&o.client.secret, "client-secret", "", "secret of -client-id; empty for a public client")
	f.StringVar(&o.shopClient.id, "printshop-client-id", "", "client of the print shop at -issuer. With it UMA moves to -issuer,\nif that has a uma2-configuration")
	f.StringVar(&o.shopClient.secret, "printshop-client-secret", "", "secret of -printshop-client-id")
	if err := f.Parse(args); err != nil {
		return options{}, err
	}
	f.Visit(func(set *flag.Flag) {
		for name, p := range map[string]*place{"photos": &o.photos, "printshop": &o.shop, "server": &o.server, "mallory": &o.mallory} {
			if set.Name == name {
				p.wanted = true
			}
		}
	})
	return o, o.check(f.Args())
}

func (o options) check(rest []string) error {
	switch {
	case o.only != "" && o.only != "provider":
		return fmt.Errorf("-only %q: there is only \"provider\"", o.only)
	case o.only != "" && o.issuer != "":
		return errors.New("-only provider and -issuer cannot be used together")
	case o.only == "" && len(o.redirects) > 0:
		return errors.New("-redirect-uri belongs to -only provider")
	case o.only == "" && len(o.users) > 0:
		return errors.New("-user belongs to -only provider")
	case len(rest) > 0:
		return fmt.Errorf("%q is not a flag", rest[0])
	case o.issuer == "" && (o.client.id != "" || o.shopClient.id != ""):
		return errors.New("-client-id and -printshop-client-id belong to -issuer")
	case o.issuer != "" && o.client.id == "":
		return errors.New("-issuer needs -client-id")
	case o.shopClient.id == "" && o.shopClient.secret != "":
		return errors.New("-printshop-client-secret needs -printshop-client-id")
	}
	return nil
}
