package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"example.com/gatehouse/example/internal/look"
	"example.com/gatehouse/internal/testkit/opserver"
)

// people have accounts at the embedded server. Each has the name as password.
var people = []string{"alice", "bob", "carol"}

// addPeople gives the server its people, and those of the command line.
func addPeople(op *opserver.Server, more ...person) error {
	for _, p := range everybody(more) {
		r, size := utf8.DecodeRuneInString(p.name)
		claims := map[string]any{"name": string(unicode.ToUpper(r)) + p.name[size:], "email": p.name + "@example.org"}
		maps.Copy(claims, p.claims)
		if err := op.AddUser(p.name, p.name, claims); err != nil {
			return err
		}
	}
	return nil
}

// A person is one -user of the command line.
type person struct {
	name   string
	claims map[string]any
}

// everybody returns the people, each once: those of the story, then more. What
// several say of one person is put together.
func everybody(more []person) []person {
	var all []person
	for _, name := range people {
		all = append(all, person{name: name})
	}
	for _, p := range more {
		at := slices.IndexFunc(all, func(known person) bool { return known.name == p.name })
		if at < 0 {
			at, all = len(all), append(all, person{name: p.name})
		}
		claims := maps.Clone(all[at].claims)
		if claims == nil {
			claims = map[string]any{}
		}
		maps.Copy(claims, p.claims)
		all[at].claims = claims
	}
	return all
}

// parsePerson reads "name:claim=value;claim=value". A value with a comma is a
// list, true and false are booleans, and everything else is text.
func parsePerson(raw string) (person, error) {
	name, rest, _ := strings.Cut(raw, ":")
	if name == "" || strings.TrimSpace(name) != name || !utf8.ValidString(raw) || strings.ContainsFunc(raw, unicode.IsControl) {
		return person{}, fmt.Errorf("%q does not begin with a name", raw)
	}
	p := person{name: name, claims: map[string]any{}}
	for pair := range strings.SplitSeq(rest, ";") {
		if pair == "" {
			continue
		}
		claim, value, ok := strings.Cut(pair, "=")
		switch _, twice := p.claims[claim]; {
		case !ok || claim == "":
			return person{}, fmt.Errorf("%q is not a claim; write claim=value", pair)
		case twice:
			return person{}, fmt.Errorf("the claim %q stands there twice; separate the values of a list with commas", claim)
		case slices.Contains(protocolClaims, claim):
			return person{}, fmt.Errorf("the claim %q belongs to the protocol, not to a person", claim)
		}
		p.claims[claim] = claimValue(value)
	}
	return p, nil
}

// protocolClaims are the claims that the server itself makes.
var protocolClaims = []string{"iss", "aud", "exp", "iat", "nbf", "jti", "auth_time", "nonce", "acr", "amr", "azp", "sid", "at_hash", "c_hash"}

func claimValue(text string) any {
	switch {
	case strings.Contains(text, ","):
		list := []string{}
		for value := range strings.SplitSeq(text, ",") {
			if value != "" { // "staff," is a list of one
				list = append(list, value)
			}
		}
		return list
	case text == "true" || text == "false":
		return text == "true"
	}
	return text
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
		Issuer: d.issuer, Now: d.now, Title: "Keyring", Keys: d.keys,
		Hint:  "This is for development: the password is the name.",
		Style: look.ServerStyle(),
	})
	if err != nil {
		return err
	}
	d.client = opserver.Client{ID: devClient, Secret: devSecret, Name: "Your application", RedirectURIs: d.redirects}
	if len(d.client.RedirectURIs) == 0 {
		d.client.RedirectURIs = []string{devRedirect}
	}
	d.client.BackchannelLogoutURI = originOf(d.client.RedirectURIs[0]) + "/auth/backchannel-logout"
	for _, at := range d.client.RedirectURIs {
		for _, back := range []string{"/auth/logout", "/"} {
			if back = originOf(at) + back; !slices.Contains(d.client.PostLogoutRedirectURIs, back) {
				d.client.PostLogoutRedirectURIs = append(d.client.PostLogoutRedirectURIs, back)
			}
		}
	}
	return errors.Join(d.op.AddClient(d.client), addPeople(d.op, d.users...))
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
	fmt.Fprintf(out, "back channel   %s\n", d.client.BackchannelLogoutURI)
	var names []string
	for _, p := range everybody(d.users) {
		names = append(names, p.name)
	}
	fmt.Fprintf(out, "people         %s; the password is the name\n", strings.Join(names, ", "))
	fmt.Fprintf(out, "\nThe client may sign people in, and may be a resource server and a UMA client. Owners share at %s/.\n", d.issuer)
	if slices.Contains(d.client.RedirectURIs, devRedirect) { // that of example/login
		fmt.Fprintf(out, "To try it: ISSUER=%s CLIENT_ID=%s CLIENT_SECRET=%s go run ./example/login\n", d.issuer, d.client.ID, d.client.Secret)
	}
	fmt.Fprintln(out, "It is for development only: everybody knows the passwords. Ctrl-C ends the provider; nothing is kept.")
}

func (d *devProvider) fail() <-chan error { return d.failed }

func (d *devProvider) close(ctx context.Context) error {
	d.op.Close()
	return d.server.shutdown(ctx)
}

// checkRedirect refuses an address to which the server could not send a browser
// back.
func checkRedirect(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("%q is not an http or https address", raw)
	}
	return nil
}
