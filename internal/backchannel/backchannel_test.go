package backchannel_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/outbound"
)

// A peer answers every request with the same status, header and body, and
// records the requests.
type peer struct {
	*httptest.Server
	status int
	header http.Header
	body   string
	asked  []*http.Request
	forms  []url.Values
}

func newPeer(t *testing.T, status int, body string) *peer {
	t.Helper()
	p := &peer{status: status, body: body, header: http.Header{}}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		p.asked, p.forms = append(p.asked, r), append(p.forms, r.PostForm)
		w.Header().Set("Content-Type", "application/json")
		for name, values := range p.header {
			w.Header()[name] = values
		}
		w.WriteHeader(p.status)
		io.WriteString(w, p.body)
	}))
	t.Cleanup(p.Close)
	return p
}

func channel() *backchannel.Channel {
	return backchannel.New(outbound.NewClient(nil, false), func() time.Time { return noon })
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const secret = "s3cr3t &"

func TestAuthentication(t *testing.T) {
	for _, tt := range []struct {
		method backchannel.Method
		basic  bool
		form   url.Values
	}{
		{backchannel.Basic, true, url.Values{"token": {"t"}}},
		{backchannel.Post, false, url.Values{"token": {"t"}, "client_id": {"a b"}, "client_secret": {secret}}},
		{backchannel.None, false, url.Values{"token": {"t"}, "client_id": {"a b"}}},
	} {
		t.Run(string(tt.method), func(t *testing.T) {
			p := newPeer(t, 200, `{}`)
			form := url.Values{"token": {"t"}}
			a, err := channel().AsClient(t.Context(), p.URL+"/x", backchannel.NewCredentials("a b", secret, tt.method), form)
			if err != nil || a.Status != 200 || string(a.Body) != "{}" {
				t.Fatalf("%+v, %v", a, err)
			}
			if len(form) != 1 {
				t.Errorf("the caller's form became %v", form)
			}
			if got := p.forms[0].Encode(); got != tt.form.Encode() {
				t.Errorf("form %s, want %s", got, tt.form.Encode())
			}
			id, password, basic := p.asked[0].BasicAuth()
			if basic != tt.basic || basic && (id != "a+b" || password != "s3cr3t+%26") { // RFC 6749 §2.3.1
				t.Errorf("Basic %v %q %q", basic, id, password)
			}
		})
	}
}

func TestCredentialsAreNotShown(t *testing.T) {
	c := backchannel.NewCredentials("app", secret, backchannel.Basic)
	inside := struct{ who backchannel.Credentials }{c}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+verb+verb, c, &c, inside)
	}
	for _, v := range []any{c, &c, inside} {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(data)
		slog.New(slog.NewTextHandler(&out, nil)).Info("", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("", "v", v)
	}
	for _, bad := range []string{secret, fmt.Sprintf("%x", secret)} {
		if strings.Contains(out.String(), bad) {
			t.Errorf("%q is in %s", bad, out.String())
		}
	}
}

func TestAsBearer(t *testing.T) {
	p := newPeer(t, 404, `{"error":"not_found"}`)
	body, err := backchannel.JSON(map[string]string{"name": "albums"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		method, contentType string
		body                backchannel.Body
	}{
		{http.MethodGet, "", backchannel.Body{}},
		{http.MethodPut, "application/json", body},
		{http.MethodPost, "application/x-www-form-urlencoded", backchannel.Form(url.Values{"a": {"b"}})},
	} {
		p.asked = nil
		a, err := channel().AsBearer(t.Context(), tt.method, p.URL+"/x", "tok", tt.body)
		if err != nil || a.Status != 404 || a.ErrorCode() != "not_found" {
			t.Fatalf("%s: %+v, %v", tt.method, a, err)
		}
		h := p.asked[0].Header
		if p.asked[0].Method != tt.method || h.Get("Authorization") != "Bearer tok" || h.Get("Content-Type") != tt.contentType || h.Get("Accept") != "application/json" {
			t.Errorf("%s with %v", p.asked[0].Method, h)
		}
	}
	if _, err := backchannel.JSON(func() {}); err == nil {
		t.Error("a function was encoded as JSON")
	}
}

// TestConnectionGone: the server closes a connection that was kept, as one does
// that is started again. What may be sent twice is sent over another one.
func TestConnectionGone(t *testing.T) {
	for method, again := range map[string]bool{http.MethodGet: true, http.MethodDelete: true, http.MethodPost: false, http.MethodPut: false} {
		t.Run(method, func(t *testing.T) {
			var asked atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n := asked.Add(1)
				if _, marked := r.Header["Idempotency-Key"]; marked {
					t.Error("Idempotency-Key was sent")
				}
				if n == 2 {
					panic(http.ErrAbortHandler) // closes the connection
				}
			}))
			defer server.Close()
			c := channel()
			if _, err := c.AsBearer(t.Context(), http.MethodGet, server.URL, "token", backchannel.Body{}); err != nil {
				t.Fatal(err)
			}
			_, err := c.AsBearer(t.Context(), method, server.URL, "token", backchannel.Body{})
			if n := asked.Load(); (err == nil) != again || n != map[bool]int64{true: 3, false: 2}[again] {
				t.Errorf("%d requests, %v", n, err)
			}
		})
	}
}

// A reply that does not answer the call is *Trouble, which says whether the
// server may have acted on the call.
func TestTrouble(t *testing.T) {
	const nobody = "http://127.0.0.1:1" // a port that no other test can be given, as that of a closed server can
	large := newPeer(t, 200, strings.Repeat("x", outbound.MaxBody+1))
	cut := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer cut.Close()
	answers := func(status int, name, value string) string {
		p := newPeer(t, status, `{"error":"busy"}`)
		p.header.Set(name, value)
		return p.URL
	}
	for name, tt := range map[string]struct {
		url        string
		known      bool
		retryAfter time.Duration
		moved      bool   // for good
		says       string // besides
	}{
		"503":             {answers(503, "Retry-After", "7"), true, 7 * time.Second, false, ""},
		"500":             {answers(500, "X", ""), true, 0, false, ""},
		"502":             {answers(502, "Retry-After", "7"), false, 7 * time.Second, false, ""},
		"504":             {answers(504, "X", ""), false, 0, false, ""},
		"524":             {answers(524, "X", ""), false, 0, false, ""},
		"429":             {answers(429, "Retry-After", "3"), true, 3 * time.Second, false, ""},
		"redirect":        {answers(307, "Location", "https://evil.example/"), true, 0, false, "/p, a redirect, which is not followed"},
		"moved":           {answers(301, "Location", "https://evil.example/"), true, 0, true, "/p, a redirect, which is not followed"},
		"moved, as it is": {answers(308, "Location", "https://evil.example/"), true, 0, true, "/p, a redirect, which is not followed"},
		"never reached":   {nobody, true, 0, false, ""},
		"connection cut":  {cut.URL, false, 0, false, ""},
		"too large":       {large.URL, false, 0, false, "more than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			who := backchannel.NewCredentials("app", secret, backchannel.Post)
			_, asBearer := channel().AsBearer(t.Context(), http.MethodGet, tt.url+"/p?q=SECRET", "SECRET", backchannel.Body{})
			_, asClient := channel().AsClient(t.Context(), tt.url+"/p", who, nil)
			_, token := channel().Token(t.Context(), tt.url+"/p", who, url.Values{"grant_type": {"refresh_token"}})
			revoke := channel().Revoke(t.Context(), tt.url+"/p", who, "SECRET", "refresh_token")
			for what, err := range map[string]error{"bearer": asBearer, "client": asClient, "token": token, "revoke": revoke} {
				trouble, ok := errors.AsType[*backchannel.Trouble](err)
				if !ok {
					t.Errorf("%s: %v, want *Trouble", what, err)
					continue
				}
				if trouble.FateKnown() != tt.known || backchannel.FateKnown(fmt.Errorf("x: %w", err)) != tt.known || trouble.RetryAfter != tt.retryAfter {
					t.Errorf("%s: fate known %v, Retry-After %v: %v", what, trouble.FateKnown(), trouble.RetryAfter, err)
				}
				if missing := errors.Is(err, backchannel.ErrMissing); missing != tt.moved {
					t.Errorf("%s: nothing there %v: %v", what, missing, err)
				}
				if s := err.Error(); tt.says != "" && !strings.Contains(s, tt.says) {
					t.Errorf("%s: %q does not say %q", what, s, tt.says)
				}
				if s := err.Error(); strings.Contains(s, "SECRET") || strings.Contains(s, secret) || strings.Contains(s, "evil") {
					t.Errorf("%s: %q reveals too much", what, s)
				}
			}
		})
	}
	if !backchannel.FateKnown(errors.New("nothing was sent")) {
		t.Error("the fate of a call that was never sent is not known")
	}
}

func TestEndpointIsNoURL(t *testing.T) {
	if _, err := channel().AsBearer(t.Context(), http.MethodGet, "https://a.example/%zzSECRET", "t", backchannel.Body{}); !errors.Is(err, backchannel.ErrEndpoint) || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("got %v", err)
	}
}

func TestUnexpected(t *testing.T) {
	who := backchannel.NewCredentials("app", secret, backchannel.Basic)
	for _, tt := range []struct {
		status     int
		body, want string // want without the address
	}{
		{400, `{"error":"invalid_scope","error_description":"SECRET"}`, "400 invalid_scope from"},
		{400, `{"error":"a","error":"b"}`, "400 from, not one JSON object"},
		{400, `<html>SECRET`, "400 from, not one JSON object"},
		{400, `{"error":"` + strings.Repeat("x", 300) + `"}`, "400 other (300 bytes) from"},
		{400, `{"error":"the_opensesame_token"}`, "400 other (20 bytes) from"},
		{401, `{"error":"invalid_client"}`, "401 invalid_client from, with client authentication client_secret_basic and a secret"},
	} {
		p := newPeer(t, tt.status, tt.body)
		a, err := channel().AsClient(t.Context(), p.URL+"/i?x=SECRET", who, url.Values{"token": {"opensesame"}})
		if err != nil {
			t.Fatal(err)
		}
		if err, want := a.Unexpected("reading it"), "reading it: status "+strings.Replace(tt.want, " from", " from "+p.URL+"/i", 1); err.Error() != want || !err.FateKnown() {
			t.Errorf("%s: %v, want %s", tt.body, err, want)
		}
	}
}

func TestRefusesCaller(t *testing.T) {
	for status, want := range map[int]bool{200: false, 400: false, 401: true, 403: true, 404: false} {
		if got := (&backchannel.Answer{Status: status}).RefusesCaller(); got != want {
			t.Errorf("%d: %v", status, got)
		}
	}
}

func TestRevoke(t *testing.T) {
	who := backchannel.NewCredentials("app", secret, backchannel.Post)
	p := newPeer(t, 200, ``)
	if err := channel().Revoke(t.Context(), p.URL, who, "tok", "refresh_token"); err != nil {
		t.Fatal(err)
	}
	if f := p.forms[0]; f.Get("token") != "tok" || f.Get("token_type_hint") != "refresh_token" || f.Get("client_secret") != secret {
		t.Errorf("form %v", f)
	}
	p.status, p.body = 400, `{"error":"invalid_client"}`
	refusal, ok := errors.AsType[*backchannel.Refusal](channel().Revoke(t.Context(), p.URL, who, "tok", "refresh_token"))
	if !ok || refusal.Status != 400 || refusal.Code != "invalid_client" || refusal.Error() != "revocation endpoint answered 400 invalid_client from "+p.URL+", with client authentication client_secret_post and a secret" {
		t.Errorf("got %v", refusal)
	}
}
