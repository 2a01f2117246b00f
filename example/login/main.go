package main

import (
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"

	"example.com/gatehouse"
)

func main() {
	provider, err := gatehouse.NewProvider(os.Getenv("ISSUER"), nil)
	client := gatehouse.Client{ID: os.Getenv("CLIENT_ID"), Secret: gatehouse.NewSecret(os.Getenv("CLIENT_SECRET"))}
	login, err2 := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{Client: client, RedirectURL: "http://127.0.0.1:8080/auth/callback"})
	if err := errors.Join(err, err2); err != nil {
		log.Fatal(err)
	}
	http.Handle("/auth/callback", login.CallbackHandler())
	http.Handle("/", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "Hello", gatehouse.IdentityFrom(r.Context()).Subject)
	})))
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", nil))
}
