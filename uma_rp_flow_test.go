package gatehouse_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
)

// UMA Grant §3.3: challenge, ticket, token, repeat.
func TestUC1_TicketBecomesPermission(t *testing.T) {
	w := newUMAWorld(t, "other.example.org", "photos.example.org:8443")
	c := w.client(gatehouse.UMATransportConfig{Scopes: []string{"view", "print"}})

	resp, err := c.Get(umaPhotos + "/albums/7")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 || len(resp.Request.Header["Authorization"]) != 0 {
		t.Errorf("status %d; the response shows %q", resp.StatusCode, resp.Request.Header)
	}
	if got := w.tokens(); !slices.Equal(got, []string{"", "rpt1"}) {
		t.Errorf("the resource server saw the tokens %q", got)
	}
	want := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:uma-ticket"}, "ticket": {"ticket-1"}, "scope": {"view print"}}
	if got := w.asked(); len(got) != 1 || got[0].Encode() != want.Encode() {
		t.Errorf("the token endpoint was asked %v", got)
	}

	w.wantPicture(c, umaPhotos+"/albums/8") // warm: no server but the resource server
	if got := w.tokens(); len(got) != 3 || got[2] != "rpt1" || len(w.asked()) != 1 {
		t.Errorf("warm: tokens %q, %d token requests", got, len(w.asked()))
	}
	for _, other := range []string{"https://other.example.org", "http://photos.example.org", "https://photos.example.org:8443"} {
		w.permit = func(_ *http.Request, token string) bool { return true }
		w.wantPicture(c, other+"/albums/7")
		if got := w.tokens(); got[len(got)-1] != "" {
			t.Errorf("%s was sent the token %q", other, got[len(got)-1])
		}
	}
	w.permit = func(_ *http.Request, token string) bool { return token == "rpt1" }
	w.wire["PHOTOS.example.org:443"] = w.wire["photos.example.org"]
	w.wantPicture(c, "https://PHOTOS.example.org:443/albums/7") // the same origin, written otherwise
	if got := w.codes(); !slices.Equal(got, []string{""}) {
		t.Errorf("grant events %q", got)
	}
	w.wantNoSecret(nil)
}

func TestUMACallerAuthorizationPasses(t *testing.T) {
	for _, name := range []string{"Authorization", "authorization"} {
		w := newUMAWorld(t)
		w.permit = func(*http.Request, string) bool { return false }
		r, _ := http.NewRequest("GET", umaPhotos+"/a", nil)
		r.Header[name] = []string{"Bearer mine"}
		resp, err := w.client(gatehouse.UMATransportConfig{}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 401 || string(body) != "challenge" || len(w.asked()) != 0 || r.Header[name][0] != "Bearer mine" {
			t.Errorf("%s: %d %q, %d token requests", name, resp.StatusCode, body, len(w.asked()))
		}
	}
}

func TestUMAChallenges(t *testing.T) {
	good := `UMA realm="x", as_uri="` + umaIssuer + `", ticket="T1"`
	other := func(as string) []string { return []string{`UMA as_uri="` + as + `", ticket="T1"`} }
	tests := map[string]struct {
		header []string
		code   string // "" served, "401" returned as it is
		ticket string
	}{
		"quoted":             {[]string{good}, "", "T1"},
		"beside Bearer":      {[]string{`Bearer realm="x"`, good}, "", "T1"},
		"in one line":        {[]string{`Bearer realm="x", ` + good + `, Basic realm="y"`}, "", "T1"},
		"lower case":         {[]string{`uma AS_URI="` + umaIssuer + `" , TICKET = "T1"`}, "", "T1"},
		"unquoted":           {[]string{"UMA realm=x,as_uri=" + umaIssuer + ",ticket=T1=="}, "", "T1=="},
		"escaped":            {[]string{`UMA as_uri="` + umaIssuer + `", ticket="T\"1"`}, "", `T"1`},
		"8 KiB ticket":       {[]string{`UMA as_uri="` + umaIssuer + `", ticket="` + strings.Repeat("t", 8<<10) + `"`}, "", strings.Repeat("t", 8<<10)},
		"none":               {nil, "401", ""},
		"Bearer only":        {[]string{`Bearer error="invalid_token"`}, "401", ""},
		"unreadable other":   {[]string{`Negotiate "`}, "401", ""},
		"two":                {[]string{good, good}, "ambiguous_challenge", ""},
		"two in one line":    {[]string{good + ", " + good}, "ambiguous_challenge", ""},
		"two tickets":        {[]string{good + `, ticket="T2"`}, "ambiguous_challenge", ""},
		"two issuers":        {[]string{good + `, as_uri="https://evil.example"`}, "ambiguous_challenge", ""},
		"no ticket":          {[]string{`UMA as_uri="` + umaIssuer + `"`}, "ambiguous_challenge", ""},
		"empty ticket":       {[]string{`UMA as_uri="` + umaIssuer + `", ticket=""`}, "ambiguous_challenge", ""},
		"only xticket":       {[]string{`UMA as_uri="` + umaIssuer + `", xticket="T1"`}, "ambiguous_challenge", ""},
		"no as_uri":          {[]string{`UMA ticket="T1"`}, "ambiguous_challenge", ""},
		"too long":           {[]string{good + `, x="` + strings.Repeat("x", 16<<10) + `"`}, "ambiguous_challenge", ""},
		"unreadable UMA":     {[]string{good + `, x="`}, "ambiguous_challenge", ""},
		"another server":     {other("https://evil.example"), "untrusted_as", ""},
		"trailing slash":     {other(umaIssuer + "/"), "untrusted_as", ""},
		"other case":         {other("https://AS.example.org/realm"), "untrusted_as", ""},
		"http":               {other("http://as.example.org/realm"), "untrusted_as", ""},
		"port":               {other("https://as.example.org:443/realm"), "untrusted_as", ""},
		"user info":          {other("https://as.example.org@evil.example/realm"), "untrusted_as", ""},
		"an IP address":      {other("https://192.0.2.1/realm"), "untrusted_as", ""},
		"nothing of the URL": {other("%"), "untrusted_as", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newUMAWorld(t)
			w.wire["photos.example.org"] = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") == "Bearer rpt1" {
					io.WriteString(rw, "picture")
					return
				}
				rw.Header()["Www-Authenticate"] = tt.header
				rw.WriteHeader(401)
				io.WriteString(rw, "as it is")
			})
			c := w.client(gatehouse.UMATransportConfig{})
			switch tt.code {
			case "":
				w.wantPicture(c, umaPhotos)
				if got := w.asked(); len(got) != 1 || got[0].Get("ticket") != tt.ticket {
					t.Errorf("asked %v", got)
				}
				return
			case "401":
				if status, body, err := umaGet(c, umaPhotos); status != 401 || body != "as it is" || err != nil {
					t.Errorf("%d %q %v", status, body, err)
				}
			default:
				w.wantCode(c, umaPhotos, tt.code)
				if got := w.codes(); !slices.Equal(got, []string{tt.code}) {
					t.Errorf("grant events %q", got)
				}
			}
			if got := w.asked(); len(got) != 0 {
				t.Errorf("the authorization server was asked %v", got)
			}
		})
	}
}

// A challenge is refused before its answer could carry a token in the clear.
func TestUMAInsecureOrigin(t *testing.T) {
	w := newUMAWorld(t, "127.0.0.1:8080", "localhost:8080")
	c := w.client(gatehouse.UMATransportConfig{})
	w.wantCode(c, "http://photos.example.org/a", "insecure_origin")
	if len(w.asked()) != 0 {
		t.Error("a ticket was turned in")
	}
	w.wantPicture(c, "http://127.0.0.1:8080/a")
	w.wantPicture(c, "http://localhost:8080/a")
}

func TestUC9_Bodies(t *testing.T) {
	oneShot := func() io.Reader { return io.NopCloser(strings.NewReader("order")) }
	tests := map[string]struct {
		body   func() io.Reader
		code   string
		bodies []string
	}{
		"none":     {func() io.Reader { return nil }, "", []string{"", ""}},
		"NoBody":   {func() io.Reader { return http.NoBody }, "", []string{"", ""}},
		"GetBody":  {func() io.Reader { return strings.NewReader("order") }, "", []string{"order", "order"}},
		"one shot": {oneShot, "body_not_replayable", []string{"order"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newUMAWorld(t)
			c := w.client(gatehouse.UMATransportConfig{})
			r, err := http.NewRequest("POST", umaPhotos+"/orders", tt.body())
			if err != nil {
				t.Fatal(err)
			}
			resp, err := c.Do(r)
			if err == nil {
				resp.Body.Close()
			}
			if gatehouse.ErrorCode(err) != tt.code || tt.code == "" && resp.StatusCode != 200 {
				t.Fatalf("POST: %v", err)
			}
			var bodies []string
			for _, s := range w.seen {
				bodies = append(bodies, s.body)
			}
			if !slices.Equal(bodies, tt.bodies) {
				t.Errorf("the resource server saw the bodies %q", bodies)
			}
			if len(w.asked()) != 1 {
				t.Errorf("%d token requests", len(w.asked()))
			}
			if tt.code == "" {
				return
			}
			// The token is there: the caller's own retry succeeds at once.
			r, _ = http.NewRequest("POST", umaPhotos+"/orders", oneShot())
			resp, err = c.Do(r)
			if err != nil || resp.StatusCode != 200 || len(w.asked()) != 1 {
				t.Errorf("retry: %v, %d token requests", err, len(w.asked()))
			}
		})
	}
}

func TestUMABodyThatCannotBeHadAgain(t *testing.T) {
	w := newUMAWorld(t)
	r, _ := http.NewRequest("POST", umaPhotos, strings.NewReader("order"))
	r.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("file is gone") }
	_, err := w.transport(w.provider(false), gatehouse.UMATransportConfig{}).RoundTrip(r)
	if gatehouse.ErrorCode(err) != "body_not_replayable" || len(w.tokens()) != 1 {
		t.Errorf("%v, %d requests", err, len(w.tokens()))
	}
}

// What net/http allows of a request that was not made by NewRequest.
func TestUMABareRequest(t *testing.T) {
	w := newUMAWorld(t)
	tr := w.transport(w.provider(false), gatehouse.UMATransportConfig{})
	for _, host := range []string{"", "photos.example.org", "PHOTOS.example.org", "photos.example.org", "tenant.example.org"} {
		r := &http.Request{URL: &url.URL{Scheme: "https", Host: "photos.example.org", Path: "/a"}, Host: host}
		if host == "tenant.example.org" {
			w.permit = func(_ *http.Request, token string) bool {
				if token != "" {
					t.Errorf("another host at the same address was sent %q", token)
				}
				return true
			}
		}
		resp, err := tr.RoundTrip(r)
		if err != nil || resp.StatusCode != 200 || r.Header != nil {
			t.Errorf("Host %q: %v", host, err)
		}
	}
	if len(w.asked()) != 1 {
		t.Errorf("%d token requests", len(w.asked()))
	}
	if _, err := tr.RoundTrip(&http.Request{}); err == nil {
		t.Error("a request to nowhere succeeded")
	}
}

type umaBody struct {
	io.Reader
	closed int
}

func (c *umaBody) Close() error { c.closed++; return nil }

// A RoundTripper closes the request's body whatever happens, and leaves the
// request as it is.
func TestUMABodyIsClosed(t *testing.T) {
	w := newUMAWorld(t)
	w.answer = func(int, url.Values) umaAnswer { return umaRefused(403, "request_denied") }
	for i, config := range []gatehouse.UMATransportConfig{
		{},
		{Claims: umaBob().Claims}, // no party
	} {
		tr := w.transport(w.provider(false), config)
		for _, why := range []string{"first", "denied a moment ago"} {
			body := &umaBody{Reader: strings.NewReader("x")}
			r, _ := http.NewRequest("POST", umaPhotos, body)
			if _, err := tr.RoundTrip(r); err == nil || body.closed != 1 || len(r.Header) != 0 {
				t.Errorf("config %d, %s: error %v, closed %d times, header %v", i, why, err, body.closed, r.Header)
			}
		}
	}
}

// The body of a challenge is read to a limit and closed before the next try.
func TestUMAChallengeBodyIsDrained(t *testing.T) {
	w := newUMAWorld(t)
	body := &umaEndless{}
	base := umaRoundTrip(func(r *http.Request) (*http.Response, error) {
		resp, err := w.wire.RoundTrip(r)
		if resp != nil && resp.StatusCode == 401 {
			resp.Body = body
		} else if body.closed != 1 {
			t.Error("the next try began with the challenge open")
		}
		return resp, err
	})
	w.wantPicture(w.client(gatehouse.UMATransportConfig{Base: base}), umaPhotos)
	if body.read == 0 || body.read > 64<<10+32<<10 || body.closed != 1 {
		t.Errorf("%d bytes were read, closed %d times", body.read, body.closed)
	}
}

type umaRoundTrip func(*http.Request) (*http.Response, error)

func (f umaRoundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// umaEndless never ends.
type umaEndless struct{ read, closed int }

func (d *umaEndless) Read(p []byte) (int, error) { d.read += len(p); return len(p), nil }
func (d *umaEndless) Close() error               { d.closed++; return nil }

// The token is bound to its origin: a redirect does not carry it on, and the
// place a redirect leads to cannot have a ticket turned in.
func TestUC10_Redirects(t *testing.T) {
	for _, status := range []int{302, 307} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			w := newUMAWorld(t, "evil.example", "cdn.example.org")
			to := ""
			photos := w.wire["photos.example.org"]
			w.wire["photos.example.org"] = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "" && strings.HasPrefix(r.URL.Path, "/moved") {
					http.Redirect(rw, r, to, status)
					return
				}
				photos.ServeHTTP(rw, r)
			})
			c := w.client(gatehouse.UMATransportConfig{})
			post := func() (*http.Response, error) {
				return c.Post(umaPhotos+"/moved", "text/plain", strings.NewReader("order"))
			}

			to = "https://evil.example/a"
			if _, err := post(); gatehouse.ErrorCode(err) != "redirected_challenge" {
				t.Errorf("a challenge behind a redirect: %v", err)
			}
			to = "https://cdn.example.org/free"
			w.permit = func(*http.Request, string) bool { return true }
			resp, err := post()
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("a redirect to another origin: %v", err)
			}
			to = "/home"
			if resp, err = post(); err != nil || resp.StatusCode != 200 {
				t.Fatalf("a redirect within the origin: %v", err)
			}
			for _, s := range w.seen {
				if s.origin != umaPhotos && s.token != "" {
					t.Errorf("%s was sent the token %q", s.origin, s.token)
				}
			}
			if last := w.seen[len(w.seen)-1]; last.path != "/home" || last.token != "rpt1" || len(w.asked()) != 1 {
				t.Errorf("last request %+v, %d token requests", last, len(w.asked()))
			}
		})
	}
}

// Another origin can send a request here by a redirect, with an address and a
// method of its choice. It gets no token, kept or new, on whatever way.
func TestUC10_RedirectedHere(t *testing.T) {
	for _, first := range []string{"https://evil.example/out", umaPhotos + "/out"} {
		w := newUMAWorld(t, "evil.example")
		photos := w.wire["photos.example.org"]
		w.wire["evil.example"] = http.RedirectHandler(umaPhotos+"/albums/7", http.StatusTemporaryRedirect)
		w.wire["photos.example.org"] = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/out" {
				http.Redirect(rw, r, "https://evil.example/back", http.StatusTemporaryRedirect)
				return
			}
			photos.ServeHTTP(rw, r)
		})
		c := w.client(gatehouse.UMATransportConfig{})
		w.wantPicture(c, umaPhotos+"/a") // a token is kept
		had, asked := len(w.seen), len(w.asked())
		r, err := http.NewRequest(http.MethodDelete, first, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Do(r); gatehouse.ErrorCode(err) != "redirected_challenge" {
			t.Errorf("by %s: %v", first, err)
		}
		for _, s := range w.seen[had:] {
			if s.path == "/albums/7" && s.token != "" || s.origin != umaPhotos && s.token != "" {
				t.Errorf("by %s: %s %s was sent the token %q", first, s.origin, s.path, s.token)
			}
		}
		if n := len(w.asked()) - asked; n != 0 {
			t.Errorf("by %s: %d token requests", first, n)
		}
	}
}

func TestUC10_TokenDroppedOn401(t *testing.T) {
	w := newUMAWorld(t)
	c := w.client(gatehouse.UMATransportConfig{})
	w.wantPicture(c, umaPhotos+"/a")
	photos := w.wire["photos.example.org"]

	// Without a UMA challenge the 401 is returned, and the token not used again.
	w.wire["photos.example.org"] = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		rw.WriteHeader(401)
	})
	if status, _, err := umaGet(c, umaPhotos+"/a"); status != 401 || err != nil || len(w.asked()) != 1 {
		t.Fatalf("%d %v, %d token requests", status, err, len(w.asked()))
	}
	w.wire["photos.example.org"] = photos
	w.wantPicture(c, umaPhotos+"/a")
	if got := w.asked(); len(got) != 2 || got[1].Has("rpt") {
		t.Errorf("asked %v", got)
	}

	// Challenged and then denied: not sent again either.
	w.permit = func(*http.Request, string) bool { return false }
	w.answer = func(int, url.Values) umaAnswer { return umaRefused(403, "access_denied") }
	w.wantCode(c, umaPhotos+"/a", "uma_denied")
	before := len(w.tokens())
	w.wantCode(c, umaPhotos+"/b", "uma_denied")
	if got := w.tokens()[before:]; !slices.Equal(got, []string{""}) {
		t.Errorf("the resource server saw %q after the 401", got)
	}
}

func TestUMATokenExpires(t *testing.T) {
	w := newUMAWorld(t)
	c := w.client(gatehouse.UMATransportConfig{})
	w.wantPicture(c, umaPhotos)
	w.advance(300*time.Second - 1)
	w.wantPicture(c, umaPhotos)
	if len(w.asked()) != 1 {
		t.Fatal("exchanged before the token expired")
	}
	w.answer = func(n int, _ url.Values) umaAnswer { return umaGranted(fmt.Sprintf("rpt%d", n)) } // no expires_in (J9)
	w.advance(1)
	w.wantPicture(c, umaPhotos)
	got := w.asked()
	if len(got) != 2 || got[1].Get("rpt") != "rpt1" { // also an expired one may be offered
		t.Fatalf("asked %v", got)
	}
	w.advance(1000 * time.Hour)
	w.wantPicture(c, umaPhotos)
	if got := w.tokens(); len(w.asked()) != 2 || !slices.Equal(got[2:], []string{"rpt1", "", "rpt2", "rpt2"}[:len(got)-2]) {
		t.Errorf("tokens %q, %d token requests", got, len(w.asked()))
	}
}

func TestUMATransportConfig(t *testing.T) {
	w := newUMAWorld(t)
	p := w.provider(false)
	client := gatehouse.Client{ID: "printshop"}
	for want, c := range map[string]gatehouse.UMATransportConfig{
		"Client.ID is empty":       {},
		"MaxRounds is negative":    {Client: client, MaxRounds: -1},
		"PushFirst is set":         {Client: client, PushFirst: true},
		`Scopes: "a b" is not one`: {Client: client, Scopes: []string{"a b"}},
		`Scopes: "" is not one`:    {Client: client, Scopes: []string{""}},
	} {
		if tr, err := gatehouse.NewUMATransport(p, c); tr != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := gatehouse.NewUMATransport(nil, gatehouse.UMATransportConfig{MaxRounds: -1}); err == nil ||
		!strings.Contains(err.Error(), "Provider is nil") || !strings.Contains(err.Error(), "MaxRounds") {
		t.Errorf("not all problems at once: %v", err)
	}
}

// Errors find their way through http.Client's *url.Error.
func TestUMAErrorsAs(t *testing.T) {
	w := newUMAWorld(t)
	w.answer = func(int, url.Values) umaAnswer { return umaRefused(403, "request_denied") }
	_, _, err := umaGet(w.client(gatehouse.UMATransportConfig{}), umaPhotos)
	var e *gatehouse.Error
	if !errors.As(err, &e) || e.Code != "uma_denied" || e.Status != 403 || e.Message == "" {
		t.Errorf("%v", err)
	}
	if !errors.As(err, new(*url.Error)) {
		t.Errorf("http.Client gave %T", err)
	}
}

func TestUMAParty(t *testing.T) {
	w := newUMAWorld(t)
	tr := w.transport(w.provider(false), gatehouse.UMATransportConfig{Claims: umaBob().Claims})
	get := func(id *gatehouse.Identity) error {
		ctx := context.Background()
		if id != nil {
			ctx = gatehouse.WithIdentity(ctx, id)
		}
		r, _ := http.NewRequestWithContext(ctx, "GET", umaPhotos, nil)
		resp, err := tr.RoundTrip(r)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	for _, id := range []*gatehouse.Identity{nil, {Issuer: "https://id.example.org"}} {
		if err := get(id); gatehouse.ErrorCode(err) != "uma_party_missing" || len(w.seen) != 0 {
			t.Errorf("%+v: %v, %d requests", id, err, len(w.seen))
		}
	}
	people := []*gatehouse.Identity{
		{Issuer: "https://id.example.org", Subject: "bob"},
		{Issuer: "https://id.example.org", Subject: "carol"},
		{Issuer: "https://other.example.org", Subject: "bob"},
	}
	for range 2 {
		for _, id := range people {
			if err := get(id); err != nil {
				t.Error(err)
			}
		}
	}
	want := []string{"", "rpt1", "", "rpt2", "", "rpt3", "rpt1", "rpt2", "rpt3"}
	if got := w.tokens(); !slices.Equal(got, want) {
		t.Errorf("the resource server saw %q", got)
	}
	tr.Forget(t.Context(), "https://id.example.org bob")
	for _, id := range people {
		if err := get(id); err != nil {
			t.Error(err)
		}
	}
	if got := w.tokens()[len(want):]; !slices.Equal(got, []string{"", "rpt4", "rpt2", "rpt3"}) {
		t.Errorf("after Forget: %q", got)
	}
	if got := w.asked(); got[3].Has("rpt") {
		t.Error("a forgotten token was offered")
	}
}
