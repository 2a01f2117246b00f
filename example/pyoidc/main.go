// Command pyoidc is the walk of pyoidc's "How to implement a client": from a
// person's account to their claims, by WebFinger, provider configuration,
// registration, authorization, token and user info. The steps are in walk.go.
//
//	go run ./example/pyoidc -clients clients.json -base https://example.com
//
// clients.json is what CLIENTS is in the conf.py of pyoidc's own examples:
//
//	{
//	  "corp":   {"srv_discovery_url": "https://id.example.org", "client_info": {"contacts": ["foo@example.com"]},
//	             "behaviour": {"response_type": "code", "scope": ["openid", "profile", "email"]}},
//	  "google": {"srv_discovery_url": "https://accounts.google.com",
//	             "client_registration": {"client_id": "1234567890", "client_secret": "abcdefghijklmnop"}}
//	}
//
// A provider that wants an initial access token gets INITIAL_ACCESS_TOKEN_CORP.
package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example.com/gatehouse"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		log.Fatal(err)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("pyoidc", flag.ContinueOnError)
	clients := flags.String("clients", "clients.json", "file with the providers")
	listen := flags.String("listen", "127.0.0.1:8080", "address to listen at")
	base := flags.String("base", "", "address at which browsers reach it (default http:// and -listen)")
	dir := flags.String("dir", ".", "directory that remembers what was registered")
	roots := flags.String("roots", "", "file with the authorities, in PEM, of the hosts of accounts (default those of the system)")
	var inner []netip.Prefix
	flags.Func("intranet", "network inside in which hosts of accounts may be, such as 10.1.0.0/16; may be repeated", func(text string) error {
		network, err := netip.ParsePrefix(text)
		inner = append(inner, network)
		return err
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	var ops map[string]op
	if err := readJSON(*clients, &ops); err != nil {
		return err
	}
	finding := gatehouse.FinderConfig{InnerNetworks: inner, InsecureInnerAddresses: len(inner) > 0}
	if *roots != "" {
		pem, err := os.ReadFile(*roots)
		if err != nil {
			return err
		}
		finding.RootCAs = x509.NewCertPool()
		if !finding.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s has no certificate", *roots)
		}
	}
	w, err := newWalk(ops, finding, cmp.Or(*base, "http://"+*listen), *dir)
	if err != nil {
		return err
	}
	return serve(ctx, *listen, w)
}

func readJSON(path string, v any) error {
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, v)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// serve runs until ctx is done. Then requests under way, and the work that they
// started, have ten seconds to end.
func serve(ctx context.Context, listen string, w *walk) error {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Println("site:", w.base)
	server := &http.Server{Handler: w.pages, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	parts := []interface{ Shutdown(context.Context) error }{server, w.finder, w.logins}
	for _, r := range w.registrations {
		parts = append(parts, r)
	}
	return gatehouse.Shutdown(ending, parts...)
}
