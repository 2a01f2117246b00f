package uma_rs_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// TestUMARegistrationTrouble: whatever goes wrong at the server, Register
// reports it and creates nothing unless it knows that it is new.
func TestUMARegistrationTrouble(t *testing.T) {
	const mine, other = `{"name":"albums","resource_scopes":["view","add","delete","all"]}`, `{"name":"albums","resource_scopes":["view"]}`
	type says struct {
		pattern string
		status  int
		body    string
	}
	kept := world.Albums
	kept.ID = "r-1"
	for name, c := range map[string]struct {
		r     gatehouse.Resource
		says  []says
		code  string
		posts int
	}{
		"the list fails":                 {world.Albums, []says{{"GET /res", 500, `[]`}}, "provider_unavailable", 0},
		"the list is not an array":       {world.Albums, []says{{"GET /res", 200, `{"ids":[]}`}}, "registration_failed", 0},
		"the list is refused":            {world.Albums, []says{{"GET /res", 404, ``}}, "endpoint_missing", 0},
		"a description fails":            {world.Albums, []says{{"GET /res", 200, `["r-1"]`}, {"GET /res/r-1", 500, mine}}, "provider_unavailable", 0},
		"a description is not an object": {world.Albums, []says{{"GET /res", 200, `["r-1"]`}, {"GET /res/r-1", 200, `[]`}}, "registration_failed", 0},
		"odd ids are passed over":        {world.Albums, []says{{"GET /res", 200, `["..","a\u0000","r-1"]`}, {"GET /res/r-1", 200, mine}}, "", 0},
		"a kept description fails":       {kept, []says{{"GET /res/r-1", 500, mine}}, "provider_unavailable", 0},
		"an update fails":                {kept, []says{{"GET /res/r-1", 200, other}, {"PUT /res/r-1", 500, ``}}, "provider_unavailable", 0},
		"an update is refused":           {kept, []says{{"GET /res/r-1", 200, other}, {"PUT /res/r-1", 409, ``}}, "provider_unavailable", 0},
		"gone before the update":         {kept, []says{{"GET /res/r-1", 200, other}, {"PUT /res/r-1", 404, ``}, {"GET /res", 200, `[]`}, {"POST /res", 201, `{"_id":"r-2"}`}}, "", 1},
		"creating fails":                 {world.Albums, []says{{"GET /res", 200, `[]`}, {"POST /res", 500, `{"_id":"r-1"}`}}, "provider_unavailable", 1},
		"creating is refused":            {world.Albums, []says{{"GET /res", 200, `[]`}, {"POST /res", 404, ``}}, "endpoint_missing", 1},
		"our client may not":             {world.Albums, []says{{"GET /res", 200, `[]`}, {"POST /res", 403, `{"error":"insufficient_scope"}`}}, "client_refused", 2},
		"another media type":             {world.Albums, []says{{"GET /res", 200, `[]`}, {"POST /res", 405, ``}}, "endpoint_missing", 1},
		"created, without a sound id":    {world.Albums, []says{{"GET /res", 200, `[]`}, {"POST /res", 201, `{"_id":"a/../\u0000"}`}}, "registration_failed", 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewScript(t)
			for _, one := range c.says {
				s.Says(one.pattern, one.status, one.body)
			}
			out, err := s.ResourceServer(gatehouse.ResourceServerConfig{}).Register(t.Context(), c.r)
			if gatehouse.ErrorCode(err) != c.code || (err == nil) != (out.ID != "") {
				t.Errorf("%+v, %v; want the code %q", out, err, c.code)
			}
			if got := len(s.Saw("POST /res")); got != c.posts {
				t.Errorf("%d registrations, want %d", got, c.posts)
			}
			if codes := s.EventsOf(gatehouse.EventRegistration); len(codes) != 1 || codes[0] != c.code {
				t.Errorf("events %q", codes)
			}
		})
	}
}

// TestUMANoRegistrationEndpoint: a server that registers nothing gets a
// different answer from one in trouble.
func TestUMANoRegistrationEndpoint(t *testing.T) {
	s := world.NewScript(t, `,"resource_registration_endpoint":null`) // a repeated name: refused
	if _, err := s.ResourceServer(gatehouse.ResourceServerConfig{}).Register(t.Context(), world.Albums); gatehouse.ErrorCode(err) != "metadata_invalid" {
		t.Errorf("named twice: %v", err)
	}
	none := gatehouse.Metadata{TokenEndpoint: world.ScriptIssuer + "/token"}
	p := s.Provider(func(c *gatehouse.ProviderConfig) { c.Metadata = &none })
	rs, err := gatehouse.NewResourceServer(p, gatehouse.ResourceServerConfig{Client: world.PhotozClient})
	s.Must(err)
	if _, err := rs.Register(t.Context(), world.Albums); gatehouse.ErrorCode(err) != "metadata_invalid" {
		t.Errorf("not there: %v", err)
	}
	if err := rs.Deregister(t.Context(), world.Albums); gatehouse.ErrorCode(err) != "metadata_invalid" {
		t.Errorf("Deregister: %v", err)
	}
}

// TestUMAMetadataByHand: metadata written by hand serve as far as they go,
// whatever the server says where it should publish something about UMA.
func TestUMAMetadataByHand(t *testing.T) {
	for name, c := range map[string]struct {
		status      int
		body, wants string // the code without a token
	}{
		"nothing":              {404, "", "ticket_misconfigured"},
		"a page for everybody": {200, "<html>", "ticket_misconfigured"},
		"another issuer":       {200, `{"issuer":"https://other.example.org"}`, "ticket_misconfigured"},
		"trouble":              {500, "", "ticket_unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewScript(t)
			s.Says("GET /.well-known/uma2-configuration", c.status, c.body)
			s.Says("POST /look", 200, `{"active":true,"permissions":[{"resource_id":"r-1","resource_scopes":["view"]}]}`)
			s.Says("GET /res", 200, `[]`)
			s.Says("POST /res", 201, `{"_id":"r-2"}`)
			p := s.Provider(func(c *gatehouse.ProviderConfig) {
				c.Metadata = &gatehouse.Metadata{IntrospectionEndpoint: world.ScriptIssuer + "/look", TokenEndpoint: world.ScriptIssuer + "/token",
					ResourceRegistrationEndpoint: world.ScriptIssuer + "/res"}
			})
			rs, err := gatehouse.NewResourceServer(p, gatehouse.ResourceServerConfig{Client: world.PhotozClient})
			s.Must(err)
			t.Cleanup(func() { s.Must(rs.Shutdown(context.Background())) })
			h := world.Photos(rs.UMAProtect(one.AllOf("view")))
			if a := world.Send(h, "GET", "/", "token"); !world.Served(a) {
				t.Errorf("with a token: %d %s", a.Code, a.Body)
			}
			if out, err := rs.Register(t.Context(), world.Albums); err != nil || out.ID != "r-2" {
				t.Errorf("registered: %+v, %v", out, err)
			}
			answer := world.Send(h, "GET", "/", "")
			world.WantUnreachable(t, answer)
			if !strings.Contains(answer.Body.String(), c.wants) {
				t.Errorf("without a token: %s", answer.Body)
			}
			if c.status == 404 && !strings.Contains(s.Log(), "no permission_endpoint") {
				t.Error("the log does not name what is missing")
			}
		})
	}
}

// patSource returns what a test says.
type patSource func(refused gatehouse.Secret) (gatehouse.Secret, error)

func (p patSource) PAT(_ context.Context, _ string, refused gatehouse.Secret) (gatehouse.Secret, error) {
	return p(refused)
}

// TestUMAPATSourceTrouble: a source without a token is our own trouble. A
// source that has only the refused token is not asked forever.
func TestUMAPATSourceTrouble(t *testing.T) {
	for name, c := range map[string]struct {
		source patSource
		code   string
		calls  int // of the registration endpoint
	}{
		"no token":                {func(gatehouse.Secret) (gatehouse.Secret, error) { return gatehouse.Secret{}, nil }, "pat_unavailable", 0},
		"an error":                {func(gatehouse.Secret) (gatehouse.Secret, error) { return gatehouse.Secret{}, errors.New("db: away") }, "pat_unavailable", 0},
		"a token for no header":   {func(gatehouse.Secret) (gatehouse.Secret, error) { return gatehouse.NewSecret("one-pat, two-pat"), nil }, "token_unsendable", 0},
		"a token with a line end": {func(gatehouse.Secret) (gatehouse.Secret, error) { return gatehouse.NewSecret("one-pat\n"), nil }, "token_unsendable", 0},
		"no other":                {func(gatehouse.Secret) (gatehouse.Secret, error) { return gatehouse.NewSecret("one-pat"), nil }, "client_refused", 1},
		"no other, error": {func(refused gatehouse.Secret) (gatehouse.Secret, error) {
			return oneThen(refused, errors.New("db: away"))
		}, "pat_unavailable", 1},
		"another, refused": {func(refused gatehouse.Secret) (gatehouse.Secret, error) { return oneThen(refused, nil) }, "client_refused", 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewScript(t)
			s.Says("/res", 401, `{"error":"invalid_token"}`)
			_, err := s.ResourceServer(gatehouse.ResourceServerConfig{PAT: c.source}).Register(t.Context(), world.Albums)
			if gatehouse.ErrorCode(err) != c.code || len(s.Saw("GET /res")) != c.calls {
				t.Errorf("%v after %d calls, want %q after %d", err, len(s.Saw("GET /res")), c.code, c.calls)
			}
			s.WantSilence([]string{fmt.Sprint(err)}, "one-pat", "next-pat")
		})
	}
}

// oneThen returns one PAT and, after that was refused, another one or an error.
func oneThen(refused gatehouse.Secret, err error) (gatehouse.Secret, error) {
	switch {
	case refused.IsZero():
		return gatehouse.NewSecret("one-pat"), nil
	case err != nil:
		return gatehouse.Secret{}, err
	}
	return gatehouse.NewSecret("next-pat"), nil
}
