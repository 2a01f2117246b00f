package inbound_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse/internal/inbound"
)

func form(kind, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/?t=query", strings.NewReader(body))
	r.Header.Set("Content-Type", kind)
	return r
}

const pairs = "application/x-www-form-urlencoded"

func TestField(t *testing.T) {
	for _, c := range []struct {
		kind, body, want string
		err              error
	}{
		{pairs, "t=x", "x", nil},
		{pairs, "a=1&t=x%2Ey&b", "x.y", nil},
		{pairs, "%74=x+y", "x y", nil},
		{pairs, "t", "", nil},
		{pairs, "t=a=b", "a=b", nil},
		{pairs, "%zz=1&a=%zz&&=&t=x;u=1", "x;u=1", nil},
		{"Application/X-WWW-Form-URLEncoded; charset=utf-8", "t=x", "x", nil},
		{pairs + "; charset=ISO-8859-1", "t=x", "x", nil},
		{pairs + `; charset="us-ascii"`, "t=x", "x", nil},
		{pairs, "", "", inbound.ErrField},
		{pairs, "T=x", "", inbound.ErrField},
		{pairs, "t[]=x&t.x=y&tt=z", "", inbound.ErrField},
		{pairs, "t=x&t=x", "", inbound.ErrField},
		{pairs, "t=x&%74=", "", inbound.ErrField},
		{pairs, "t=%", "", inbound.ErrField},
		{"text/plain", "t=x", "", inbound.ErrForm},
		{"multipart/form-data; boundary=x", "t=x", "", inbound.ErrForm},
		{pairs + "; charset=utf-16", "t=x", "", inbound.ErrForm},
		{pairs + ", text/plain", "t=x", "", inbound.ErrForm},
		{"", "t=x", "", inbound.ErrForm},
	} {
		if got, err := inbound.Field(form(c.kind, c.body), "t"); got != c.want || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s %q: %q, %v; want %q, %v", c.kind, c.body, got, err, c.want, c.err)
		}
	}
	for coding, ok := range map[string]bool{"identity": true, "gzip": false, "identity, br": false} {
		r := form(pairs, "t=x")
		r.Header.Set("Content-Encoding", coding)
		if _, err := inbound.Field(r, "t"); (err == nil) != ok {
			t.Errorf("Content-Encoding %s: %v", coding, err)
		}
	}
	twice := form(pairs, "t=x")
	twice.Header.Add("Content-Type", pairs)
	if _, err := inbound.Field(twice, "t"); !errors.Is(err, inbound.ErrForm) {
		t.Errorf("two types: %v", err)
	}
	broken := form(pairs, "")
	broken.Body = io.NopCloser(io.MultiReader(strings.NewReader("t=x"), broke{}))
	if _, err := inbound.Field(broken, "t"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a body that breaks off: %v", err)
	}
	bare := &http.Request{Header: http.Header{"Content-Type": {pairs}}}
	if _, err := inbound.Field(bare, "t"); !errors.Is(err, inbound.ErrField) {
		t.Errorf("no body: %v", err)
	}
}

// Several fields at once: each at most once, and others do not count.
func TestFields(t *testing.T) {
	for _, c := range []struct {
		body, want string
		err        error
	}{
		{"a=1&b=2&c=3", "a=1&b=2", nil}, {"b=2", "b=2", nil}, {"", "", nil}, {"c=1&c=2&d", "", nil}, {"a=", "a=", nil},
		{"a=1&%61=1", "", inbound.ErrField}, {"a=%zz", "", inbound.ErrField}, {"a=1&b=2&b=2", "", inbound.ErrField},
	} {
		got, err := inbound.Fields(form(pairs, c.body), "a", "b")
		if got.Encode() != c.want || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%q: %v, %v", c.body, got, err)
		}
	}
	if _, err := inbound.Fields(form("text/plain", "a=1"), "a"); !errors.Is(err, inbound.ErrForm) {
		t.Errorf("text: %v", err)
	}
}

type broke struct{}

func (broke) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// FuzzField: what is read is what the standard library reads, where that reads
// exactly one.
func FuzzField(f *testing.F) {
	for _, body := range []string{"", "t=x", "t=x&t=y", "%74=%41", "a&&t=+", "t=%zz", "t=x;y", "t==", "logout_token=x&t="} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		got, err := inbound.Field(form(pairs, body), "t")
		var want []string
		for pair := range strings.SplitSeq(body, "&") {
			values, bad := url.ParseQuery(strings.ReplaceAll(pair, ";", "%3B"))
			if bad != nil { // malformed: the name alone counts
				name, _, _ := strings.Cut(pair, "=")
				if name, bad = url.QueryUnescape(name); bad == nil && name == "t" {
					want = append(want, "")
				}
				continue
			}
			want = append(want, values["t"]...)
		}
		if (err == nil) && (len(want) != 1 || want[0] != got) || err != nil && !errors.Is(err, inbound.ErrField) {
			t.Errorf("%q: read %q, %v; want %q", body, got, err, want)
		}
	})
}
