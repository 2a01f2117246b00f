package main

import (
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/gatehouse/example/itsyouonline/iyo"
	"example.com/gatehouse/example/itsyouonline/users"
)

// The client takes id and secret as arguments, gets a token and calls the API.
func TestClient(t *testing.T) {
	server, err := iyo.New(map[string]iyo.App{"goramldir": {Secret: "s", GlobalID: "goraml", Scopes: []string{"user:memberof:goraml", "user:memberof:goraml-admin"}}})
	if err != nil {
		t.Fatal(err)
	}
	handler, err := users.NewAPI(server.PublicKey(), "goramldir")
	if err != nil {
		t.Fatal(err)
	}
	provider, api := httptest.NewServer(server), httptest.NewServer(handler)
	t.Cleanup(provider.Close)
	t.Cleanup(api.Close)
	for name, c := range map[string]struct {
		args []string
		want string // the error, or what is printed
	}{
		"all scopes": {[]string{"goramldir", "s"}, "GET /users: 200 OK []\n" +
			`POST /users: 201 Created {"username":"ibnu","name":"Ibnu Yahya"}` + "\n" + `GET /users/ibnu: 200 OK {"username":"ibnu","name":"Ibnu Yahya"}` + "\n"},
		"fewer scopes": {[]string{"-scope", "user:memberof:goraml", "goramldir", "s"}, "POST /users: 403 Forbidden"},
		"wrong secret": {[]string{"goramldir", "t"}, "get a token: 400 Bad Request"},
		"no secret":    {[]string{"goramldir"}, "usage: client [flags] [application_id] [application_secret]"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			err := run(t.Context(), append([]string{"-provider", provider.URL, "-api", api.URL}, c.args...), &out)
			if err != nil {
				out.WriteString(err.Error())
			}
			if !strings.Contains(out.String(), c.want) {
				t.Errorf("%s; want %s", out.String(), c.want)
			}
		})
	}
}
