package outbound_test

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/strictjson"
)

func TestGetJSON(t *testing.T) {
	tests := []struct {
		name string
		body string
		want error
	}{
		{"object", `{"a":"x","unknown":[1]}`, nil},
		{"space before", " \n{\"a\":\"x\"}\n", nil},
		{"array", `[{"a":"x"}]`, outbound.ErrNotJSON},
		{"null", `null`, outbound.ErrNotJSON},
		{"empty", ``, outbound.ErrNotJSON},
		{"page", `<html>`, outbound.ErrNotJSON},
		{"duplicate", `{"a":"x","a":"y"}`, strictjson.ErrDuplicate},
		{"trailing", `{"a":"x"}{}`, outbound.ErrNotJSON},
		{"wrong type", `{"a":1}`, outbound.ErrNotJSON},
		{"full", `{"a":"x"` + strings.Repeat(" ", 1000-9) + `}`, nil},
		{"too large", `{"a":"x"` + strings.Repeat(" ", 1000-8) + `}`, outbound.ErrTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet || r.Header.Get("Accept") != "application/json" {
					t.Errorf("%s with Accept %q", r.Method, r.Header.Get("Accept"))
				}
				w.Header().Set("Content-Type", "text/plain")
				w.Header().Set("X-Seen", "yes")
				io.WriteString(w, tt.body)
			})
			clients := map[string]*http.Client{"ours": outbound.NewClient(nil, false), "foreign": srv.Client()}
			for who, c := range clients {
				var target struct {
					A string `json:"a"`
				}
				h, err := outbound.GetJSON(t.Context(), c, srv.URL, 1000, &target)
				if !errors.Is(err, tt.want) {
					t.Fatalf("%s client: error %v, want %v", who, err, tt.want)
				}
				if tt.want == nil && (target.A != "x" || h.Get("X-Seen") != "yes") {
					t.Errorf("%s client: got %q, header %v", who, target.A, h)
				}
			}
		})
	}
}

func TestGetJSONStatus(t *testing.T) {
	const date = "Sun, 06 Nov 1994 08:49:37 GMT"
	tests := []struct {
		name       string
		code       int
		retryAfter string
		date       string
		want       time.Duration
	}{
		{"plain", 500, "", date, 0},
		{"seconds", 503, "7", date, 7 * time.Second},
		{"too many seconds", 429, "4000000000", date, time.Hour},
		{"negative", 503, "-1", date, 0},
		{"words", 503, "soon", date, 0},
		{"date", 503, "Sun, 06 Nov 1994 08:49:47 GMT", date, 10 * time.Second},
		{"date in the past", 503, "Sun, 06 Nov 1994 08:49:27 GMT", date, 0},
		{"date, far", 503, "Mon, 06 Nov 2034 08:49:47 GMT", date, time.Hour},
		{"date without a date", 503, "Sun, 06 Nov 1994 08:49:47 GMT", "-", 0},
		{"no content", 204, "", date, 0},
		{"redirect", 302, "", date, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Date", tt.date)
				if tt.retryAfter != "" {
					w.Header().Set("Retry-After", tt.retryAfter)
				}
				w.WriteHeader(tt.code)
			})
			var v struct{}
			_, err := outbound.GetJSON(t.Context(), outbound.NewClient(nil, false), srv.URL, 0, &v)
			var se *outbound.StatusError
			if !errors.As(err, &se) || se.Code != tt.code || se.RetryAfter != tt.want {
				t.Errorf("error %v (%+v), want status %d, retry after %v", err, se, tt.code, tt.want)
			}
		})
	}
}

func TestCheckURL(t *testing.T) {
	tests := []struct {
		raw      string
		insecure bool
		ok       bool
	}{
		{"https://id.example.org", false, true},
		{"https://id.example.org:8443/a?b=c", false, true},
		{"HTTPS://id.example.org", false, true},
		{"http://localhost:3000", false, true},
		{"http://127.8.8.8", false, true},
		{"http://[::1]", false, true},
		{"http://id.example.org", true, true},
		{"http://id.example.org", false, false},
		{"http://[::1%25eth0]", false, false},
		{"http://2130706433", false, false},
		{"", false, false},
		{"id.example.org", false, false},
		{"//id.example.org", false, false},
		{"/path", false, false},
		{"https:", false, false},
		{"https://", false, false},
		{"https://:443", false, false},
		{"https:id.example.org", false, false},
		{"https://id.example.org:99999", false, false},
		{"https://id.example.org:0", false, false},
		{"https://id.example.org#", false, false},
		{"https://id.example.org/#x", false, false},
		{"https://SECRET@id.example.org", false, false},
		{"https://SECRET:SECRET@id.example.org", false, false},
		{"https://id.example.org/\x7fSECRET", false, false},
		{"https://id.example.org\\SECRET", false, false},
		{"javascript:alert(1)", true, false},
	}
	for _, tt := range tests {
		u, err := outbound.CheckURL(tt.raw, tt.insecure)
		if (err == nil) != tt.ok || (u != nil) != tt.ok {
			t.Errorf("CheckURL(%q, %v) = %v, %v", tt.raw, tt.insecure, u, err)
		}
		if err != nil && strings.Contains(err.Error(), "SECRET") {
			t.Errorf("CheckURL(%q): the error %q quotes it", tt.raw, err)
		}
	}
}

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LocalHost": true, "127.0.0.1": true, "127.255.0.9": true, "::1": true,
		"a.localhost": true, "A.B.LocalHost": true, // RFC 6761 §6.3
		"": false, "localhost.": false, "a.localhost.": false, ".localhost": false, "a..localhost": false, "alocalhost": false, "localhost.test": false, "a.localhost.test": false, "128.0.0.1": false, "::": false, "0.0.0.0": false,
		"::1%lo": false, "::ffff:127.0.0.1": false, "127.1": false, "[::1]": false, "127.0.0.1:80": false,
	} {
		if got := outbound.IsLoopback(host); got != want {
			t.Errorf("IsLoopback(%q) = %v", host, got)
		}
	}
}

func TestOrigin(t *testing.T) {
	for raw, want := range map[string]string{
		"https://api.test/a?b#c":  "https://api.test",
		"HTTPS://API.Test:443/":   "https://api.test",
		"https://api.test:80":     "https://api.test:80",
		"http://api.test:80":      "http://api.test",
		"http://api.test:443/":    "http://api.test:443",
		"https://u:p@api.test/":   "https://api.test",
		"https://[::1]:443/x":     "https://[::1]",
		"https://[::1]:8443/x":    "https://[::1]:8443",
		"https://api.test:4430/x": "https://api.test:4430",
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := outbound.Origin(u); got != want {
			t.Errorf("%s: %s, want %s", raw, got, want)
		}
	}
}
