// Package ports finds ports of loopback for servers that tests stop and start
// again. It must not know what listens there.
//
// Whoever asks the system for any port may be given one that a stopped server has
// just left, and every connection out takes one too. These ports are never given
// that way, so they are still free when the server comes back.
package ports

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
)

const (
	// first and number are the ports. Linux gives away those from 32768, other
	// systems those from 49152. They are high enough for browsers, which refuse
	// many below 10081.
	first, number = 20000, 10000
	// tries is how many ports in a row may be taken.
	tries = 100
)

// given is how many ports this process has been given, from begin on. So it gets
// no port twice before it has had them all, and two processes seldom get the same.
var (
	given atomic.Uint32
	begin = sync.OnceValue(func() uint32 { return rand.Uint32N(number) })
)

// Listen listens on 127.0.0.1.
func Listen() (net.Listener, error) {
	var taken error
	for range tries {
		port := first + (begin()+given.Add(1))%number
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
		if err == nil {
			return l, nil
		}
		taken = err
	}
	return nil, fmt.Errorf("%d ports in a row cannot be had, the last because: %w", tries, taken)
}

// Free returns a port of 127.0.0.1 at which nobody listened just now, for a server
// that cannot choose one itself.
func Free() (port string, err error) {
	l, err := Listen()
	if err != nil {
		return "", err
	}
	_, port, err = net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}
