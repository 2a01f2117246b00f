package authresponse_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/authresponse"
)

func TestParse(t *testing.T) {
	for asked, c := range map[string]struct{ kind, mode string }{
		"code": {"code", "query"}, " code ": {"code", "query"}, "id_token": {"id_token", "fragment"},
		"id_token token": {"id_token token", "fragment"}, "token id_token": {"id_token token", "fragment"},
		"code id_token": {"code id_token", "fragment"}, "id_token  code": {"code id_token", "fragment"},
		"": {}, "token": {}, "none": {}, "code token": {}, "code id_token token": {}, "code code": {}, "id_token id_token": {},
		"Code": {}, "code,id_token": {}, "code id_token\x00": {},
	} {
		k, err := authresponse.Parse(asked)
		if (err == nil) != (c.kind != "") || k.Type() != c.kind || string(k.Mode) != c.mode {
			t.Errorf("%q: %q by %q, %v", asked, k.Type(), k.Mode, err)
		}
		if err == nil && k.Requested() != "" {
			t.Errorf("%q: the default mode %q is requested", asked, k.Requested())
		}
	}
}

func TestIn(t *testing.T) {
	for _, c := range []struct {
		asked, mode, requested string
		good                   bool
	}{
		{"code", "", "", true}, {"code", "query", "", true}, {"code", "form_post", "form_post", true}, {"code", "fragment", "fragment", true},
		{"id_token", "fragment", "", true}, {"id_token", "form_post", "form_post", true}, {"id_token", "query", "", false},
		{"id_token token", "query", "", false}, {"code id_token", "query", "", false}, {"code", "web_message", "", false}, {"code", "Query", "", false},
	} {
		k, err := authresponse.Parse(c.asked)
		if err != nil {
			t.Fatal(err)
		}
		if k, err = k.In(c.mode); (err == nil) != c.good || k.Requested() != c.requested {
			t.Errorf("%s in %q: requested %q, %v", c.asked, c.mode, k.Requested(), err)
		}
		if again, ok := authresponse.Unpack(k.Pack()); c.good && (!ok || again != k || len(k.Pack()) > 1) {
			t.Errorf("%+v comes back as %+v", k, again)
		}
	}
	if authresponse.Usual().Pack() != "" {
		t.Error("the usual kind takes room")
	}
	for _, bad := range []string{"\x00", "\xff", "\x19", "ab"} {
		k, ok := authresponse.Unpack(bad)
		if ok && k.Pack() != bad {
			t.Errorf("%q is %+v", bad, k)
		}
	}
}

// RP-D4: types are sets of words; a list that is not there says nothing.
func TestOffered(t *testing.T) {
	k, _ := authresponse.Parse("code id_token")
	for _, c := range []struct {
		types, modes []string
		good         bool
	}{
		{nil, nil, true}, {[]string{"id_token code"}, nil, true}, {[]string{"code", "code  id_token"}, []string{"fragment"}, true},
		{[]string{"code", "id_token"}, nil, false}, {[]string{"code id_token token"}, nil, false}, {[]string{}, nil, false},
		{nil, []string{"query", "form_post"}, false}, {nil, []string{}, false},
	} {
		if err := k.Offered(c.types, c.modes); (err == nil) != c.good {
			t.Errorf("%q, %q: %v", c.types, c.modes, err)
		}
	}
}

func TestOnce(t *testing.T) {
	for raw, good := range map[string]bool{
		"": true, "code=a&state=b": true, "x=1&x=2": true, "code=a&code=a": false, "id_token=&id_token=": false, "access_token=a&access_token=b": false,
		"expires_in=1&expires_in=1": false, "iss=a&iss=b": false,
	} {
		v, err := url.ParseQuery(raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := authresponse.Once(v); (err == nil) != good || err != nil && !errors.Is(err, authresponse.ErrMalformed) {
			t.Errorf("%s: %v", raw, err)
		}
		if authresponse.Any(v) != (raw != "" && !strings.HasPrefix(raw, "x")) {
			t.Errorf("%s: any %t", raw, authresponse.Any(v))
		}
	}
}

func TestTake(t *testing.T) {
	long := strings.Repeat("x", 16<<10+1)
	for _, c := range []struct {
		asked, raw string
		want       authresponse.Values
		err        error
	}{
		{"code", "code=c", authresponse.Values{Code: "c"}, nil},
		{"code", "code=c&id_token=t&access_token=a", authresponse.Values{Code: "c"}, nil},
		{"code", "", authresponse.Values{}, authresponse.ErrMalformed},
		{"code", "code=" + long[:8<<10+1], authresponse.Values{}, authresponse.ErrMalformed},
		{"id_token", "id_token=t&code=c&access_token=a&token_type=bearer", authresponse.Values{IDToken: "t"}, nil},
		{"id_token", "code=c", authresponse.Values{}, authresponse.ErrNoIDToken},
		{"id_token", "id_token=" + long, authresponse.Values{}, authresponse.ErrMalformed},
		{"code id_token", "code=c&id_token=t", authresponse.Values{Code: "c", IDToken: "t"}, nil},
		{"code id_token", "id_token=t", authresponse.Values{}, authresponse.ErrMalformed},
		{"code id_token", "code=c", authresponse.Values{}, authresponse.ErrNoIDToken},
		{"id_token token", "id_token=t&access_token=a&token_type=bEARER", authresponse.Values{IDToken: "t", Access: "a"}, nil},
		{"id_token token", "id_token=t&access_token=a&token_type=Bearer&expires_in=300&scope=a+b",
			authresponse.Values{IDToken: "t", Access: "a", Scope: "a b", HasScope: true, ExpiresIn: 5 * time.Minute}, nil},
		{"id_token token", "id_token=t&access_token=a&token_type=Bearer&expires_in=99999999999999999",
			authresponse.Values{IDToken: "t", Access: "a", ExpiresIn: 10 * 365 * 24 * time.Hour}, nil},
		{"id_token token", "id_token=t&access_token=a&token_type=Bearer&expires_in=-1", authresponse.Values{IDToken: "t", Access: "a"}, nil},
		{"id_token token", "id_token=t&access_token=a&token_type=Bearer&expires_in=soon&scope=", authresponse.Values{IDToken: "t", Access: "a", HasScope: true}, nil},
		{"id_token token", "id_token=t&token_type=Bearer", authresponse.Values{}, authresponse.ErrMalformed},
		{"id_token token", "id_token=t&access_token=a", authresponse.Values{}, authresponse.ErrTokenType},
		{"id_token token", "id_token=t&access_token=a&token_type=DPoP", authresponse.Values{}, authresponse.ErrTokenType},
		{"id_token token", "id_token=t&access_token=" + long + "&token_type=Bearer", authresponse.Values{}, authresponse.ErrMalformed},
	} {
		k, err := authresponse.Parse(c.asked)
		if err != nil {
			t.Fatal(err)
		}
		v, err := url.ParseQuery(c.raw)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.Take(v); got != c.want || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s of %.80s: %+v, %v", c.asked, c.raw, got, err)
		}
	}
}

// FuzzUnpack: what is read is written again as it was.
func FuzzUnpack(f *testing.F) {
	for b := range 64 {
		f.Add(string([]byte{byte(b)}))
	}
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		if k, ok := authresponse.Unpack(s); ok && k.Pack() != s {
			t.Errorf("%q is %+v", s, k)
		}
	})
}
