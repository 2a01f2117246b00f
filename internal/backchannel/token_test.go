package backchannel_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/backchannel"
)

func TestToken(t *testing.T) {
	p := newPeer(t, 200, "")
	who := backchannel.NewCredentials("app", secret, backchannel.Basic)
	for body, want := range map[string]backchannel.Tokens{
		`{"access_token":"a","token_type":"bEaReR"}`: {Access: "a"},
		`{"access_token":"a","token_type":"Bearer","refresh_token":"r","id_token":"i","scope":"x y","expires_in":300,"pct":"p"}`: {
			Access: "a", Refresh: "r", IDToken: "i", Scope: "x y", HasScope: true, Expires: noon.Add(5 * time.Minute),
		},
		`{"access_token":"a","token_type":"Bearer","scope":""}`:                                                        {Access: "a", HasScope: true},
		`{"access_token":"a","token_type":"Bearer","expires_in":"60"}`:                                                 {Access: "a", Expires: noon.Add(time.Minute)},
		`{"access_token":"a","token_type":"Bearer","expires_in":9000000000000}`:                                        {Access: "a", Expires: noon.Add(10 * 365 * 24 * time.Hour)},
		`{"access_token":"a","token_type":"Bearer","expires_in":3600.0}`:                                               {Access: "a", Expires: noon.Add(time.Hour)},
		`{"access_token":"a","token_type":"Bearer","expires_in":3.6e3}`:                                                {Access: "a", Expires: noon.Add(time.Hour)},
		`{"access_token":"a","token_type":"Bearer","expires_in":"3600.0"}`:                                             {Access: "a", Expires: noon.Add(time.Hour)},
		`{"access_token":"a","token_type":"Bearer","expires_in":null,"scope":null}`:                                    {Access: "a"},
		`{"access_token":"a","token_type":"Bearer","expires_in":0}`:                                                    {Access: "a"},
		`{"access_token":"a","token_type":"Bearer","expires_in":0.9}`:                                                  {Access: "a"},
		`{"access_token":"a","token_type":"Bearer","expires_in":-1}`:                                                   {Access: "a", Defective: "expires_in"},
		`{"access_token":"a","token_type":"Bearer","expires_in":""}`:                                                   {Access: "a", Defective: "expires_in"},
		`{"access_token":"a","token_type":"Bearer","expires_in":"never"}`:                                              {Access: "a", Defective: "expires_in"},
		`{"access_token":"a","token_type":"Bearer","expires_in":"inf"}`:                                                {Access: "a", Defective: "expires_in"},
		`{"access_token":"a","token_type":"Bearer","expires_in":1e999}`:                                                {Access: "a", Defective: "expires_in"},
		`{"access_token":"a","token_type":"Bearer","expires_in":[1],"scope":["x"],"refresh_token":7,"upgraded":"yes"}`: {Access: "a", Defective: "expires_in, refresh_token, scope, upgraded"},
		`{"access_token":"a","token_type":"Bearer","Access_Token":"b","EXPIRES_IN":"x","Error":"no"}`:                  {Access: "a"},
	} {
		p.body, p.asked, p.forms = body, nil, nil
		got, err := channel().Token(t.Context(), p.URL, who, url.Values{"grant_type": {"password"}, "x": {"1"}})
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		want.Requested = noon
		if *got != want {
			t.Errorf("%s: %+v, want %+v", body, *got, want)
		}
		if len(p.forms) != 1 || p.forms[0].Encode() != "grant_type=password&x=1" {
			t.Errorf("sent %v", p.forms)
		}
	}
}

// Whatever the answer is, the request is sent once, and the error contains
// nothing of the body but the error code.
func TestTokenRefusals(t *testing.T) {
	const how = "HOW" // the client authenticated
	for _, tt := range []struct {
		status int
		body   string
		want   string // of the refusal without the address, "" for *Trouble
	}{
		{400, `{"error":"invalid_grant","error_description":"SECRET"}`, "400 invalid_grant from"},
		{401, `{"error":"invalid_client"}`, "401 invalid_client from, with client authentication " + how},
		{403, `{"error":"need_info","ticket":"SECRET"}`, "403 need_info from"},
		{404, `<html>SECRET`, "404 from, not one JSON object"},
		{400, `{"error":"` + strings.Repeat("x", 1000) + `"}`, "400 other (1000 bytes) from"},
		{400, `{"error":"bad_abcdefgh"}`, "400 other (12 bytes) from"},
		{400, `{"error":"bad_ticket","ticket":"bad_ticket"}`, "400 other (10 bytes) from"},
		{200, `{"error":"invalid_grant"}`, ""},
		{200, `{"token_type":"Bearer"}`, ""},
		{200, `SECRET`, ""},
		{503, `{"error":"SECRET"`, ""},
	} {
		for method, sent := range map[backchannel.Method]string{
			backchannel.Basic: "client_secret_basic and a secret", backchannel.Post: "client_secret_post and a secret", backchannel.None: "none and no secret",
		} {
			p := newPeer(t, tt.status, tt.body)
			_, err := channel().Token(t.Context(), p.URL, backchannel.NewCredentials("app", secret, method), url.Values{"grant_type": {"x"}, "code": {"abcdefgh"}})
			want := "token endpoint answered " + strings.NewReplacer(" from", " from "+p.URL, how, sent).Replace(tt.want)
			if len(p.asked) != 1 {
				t.Errorf("%d %s: sent %d times", tt.status, tt.body, len(p.asked))
			}
			if err == nil || strings.Contains(err.Error(), "SECRET") {
				t.Errorf("%d %s: %v", tt.status, tt.body, err)
				continue
			}
			if refusal, ok := errors.AsType[*backchannel.Refusal](err); ok != (tt.want != "") || ok && refusal.Error() != want {
				t.Errorf("%d %s: %v, want %q", tt.status, tt.body, err, want)
			}
			if _, ok := errors.AsType[*backchannel.Trouble](err); ok != (tt.want == "") {
				t.Errorf("%d %s: %T", tt.status, tt.body, err)
			}
		}
	}
}

func TestRefusalMembers(t *testing.T) {
	for body, want := range map[string]string{
		`{"error":"need_info","ticket":"t1"}`:               "t1",
		`{"error":"need_info","ticket":"t1","Ticket":"t2"}`: "t1",
		`{"error":"need_info","ticket":"t1","ticket":"t2"}`: "", // which one is meant?
	} {
		p := newPeer(t, 403, body)
		_, err := channel().Token(t.Context(), p.URL, backchannel.NewCredentials("app", "", backchannel.None), url.Values{})
		refusal, ok := errors.AsType[*backchannel.Refusal](err)
		if !ok {
			t.Fatal(err)
		}
		var members struct {
			Ticket string `json:"ticket"`
		}
		if err := refusal.Members(&members); (err == nil) != (want != "") || err == nil && members.Ticket != want {
			t.Errorf("%s: %+v, %v", body, members, err)
		}
	}
}

func TestTokenType(t *testing.T) {
	p := newPeer(t, 200, `{"access_token":"a","token_type":"DPoP"}`)
	_, err := channel().Token(t.Context(), p.URL, backchannel.NewCredentials("app", "", backchannel.None), url.Values{})
	if !errors.Is(err, backchannel.ErrTokenType) || !strings.Contains(err.Error(), `"DPoP"`) {
		t.Errorf("got %v", err)
	}
}

func TestTokenCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := newPeer(t, 200, "")
	_, err := channel().Token(ctx, p.URL, backchannel.NewCredentials("app", "", backchannel.None), url.Values{})
	if _, ok := errors.AsType[*backchannel.Trouble](err); !ok || !errors.Is(err, context.Canceled) || backchannel.FateKnown(err) {
		t.Errorf("got %v", err)
	}
}

// RFC 6749 §5.1: a token answer is JSON. The error for one that is not names
// its type, unless the type repeats what was sent.
func TestTokenAnswerIsNotJSON(t *testing.T) {
	const code = "the-code-1234567"
	for _, c := range []struct{ kind, body, want string }{
		{"text/html; charset=utf-8", "<p>Sign in at the portal " + code, `"text/html"`},
		{"application/jwt", "a.b.c", `"application/jwt"`},
		{"application/x-www-form-urlencoded", "access_token=a&token_type=bearer", `"application/x-www-form-urlencoded"`},
		{"text/plain", "access_token=a&token_type=bearer", `"text/plain"`},
		{"TEXT/HTML", "", `"text/html"`},
		{";;;", "<p>", "unreadable type"},
		{"text/" + strings.Repeat("x", 500), "<p>", "unreadable type"},
		{"text/" + code, "<p>", "another type"},
		{"application/json", "<p>", "could not be read"},
		{"application/json", `{"access_token":"a","token_type":"bearer"}`, ""},
		{"text/plain", `{"access_token":"a","token_type":"bearer"}`, ""},
	} {
		status := http.StatusOK
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", c.kind)
			w.WriteHeader(status)
			io.WriteString(w, c.body)
		}))
		ask := func() (*backchannel.Tokens, error) {
			return channel().Token(t.Context(), server.URL, backchannel.NewCredentials("app", "s", backchannel.None), url.Values{"grant_type": {"authorization_code"}, "code": {code}})
		}
		answer, err := ask()
		for _, status = range []int{400, 401, 404, 410, 502} { // nor is an answer of what stands between us and the server
			if _, err := ask(); strings.HasPrefix(c.want, `"`) && !strings.Contains(err.Error(), ", as "+c.want) || strings.Contains(err.Error(), code) {
				t.Errorf("%d %s: error %v, want %s", status, c.kind, err, c.want)
			}
		}
		server.Close()
		if c.want == "" {
			if err != nil || answer.Access != "a" {
				t.Errorf("%s: %v", c.kind, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), code) || strings.Contains(err.Error(), "portal") {
			t.Errorf("%s: error %v, want %s", c.kind, err, c.want)
		}
	}
}
