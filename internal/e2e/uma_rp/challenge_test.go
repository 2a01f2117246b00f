package uma_rp_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

func TestUMAChallenges(t *testing.T) {
	good := `UMA realm="x", as_uri="` + world.ShopScriptIssuer + `", ticket="T1"`
	other := func(as string) []string { return []string{`UMA as_uri="` + as + `", ticket="T1"`} }
	tests := map[string]struct {
		header []string
		code   string // "" if served, "401" if returned as it is
		ticket string
	}{
		"quoted":             {[]string{good}, "", "T1"},
		"beside Bearer":      {[]string{`Bearer realm="x"`, good}, "", "T1"},
		"in one line":        {[]string{`Bearer realm="x", ` + good + `, Basic realm="y"`}, "", "T1"},
		"lower case":         {[]string{`uma AS_URI="` + world.ShopScriptIssuer + `" , TICKET = "T1"`}, "", "T1"},
		"unquoted":           {[]string{"UMA realm=x,as_uri=" + world.ShopScriptIssuer + ",ticket=T1=="}, "", "T1=="},
		"escaped":            {[]string{`UMA as_uri="` + world.ShopScriptIssuer + `", ticket="T\"1"`}, "", `T"1`},
		"8 KiB ticket":       {[]string{`UMA as_uri="` + world.ShopScriptIssuer + `", ticket="` + strings.Repeat("t", 8<<10) + `"`}, "", strings.Repeat("t", 8<<10)},
		"none":               {nil, "401", ""},
		"Bearer only":        {[]string{`Bearer error="invalid_token"`}, "401", ""},
		"unreadable other":   {[]string{`Negotiate "`}, "401", ""},
		"two":                {[]string{good, good}, "ambiguous_challenge", ""},
		"two in one line":    {[]string{good + ", " + good}, "ambiguous_challenge", ""},
		"two tickets":        {[]string{good + `, ticket="T2"`}, "ambiguous_challenge", ""},
		"two issuers":        {[]string{good + `, as_uri="https://evil.example"`}, "ambiguous_challenge", ""},
		"no ticket":          {[]string{`UMA as_uri="` + world.ShopScriptIssuer + `"`}, "ambiguous_challenge", ""},
		"empty ticket":       {[]string{`UMA as_uri="` + world.ShopScriptIssuer + `", ticket=""`}, "ambiguous_challenge", ""},
		"only xticket":       {[]string{`UMA as_uri="` + world.ShopScriptIssuer + `", xticket="T1"`}, "ambiguous_challenge", ""},
		"no as_uri":          {[]string{`UMA ticket="T1"`}, "ambiguous_challenge", ""},
		"too long":           {[]string{good + `, x="` + strings.Repeat("x", 16<<10) + `"`}, "ambiguous_challenge", ""},
		"unreadable UMA":     {[]string{good + `, x="`}, "ambiguous_challenge", ""},
		"another server":     {other("https://evil.example"), "untrusted_as", ""},
		"trailing slash":     {other(world.ShopScriptIssuer + "/"), "untrusted_as", ""},
		"other case":         {other("https://AS.example.org/realm"), "untrusted_as", ""},
		"http":               {other("http://as.example.org/realm"), "untrusted_as", ""},
		"port":               {other("https://as.example.org:443/realm"), "untrusted_as", ""},
		"user info":          {other("https://as.example.org@evil.example/realm"), "untrusted_as", ""},
		"an IP address":      {other("https://192.0.2.1/realm"), "untrusted_as", ""},
		"nothing of the URL": {other("%"), "untrusted_as", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := world.NewShopScript(t)
			w.ServePhotos(func(rw http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") == "Bearer rpt1" {
					io.WriteString(rw, "picture")
					return
				}
				rw.Header()["Www-Authenticate"] = tt.header
				rw.WriteHeader(401)
				io.WriteString(rw, "as it is")
			})
			c := w.Client(gatehouse.UMATransportConfig{})
			switch tt.code {
			case "":
				w.WantPicture(c, world.ShopScriptPhotos)
				if got := w.Asked(); len(got) != 1 || got[0].Get("ticket") != tt.ticket {
					t.Errorf("asked %v", got)
				}
				return
			case "401":
				if status, body, err := world.Get(c, world.ShopScriptPhotos); status != 401 || body != "as it is" || err != nil {
					t.Errorf("%d %q %v", status, body, err)
				}
			default:
				w.WantCode(c, world.ShopScriptPhotos, tt.code)
				if got := w.EventsOf(gatehouse.EventRPT); !slices.Equal(got, []string{tt.code}) {
					t.Errorf("grant events %q", got)
				}
			}
			if got := w.Asked(); len(got) != 0 {
				t.Errorf("the authorization server was asked %v", got)
			}
		})
	}
}

// FuzzUMAChallenge reads what a resource server may send. Whatever it is, the
// call ends. A ticket is presented only if there is exactly one challenge,
// which names our issuer and holds that ticket.
func FuzzUMAChallenge(f *testing.F) {
	for _, seed := range []string{
		`UMA realm="x", as_uri="` + world.ShopScriptIssuer + `", ticket="T1"`,
		`Bearer error="invalid_token", UMA as_uri="` + world.ShopScriptIssuer + `", ticket="T1"` + "\n" + `Basic realm="y"`,
		"UMA realm=x,as_uri=" + world.ShopScriptIssuer + ",ticket=abc==",
		`uma as_uri="` + world.ShopScriptIssuer + `", ticket="a\"b\\"`,
		`UMA as_uri="` + world.ShopScriptIssuer + `", ticket="T1", ticket="T2"`,
		`UMA as_uri="` + world.ShopScriptIssuer + `/", ticket="T1"`,
		`UMA as_uri="https://evil.example", ticket="T1"` + "\n" + `UMA as_uri="` + world.ShopScriptIssuer + `", ticket="T2"`,
		`UMA`, `UMA ,`, `UMA ticket=`, `Negotiate "`, "\x00", `UMA as_uri="` + world.ShopScriptIssuer + `", ticket="` + strings.Repeat("t", 9000) + `"`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		w := world.NewShopScript(t)
		w.Answer = func(int, url.Values) world.ScriptAnswer { return world.Refused(403, "request_denied") }
		lines := strings.Split(header, "\n")
		base := roundTrip(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 401, Header: http.Header{"Www-Authenticate": lines},
				Body: io.NopCloser(strings.NewReader("as it is")), Request: r}, nil
		})
		tr := w.Shop(w.Told(false), gatehouse.UMATransportConfig{Base: base})
		r, err := http.NewRequest("GET", world.ShopScriptPhotos, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(r)
		if (resp == nil) == (err == nil) {
			t.Fatalf("response %v, error %v", resp, err)
		}
		if resp != nil {
			if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "as it is" {
				t.Errorf("the response was touched: %q %v", body, err)
			}
			resp.Body.Close()
		}
		asked := w.Asked()
		code := gatehouse.ErrorCode(err)
		switch {
		case len(asked) > 1:
			t.Errorf("%d token requests", len(asked))
		case len(asked) == 1:
			ticket := asked[0].Get("ticket")
			unescaped := strings.ReplaceAll(header, `\`, "")
			if code != "uma_denied" || ticket == "" || !strings.Contains(unescaped, world.ShopScriptIssuer) ||
				!strings.Contains(unescaped, strings.ReplaceAll(ticket, `\`, "")) {
				t.Errorf("turned in %q after %q", ticket, header)
			}
		case err != nil && code != "ambiguous_challenge" && code != "untrusted_as":
			t.Errorf("%v", err)
		}
		if err != nil && len(asked) == 1 && len(asked[0].Get("ticket")) > 8 && strings.Contains(err.Error(), asked[0].Get("ticket")) {
			t.Error("the ticket shows in the error")
		}
	})
}

// The resource server could not get a ticket, so its answer is returned.
func TestUMAServerUnreachableFromThere(t *testing.T) {
	w := world.NewShopScript(t)
	w.ServePhotos(func(rw http.ResponseWriter, r *http.Request) {
		w.See(world.ScriptSeen{})
		rw.Header().Set("Warning", `199 - "UMA Authorization Server Unreachable"`)
		rw.WriteHeader(403)
		fmt.Fprint(rw, "as it is")
	})
	status, body, err := world.Get(w.Client(gatehouse.UMATransportConfig{}), world.ShopScriptPhotos)
	if status != 403 || body != "as it is" || err != nil || len(w.Tokens()) != 1 || len(w.Asked()) != 0 {
		t.Errorf("%d %q %v", status, body, err)
	}
	for _, c := range []struct {
		status  int
		warning string
		want    bool
	}{{403, `199 - "UMA Authorization Server Unreachable"`, true}, {403, "", false}, {403, `110 - "Stale"`, false}, {503, `199 - "x"`, false}, {401, `199 - "x"`, false}} {
		resp := &http.Response{StatusCode: c.status, Header: http.Header{"Warning": {c.warning}}}
		if got := gatehouse.IsUMAUnreachable(resp); got != c.want {
			t.Errorf("%d %q: %v", c.status, c.warning, got)
		}
	}
}

// The body of a challenge is read within a bound of bytes and of time, and is
// closed.
func TestUMABodyOfAChallenge(t *testing.T) {
	tests := map[string]struct {
		body *slowBody
		most int           // bytes read
		took time.Duration // on the bubble's clock
	}{
		"short":                              {&slowBody{left: 100}, 100, 0},
		"endless":                            {&slowBody{left: -1}, 64 << 10, 0},
		"hangs":                              {&slowBody{left: 100, hangs: true}, 100, 250 * time.Millisecond},
		"hangs and does not end when closed": {&slowBody{left: 100, hangs: true, deaf: true}, 100, 250 * time.Millisecond},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world.NewShopScript(t)
				tt.body.closed = make(chan struct{})
				tt.body.done = t.Context().Done()
				base := roundTrip(func(r *http.Request) (*http.Response, error) {
					resp, err := w.Transport().RoundTrip(r)
					if err == nil && resp.StatusCode == 401 {
						resp.Body.Close()
						resp.Body = tt.body
					}
					return resp, err
				})
				start := time.Now()
				w.WantPicture(w.Client(gatehouse.UMATransportConfig{Base: base}), world.ShopScriptPhotos)
				if took := time.Since(start); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				if tt.body.read.Load() > int64(tt.most) {
					t.Errorf("read %d bytes, want at most %d", tt.body.read.Load(), tt.most)
				}
				<-tt.body.closed
			})
		})
	}
}

// slowBody is a body of so many bytes (-1: without end) that may hang at the
// end, even when it is closed.
type slowBody struct {
	left        int
	hangs, deaf bool
	read        atomic.Int64
	once        sync.Once
	closed      chan struct{}
	done        <-chan struct{}
}

func (b *slowBody) Read(p []byte) (int, error) {
	n := len(p)
	if b.left >= 0 {
		n = min(n, b.left-int(b.read.Load()))
	}
	if n > 0 {
		b.read.Add(int64(n))
		return n, nil
	}
	if b.hangs && b.deaf {
		<-b.done
	} else if b.hangs {
		<-b.closed
	}
	return 0, io.EOF
}

func (b *slowBody) Close() error {
	b.once.Do(func() { close(b.closed) })
	return nil
}

// untrusted_as names the resource server and both addresses whole, but nothing
// that a hostile resource server puts into its own.
func TestUMAUntrustedServerIsNamed(t *testing.T) {
	w := world.NewShopScript(t)
	c := w.Client(gatehouse.UMATransportConfig{})
	w.WantPicture(c, world.ShopScriptPhotos)
	const there = "https://as.example.org:8443/realms/" + "a-long-name-a-long-name-a-long-name-a-long-name-a-long-name-a-long-name-a-long-name-a-long-name-a-long-name-" +
		"a-long-name-a-long-name-a-long-name-a-long-name-a-long-name-a-long-name-a-long-name-a-long-name-a-long-name/"
	for as, shown := range map[string]string{
		there: there,
		"https://evil.example/?token=rpt1&ticket=ticket-9": "https://evil.example/?token=…&ticket=…",
	} {
		w.ServePhotos(func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("WWW-Authenticate", `UMA as_uri="`+as+`", ticket="ticket-9"`)
			rw.WriteHeader(401)
		})
		_, _, err := world.Get(c, world.ShopScriptPhotos)
		w.WantNoSecret(err)
		for _, want := range []string{"photos.example.org", `"` + world.ShopScriptIssuer + `"`, `"` + shown + `"`} {
			if gatehouse.ErrorCode(err) != "untrusted_as" || !strings.Contains(err.Error(), want) {
				t.Errorf("%v does not name %s", err, want)
			}
			if !strings.Contains(strings.ReplaceAll(w.Log(), `\"`, `"`), want) {
				t.Errorf("the log does not name %s: %s", want, w.Log())
			}
		}
	}
}
