package main

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/url"
	"slices"
	"strings"

	"example.com/gatehouse/example/internal/look"
	"example.com/gatehouse/internal/testkit/opserver"
)

// people have accounts at the embedded server. Each has the name as password.
var people = []string{"alice", "bob", "carol"}

// addPeople gives the server its people.
func addPeople(op *opserver.Server) error {
	for _, name := range people {
		full := strings.ToUpper(name[:1]) + name[1:]
		if err := op.AddUser(name, name, map[string]any{"name": full, "email": name + "@example.org"}); err != nil {
			return err
		}
	}
	return nil
}

// The client of -only provider. It is the same each time, so that a program's
// settings stay valid.
const (
	devClient   = "app"
	devSecret   = "app-secret"
	devRedirect = "http://127.0.0.1:8080/auth/callback"
)

// devProvider is only the embedded server, to develop against.
type devProvider struct {
	options
	op     *opserver.Server
	issuer string
	client opserver.Client
	failed chan error
	server *server
}

// startProvider opens the port of the server and starts it.
func startProvider(o options) (*devProvider, error) {
	d := &devProvider{options: o, failed: make(chan error, 1)}
	l, err := d.options.server.listen()
	if err != nil {
		return nil, err
	}
	d.issuer = "http://" + l.Addr().String()
	if err := d.build(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	d.server = &server{address: l.Addr().String(), handler: d.op, failed: d.failed}
	d.server.serve(l)
	return d, nil
}

func (d *devProvider) build() error {
	var err error
	d.op, err = opserver.New(opserver.Config{
		Issuer: d.issuer, Now: d.now, Title: "Keyring",
		Hint:  "This is for development: the password is the name.",
		Style: serverLook(),
	})
	if err != nil {
		return err
	}
	d.client = opserver.Client{ID: devClient, Secret: devSecret, Name: "Your application", RedirectURIs: d.redirects}
	if len(d.client.RedirectURIs) == 0 {
		d.client.RedirectURIs = []string{devRedirect}
	}
	for _, at := range d.client.RedirectURIs {
		for _, back := range []string{"/auth/logout", "/"} {
			if back = originOf(at) + back; !slices.Contains(d.client.PostLogoutRedirectURIs, back) {
				d.client.PostLogoutRedirectURIs = append(d.client.PostLogoutRedirectURIs, back)
			}
		}
	}
	return errors.Join(d.op.AddClient(d.client), addPeople(d.op))
}

// announce prints the settings that a program needs.
func (d *devProvider) announce(out io.Writer) {
	if d.options.server.moved {
		fmt.Fprintf(out, "%s is in use; the server has another port.\n", d.options.server.address)
	}
	fmt.Fprintf(out, "issuer         %s\n", d.issuer)
	fmt.Fprintf(out, "client id      %s\n", d.client.ID)
	fmt.Fprintf(out, "client secret  %s\n", d.client.Secret)
	for _, at := range d.client.RedirectURIs {
		fmt.Fprintf(out, "redirect URI   %s\n", at)
	}
	for _, at := range d.client.PostLogoutRedirectURIs {
		fmt.Fprintf(out, "after logout   %s\n", at)
	}
	fmt.Fprintf(out, "people         %s; the password is the name\n", strings.Join(people, ", "))
	fmt.Fprintf(out, "\nThe client may sign people in, and may be a resource server and a UMA client. Owners share at %s/.\n", d.issuer)
	fmt.Fprintf(out, "To try it: ISSUER=%s CLIENT_ID=%s CLIENT_SECRET=%s go run ./example/login\n", d.issuer, d.client.ID, d.client.Secret)
	fmt.Fprintln(out, "It is for development only: everybody knows the passwords. Ctrl-C ends the provider; nothing is kept.")
}

func (d *devProvider) fail() <-chan error { return d.failed }

func (d *devProvider) close(ctx context.Context) error {
	d.op.Close()
	return d.server.shutdown(ctx)
}

// serverLook is the style of the embedded server's pages.
func serverLook() template.CSS { return look.PanelStyle() + template.CSS(serverStyle) }

// checkRedirect refuses an address to which the server could not send a browser
// back.
func checkRedirect(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("%q is not an http or https address", raw)
	}
	return nil
}
