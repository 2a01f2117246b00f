package iyo_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/example/itsyouonline/iyo"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

func TestProvider(t *testing.T) {
	provider, err := iyo.New(map[string]iyo.App{
		"goramldir": {Secret: "s1", GlobalID: "goraml", Scopes: []string{"user:memberof:goraml", "user:memberof:goraml-admin"}},
		"laptop":    {Secret: "s2", Username: "ana", Scopes: []string{"user:memberof:goraml"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := gatehouse.ParseKeys(provider.PublicKey())
	if err != nil || len(keys) != 1 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	server := httptest.NewServer(provider)
	t.Cleanup(server.Close)
	const all = "[user:memberof:goraml user:memberof:goraml-admin]"
	for name, c := range map[string]struct {
		id, secret, scope, aud string
		status                 int
		wantScope, wantAud     string
		who                    string // the claim with the subject, and its value
	}{
		"all scopes":          {"goramldir", "s1", "", "", 200, all, "[goramldir]", "globalid goraml"},
		"fewer scopes":        {"goramldir", "s1", "user:memberof:goraml", "", 200, "[user:memberof:goraml]", "[goramldir]", "globalid goraml"},
		"scopes with commas":  {"goramldir", "s1", "user:memberof:goraml,user:memberof:goraml-admin", "", 200, all, "[goramldir]", "globalid goraml"},
		"further audience":    {"goramldir", "s1", "", "files,mail", 200, all, "[goramldir files mail]", "globalid goraml"},
		"a person's key":      {"laptop", "s2", "", "", 200, "[user:memberof:goraml]", "[laptop]", "username ana"},
		"a scope too many":    {"laptop", "s2", "user:memberof:goraml-admin", "", 401, "", "", ""},
		"a wrong secret":      {"laptop", "s1", "", "", 400, "", "", ""},
		"an unknown app":      {"phone", "s1", "", "", 400, "", "", ""},
		"no secret":           {"phone", "", "", "", 400, "", "", ""},
		"begin of the secret": {"laptop", "s", "", "", 400, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			form := url.Values{"grant_type": {"client_credentials"}, "client_id": {c.id}, "client_secret": {c.secret}, "response_type": {"id_token"}, "scope": {c.scope}, "aud": {c.aud}}
			status, kind, body := post(t, server.URL+"/v1/oauth/access_token", form)
			if status != c.status || status != 200 {
				if status != c.status || strings.Contains(body, "eyJ") {
					t.Errorf("%d %q, want %d", status, body, c.status)
				}
				return
			}
			token, err := jwt.ParseSigned(body, []jose.SignatureAlgorithm{jose.ES384}) // the bare JWT
			if err != nil || kind != "application/jwt" {
				t.Fatalf("%s %v", kind, err)
			}
			var claims map[string]any
			if err := token.Claims(keys[0], &claims); err != nil {
				t.Fatal(err)
			}
			claim, value, _ := strings.Cut(c.who, " ")
			if claims[claim] != value || claims["sub"] != nil || claims["iss"] != "itsyouonline" || token.Headers[0].ExtraHeaders["typ"] != "JWT" ||
				list(claims["aud"]) != c.wantAud || list(claims["scope"]) != c.wantScope {
				t.Errorf("%v %v", token.Headers, claims)
			}
		})
	}
	if status, kind, body := post(t, server.URL+"/v1/oauth/access_token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"laptop"}, "client_secret": {"s2"}}); status != 200 || kind != "application/json" || !strings.HasPrefix(body, `{"access_token":"eyJ`) {
		t.Errorf("without response_type: %d %s %.30s", status, kind, body)
	}
}

func list(v any) string {
	values, _ := v.([]any)
	var texts []string
	for _, value := range values {
		text, _ := value.(string)
		texts = append(texts, text)
	}
	return "[" + strings.Join(texts, " ") + "]"
}

func post(t *testing.T, address string, form url.Values) (status int, kind, body string) {
	t.Helper()
	resp, err := http.PostForm(address, form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(data)
}
