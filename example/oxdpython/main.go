// Command oxdpython is the site of oxd-python's documentation without oxd: it
// registers itself at a provider, changes what it has registered, signs people in,
// asks about them and signs them out. The six methods of oxd are in site.go.
//
//	ISSUER=https://id.example.org BASE_URL=https://client.example.com go run ./example/oxdpython
//
// LISTEN is where it listens, STATE_DIR a directory of its own, where it remembers
// its client and what was changed. INITIAL_ACCESS_TOKEN is for a provider that wants
// one. For a provider that registers nobody, such as Google, register the site
// there by hand, and set CLIENT_ID and CLIENT_SECRET.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example.com/gatehouse"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	listen := cmp.Or(os.Getenv("LISTEN"), "127.0.0.1:8080")
	provider, err := gatehouse.NewProvider(os.Getenv("ISSUER"), nil)
	if err != nil {
		return err
	}
	sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{})
	if err != nil {
		return err
	}
	s := &site{
		provider: provider,
		sessions: sessions,
		base:     cmp.Or(os.Getenv("BASE_URL"), "http://"+listen),
		dir:      cmp.Or(os.Getenv("STATE_DIR"), "."),
		initial:  gatehouse.NewSecret(os.Getenv("INITIAL_ACCESS_TOKEN")),
	}
	if err := s.open(gatehouse.Client{ID: os.Getenv("CLIENT_ID"), Secret: gatehouse.NewSecret(os.Getenv("CLIENT_SECRET"))}); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	id, err := s.registerSite(ctx)
	if err != nil { // the first sign-in tries again
		slog.Warn("not registered yet", "error", err)
	}
	if id != "" {
		fmt.Println("oxd_id =", id)
	}
	fmt.Println("site:", s.base)
	return serve(ctx, s, listener)
}

// serve runs until ctx is done. Then requests under way, and the work that they
// started, have ten seconds to end.
func serve(ctx context.Context, s *site, listener net.Listener) error {
	server := &http.Server{Handler: s, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	now := s.now.Load()
	return gatehouse.Shutdown(ending, server, now.login, now.registration)
}
