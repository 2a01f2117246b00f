package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"example.com/gatehouse"
)

func main() {
	provider, err := gatehouse.NewProvider(os.Getenv("ISSUER"), nil)
	if err != nil {
		log.Fatal(err)
	}
	client := gatehouse.Client{ID: os.Getenv("CLIENT_ID"), Secret: gatehouse.NewSecret(os.Getenv("CLIENT_SECRET"))}
	login, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{Client: client, RedirectURL: "http://127.0.0.1:8080/auth/callback"})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/auth/", login.Handler())
	http.Handle("/", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "Hello", gatehouse.IdentityFrom(r.Context()).Subject)
	})))
	server := &http.Server{Addr: "127.0.0.1:8080", ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	if err := server.ListenAndServe(); err != nil {
		log.Fatal(err)
	}
}
