package webfinger_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse/internal/webfinger"
)

const rel = `"rel":"http://openid.net/specs/connect/1.0/issuer"`

func TestIssuers(t *testing.T) {
	link := func(href string) string { return `{` + rel + `,"href":` + href + `}` }
	for _, c := range []struct {
		name, jrd string
		want      []string
		err       error
	}{
		{"one", `{"subject":"acct:joe@x.test","links":[` + link(`"https://op.test"`) + `]}`, []string{"https://op.test"}, nil},
		{"in their order", `{"links":[` + link(`"https://b.test"`) + `,` + link(`"https://a.test"`) + `]}`, []string{"https://b.test", "https://a.test"}, nil},
		{"one twice", `{"links":[` + link(`"https://b.test"`) + `,` + link(`"https://b.test"`) + `]}`, []string{"https://b.test"}, nil},
		{"among others", `{"links":[{"rel":"self","href":"https://x.test"},{"rel":"avatar"},` + link(`"https://op.test"`) + `]}`, []string{"https://op.test"}, nil},
		{"links that make no sense", `{"links":[null,5,"x",[],{},{"rel":5},{` + rel + `},{` + rel + `,"href":null},{` + rel + `,"href":5},{` + rel + `,"href":""},` + link(`"https://op.test"`) + `]}`, []string{"https://op.test"}, nil},
		{"with all members", `{"subject":"x","aliases":["y"],"properties":{"a":null},"links":[{` + rel + `,"href":"https://op.test","type":"x","titles":{"und":"T"},"properties":{}}]}`, []string{"https://op.test"}, nil},
		{"another subject", `{"subject":"acct:eve@x.test","links":[` + link(`"https://op.test"`) + `]}`, []string{"https://op.test"}, nil}, // an alias (RFC 7033 §4.4.1)
		{"as it is written", `{"links":[` + link(`"https://OP.test/x/"`) + `]}`, []string{"https://OP.test/x/"}, nil},
		{"no links", `{"subject":"acct:joe@x.test"}`, nil, webfinger.ErrNone},
		{"links null", `{"links":null}`, nil, webfinger.ErrNone},
		{"links empty", `{"links":[]}`, nil, webfinger.ErrNone},
		{"the relation in capitals", `{"links":[{"rel":"HTTP://openid.net/specs/connect/1.0/issuer","href":"https://op.test"}]}`, nil, webfinger.ErrNone},
		{"the relation in part", `{"links":[{"rel":"http://openid.net/specs/connect/1.0/issuer/","href":"https://op.test"}]}`, nil, webfinger.ErrNone},
		{"members in capitals", `{"Links":[` + link(`"https://op.test"`) + `]}`, nil, webfinger.ErrNone},
		{"two hrefs", `{"links":[{` + rel + `,"href":"https://a.test","href":"https://b.test"}]}`, nil, webfinger.ErrAnswer},
		{"two links", `{"links":[],"links":[` + link(`"https://op.test"`) + `]}`, nil, webfinger.ErrAnswer},
		{"links is an object", `{"links":{` + rel + `}}`, nil, webfinger.ErrAnswer},
		{"links is a text", `{"links":"https://op.test"}`, nil, webfinger.ErrAnswer},
		{"an array", `[` + link(`"https://op.test"`) + `]`, nil, webfinger.ErrAnswer},
		{"a text", `"https://op.test"`, nil, webfinger.ErrAnswer},
		{"null", `null`, nil, webfinger.ErrAnswer},
		{"nothing", ``, nil, webfinger.ErrAnswer},
		{"HTML", `<!doctype html><link rel="http://openid.net/specs/connect/1.0/issuer" href="https://op.test">`, nil, webfinger.ErrAnswer},
		{"cut off", `{"links":[` + link(`"https://op.test"`), nil, webfinger.ErrAnswer},
		{"two documents", `{"links":[]}{"links":[]}`, nil, webfinger.ErrAnswer},
		{"deep", `{"links":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000) + `}`, nil, webfinger.ErrAnswer},
		{"100 links", `{"links":[` + strings.Repeat(`{},`, 99) + link(`"https://op.test"`) + `]}`, []string{"https://op.test"}, nil},
		{"101 links", `{"links":[` + strings.Repeat(`{},`, 100) + link(`"https://op.test"`) + `]}`, nil, webfinger.ErrAnswer},
		{"10,000 links", `{"links":[` + strings.Repeat(link(`"https://op.test"`)+`,`, 9999) + link(`"https://op.test"`) + `]}`, nil, webfinger.ErrAnswer},
	} {
		got, err := webfinger.Issuers([]byte(c.jrd))
		if !slices.Equal(got, c.want) || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: %q, %v, want %q, %v", c.name, got, err, c.want, c.err)
		}
	}
}

func TestChoose(t *testing.T) {
	allowed := func(issuer string) bool { return issuer == "b" || issuer == "c" }
	for want, issuers := range map[string][]string{"b": {"a", "b", "c"}, "c": {"c", "b"}, "": {"a", "B", "b/"}} {
		if got := webfinger.Choose(issuers, allowed); got != want {
			t.Errorf("of %q: %q, want %q", issuers, got, want)
		}
	}
	if got := webfinger.Choose([]string{"b"}, func(string) bool { return false }); got != "" {
		t.Errorf("without any that is allowed: %q", got)
	}
}

// FuzzJRD: every issuer that is read is the href of a link of that relation to an
// ordinary JSON reader too, in the same order.
func FuzzJRD(f *testing.F) {
	for _, seed := range []string{
		`{"links":[{` + rel + `,"href":"https://op.test"}]}`, `{"links":[{` + rel + `,"href":"https:\/\/op.test\u002f"},{"rel":"self"}]}`, `{"links":[{"Rel":"x","rel":1}]}`,
		`{"links":null,"subject":5}`, `{"links":[[{` + rel + `}]]}`, `{"links":[{` + rel + `,"href":"a"},{` + rel + `,"href":"a"},{` + rel + `,"href":"b"}]}`, `[]`, `{"links":[{` + rel + `,"HREF":"x"}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, jrd []byte) {
		got, err := webfinger.Issuers(jrd)
		if err != nil {
			if len(got) > 0 || !errors.Is(err, webfinger.ErrAnswer) && !errors.Is(err, webfinger.ErrNone) {
				t.Fatalf("%q with %v", got, err)
			}
			return
		}
		var doc map[string]any
		if err := json.Unmarshal(jrd, &doc); err != nil {
			t.Fatalf("it is no JSON: %v", err)
		}
		links, _ := doc["links"].([]any)
		var want []string
		for _, link := range links {
			if m, ok := link.(map[string]any); ok && m["rel"] == webfinger.Rel {
				if href, ok := m["href"].(string); ok && href != "" && !slices.Contains(want, href) {
					want = append(want, href)
				}
			}
		}
		if len(got) == 0 || len(links) > 100 || !slices.Equal(got, want) {
			t.Fatalf("%q, want %q of %d links", got, want, len(links))
		}
	})
}
