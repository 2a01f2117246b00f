// Command itsyouonline is the server of go-raml's Python tutorial, a directory of
// developers whose clients bring tokens of itsyou.online.
//
//	go run ./example/itsyouonline
//
// starts it on http://127.0.0.1:5000 beside a provider that answers as
// itsyou.online did, and says how to call it. With -application it takes the
// tokens of that application at the real itsyou.online, and starts no provider.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"example.com/gatehouse/example/itsyouonline/iyo"
	"example.com/gatehouse/example/itsyouonline/users"
)

// The application that the provider of the example knows.
const (
	appID     = "goramldir"
	appSecret = "secret-of-the-example"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		log.Fatal(err)
	}
}

// run is the program. It ends with ctx.
func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("itsyouonline", flag.ContinueOnError)
	flags.SetOutput(out)
	api := flags.String("api", "127.0.0.1:5000", "address of the directory")
	provider := flags.String("provider", "127.0.0.1:5001", "address of the provider of the example")
	application := flags.String("application", "", "id of an application at the real itsyou.online")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *application != "" {
		handler, err := users.NewAPI([]byte(users.PublicKey), *application)
		if err != nil {
			return err
		}
		return serve(ctx, out, "directory", *api, handler, nil)
	}
	server, err := iyo.New(map[string]iyo.App{appID: {
		Secret: appSecret, GlobalID: "goraml", Scopes: []string{"user:memberof:goraml", "user:memberof:goraml-admin"},
	}})
	if err != nil {
		return err
	}
	handler, err := users.NewAPI(server.PublicKey(), appID)
	if err != nil {
		return err
	}
	return serve(ctx, out, "provider", *provider, server, func() error {
		fmt.Fprintf(out, "go run ./example/itsyouonline/client %s %s\n", appID, appSecret)
		return serve(ctx, out, "directory", *api, handler, nil)
	})
}

// serve serves a handler until ctx ends or then returns.
func serve(ctx context.Context, out io.Writer, name, address string, h http.Handler, then func() error) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: http://%s\n", name, listener.Addr())
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	if then != nil {
		err = then()
	} else {
		select {
		case <-ctx.Done():
		case err = <-ended:
			return err
		}
	}
	closed := server.Close()
	<-ended
	return errors.Join(err, closed)
}
