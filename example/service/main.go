// Command service is the program that docs/sign-in.md explains: notes that
// people write on a page, in a form and by a script. Try it against
//
//	go run ./example -only provider -user 'ana:groups=staff,admin'
//
// with ISSUER, CLIENT_ID and CLIENT_SECRET set to what that command prints.
// BASE_URL is the address at which browsers reach the service, and SESSION_KEY
// seals the sessions.
package main

import (
	"cmp"
	"context"
	"errors"
	"log"
	"log/slog"
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
	provider, err := gatehouse.NewProvider(os.Getenv("ISSUER"), &gatehouse.ProviderConfig{
		Logger: slog.New(slog.NewJSONHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	var keys []gatehouse.Secret
	if key := os.Getenv("SESSION_KEY"); key != "" {
		keys = append(keys, gatehouse.NewSecret(key))
	}
	sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{
		Keys:        keys,
		Lifetime:    8 * time.Hour,
		IdleTimeout: time.Hour,
	})
	if err != nil {
		return err
	}
	client := gatehouse.Client{ID: os.Getenv("CLIENT_ID"), Secret: gatehouse.NewSecret(os.Getenv("CLIENT_SECRET"))}
	base := cmp.Or(os.Getenv("BASE_URL"), "http://127.0.0.1:8080")
	login, app, err := newService(provider, client, sessions, base)
	if err != nil {
		return err
	}
	server := &http.Server{
		Addr:              cmp.Or(os.Getenv("LISTEN"), "127.0.0.1:8080"),
		Handler:           app,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
	}
	return serve(ctx, server, login)
}

// serve runs until ctx is done. Then requests under way, and the work that they
// started, have ten seconds to end.
func serve(ctx context.Context, server *http.Server, login *gatehouse.RelyingParty) error {
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(gatehouse.Shutdown(ending, server, login))
}
