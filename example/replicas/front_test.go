//go:build unix

package replicas

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// standIn is a replica whose process is a server of this test.
func standIn(t *testing.T, number int, h http.Handler) *replica {
	t.Helper()
	s := httptest.NewServer(settings{Number: number}.name(&board{}, h))
	t.Cleanup(s.Close)
	return &replica{number: number, errs: io.Discard, state: running, at: s.Listener.Addr().String()}
}

// startFront serves a front for replicas that all have the same handler.
func startFront(t *testing.T, n int, h http.Handler) (*front, *httptest.Server) {
	t.Helper()
	var all []*replica
	for i := range n {
		all = append(all, standIn(t, i+1, h))
	}
	f, err := newFront(all, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return f, s
}

// ask sends a request, as a browser that opens a page if page is true.
func ask(t *testing.T, method, address string, page bool, body io.Reader) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, address, body)
	if err != nil {
		t.Fatal(err)
	}
	if page {
		r.Header.Set("Sec-Fetch-Mode", "navigate")
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

// hello says what arrived.
var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s host=%s states=%s body=%s", r.Method, r.RequestURI, r.Host, r.Header.Get(statesHeader), body)
})

func TestFrontTakesTurns(t *testing.T) {
	f, s := startFront(t, 3, hello)
	turns := func(n int, page bool) string {
		var got []string
		for range n {
			resp, _ := ask(t, "GET", s.URL+"/", page, nil)
			got = append(got, resp.Header.Get(replicaHeader))
		}
		return strings.Join(got, "")
	}
	if got := turns(6, true); got != "123123" {
		t.Errorf("pages come from %s", got)
	}
	if got := turns(4, false); got != "1231" {
		t.Errorf("the rest comes from %s", got)
	}
	f.replicas[1].state = ending // out of the rotation before it is told
	if got := turns(4, true); strings.Contains(got, "2") || !strings.Contains(got, "1") || !strings.Contains(got, "3") {
		t.Errorf("while replica 2 ends, pages come from %s", got)
	}
}

// What a client sends and an upstream has to judge arrives as it was sent.
func TestFrontChangesNothing(t *testing.T) {
	_, s := startFront(t, 1, hello)
	host := strings.TrimPrefix(s.URL, "http://")
	resp, text := ask(t, "POST", s.URL+"//a/../b%2fc?x=1;y", true, strings.NewReader("n=1"))
	if want := "POST //a/../b%2fc?x=1;y host=" + host + " states=running body=n=1"; resp.StatusCode != 200 || text != want {
		t.Errorf("%d %s, want %s", resp.StatusCode, text, want)
	}
	r, _ := http.NewRequest("GET", s.URL+"/", nil)
	r.Header.Set(statesHeader, "ended,ended")
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); !strings.Contains(string(text), "states=running ") {
		t.Errorf("a client tells the replica %s", text)
	}
}

// A replica that is gone before anybody has noticed costs no request, not even
// one with a body.
func TestFrontTriesTheNext(t *testing.T) {
	f, s := startFront(t, 2, hello)
	f.replicas[0].at = "127.0.0.1:1" // a port that no other test can be given
	for range 4 {
		resp, text := ask(t, "POST", s.URL+"/", true, strings.NewReader("title=Sea"))
		if resp.StatusCode != 200 || !strings.Contains(text, "body=title=Sea") || resp.Header.Get(replicaHeader) != "2" {
			t.Errorf("%d %s", resp.StatusCode, text)
		}
	}
	for _, r := range f.replicas {
		if r.busy != 0 {
			t.Errorf("replica %d is busy with %d requests", r.number, r.busy)
		}
	}
}

// A request that a replica had is not sent again, because it may have done
// something. One that only reads is.
func TestFrontSendsNothingTwice(t *testing.T) {
	var asked atomic.Int32
	f, s := startFront(t, 2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1); w.Header().Get(replicaHeader) == "1" {
			panic(http.ErrAbortHandler)
		}
	}))
	resp, text := ask(t, "POST", s.URL+"/albums", true, strings.NewReader("title=Sea"))
	if resp.StatusCode != http.StatusBadGateway || !strings.Contains(text, "The replica has gone") || asked.Load() != 1 {
		t.Errorf("%d after %d requests: %s", resp.StatusCode, asked.Load(), text)
	}
	for range 2 {
		if resp, text = ask(t, "GET", s.URL+"/albums", true, nil); resp.StatusCode != 200 || resp.Header.Get(replicaHeader) != "2" {
			t.Errorf("what only reads is %d: %s", resp.StatusCode, text)
		}
	}
	f.replicas[1].state = ended
	if resp, text = ask(t, "GET", s.URL+"/albums", true, nil); resp.StatusCode != http.StatusBadGateway {
		t.Errorf("alone, %d: %s", resp.StatusCode, text)
	}
}

func TestNobodyIsHere(t *testing.T) {
	f, s := startFront(t, 2, hello)
	for _, r := range f.replicas {
		r.state = ended
	}
	resp, text := ask(t, "GET", s.URL+"/albums?x=1", true, nil)
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	for _, want := range []string{"Nobody is here", `href="/albums?x=1"`, `action="/demo/replicas/1"`, `action="/demo/replicas/2"`, `value="running"`, "Start it"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not show %q:\n%s", want, text)
		}
	}
	if resp, text = ask(t, "GET", s.URL+"/u/alice/albums/1", false, nil); resp.StatusCode != 503 || text != "Nobody is here.\n" {
		t.Errorf("a program gets %d %s", resp.StatusCode, text)
	}
	if resp, text = ask(t, "GET", s.URL+"/look.css", false, nil); resp.StatusCode != 200 || !strings.Contains(text, ".lamp") {
		t.Errorf("the style sheet is %d", resp.StatusCode)
	}
}

// A stream comes through as it is written, and keeps its replica busy.
func TestStreamsPass(t *testing.T) {
	more := make(chan string)
	f, s := startFront(t, 1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for text := range more {
			fmt.Fprintf(w, "data: %s\n\n", text)
			w.(http.Flusher).Flush()
		}
	}))
	go func() { more <- "one" }()
	resp, err := http.Get(s.URL + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for _, want := range []string{"one", "two"} {
		if line, err := lines.ReadString('\n'); line != "data: "+want+"\n" {
			t.Errorf("%q, %v", line, err)
		}
		_, _ = lines.ReadString('\n')
		if want == "one" {
			more <- "two"
		}
	}
	f.replicas[0].mu.Lock()
	if f.replicas[0].busy != 1 {
		t.Errorf("busy with %d requests", f.replicas[0].busy)
	}
	f.replicas[0].mu.Unlock()
	close(more)
}

func TestWebSocketsPass(t *testing.T) {
	_, s := startFront(t, 2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
		rw.Flush()
		line, _ := rw.ReadString('\n')
		fmt.Fprintf(rw, "you said %s", line)
		rw.Flush()
	}))
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	answers := bufio.NewReader(conn)
	resp, err := http.ReadResponse(answers, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" {
		t.Fatalf("%v, error %v", resp, err)
	}
	fmt.Fprintln(conn, "hello")
	if said, err := answers.ReadString('\n'); said != "you said hello\n" {
		t.Errorf("%q, %v", said, err)
	}
}

// The buttons are for pages of this site.
func TestButtons(t *testing.T) {
	f, s := startFront(t, 1, hello)
	press := func(path, to string, header ...string) *http.Response {
		r, err := http.NewRequest("POST", s.URL+path, strings.NewReader("to="+to))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	for _, test := range []struct {
		name, path, to string
		header         []string
		want           int
	}{
		{"of another site", "1", "running", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"of another port", "1", "running", []string{"Sec-Fetch-Site", "same-site"}, 403},
		{"of an old browser elsewhere", "1", "running", []string{"Origin", "http://elsewhere.test"}, 403},
		{"no such replica", "2", "running", nil, 404},
		{"replica 0", "0", "running", nil, 404},
		{"no number", "x", "running", nil, 404},
		{"no button", "1", "gone", nil, 400},
		{"too long", "1", "running&x=" + strings.Repeat("x", maxForm), nil, 400},
		{"runs already", "1", "running", []string{"Sec-Fetch-Site", "same-origin"}, 303},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := press(controlPath+test.path, test.to, test.header...).StatusCode; got != test.want {
				t.Errorf("%d, want %d", got, test.want)
			}
		})
	}
	for from, want := range map[string]string{
		s.URL + "/albums?x=1": "/albums?x=1", "http://elsewhere.test/albums": "/", s.URL + "/auth/callback?code=1": "/",
		s.URL + "//elsewhere.test": "/", "": "/", "%": "/",
	} {
		if got := press(controlPath+"1", "running", "Referer", from).Header.Get("Location"); got != want {
			t.Errorf("from %q back to %q, want %q", from, got, want)
		}
	}
	if resp, _ := ask(t, "GET", s.URL+controlPath+"1", true, nil); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET is %d", resp.StatusCode)
	}
	f.replicas[0].over = true
	f.replicas[0].state = ended
	if got := press(controlPath+"1", "running").StatusCode; got != 503 {
		t.Errorf("a start at the end is %d", got)
	}
}

// Whoever runs hears of a change at once, whichever replica answers next.
func TestTell(t *testing.T) {
	var heard atomic.Int64
	f, s := startFront(t, 3, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get(statesHeader) == "running,ended,running" {
			heard.Add(1)
		}
	}))
	f.replicas[1].state = ended
	resp, err := http.Post(s.URL+controlPath+"1", "application/x-www-form-urlencoded", strings.NewReader("to=running"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := heard.Load(); got < 2 {
		t.Errorf("%d replicas heard", got)
	}
}

func TestPanel(t *testing.T) {
	states := readStates("running,ended,nonsense,<b>,starting")
	got := string(panel(2) + lamps(2, 0, states))
	for _, want := range []string{"comes from <strong>replica 2</strong>", "Replica 1 is running.", "<strong>Replica 2</strong> has ended.", "Replica 3 is starting."} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if n := strings.Count(got, "<button"); n != 2 {
		t.Errorf("%d buttons, want those of replicas 1 and 2", n)
	}
	if got := string(lamps(0, 3, states)); !strings.Contains(got, "Its event stream comes from <strong>replica 3</strong>") {
		t.Errorf("the stream does not say where it comes from:\n%s", got)
	}
}

// A replica tells its streams what it hears of the others.
func TestBoard(t *testing.T) {
	b := &board{}
	heard := func(text string, changes bool) {
		t.Helper()
		changed := b.Changed()
		b.hear(text)
		select {
		case <-changed:
			if !changes {
				t.Errorf("%q is no change", text)
			}
		default:
			if changes {
				t.Errorf("%q is a change", text)
			}
		}
	}
	heard("running,running", true)
	heard("running,running", false)
	heard("running,ended", true)
	if got := b.states(); len(got) != 2 || got[1] != ended {
		t.Errorf("it knows %v", got)
	}
}

func TestFlags(t *testing.T) {
	for _, test := range []struct {
		args string
		want string // of the error, "" for none
	}{
		{"", ""},
		{"-replicas 8 -addr x -photos 127.0.0.1:0 -printshop localhost:1 -server [::1]:2", ""},
		{"-replicas 0", "-replicas 0: there can be 1 to 8"},
		{"-replicas 9", "-replicas 9: there can be 1 to 8"},
		{"-photos 0.0.0.0:80", "not on loopback"},
		{"-photos 8080", "missing port"},
		{"replicas", `"replicas" is not a flag`},
	} {
		o, err := parseFlags(Kind{Addr: "x"}, strings.Fields(test.args), io.Discard)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %+v, error %v", test.args, o, err)
		}
	}
}

// notReady is a store that cannot be made ready.
type notReady struct{ Store }

func (notReady) Migrate(context.Context) error { return errors.New("boom") }

// Without a server, or with one that does not answer, there is one line that
// says so, and nothing is started.
func TestNoStore(t *testing.T) {
	boom := errors.New("boom")
	closed := 0
	kind := Kind{
		Name: "Thing", Addr: "address", Missing: "thing-server is not installed",
		Begin: func(context.Context) (string, func(), error) { return "at", func() { closed++ }, nil },
		Open:  func(context.Context, string) (Store, func(), error) { return nil, nil, boom },
	}
	missing, broken, unready := kind, kind, kind
	missing.Begin = func(context.Context) (string, func(), error) {
		return "", nil, &exec.Error{Name: "thing-server", Err: exec.ErrNotFound}
	}
	broken.Begin = func(context.Context) (string, func(), error) { return "", nil, boom }
	unready.Open = func(context.Context, string) (Store, func(), error) { return notReady{}, func() { closed++ }, nil }
	for i, test := range []struct {
		kind Kind
		want string
	}{
		{missing, "thing-server is not installed"}, {broken, "Thing cannot be started: boom"},
		{kind, "Thing cannot be opened: boom"}, {unready, "Thing cannot be made ready: boom"},
	} {
		var out strings.Builder
		err := Run(t.Context(), test.kind, nil, nil, &out, io.Discard)
		if err == nil || err.Error() != test.want || out.Len() > 0 {
			t.Errorf("%d: error %v, output %q", i, err, &out)
		}
	}
	if closed != 3 { // the server twice, and the store once
		t.Errorf("%d were closed, want 3", closed)
	}
	if err := Run(t.Context(), kind, []string{replicaFlag, "1"}, strings.NewReader(""), io.Discard, io.Discard); err == nil {
		t.Error("a replica without settings starts")
	}
}

// What the front passes on is in flight until it is answered, and the end of a
// replica waits for it.
func TestIdle(t *testing.T) {
	r := &replica{state: running, at: "x:1"}
	for i := range 3 {
		if at, ok := r.acquire(); !ok || at != "x:1" {
			t.Fatal("not acquired " + strconv.Itoa(i))
		}
	}
	idle := make(chan struct{})
	r.idle = idle
	r.release()
	r.release()
	if await(idle, time.Millisecond) {
		t.Error("idle with a request")
	}
	r.release()
	if !await(idle, time.Minute) {
		t.Error("not idle")
	}
	r.state = ended
	if _, ok := r.acquire(); ok {
		t.Error("acquired when it has ended")
	}
}
