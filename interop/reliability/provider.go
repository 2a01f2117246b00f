package reliability

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"example.com/gatehouse/internal/testkit/opserver"
	"example.com/gatehouse/interop/reliability/site"
)

// tokenLife is how long access tokens live unless a goal says otherwise: no
// goal takes so long.
const tokenLife = 3 * time.Hour

// password is that of every user.
const password = "of everybody"

// Provider is the OpenID provider of the site, in this process, behind
// toxiproxy. It rotates refresh tokens, and a refresh token that is used twice
// ends all that came of the sign-in.
type Provider struct {
	*opserver.Server
	Toxic *Toxic

	server    *http.Server
	tokenPath string

	mu    sync.Mutex
	gates map[string]*gate // token requests that are held, by their code or refresh token
	given map[string]given // by the code
	delay func() time.Duration
}

// gate holds a request to the token endpoint.
type gate struct{ entered, open chan struct{} }

// newProvider starts a provider that knows the site.
func newProvider() (*Provider, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	toxic, err := newToxic(listener.Addr().String())
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	p := &Provider{Toxic: toxic, gates: map[string]*gate{}, given: map[string]given{}}
	p.server = &http.Server{Handler: p, ErrorLog: log.New(io.Discard, "", 0)}
	keys, err := opserver.KnownKeys()
	if err == nil {
		p.Server, err = opserver.New(opserver.Config{Issuer: "http://" + toxic.Addr, Keys: keys})
	}
	if err == nil {
		err = p.SignWith("ES256") // cheaper, because the provider shares the machine
	}
	if err != nil {
		toxic.Down()
		return nil, errors.Join(err, listener.Close())
	}
	p.SetTokenLifetime(tokenLife)
	p.tokenPath = p.tokenEndpoint()
	go func() { _ = p.server.Serve(listener) }()
	return p, nil
}

// tokenEndpoint returns the path of the token endpoint.
func (p *Provider) tokenEndpoint() string {
	w := httptest.NewRecorder()
	p.Server.ServeHTTP(w, httptest.NewRequest(http.MethodGet, p.Issuer()+"/.well-known/openid-configuration", nil))
	var metadata struct {
		TokenEndpoint string `json:"token_endpoint"`
	}
	_ = json.Unmarshal(w.Body.Bytes(), &metadata)
	return strings.TrimPrefix(metadata.TokenEndpoint, p.Issuer())
}

// register makes a client account for relying parties at these paths.
func (p *Provider) register(paths ...string) error {
	c := opserver.Client{ID: site.ClientID, Secret: site.ClientSecret, IDTokenAlg: "ES256", PostLogoutOrigins: []string{site.Public}}
	for _, path := range paths {
		c.RedirectURIs = append(c.RedirectURIs, site.Public+path+site.Callback)
	}
	return p.AddClient(c)
}

// Close ends the provider.
func (p *Provider) Close() {
	p.Server.Close()
	p.Toxic.Down()
	_ = p.server.Close()
}

// setDelay makes every token request wait; nil ends that.
func (p *Provider) setDelay(delay func() time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = delay
}

// hold holds the token request with that code or refresh token.
func (p *Provider) hold(value string) *gate {
	g := &gate{make(chan struct{}), make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gates[value] = g
	return g
}

// given is what a code was exchanged for.
type given struct{ refresh, sid string }

// gaveTo returns what a code was exchanged for.
func (p *Provider) gaveTo(code string) given {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.given[code]
}

// readTokens reads the answer of the token endpoint.
func readTokens(body []byte) given {
	var tokens struct {
		Refresh string `json:"refresh_token"`
		ID      string `json:"id_token"`
	}
	var claims struct {
		SID string `json:"sid"`
	}
	_ = json.Unmarshal(body, &tokens)
	if parts := strings.Split(tokens.ID, "."); len(parts) == 3 {
		payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(payload, &claims)
	}
	return given{tokens.Refresh, claims.SID}
}

// ServeHTTP passes requests on, token requests when it is their time.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != p.tokenPath {
		p.Server.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err != nil {
		return
	}
	form, _ := url.ParseQuery(string(body))
	code, value := form.Get("code"), form.Get("refresh_token")
	p.mu.Lock()
	g, delay := p.gates[code], p.delay
	if g == nil {
		g = p.gates[value]
	}
	delete(p.gates, code)
	delete(p.gates, value)
	p.mu.Unlock()
	if g != nil {
		close(g.entered)
		<-g.open
	}
	if delay != nil {
		time.Sleep(delay())
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := httptest.NewRecorder()
	p.Server.ServeHTTP(answer, r)
	if code != "" {
		gave := readTokens(answer.Body.Bytes())
		p.mu.Lock()
		p.given[code] = gave
		p.mu.Unlock()
	}
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

var (
	formAction = regexp.MustCompile(`action="([^"]*)" id="sign-in"`)
	formToken  = regexp.MustCompile(`name="form_token" value="([^"]*)"`)
)

// approve is a person who follows the site's redirect to the provider, signs in
// there and is sent back. It returns the address of the callback. It goes past
// the network, which belongs to the site.
func (p *Provider) approve(ctx context.Context, authorize, user string) (callback string, err error) {
	cookies := map[string]string{}
	send := func(method, address string, form url.Values) (*httptest.ResponseRecorder, error) {
		r := httptest.NewRequestWithContext(ctx, method, address, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", p.Issuer())
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		for name, value := range cookies {
			r.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		w := httptest.NewRecorder()
		p.Server.ServeHTTP(w, r)
		for _, c := range w.Result().Cookies() {
			cookies[c.Name] = c.Value
		}
		return w, nil
	}
	page, err := send(http.MethodGet, authorize, nil)
	if err != nil {
		return "", err
	}
	action, found := formAction.FindStringSubmatch(page.Body.String()), formToken.FindStringSubmatch(page.Body.String())
	if action == nil || found == nil {
		return "", fmt.Errorf("the provider shows no sign-in page: %d %.200s", page.Code, page.Header().Get("Location"))
	}
	u, err := url.Parse(authorize)
	if err != nil {
		return "", err
	}
	answer, err := send(http.MethodPost, html.UnescapeString(action[1]), url.Values{
		"form_token": {found[1]}, "next": {u.RequestURI()}, "username": {user}, "password": {password},
	})
	for range 3 {
		if err != nil {
			return "", err
		}
		to := answer.Header().Get("Location")
		if strings.HasPrefix(to, site.Public) {
			return to, nil
		}
		if to == "" {
			break
		}
		if strings.HasPrefix(to, "/") {
			to = p.Issuer() + to
		}
		answer, err = send(http.MethodGet, to, nil)
	}
	return "", fmt.Errorf("the provider does not send back: %d", answer.Code)
}
