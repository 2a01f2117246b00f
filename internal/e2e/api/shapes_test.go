package api_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// JW16: what is no token in its outer form is refused for that.
func TestJW16_RequireToken(t *testing.T) {
	for _, opaque := range []bool{false, true} {
		f := newForger(t, func(c *gatehouse.ResourceServerConfig) {
			if opaque {
				c.Client = shop
			}
		})
		good := f.good()
		parts := strings.Split(good, ".")
		for name, c := range map[string]struct {
			value  string
			status []int
		}{
			"a MiB of dots":           {"Bearer " + strings.Repeat(".", 1<<20), []int{400}},
			"a MiB of A":              {"Bearer " + strings.Repeat("A", 1<<20), []int{400}},
			"a long header":           {"Bearer " + strings.Repeat("A", 300<<10) + "." + parts[1] + "." + parts[2], []int{400}},
			"17 KiB":                  {"Bearer " + strings.Repeat("A", 17<<10), []int{400}},
			"16 KiB, three parts":     {"Bearer " + strings.Repeat("A", 16<<10-8) + ".A.A", []int{401}},
			"16 KiB of dots":          {"Bearer " + strings.Repeat(".", 16<<10), []int{401}},
			"two parts":               {"Bearer " + parts[0] + "." + parts[1], []int{401}},
			"two parts and a dot":     {"Bearer " + parts[0] + "." + parts[1] + ".", []int{401}},
			"four parts":              {"Bearer " + good + ".A", []int{401}},
			"five parts":              {"Bearer " + good + ".A.A", []int{401}},
			"no header":               {"Bearer ." + parts[1] + "." + parts[2], []int{401}},
			"a space behind":          {"Bearer " + good + " ", []int{400}},
			"a tab before":            {"Bearer\t" + good, []int{400}},
			"two spaces":              {"Bearer  " + good, []int{200, 400}},
			"a line break":            {"Bearer " + good + "\n", []int{400}},
			"a NUL":                   {"Bearer " + good + "\x00", []int{400}},
			"quoted":                  {`Bearer "` + good + `"`, []int{400}},
			"a parameter":             {`Bearer token="` + good + `"`, []int{400}},
			"not ASCII":               {"Bearer " + good + "é", []int{400}},
			"padding":                 {"Bearer " + good + "==", []int{401}},
			"padding of the header":   {"Bearer " + parts[0] + "=." + parts[1] + "." + parts[2], []int{400}},
			"the other alphabet":      {"Bearer " + strings.NewReplacer("-", "+", "_", "/").Replace(parts[0]+"+/") + "." + parts[1] + "." + parts[2], []int{401}},
			"one character more":      {"Bearer " + good + "A", []int{401}},
			"another last character":  {"Bearer " + otherSpelling(good), []int{401}},
			"a comma behind":          {"Bearer " + good + ",", []int{400}},
			"the scheme twice":        {"Bearer Bearer " + good, []int{400}},
			"a scheme beside":         {"Bearer " + good + ", Basic YTpi", []int{400}},
			"JSON serialization":      {`Bearer {"payload":"` + parts[1] + `"}`, []int{400}},
			"encrypted, by its shape": {"Bearer eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkExMjhHQ00ifQ.A.A.A.A", []int{401}},
		} {
			t.Run(fmt.Sprintf("opaque %v, %s", opaque, name), func(t *testing.T) {
				r := httptest.NewRequest("GET", "/", nil)
				r.Header["Authorization"] = []string{c.value}
				a := httptest.NewRecorder()
				f.h.ServeHTTP(a, r)
				if !slices.Contains(c.status, a.Code) {
					t.Errorf("%d %q, want %v", a.Code, a.Body, c.status)
				}
				if a.Code != 200 {
					f.wantSilent(t, a, strings.TrimPrefix(c.value, "Bearer "))
				}
			})
		}
	}
}

// otherSpelling writes the signature with bits that say nothing, after the last
// byte, set. A lenient reader decodes it to the same bytes (RFC 4648 §3.5).
func otherSpelling(raw string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	at := strings.IndexByte(alphabet, raw[len(raw)-1])
	return raw[:len(raw)-1] + string(alphabet[at|1])
}

// Claims have one reading: names count exactly and once, on every level that is
// read, and JSON is JSON.
func TestRequireTokenClaims(t *testing.T) {
	f := newForger(t)
	sign := func(payload string) string { return token(f.header(""), payload, byEC(f.ec)) }
	good := f.claims()
	for name, payload := range map[string]string{
		"nothing": ``, "null": `null`, "a list": `[` + good + `]`, "a text": `"x"`, "two objects": good + good, "a byte order mark": "\ufeff" + good,
		"a trailing comma": strings.TrimSuffix(good, "}") + ",}", "single quotes": strings.ReplaceAll(good, `"`, `'`), "a name twice": strings.TrimSuffix(good, "}") + `,"x":1,"x":2}`,
		"a name twice below": strings.TrimSuffix(good, "}") + `,"x":{"a":1,"a":2}}`, "not UTF-8": strings.TrimSuffix(good, "}") + ",\"x\":\"\xc3\x28\"}", "a control": strings.TrimSuffix(good, "}") + ",\"x\":\"\x01\"}",
		"deep": strings.TrimSuffix(good, "}") + `,"x":` + strings.Repeat(`{"a":`, 500) + "1" + strings.Repeat("}", 500) + "}", "cut": good[:len(good)-1], "compressed": "\x1f\x8b\x08\x00",
		"cnf": strings.TrimSuffix(good, "}") + `,"cnf":{}}`, "cnf false": strings.TrimSuffix(good, "}") + `,"cnf":false}`, "cnf with a certificate": strings.TrimSuffix(good, "}") + `,"cnf":{"x5t#S256":"x"}}`,
	} {
		t.Run(name, func(t *testing.T) { f.refuse(t, sign(payload), 0) })
	}
	f.wantGood(sign(strings.TrimSuffix(good, "}") + `,"cnf":null,"Sub":"root","AUD":"x","x":{"SUB":1}}`))
}

// Every method is judged alike.
func TestRequireTokenMethods(t *testing.T) {
	f := newForger(t)
	good := f.good()
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"} {
		for authorization, status := range map[string]int{"": 401, "Bearer " + good: 200, "Bearer": 400, "Bearer x": 401} {
			r := httptest.NewRequest(method, "/", nil)
			if authorization != "" {
				r.Header.Set("Authorization", authorization)
			}
			a := httptest.NewRecorder()
			if f.h.ServeHTTP(a, r); a.Code != status || (a.Header().Get("WWW-Authenticate") == "") != (status == 200) {
				t.Errorf("%s with %.10q: %d %v", method, authorization, a.Code, a.Header())
			}
		}
	}
}

// What an API says about a request that has no token, two, or half a one. A
// token in the query or a form counts for nothing, and is not logged either.
func TestRequireTokenWhere(t *testing.T) {
	f := newForger(t)
	good := f.good()
	own := newAPI(t, f.World, func(c *gatehouse.ResourceServerConfig) { c.TokenHeader = "X-Access-Token" }).RequireToken(world.WhoAmI)
	schemes := newAPI(t, f.World, func(c *gatehouse.ResourceServerConfig) { c.Schemes = []string{"token"} }).RequireToken(world.WhoAmI)
	in := func(h http.Handler, header http.Header, target, form string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", target, strings.NewReader(form))
		r.Header = header
		if form != "" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		a := httptest.NewRecorder()
		h.ServeHTTP(a, r)
		return a
	}
	auth := func(values ...string) http.Header { return http.Header{"Authorization": values} }
	const none, request, invalid = ``, `, error="invalid_request"`, `, error="invalid_token"`
	for name, c := range map[string]struct {
		h         http.Handler
		header    http.Header
		target    string
		form      string
		status    int
		challenge string
	}{
		"an empty header":             {f.h, auth(""), "/", "", 401, none},
		"a space":                     {f.h, auth(" "), "/", "", 401, none},
		"two empty":                   {f.h, auth("", ""), "/", "", 400, request},
		"an empty one beside":         {f.h, auth("Bearer "+good, ""), "/", "", 400, request},
		"an empty one before":         {f.h, auth("", "Bearer "+good), "/", "", 400, request},
		"another scheme beside":       {f.h, auth("Basic YTpi", "Bearer "+good), "/", "", 400, request},
		"the same twice":              {f.h, auth("Bearer "+good, "Bearer "+good), "/", "", 400, request},
		"no space":                    {f.h, auth("Bearer" + good), "/", "", 401, none}, // another scheme
		"a space alone":               {f.h, auth("Bearer "), "/", "", 400, request},
		"commas":                      {f.h, auth("Bearer ,"), "/", "", 400, request},
		"a longer scheme":             {f.h, auth("BearerX " + good), "/", "", 401, none},
		"token, unset":                {f.h, auth("token " + good), "/", "", 401, none},
		"token":                       {schemes, auth("token " + good), "/", "", 200, ""},
		"TOKEN":                       {schemes, auth("TOKEN " + good), "/", "", 200, ""},
		"token, alone":                {schemes, auth("token"), "/", "", 400, request},
		"token, and Bearer":           {schemes, auth("token "+good, "Bearer "+good), "/", "", 400, request},
		"DPoP, off":                   {f.h, auth("DPoP " + good), "/", "", 401, invalid},
		"in the query":                {f.h, auth(), "/?access_token=" + good, "", 401, none},
		"in a form":                   {f.h, auth(), "/", "access_token=" + good, 401, none},
		"in the query, bad beside":    {f.h, auth("Bearer x"), "/?access_token=" + good, "", 401, invalid},
		"in the query, other beside":  {f.h, auth("Bearer " + good), "/?access_token=other", "access_token=other", 200, ""},
		"in a cookie":                 {f.h, http.Header{"Cookie": {"access_token=" + good}}, "/", "", 401, none},
		"in Proxy-Authorization":      {f.h, http.Header{"Proxy-Authorization": {"Bearer " + good}}, "/", "", 401, none},
		"own header":                  {own, http.Header{"X-Access-Token": {good}}, "/", "", 200, ""},
		"own header, with a scheme":   {own, http.Header{"X-Access-Token": {"Bearer " + good}}, "/", "", 400, request},
		"own header, empty":           {own, http.Header{"X-Access-Token": {""}}, "/", "", 400, request},
		"own header, twice":           {own, http.Header{"X-Access-Token": {good, good}}, "/", "", 400, request},
		"own header, two in one":      {own, http.Header{"X-Access-Token": {good + ", " + good}}, "/", "", 400, request},
		"own header, and the usual":   {own, http.Header{"X-Access-Token": {"x"}, "Authorization": {"Bearer " + good}}, "/", "", 401, invalid},
		"own header missing":          {own, auth("Bearer " + good), "/", "", 401, none},
		"own header, the usual twice": {own, http.Header{"X-Access-Token": {good}, "Authorization": {"Bearer x", "Bearer y"}}, "/", "", 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := in(c.h, c.header, c.target, c.form)
			want := `Bearer realm="api.test"` + c.challenge + metadata
			if c.status == 200 {
				want = ""
			}
			if got := strings.Join(a.Header().Values("WWW-Authenticate"), "|"); a.Code != c.status || got != want {
				t.Errorf("%d %q, want %d %q", a.Code, got, c.status, want)
			}
			f.wantSilent(t, a, good)
		})
	}
}

// An API that asks about opaque tokens never shows a JWT, good or bad, to the
// server.
func TestRequireTokenNeverAsksAboutAJWT(t *testing.T) {
	f := newForger(t, func(c *gatehouse.ResourceServerConfig) { c.Client = shop })
	for _, raw := range []string{f.good(), f.good(`"aud":"x"`), f.good(`"exp":1`), token(f.header(""), f.claims(), fixed(make([]byte, 64)))} {
		send(f.h, "GET", "/", "Bearer "+raw)
	}
	if n := introspections(f.World); n != 0 {
		t.Errorf("%d introspections", n)
	}
}
