// Command client is the client of go-raml's tutorial: it gets a token from
// itsyou.online and calls the directory of developers with it.
//
//	go run ./example/itsyouonline/client [application_id] [application_secret]
//
// Without -provider and -api it calls the two servers that
//
//	go run ./example/itsyouonline
//
// starts. The secret is an argument as in the tutorial, so other users of this
// machine can see it in the list of processes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"time"
)

const (
	patience  = 10 * time.Second // with a server that does not answer
	maxAnswer = 1 << 20          // of an answer, in bytes
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		log.Fatal(err)
	}
}

// run is the program.
func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("client", flag.ContinueOnError)
	flags.SetOutput(out)
	provider := flags.String("provider", "http://127.0.0.1:5001", "address of itsyou.online")
	api := flags.String("api", "http://127.0.0.1:5000", "address of the directory")
	scopes := flags.String("scope", "", "only these scopes, with commas in between")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 2 {
		return fmt.Errorf("usage: client [flags] [application_id] [application_secret]")
	}
	token, err := getToken(ctx, *provider, flags.Arg(0), flags.Arg(1), *scopes)
	if err != nil {
		return fmt.Errorf("get a token: %w", err)
	}
	for _, call := range []struct{ method, path, body string }{
		{"GET", "/users", ""},
		{"POST", "/users", `{"username":"ibnu","name":"Ibnu Yahya"}`},
		{"GET", "/users/ibnu", ""},
	} {
		req, err := http.NewRequestWithContext(ctx, call.method, *api+call.path, strings.NewReader(call.body))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "token "+token)
		status, body, err := send(req)
		if err != nil {
			return fmt.Errorf("%s %s: %w", call.method, call.path, err)
		}
		fmt.Fprintf(out, "%s %s: %s %s\n", call.method, call.path, status, body)
	}
	return nil
}

// getToken gets a JWT for the application. The body of the answer is the token
// itself and no JSON.
func getToken(ctx context.Context, provider, id, secret, scopes string) (string, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}, "response_type": {"id_token"}}
	if scopes != "" {
		form.Set("scope", scopes)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, provider+"/v1/oauth/access_token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	status, body, err := send(req)
	if err != nil {
		return "", err
	}
	if status != "200 OK" {
		return "", fmt.Errorf("%s", status)
	}
	return body, nil
}

// send sends a request and reads the whole answer.
func send(req *http.Request) (status, body string, err error) {
	client := http.Client{Timeout: patience}
	resp, err := client.Do(req)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.Status, strings.TrimSpace(string(data)), err
}
