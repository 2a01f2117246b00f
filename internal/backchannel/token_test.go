package backchannel_test

import (
	"context"
	"errors"
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
		`{"access_token":"a","token_type":"Bearer","scope":""}`:                 {Access: "a", HasScope: true},
		`{"access_token":"a","token_type":"Bearer","expires_in":"60"}`:          {Access: "a", Expires: noon.Add(time.Minute)},
		`{"access_token":"a","token_type":"Bearer","expires_in":9000000000000}`: {Access: "a", Expires: noon.Add(10 * 365 * 24 * time.Hour)},
		`{"access_token":"a","token_type":"Bearer","expires_in":-1}`:            {Access: "a"},
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
	for _, tt := range []struct {
		status int
		body   string
		want   string // of the refusal, "" for *Trouble
	}{
		{400, `{"error":"invalid_grant","error_description":"SECRET"}`, "token endpoint answered 400 invalid_grant"},
		{401, `{"error":"invalid_client"}`, "token endpoint answered 401 invalid_client"},
		{403, `{"error":"need_info","ticket":"SECRET"}`, "token endpoint answered 403 need_info"},
		{404, `<html>SECRET`, "token endpoint answered 404"},
		{400, `{"error":"` + strings.Repeat("x", 1000) + `"}`, "token endpoint answered 400 " + strings.Repeat("x", 200) + "…"},
		{200, `{"error":"invalid_grant"}`, ""},
		{200, `{"token_type":"Bearer"}`, ""},
		{200, `SECRET`, ""},
		{503, `{"error":"SECRET"`, ""},
	} {
		for _, method := range []backchannel.Method{backchannel.Basic, backchannel.Post, backchannel.None} {
			p := newPeer(t, tt.status, tt.body)
			_, err := channel().Token(t.Context(), p.URL, backchannel.NewCredentials("app", secret, method), url.Values{"grant_type": {"x"}})
			if len(p.asked) != 1 {
				t.Errorf("%d %s: sent %d times", tt.status, tt.body, len(p.asked))
			}
			if err == nil || strings.Contains(err.Error(), "SECRET") {
				t.Errorf("%d %s: %v", tt.status, tt.body, err)
				continue
			}
			if refusal, ok := errors.AsType[*backchannel.Refusal](err); ok != (tt.want != "") || ok && refusal.Error() != tt.want {
				t.Errorf("%d %s: %v, want %q", tt.status, tt.body, err, tt.want)
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
		`{"error":"need_info","ticket":"t1","Ticket":"t2"}`: "", // which one is meant?
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
		if err := refusal.Members(&members); members.Ticket != want || (err == nil) != (want != "") {
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
