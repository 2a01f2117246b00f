package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
	"syscall"
)

// InnerError means that a name led to an address that is not on the public
// internet. Nothing was sent there, not even a packet to open a connection.
type InnerError struct{ Address netip.Addr }

func (e *InnerError) Error() string {
	return "outbound: " + e.Address.String() + " is an inner address"
}

// NewGuarded returns a transport for hosts that strangers choose. It dials
// public addresses, and those in inner. It judges the address that is dialled,
// after the name was resolved, so what a name led to before or leads to later
// does not matter. It uses no proxy, which would dial in its stead, and keeps no
// connection. nil roots are those of the system.
func NewGuarded(roots *x509.CertPool, inner []netip.Prefix) *http.Transport {
	dialer := &net.Dialer{ControlContext: func(_ context.Context, network, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || network != "tcp4" && network != "tcp6" {
			return &net.AddrError{Err: "not an address of TCP", Addr: network}
		}
		return judge(at.Addr(), inner)
	}}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		MaxResponseHeaderBytes: maxResponseHeader,
		DisableKeepAlives:      true,
		ForceAttemptHTTP2:      true,
	}
}

func judge(a netip.Addr, inner []netip.Prefix) error {
	if Public(a) {
		return nil
	}
	for _, network := range inner {
		if network.Contains(a.Unmap()) {
			return nil
		}
	}
	return &InnerError{a}
}

// Public reports whether an address is on the public internet. An IPv6 address
// that stands for one of IPv4 is judged by that.
func Public(a netip.Addr) bool {
	if !a.IsValid() || a.Zone() != "" { // a zone is of this machine (RFC 4007 §11)
		return false
	}
	a = a.Unmap()
	if translated.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	if a.Is6() && !unicast6.Contains(a) {
		return false
	}
	for _, network := range special {
		if network.Contains(a) {
			return false
		}
	}
	return true
}

var (
	// translated is the prefix of NAT64: the last 32 bits are the address of IPv4
	// that is reached (RFC 6052 §2.1).
	translated = netip.MustParsePrefix("64:ff9b::/96")
	// unicast6 is all of IPv6 that is handed out for the internet (RFC 4291
	// §2.4). Loopback, link-local, unique local, multicast and mapped addresses
	// lie outside.
	unicast6 = netip.MustParsePrefix("2000::/3")
	// special are the networks of the IANA registries of special addresses (RFC
	// 6890) that are not for everybody.
	special = prefixes(
		"0.0.0.0/8",       // this host and network
		"10.0.0.0/8",      // private (RFC 1918)
		"100.64.0.0/10",   // carrier-grade NAT (RFC 6598)
		"127.0.0.0/8",     // loopback
		"169.254.0.0/16",  // link-local, with the metadata services of clouds (RFC 3927)
		"172.16.0.0/12",   // private
		"192.0.0.0/24",    // IETF protocols, DS-Lite
		"192.0.2.0/24",    // examples (RFC 5737)
		"192.88.99.0/24",  // relays of 6to4 (RFC 7526)
		"192.168.0.0/16",  // private
		"198.18.0.0/15",   // measurements (RFC 2544)
		"198.51.100.0/24", // examples
		"203.0.113.0/24",  // examples
		"224.0.0.0/4",     // multicast
		"240.0.0.0/4",     // reserved, and broadcast
		"2001::/23",       // IETF protocols, with Teredo and ORCHID
		"2001:db8::/32",   // examples (RFC 3849)
		"2002::/16",       // 6to4, which holds any address of IPv4
		"3fff::/20",       // examples (RFC 9637)
	)
)

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}
