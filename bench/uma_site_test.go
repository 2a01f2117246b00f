package bench

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
)

const (
	// manyPhotos is the number of resources, and of live tokens, that counts as
	// many.
	manyPhotos = 100_000
	fewPhotos  = 10
	// tokenLength is the length of an RPT of Keycloak with some permissions.
	tokenLength = 1500
)

// rpt is the token that opens photo i.
func rpt(i int) string {
	number := strconv.Itoa(i)
	return sameText[:tokenLength-1-len(number)] + "." + number
}

// photoOf is the number at the end of a token.
func photoOf(token string) (int, error) {
	return strconv.Atoi(token[strings.LastIndexByte(token, '.')+1:])
}

// sameText is the beginning of all tokens. To a processor it is as random as in
// real ones.
var sameText = func() string {
	var text []byte
	for i := range byte(tokenLength / sha256.Size) {
		sum := sha256.Sum256([]byte{i})
		text = append(text, sum[:]...)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}()

// grantor is the smallest authorization server with which a resource server can
// work: every token opens its photo, and everybody gets a ticket.
type grantor struct {
	server *httptest.Server
	photos int // that the tokens are about; token i opens photo i modulo photos
}

func newGrantor(t *testing.T, photos int) *grantor {
	t.Helper()
	g := &grantor{photos: photos}
	mux := http.NewServeMux()
	for path, answer := range map[string]func(*http.Request) (int, any){
		"/.well-known/openid-configuration": g.discovery, "/.well-known/uma2-configuration": g.discovery,
		"/token":      static(http.StatusOK, map[string]any{"access_token": "pat", "token_type": "Bearer"}),
		"/introspect": g.introspect,
		"GET /photos": static(http.StatusOK, []string{}), "POST /photos": register,
		"/permission": static(http.StatusCreated, map[string]any{"ticket": strings.Repeat("t", 36)}),
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			status, body := answer(r)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(body)
		})
	}
	g.server = httptest.NewServer(mux)
	t.Cleanup(g.server.Close)
	return g
}

func static(status int, body any) func(*http.Request) (int, any) {
	return func(r *http.Request) (int, any) {
		_, _ = io.Copy(io.Discard, r.Body)
		return status, body
	}
}

func (g *grantor) discovery(*http.Request) (int, any) {
	at := g.server.URL
	return http.StatusOK, map[string]any{
		"issuer": at, "token_endpoint": at + "/token", "introspection_endpoint": at + "/introspect",
		"resource_registration_endpoint": at + "/photos", "permission_endpoint": at + "/permission",
		"authorization_endpoint": at + "/authorize", "jwks_uri": at + "/keys",
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic"},
	}
}

func (g *grantor) introspect(r *http.Request) (int, any) {
	i, err := photoOf(r.FormValue("token"))
	if err != nil {
		return http.StatusOK, map[string]any{"active": false}
	}
	now := time.Now()
	return http.StatusOK, map[string]any{
		"active": true, "iss": g.server.URL, "client_id": "printshop", "sub": fmt.Sprintf("f:6d1c8b1e-4c0c-4f0b-9d3e-1f1f5a1c7a5b:%d", i),
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "token_type": "Bearer",
		"permissions": []any{map[string]any{"resource_id": photoID(photoName(i % g.photos)), "resource_scopes": []string{"view", "print"}}},
	}
}

func register(r *http.Request) (int, any) {
	var description struct {
		Name string `json:"name"`
	}
	if err := json.NewDecoder(r.Body).Decode(&description); err != nil {
		return http.StatusBadRequest, nil
	}
	return http.StatusCreated, map[string]any{"_id": photoID(description.Name)}
}

func photoName(i int) string      { return "photo-" + strconv.Itoa(i) }
func photoID(name string) string  { return "8c1f2b34-5a6d-4e7f-" + name }
func photoPath(i int) string      { return "/photos/" + strconv.Itoa(i) }
func photoOn(path string) string  { return "photo-" + path[strings.LastIndexByte(path, '/')+1:] }
func photoScopes() (all []string) { return []string{"view", "print", "share"} }

// inside answers a client without a network in between.
type inside struct{ handler http.Handler }

func (x inside) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	x.handler.ServeHTTP(w, r)
	return w.Result(), nil
}

// gallery is an API behind UMAProtect that has seen its tokens before.
type gallery struct {
	rs      *gatehouse.ResourceServer
	grantor *grantor
	tokens  int
	each    float64 // bytes of the heap that a token's facts take
}

// newGallery makes one. Its clock stands still, so that nothing expires
// while it is measured.
func newGallery(t *testing.T, g *grantor, transport http.RoundTripper) *gallery {
	t.Helper()
	now := time.Now()
	provider, err := gatehouse.NewProvider(g.server.URL, &gatehouse.ProviderConfig{
		Transport: transport, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	rs, err := gatehouse.NewResourceServer(provider, gatehouse.ResourceServerConfig{
		Client: gatehouse.Client{ID: "gallery", Secret: gatehouse.NewSecret("of the gallery")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rs.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return &gallery{rs: rs, grantor: g}
}

// need finds the photo of a request, as an application with many photos does.
func (g *gallery) need(scopes []string) gatehouse.NeedFunc {
	return func(r *http.Request) (gatehouse.Permission, error) {
		return gatehouse.Resource{Name: photoOn(r.URL.Path), Scopes: scopes}.AllOf("view"), nil
	}
}

// fill registers the photos and shows the tokens once.
func (g *gallery) fill(t *testing.T, tokens int) *gallery {
	t.Helper()
	for i := range g.grantor.photos {
		if _, err := g.rs.Register(t.Context(), gatehouse.Resource{Name: photoName(i), Scopes: photoScopes()}); err != nil {
			t.Fatal(err)
		}
	}
	var served int
	handler := g.rs.UMAProtect(g.need(photoScopes()))(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
	w := writer{header: http.Header{}}
	before := heap()
	for i := range tokens {
		handler.ServeHTTP(&w, g.request(i))
	}
	g.tokens, g.each = tokens, float64(heap()-before)/float64(tokens)
	if served != tokens {
		t.Fatalf("%d of %d tokens opened their photo, status %d", served, tokens, w.code)
	}
	return g
}

// request requests a photo with the token that opens it.
func (g *gallery) request(i int) *http.Request {
	r := httptest.NewRequest(http.MethodGet, photoPath(i%g.grantor.photos), nil)
	r.Header.Set("Authorization", "Bearer "+rpt(i))
	r.Header.Set("Accept", "application/json")
	return r
}

func (g *gallery) count() int { return g.tokens }

// fillIn implements crowd.
func (g *gallery) fillIn(r *http.Request, i int) {
	r.URL.Path = photoPath(i % g.grantor.photos)
	r.Header["Authorization"][0] = "Bearer " + rpt(i)
}

// heap is the number of bytes that the heap holds.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // frees what the first one only found unreachable in pools
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
