package navigation_test

import (
	"net/http"
	"slices"
	"testing"

	"example.com/gatehouse/internal/navigation"
)

// What is not exactly one allowed protocol loses its upgrade, and only that.
// The caller's request stays as it is.
func TestUpgrade(t *testing.T) {
	for name, c := range map[string]struct {
		header   http.Header
		protocol string
		left     http.Header // nil if the request is unchanged
	}{
		"none":             {http.Header{"Connection": {"keep-alive"}}, "", nil},
		"websocket":        {http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}}, "websocket", nil},
		"blanks":           {http.Header{"Upgrade": {" WebSocket\t"}, "Connection": {"Upgrade"}}, "websocket", nil},
		"named":            {http.Header{"Upgrade": {"TELNET"}, "Connection": {"Upgrade"}}, "telnet", nil},
		"h2c":              {http.Header{"Upgrade": {"h2c"}, "Http2-Settings": {"x"}, "Connection": {"Upgrade, HTTP2-Settings"}}, "", http.Header{}},
		"two words":        {http.Header{"Upgrade": {"websocket, h2c"}, "Connection": {"Upgrade", "close"}}, "", http.Header{"Connection": {"close"}}},
		"two lines":        {http.Header{"Upgrade": {"websocket", "h2c"}, "Connection": {"x,upgrade, y"}}, "", http.Header{"Connection": {"x, y"}}},
		"settings too":     {http.Header{"Upgrade": {"websocket"}, "Http2-Settings": {"x"}, "X": {"y"}}, "", http.Header{"X": {"y"}}},
		"word alone":       {http.Header{"Connection": {"keep-alive, UPGRADE"}}, "", http.Header{"Connection": {"keep-alive"}}},
		"settings alone":   {http.Header{"Http2-Settings": {"x"}}, "", http.Header{}},
		"empty":            {http.Header{"Upgrade": {""}}, "", http.Header{}},
		"longer word":      {http.Header{"Connection": {"Upgrade-Insecure"}}, "", nil},
		"version of ours":  {http.Header{"Upgrade": {"websocket/13"}}, "", http.Header{}},
		"three words":      {http.Header{"Upgrade": {"websocket websocket"}, "Connection": {"Upgrade"}}, "", http.Header{}},
		"Kelvin sign":      {http.Header{"Upgrade": {"websoc\u212aet"}, "Connection": {"Upgrade"}}, "", http.Header{}},
		"no-break space":   {http.Header{"Upgrade": {"websocket\u00a0"}}, "", http.Header{}},
		"HTTP/1.0":         {http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade", "keep-alive"}}, "", http.Header{"Connection": {"keep-alive"}}},
		"HTTP/2":           {http.Header{":protocol": {"websocket"}}, "websocket", nil},
		"HTTP/2, tunnel":   {http.Header{":protocol": {"connect-udp"}, "X": {"y"}}, "", http.Header{"X": {"y"}}},
		"HTTP/2 and 1":     {http.Header{":protocol": {"h2c"}, "Upgrade": {"websocket"}}, "", http.Header{}},
		"word of no grant": {http.Header{"Upgrade": {"ssh"}}, "", http.Header{}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &http.Request{Header: c.header.Clone(), ProtoMajor: 1, ProtoMinor: 1}
			if name == "HTTP/1.0" {
				r.ProtoMinor = 0
			}
			if c.header[":protocol"] != nil {
				r.Method = http.MethodConnect
			}
			got, protocol := navigation.Upgrade(r, []string{"telnet"})
			if protocol != c.protocol {
				t.Errorf("protocol %q, want %q", protocol, c.protocol)
			}
			if c.left == nil && got != r || c.left != nil && !same(got.Header, c.left) {
				t.Errorf("left %q, want %q", got.Header, c.left)
			}
			if !same(r.Header, c.header) {
				t.Errorf("the caller's request was changed: %q", r.Header)
			}
		})
	}
}

func same(a, b http.Header) bool {
	for _, name := range []string{"Upgrade", "Http2-Settings", "Connection", ":protocol", "X"} {
		if !slices.Equal(a[name], b[name]) {
			return false
		}
	}
	return true
}
