// Command cart is a shop that keeps its cart in an scs session of its own. The
// cart is kept when the customer signs in to pay, and is gone when they sign
// out. If a login has expired, the cart is dropped at the next sign-in. Try it
// against
//
//	go run ./example -only provider
//
// with ISSUER, CLIENT_ID and CLIENT_SECRET set to what that command prints.
package main

import (
	"html/template"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"example.com/gatehouse"
	"github.com/alexedwards/scs/v2"
)

func main() {
	provider, err := gatehouse.NewProvider(os.Getenv("ISSUER"), nil)
	if err != nil {
		log.Fatal(err)
	}
	client := gatehouse.Client{ID: os.Getenv("CLIENT_ID"), Secret: gatehouse.NewSecret(os.Getenv("CLIENT_SECRET"))}
	shop, err := newShop(provider, client, "http://127.0.0.1:8080")
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Addr: "127.0.0.1:8080", Handler: shop, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	if err := server.ListenAndServe(); err != nil {
		log.Fatal(err)
	}
}

// newShop makes the shop at base, an origin.
func newShop(provider *gatehouse.Provider, client gatehouse.Client, base string) (http.Handler, error) {
	cart := scs.New() // in memory; any store of its own will do
	cart.Cookie.Name = "cart"
	cart.Cookie.Secure = strings.HasPrefix(base, "https:")
	// App: its token is renewed at sign-in, and its data is destroyed at
	// sign-out.
	sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{App: cart})
	if err != nil {
		return nil, err
	}
	login, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{
		Client:      client,
		RedirectURL: base + "/auth/callback",
		LogoutURL:   base + "/auth/logout",
		Sessions:    sessions,
	})
	if err != nil {
		return nil, err
	}
	s := shop{cart: cart}
	mux := http.NewServeMux()
	mux.Handle("/auth/", login.Handler())
	mux.Handle("GET /{$}", login.OptionalLogin(http.HandlerFunc(s.show)))
	mux.Handle("POST /cart", http.NewCrossOriginProtection().Handler(http.HandlerFunc(s.add)))
	mux.Handle("GET /pay", login.RequireLogin(http.HandlerFunc(s.show)))
	return cart.LoadAndSave(mux), nil
}

type shop struct{ cart *scs.SessionManager }

var goods = []string{"apples", "bread", "honey"}

func (s shop) add(w http.ResponseWriter, r *http.Request) {
	items, _ := s.cart.Get(r.Context(), "items").([]string)
	for _, item := range goods {
		if r.PostFormValue("item") == item && len(items) < 100 {
			s.cart.Put(r.Context(), "items", append(items, item))
		}
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s shop) show(w http.ResponseWriter, r *http.Request) {
	items, _ := s.cart.Get(r.Context(), "items").([]string)
	who := ""
	if id := gatehouse.IdentityFrom(r.Context()); id != nil {
		who = id.Subject
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	err := page.Execute(w, struct {
		Who          string
		Goods, Items []string
	}{who, goods, items})
	if err != nil {
		log.Print(err)
	}
}

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><title>Shop</title>
<h1>{{with .Who}}Pay, {{.}}{{else}}Shop{{end}}</h1>
<form method="post" action="/cart">{{range .Goods}}<button name="item" value="{{.}}">Add {{.}}</button> {{end}}</form>
<p>In the cart: {{range .Items}}{{.}} {{else}}nothing{{end}}</p>
{{if .Who}}<form method="post" action="/auth/logout"><button>Sign out</button></form>
{{else}}<p><a href="/pay">Sign in to pay</a></p>{{end}}
</html>`))
