// Package users is the server of go-raml's tutorial, a directory of developers,
// with gatehouse in place of the generated middleware oauth2_itsyouonline.
package users

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"example.com/gatehouse"
)

const (
	maxBody  = 4 << 10 // of a new user, in bytes
	maxUsers = 1000    // so that one client cannot fill the memory
)

// User is the type User of the tutorial's api.raml.
type User struct {
	Username string `json:"username"`
	Name     string `json:"name"`
}

// PublicKey is the key of itsyou.online, as the tutorial has it.
const PublicKey = `
-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAES5X8XrfKdx9gYayFITc89wad4usrk0n2
7MjiGYvqalizeSWTHEpnd7oea9IQ8T5oJjMVH5cc0H5tFSKilFFeh//wngxIyny6
6+Vq5t5B0V0Ehy01+2ceEon2Y0XDkIKv
-----END PUBLIC KEY-----`

// NewAPI makes the server. publicKey is the key of the tokens in PEM.
// applications are the ids of the applications whose tokens count: itsyou.online
// writes the id into aud.
func NewAPI(publicKey []byte, applications ...string) (http.Handler, error) {
	keys, err := gatehouse.ParseKeys(publicKey)
	if err != nil {
		return nil, err
	}
	provider, err := gatehouse.NewProvider("itsyouonline", &gatehouse.ProviderConfig{
		Keys:              keys,
		SigningAlgorithms: []string{"ES384"},
	})
	if err != nil {
		return nil, err
	}
	api, err := gatehouse.NewResourceServer(provider, gatehouse.ResourceServerConfig{
		Audience:      applications,
		TokenTypes:    []string{"JWT"},                  // typ is not at+jwt
		Schemes:       []string{"token"},                // Authorization: token eyJ…
		SubjectClaims: []string{"username", "globalid"}, // there is no sub
		Realm:         "goramldir",
	})
	if err != nil {
		return nil, err
	}

	// securedBy lists scopes, and any one of them is enough.
	admin := api.With(gatehouse.AnyScope("user:memberof:goraml-admin"))
	member := api.With(gatehouse.AnyScope("user:memberof:goraml", "user:memberof:goraml-admin"))

	d := &directory{users: map[string]User{}}
	mux := http.NewServeMux()
	mux.Handle("GET /users", api.RequireToken(http.HandlerFunc(d.list)))
	mux.Handle("POST /users", admin.RequireToken(http.HandlerFunc(d.add)))
	mux.Handle("GET /users/{username}", member.RequireToken(http.HandlerFunc(d.get)))
	return mux, nil
}

// directory keeps the users in memory.
type directory struct {
	mu    sync.Mutex
	users map[string]User
}

func (d *directory) list(w http.ResponseWriter, _ *http.Request) {
	d.mu.Lock()
	all := make([]User, 0, len(d.users))
	for _, u := range d.users {
		all = append(all, u)
	}
	d.mu.Unlock()
	slices.SortFunc(all, func(a, b User) int { return strings.Compare(a.Username, b.Username) })
	write(w, http.StatusOK, all)
}

var username = regexp.MustCompile(`^[a-z0-9_.-]{1,40}$`)

func (d *directory) add(w http.ResponseWriter, r *http.Request) {
	var u User
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&u); err != nil || !username.MatchString(u.Username) {
		http.Error(w, "a user has a username of a-z, 0-9, _, . and -", http.StatusBadRequest)
		return
	}
	d.mu.Lock()
	_, known := d.users[u.Username]
	full := !known && len(d.users) >= maxUsers
	if !full {
		d.users[u.Username] = u
	}
	d.mu.Unlock()
	if full {
		http.Error(w, "the directory is full", http.StatusConflict)
		return
	}
	write(w, http.StatusCreated, u)
}

func (d *directory) get(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	u, found := d.users[r.PathValue("username")]
	d.mu.Unlock()
	if !found {
		http.NotFound(w, r)
		return
	}
	write(w, http.StatusOK, u)
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
}
