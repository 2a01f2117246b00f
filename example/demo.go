package main

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse"
	"example.com/gatehouse/example/internal/look"
	"example.com/gatehouse/example/internal/wire"
	"example.com/gatehouse/example/mallory"
	"example.com/gatehouse/example/photos"
	"example.com/gatehouse/example/printshop"
	"example.com/gatehouse/internal/testkit/opserver"
)

// options hold what the command line says, and what tests set instead.
type options struct {
	photos, shop, server, mallory place
	only                          string   // "provider": the embedded server alone
	redirects                     []string // of its client
	users                         []person // of it, with their claims
	issuer                        string
	client, shopClient            credentials // at issuer
	logger                        *slog.Logger
	now                           func() time.Time  // nil: time.Now
	keys                          []jose.JSONWebKey // of the embedded server; nil: new ones
	transport                     http.RoundTripper // under what is recorded; nil: one of our own
}

type credentials struct{ id, secret string }

func (c credentials) client() gatehouse.Client {
	return gatehouse.Client{ID: c.id, Secret: gatehouse.NewSecret(c.secret)}
}

// permissionTTL is how long the photo site trusts a permission before it asks
// again. It is shorter than usual, so that a change of mind takes effect at the
// next click.
const permissionTTL = 2 * time.Second

// demo is the running example.
type demo struct {
	options
	rec    *wire.Recorder
	failed chan error

	photosURL, shopURL string
	malloryURL         string
	serverURL          string // of the embedded server, "" if there is none
	signIn, sharing    string // issuers
	sharingURL         string // where owners see who asks
	console            bool   // owners share on pages of an account console

	op      *opserver.Server // nil if there is no embedded server
	servers []*server        // the embedded one first, if there is one
	site    *photos.Site
	print   *printshop.Shop
	thief   *mallory.Site
	story   story
}

// start opens the ports and starts the parties.
func start(ctx context.Context, o options) (*demo, error) {
	if o.now == nil {
		o.now = time.Now
	}
	if o.transport == nil {
		o.transport = http.DefaultTransport.(*http.Transport).Clone()
	}
	d := &demo{options: o, failed: make(chan error, 1)}
	if err := d.choose(ctx); err != nil {
		return nil, err
	}
	listeners, err := d.listen()
	if err != nil {
		return nil, err
	}
	handlers, err := d.build()
	if err != nil {
		for _, l := range listeners {
			err = errors.Join(err, l.Close())
		}
		return nil, err
	}
	for i, l := range listeners {
		d.servers = append(d.servers, &server{address: l.Addr().String(), handler: handlers[i], ending: d.site.EndStreams, failed: d.failed})
	}
	for i, l := range listeners {
		d.servers[i].serve(l)
	}
	return d, nil
}

// choose decides which issuer is the authorization server.
func (d *demo) choose(ctx context.Context) error {
	d.signIn = d.issuer
	if d.issuer == "" || d.shopClient.id == "" {
		return nil
	}
	uma, console, err := umaAt(ctx, &http.Client{Transport: d.transport}, d.issuer)
	if err == nil && uma {
		d.sharing, d.console = d.issuer, console
	}
	return err
}

// embedded reports whether the embedded server takes part.
func (d *demo) embedded() bool { return d.sharing == "" || d.sharing == d.serverURL }

// listen opens the ports of the embedded server, if it takes part, of the photo
// site, of the print shop and of Mallory.
func (d *demo) listen() ([]net.Listener, error) {
	places := []*place{&d.photos, &d.shop, &d.mallory}
	addresses := []*string{&d.photosURL, &d.shopURL, &d.malloryURL}
	if d.embedded() {
		places = append([]*place{&d.server}, places...)
		addresses = append([]*string{&d.serverURL}, addresses...)
	}
	var listeners []net.Listener
	for i, p := range places {
		l, err := p.listen()
		if err != nil {
			for _, open := range listeners {
				err = errors.Join(err, open.Close())
			}
			return nil, err
		}
		listeners = append(listeners, l)
		*addresses[i] = "http://" + l.Addr().String()
	}
	if d.serverURL != "" {
		d.sharing, d.sharingURL = d.serverURL, d.serverURL+"/"
		if d.signIn == "" {
			d.signIn = d.serverURL
		}
	}
	if d.console {
		d.sharingURL = strings.TrimSuffix(d.issuer, "/") + "/account/resources"
	}
	return listeners, nil
}

// actors names the parties for the panels.
func (d *demo) actors() []wire.Actor {
	actors := []wire.Actor{
		{ID: "photos", Name: "Photo site", Origin: d.photosURL, Local: true},
		{ID: "printshop", Name: "Print shop", Origin: d.shopURL, Local: true},
		{ID: "mallory", Name: "Site of Mallory", Origin: d.malloryURL, Local: true},
		{ID: "server", Name: "Authorization server", Origin: originOf(d.sharing), Local: d.serverURL != ""},
	}
	if d.signIn != d.sharing {
		actors = append(actors, wire.Actor{ID: "signin", Name: "Sign-in service", Origin: originOf(d.signIn)})
	}
	return actors
}

// build makes the handlers, in the order of the listeners.
func (d *demo) build() ([]http.Handler, error) {
	d.rec = wire.New(d.actors()...)
	var handlers []http.Handler
	own := map[string]credentials{
		"photos": {"photoz", rand.Text()},
		"shop":   {"printshop", rand.Text()},
	}
	if d.embedded() {
		if err := d.buildServer(own); err != nil {
			return nil, err
		}
		handlers = append(handlers, d.rec.Handler("server", d.op))
	}
	if err := d.buildSite(own["photos"]); err != nil {
		return nil, err
	}
	if err := d.buildShop(own["shop"]); err != nil {
		return nil, err
	}
	thief, err := mallory.New(mallory.Config{Base: d.malloryURL, PrintShop: d.shopURL + "/order", Aside: d.aside})
	if err != nil {
		return nil, err
	}
	d.thief = thief
	return append(handlers,
		d.rec.Handler("photos", d.withSwitch(d.site)),
		d.rec.Handler("printshop", d.withSwitch(d.print)),
		d.rec.Handler("mallory", d.withSwitch(d.thief))), nil
}

// provider makes a party's view of an issuer.
func (d *demo) provider(party, issuer string) (*gatehouse.Provider, error) {
	return gatehouse.NewProvider(issuer, &gatehouse.ProviderConfig{
		Transport: d.rec.Transport(party, d.transport), Logger: d.logger, Now: d.now,
	})
}

func (d *demo) sessions() (*gatehouse.Sessions, error) {
	return gatehouse.NewSessions(gatehouse.SessionsConfig{Now: d.now})
}

func (d *demo) buildSite(own credentials) error {
	c := photos.Config{
		Base: d.photosURL, Client: own.client(), SharingURL: d.sharingURL, CacheTTL: permissionTTL,
		PrintShop: d.shopURL + "/order", Intro: d.intro, Aside: d.next, Live: &look.Live{Show: d.panel, Changed: d.rec.Changed}, Reachable: d.reachable("photos"), Now: d.now,
	}
	var err error
	if c.Provider, err = d.provider("photos", d.signIn); err != nil {
		return err
	}
	if c.Sessions, err = d.sessions(); err != nil {
		return err
	}
	if d.op != nil && d.signIn == d.sharing {
		c.InboxURL = d.inboxOf
	}
	if d.issuer != "" {
		c.Client = d.client.client()
	}
	if d.signIn != d.sharing {
		c.Sharing = &photos.Sharing{Client: own.client()}
		if c.Sharing.Provider, err = d.provider("photos", d.sharing); err != nil {
			return err
		}
	}
	d.site, err = photos.New(c)
	return err
}

func (d *demo) buildShop(own credentials) error {
	c := printshop.Config{
		Base: d.shopURL, Client: own.client(), Photos: d.photosURL, Suggest: "/u/alice/albums/1",
		Others:    []string{d.malloryURL},
		Transport: d.rec.Transport("printshop", d.transport), Seen: d.story.saw, Aside: d.aside, Reachable: d.reachable("printshop"),
	}
	var err error
	if c.Provider, err = d.provider("printshop", d.signIn); err != nil {
		return err
	}
	if c.Sessions, err = d.sessions(); err != nil {
		return err
	}
	if d.issuer != "" {
		c.Client = d.shopSignIn().client()
	}
	if d.signIn != d.sharing {
		c.SharingClient = own.client()
		if c.Sharing, err = d.provider("printshop", d.sharing); err != nil {
			return err
		}
	}
	d.print, err = printshop.New(c)
	return err
}

// shopSignIn holds the credentials of the print shop at -issuer.
func (d *demo) shopSignIn() credentials {
	if d.shopClient.id != "" {
		return d.shopClient
	}
	return d.client
}

func (d *demo) fail() <-chan error { return d.failed }

// close stops serving, then waits for the work that earlier requests started.
func (d *demo) close(ctx context.Context) error {
	var errs []error
	if d.op != nil {
		d.op.Close()
	}
	for i := range d.servers { // the authorization server last
		errs = append(errs, d.servers[len(d.servers)-1-i].shutdown(ctx))
	}
	return errors.Join(append(errs, gatehouse.Shutdown(ctx, d.site, d.print))...)
}

// announce prints the addresses of the sites.
func (d *demo) announce(out io.Writer) {
	for _, p := range []place{d.photos, d.shop, d.server, d.mallory} {
		if p.moved {
			fmt.Fprintf(out, "%s is in use; the %s has another port.\n", p.address, p.what)
		}
	}
	fmt.Fprintf(out, "photo site            %s/\n", d.photosURL)
	fmt.Fprintf(out, "print shop            %s/\n", d.shopURL)
	fmt.Fprintf(out, "authorization server  %s\n", d.sharing)
	fmt.Fprintf(out, "Mallory's site        %s/\n", d.malloryURL)
	if d.signIn != d.sharing {
		fmt.Fprintf(out, "sign-in service       %s\n", d.signIn)
	}
	fmt.Fprintf(out, "\nBegin at %s/", d.photosURL)
	if d.embedded() {
		fmt.Fprint(out, "; at the authorization server you are alice (password: alice)")
	}
	fmt.Fprintln(out, ".")
	fmt.Fprintln(out, "Ctrl-C ends the example; nothing is kept.")
}

func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

//go:embed tour.html
var tourText string

var tour = template.Must(template.New("tour").Parse(tourText))

// intro is the tour on the photo site's first page.
func (d *demo) intro(*http.Request) template.HTML {
	var b strings.Builder
	err := tour.Execute(&b, struct {
		Photos, Shop, Mallory, SignIn, Sharing, Inbox string
		Embedded, Elsewhere, Console                  bool
	}{d.photosURL, d.shopURL, d.malloryURL, d.signIn, d.sharing, d.sharingURL, d.embedded(), d.signIn != d.sharing, d.console})
	if err != nil {
		return ""
	}
	return template.HTML(b.String())
}
