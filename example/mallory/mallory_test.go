package mallory_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/example/mallory"
)

// The trap works: a client that trusts Mallory's server reveals its secrets.
func TestCatchesWhoTrusts(t *testing.T) {
	var site *mallory.Site
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { site.ServeHTTP(w, r) }))
	defer server.Close()
	var err error
	if site, err = mallory.New(mallory.Config{Base: server.URL}); err != nil {
		t.Fatal(err)
	}
	trusted, err := gatehouse.NewProvider(server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := gatehouse.NewUMATransport(trusted, gatehouse.UMATransportConfig{
		Client: gatehouse.Client{ID: "shop", Secret: gatehouse.NewSecret("a secret")},
		Party:  func(context.Context) string { return "bob" },
		Claims: func(context.Context) (gatehouse.ClaimToken, error) {
			return gatehouse.ClaimToken{Token: gatehouse.NewSecret("an ID Token of Bob")}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: transport}).Get(server.URL + mallory.Album)
	if err == nil {
		resp.Body.Close()
		t.Errorf("answered %d", resp.StatusCode)
	}
	if c := site.Caught(); c.Secrets == 0 || c.People == 0 || c.Asked < 3 || c.Visits == 0 {
		t.Errorf("the trap caught %+v", c)
	}
	if !strings.Contains(get(t, server.URL+"/"), "ID Tokens") || strings.Contains(get(t, server.URL+"/"), "of Bob") {
		t.Error("the page shows what was caught, or nothing")
	}
}

func get(t *testing.T, address string) string {
	t.Helper()
	w := &strings.Builder{}
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := resp.Write(w); err != nil {
		t.Fatal(err)
	}
	return w.String()
}

func TestBase(t *testing.T) {
	for _, base := range []string{"", "here", "http://127.0.0.1:1/path"} {
		if _, err := mallory.New(mallory.Config{Base: base}); err == nil {
			t.Errorf("%q is taken", base)
		}
	}
}
