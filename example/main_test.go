package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
)

func TestFlags(t *testing.T) {
	tests := []struct {
		args  string
		wrong string // in the error
	}{
		{"", ""},
		{"-photos 0 -printshop 0 -server 0", ""},
		{"-issuer https://id.example.org -client-id a -client-secret b", ""},
		{"-issuer https://id.example.org", "-client-id"},
		{"-client-id a", "-issuer"},
		{"-printshop-client-id a", "-issuer"},
		{"-issuer https://id.example.org -client-id a -printshop-client-secret b", "-printshop-client-id"},
		{"here", "not a flag"},
		{"-only provider -redirect-uri http://127.0.0.1:3000/cb -redirect-uri https://app.example.org/cb", ""},
		{"-only sites", "provider"},
		{"-only provider -issuer https://id.example.org -client-id a", "together"},
		{"-redirect-uri http://127.0.0.1:3000/cb", "-only provider"},
		{"-only provider -redirect-uri /cb", "not an http"},
		{"-only provider -user ana:groups=staff,admin -user ben", ""},
		{"-user ana:groups=staff", "-only provider"},
		{"-only provider -user :groups=staff", "name"},
		{"-only provider -user ana:groups", "claim=value"},
		{"-only provider -user ana:groups=staff;groups=admin", "twice"},
		{"-only provider -user ana:iss=me", "protocol"},
		{"-unknown", "not defined"},
	}
	for _, test := range tests {
		_, err := parseFlags(strings.Fields(test.args), io.Discard)
		if (err == nil) != (test.wrong == "") || (err != nil && !strings.Contains(err.Error(), test.wrong)) {
			t.Errorf("%q: error %v, want one with %q", test.args, err, test.wrong)
		}
	}
}

func TestListen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	byDefault := place{what: "photo site", address: taken.Addr().String()}
	l, err := byDefault.listen()
	if err != nil || !byDefault.moved {
		t.Fatalf("a default port that is taken: moved %v, error %v", byDefault.moved, err)
	}
	l.Close()
	for _, p := range []place{
		{what: "photo site", address: taken.Addr().String(), wanted: true},
		{what: "photo site", address: "0.0.0.0:0"},
		{what: "photo site", address: "192.0.2.1:0"},
		{what: "photo site", address: "example.org:0"},
	} {
		if l, err := p.listen(); err == nil {
			l.Close()
			t.Errorf("%s: listening", p.address)
		}
	}
	alone := place{what: "photo site", address: "0"}
	if l, err = alone.listen(); err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// printed reports when the addresses have been printed.
type printed struct {
	bytes.Buffer
	done context.CancelFunc
}

func (p *printed) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("Ctrl-C")) {
		p.done()
	}
	return p.Buffer.Write(b)
}

func TestRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &printed{done: cancel} // as if Ctrl-C came as soon as it runs
	if err := run(ctx, []string{"-photos", "0", "-printshop", "0", "-server", "0", "-mallory", "0"}, out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"photo site            http://127.0.0.1:", "print shop            http://127.0.0.1:", "authorization server  http://127.0.0.1:", "alice"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}
