package line_test

import (
	"io"
	"net"
	"testing"
	"time"

	"example.com/gatehouse/internal/testkit/line"
)

// echo is a server that sends back what it gets, and counts the bytes.
func echo(t *testing.T) (addr string, got <-chan int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	counts := make(chan int, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf := make([]byte, 100)
				for {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					counts <- n
					if _, err := conn.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String(), counts
}

// says sends a letter over a connection and returns what comes back.
func says(t *testing.T, conn net.Conn) (string, error) {
	t.Helper()
	if _, err := conn.Write([]byte("a")); err != nil {
		return "", err
	}
	buf := make([]byte, 1)
	_, err := io.ReadFull(conn, buf)
	return string(buf), err
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestLine(t *testing.T) {
	addr, got := echo(t)
	l := line.New(t, addr)
	conn := dial(t, l.Addr)
	works := func() {
		t.Helper()
		if back, err := says(t, conn); back != "a" || err != nil {
			t.Fatalf("%q, %v came back", back, err)
		}
		<-got
	}
	works()

	lost := l.LoseReply()
	if _, err := says(t, conn); err == nil {
		t.Error("a reply came that was to be lost")
	}
	<-got // the server has done what it was told
	if n := lost(); n != 1 {
		t.Errorf("%d replies were lost", n)
	}
	conn = dial(t, l.Addr)
	works()

	for silence, arrive := range map[line.Silence]int{line.Replies: 1, line.Both: 0} {
		l.Silence(silence)
		if _, err := conn.Write([]byte("a")); err != nil {
			t.Fatal(err)
		}
		if arrive == 1 {
			<-got
		}
		if err := conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("silence %d: something came back", silence)
		}
		if len(got) != 0 {
			t.Errorf("silence %d: something arrived", silence)
		}
		l.Silence(line.None)
		conn = dial(t, l.Addr)
		works()
	}

	l.Cut()
	if _, err := says(t, conn); err == nil {
		t.Error("a connection has outlived the cut")
	}
	if _, err := net.Dial("tcp", l.Addr); err == nil {
		t.Error("a line that is cut takes a connection")
	}
	l.Mend(t)
	conn = dial(t, l.Addr)
	works()
}
