package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

// The program says where it serves and how to call it, and stops when it is told.
func TestProgram(t *testing.T) {
	for name, args := range map[string][]string{
		"beside the provider": {"-api", "127.0.0.1:0", "-provider", "127.0.0.1:0"},
		"at itsyou.online":    {"-api", "127.0.0.1:0", "-application", "goramldir"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			out, w := io.Pipe()
			ended := make(chan error, 1)
			go func() {
				ended <- run(ctx, args, w)
				w.Close()
			}()
			told, api := "", ""
			for lines := bufio.NewScanner(out); api == "" && lines.Scan(); {
				told += lines.Text() + "\n"
				if _, address, found := strings.Cut(lines.Text(), "directory: "); found {
					api = address
				}
			}
			resp, err := http.Get(api + "/users")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != 401 || strings.Contains(told, "client goramldir secret-of-the-example") != (name == "beside the provider") {
				t.Errorf("%d; told: %s", resp.StatusCode, told)
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}
