package outbound_test

import (
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"example.com/gatehouse/internal/outbound"
)

func TestPublic(t *testing.T) {
	for want, addresses := range map[bool]string{
		true: `1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 169.253.0.1 172.15.0.1 172.32.0.1
			192.167.0.1 192.169.0.1 198.17.0.1 198.20.0.1 223.255.255.255 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2001:4860:4860::8888 2606:4700::1111 2620:fe::fe 2a00:1450::1`,
		false: `0.0.0.0 0.1.2.3 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.1 127.255.255.254 169.254.0.1 169.254.169.254
			172.16.0.1 172.31.255.255 192.0.0.1 192.0.2.1 192.88.99.1 192.168.0.1 192.168.255.255 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.7
			224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
			:: ::1 ::127.0.0.1 ::10.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0.0.0.0 ::ffff:0:10.0.0.1
			64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b::169.254.169.254 64:ff9b::100.64.0.1 64:ff9b::0.0.0.0 64:ff9b:1::8.8.8.8 64:ff9b:1:2::1
			100::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:10::1 2001:20::1 2001:db8::1 2002:a00:1::1 2002:808:808::1 3fff::1 3fff:fff::1
			5f00::1 fc00::1 fd00:ec2::254 fdff::1 fe80::1 fe80::1%eth0 fec0::1 febf::1 ff00::1 ff02::1 ff0e::1 2001:4860:4860::8888%eth0`,
	} {
		for text := range strings.FieldsSeq(addresses) {
			if got := outbound.Public(netip.MustParseAddr(text)); got != want {
				t.Errorf("%s is public: %t", text, got)
			}
		}
	}
	if outbound.Public(netip.Addr{}) {
		t.Error("no address is public")
	}
}

// The address that is dialled is judged, whatever name leads to it. Nothing
// arrives there.
func TestGuardAtTheDial(t *testing.T) {
	var conns atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("{}")) }))
	inner := &countingListener{Listener: server.Listener, n: &conns}
	server.Listener = inner
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		host    string
		allowed []netip.Prefix
		reached bool
	}{
		{"127.0.0.1", nil, false},
		{"localhost", nil, false}, // a name
		{"[::ffff:127.0.0.1]", nil, false},
		{"0.0.0.0", nil, false}, // which the system takes for this machine
		{"127.0.0.1", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.2/32")}, false},
		{"127.0.0.1", []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, true},
	} {
		before := conns.Load()
		client := outbound.NewClient(outbound.NewGuarded(roots, c.allowed), false)
		resp, err := client.Get("https://" + c.host + ":" + u.Port() + "/")
		if err == nil {
			_ = resp.Body.Close()
		}
		var guarded *outbound.InnerError
		if reached := err == nil; reached != c.reached || !reached && !errors.As(err, &guarded) || conns.Load()-before > 0 != c.reached {
			t.Errorf("%s with %v: error %v, %d connections", c.host, c.allowed, err, conns.Load()-before)
		}
	}
}

// A proxy would dial in our stead, so none is used.
func TestGuardWithoutProxy(t *testing.T) {
	g := outbound.NewGuarded(nil, nil)
	if g.Proxy != nil || g.DialTLSContext != nil || g.DialContext == nil || !g.DisableKeepAlives || g.TLSClientConfig.InsecureSkipVerify {
		t.Errorf("%+v", g)
	}
}

// countingListener counts the connections that it accepts.
type countingListener struct {
	net.Listener
	n *atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.n.Add(1)
	}
	return c, err
}
