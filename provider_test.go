package gatehouse_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
)

func ExampleShutdown() {
	provider, err := gatehouse.NewProvider("https://id.example.org", nil)
	if err != nil {
		panic(err)
	}
	login, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{
		Client:      gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret("…")},
		RedirectURL: "https://notes.example.org/auth/callback",
	})
	if err != nil {
		panic(err)
	}
	server := &http.Server{Handler: login.RequireLogin(http.NotFoundHandler())}

	// When the process is told to end: no new requests, then the rest of the work.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := gatehouse.Shutdown(ctx, server, login); err != nil {
		panic(err)
	}
}

// heldTransport answers every request with the same body, once it is released.
type heldTransport struct {
	release chan struct{}
	status  int
	body    string
}

func (h *heldTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-h.release:
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: h.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(h.body)), Request: r}, nil
}

const heldMetadata = `{"issuer":"https://id.example.org","authorization_endpoint":"https://id.example.org/a","token_endpoint":"https://id.example.org/t","jwks_uri":"https://id.example.org/k"}`

// parts is one of each part with a Shutdown, all at provider.
func parts(t *testing.T, p *gatehouse.Provider) map[string]interface{ Shutdown(context.Context) error } {
	t.Helper()
	client := gatehouse.Client{ID: "app", Secret: gatehouse.NewSecret("s")}
	grants, err1 := gatehouse.NewOwnerGrants(p, gatehouse.OwnerGrantsConfig{Client: client})
	login, err2 := gatehouse.NewRelyingParty(p, gatehouse.RelyingPartyConfig{
		Client: client, RedirectURL: "https://app.example.org/cb", OwnerGrants: grants,
	})
	api, err3 := gatehouse.NewResourceServer(p, gatehouse.ResourceServerConfig{Client: client})
	uma, err4 := gatehouse.NewUMATransport(p, gatehouse.UMATransportConfig{Client: client})
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	return map[string]interface{ Shutdown(context.Context) error }{
		"Provider": p, "Sessions": login.Sessions(), "RelyingParty": login, "ResourceServer": api, "OwnerGrants": grants, "UMATransport": uma,
	}
}

// A fetch that outlives the request that began it has an owner: whoever uses the
// provider waits for it.
func TestShutdownWaitsForTheProvider(t *testing.T) {
	for _, name := range []string{"Provider", "Sessions", "RelyingParty", "ResourceServer", "OwnerGrants", "UMATransport"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				held := &heldTransport{release: make(chan struct{}), status: 200, body: heldMetadata}
				p, err := gatehouse.NewProvider("https://id.example.org", &gatehouse.ProviderConfig{Transport: held})
				if err != nil {
					t.Fatal(err)
				}
				part := parts(t, p)[name]
				if err := part.Shutdown(t.Context()); err != nil {
					t.Errorf("with nothing under way: %v", err)
				}
				if _, err := p.Metadata(t.Context()); gatehouse.ErrorCode(err) != gatehouse.CodeProviderUnavailable {
					t.Fatalf("metadata of a provider that hangs: %v", err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := part.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("it waited for nothing: %v", err)
				}
				close(held.release)
				if err := part.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				if md, err := p.Metadata(t.Context()); err != nil || md.TokenEndpoint == "" {
					t.Errorf("the fetch was not over: %v", err)
				}
			})
		})
	}
}

// ending is a part that notes when it is ended.
type ending struct {
	name string
	log  *[]string
	err  error
}

func (e ending) Shutdown(context.Context) error {
	*e.log = append(*e.log, e.name)
	return e.err
}

func TestShutdown(t *testing.T) {
	var log []string
	first, third := errors.New("first"), errors.New("third")
	err := gatehouse.Shutdown(t.Context(), ending{"a", &log, first}, nil, ending{"b", &log, nil}, ending{"c", &log, third})
	if !errors.Is(err, first) || !errors.Is(err, third) || strings.Join(log, "") != "abc" {
		t.Errorf("%v, ended %q", err, log)
	}
	if err := gatehouse.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
