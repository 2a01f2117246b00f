// Command cgi is oxd's tutorial for Python CGI, in Go: a script that signs people
// in and shows what the provider says about them. The web server starts it anew for
// each request. What has to outlive one is in a SQLite file: the client, which it
// registers by itself as data.json says, and the sessions. See ../../README.md.
package main

import (
	"context"
	"database/sql"
	"net/http"
	"net/http/cgi"
	"os"

	_ "modernc.org/sqlite"

	"example.com/gatehouse"
	"example.com/gatehouse/oxd"
	"example.com/gatehouse/sqlitestore"
)

func main() {
	site := must(oxd.ParseSite(must(os.ReadFile(os.Getenv("SITE_FILE")))))
	store := must(sqlitestore.New(must(sql.Open("sqlite", "file:"+os.Getenv("STORE_FILE"))), sqlitestore.Config{}))
	provider := must(gatehouse.NewProvider(site.OPHost, nil))
	client := must(gatehouse.NewRegistration(provider, gatehouse.RegistrationConfig{Metadata: site.Metadata, Existing: site.Existing, Store: must(store, store.Migrate(context.Background()))}))
	login := must(gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{Client: gatehouse.Client{Registration: client}, Sessions: must(gatehouse.NewSessions(gatehouse.SessionsConfig{Store: store})),
		RedirectURL: site.Metadata.RedirectURIs[0], Scopes: site.Metadata.Scopes, LoginURL: os.Getenv("SCRIPT_NAME") + "/start"}))
	http.Handle(os.Getenv("SCRIPT_NAME")+"/", login.Handler())
	http.Handle(os.Getenv("SCRIPT_NAME"), login.RequireLogin(login.SessionHandler()))
	must(0, cgi.Serve(nil))
	must(0, gatehouse.Shutdown(context.Background(), login, client))
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
