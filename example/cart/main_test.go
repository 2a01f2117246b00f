package main

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse/middlewaretest"
)

// The cart survives sign-in, for whoever filled it, but not sign-out.
func TestCart(t *testing.T) {
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	op.AddUser("ben", nil)
	base := middlewaretest.NewApp(t, func(base string) http.Handler {
		app, err := newShop(op.Provider(), op.AddClient(base+"/auth/callback", base+"/auth/logout"), base)
		if err != nil {
			t.Fatal(err)
		}
		return app
	})
	browser := op.Browser(t, "ana")
	read := func(resp *http.Response, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	want := func(page string, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if !strings.Contains(page, text) {
				t.Fatalf("no %q in\n%s", text, page)
			}
		}
	}
	want(read(browser.PostForm(base+"/cart", url.Values{"item": {"apples"}})), "Shop", "cart: apples")
	want(read(browser.PostForm(base+"/cart", url.Values{"item": {"honey"}})), "cart: apples honey")
	want(read(browser.Get(base+"/pay")), "Pay, ", "cart: apples honey")
	want(read(op.Browser(t, "ben").Get(base+"/pay")), "Pay, ", "cart: nothing")
	read(browser.PostForm(base+"/auth/logout", nil))
	want(read(browser.Get(base+"/")), "Shop", "cart: nothing")
}
