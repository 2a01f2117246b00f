package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// stream is the event stream of a panel.
type stream struct {
	t    *testing.T
	body io.ReadCloser
	in   *bufio.Reader
}

// patience bounds what hangs.
const patience = 30 * time.Second

// stream opens the event stream of the photo site's panel, as the page's script
// does.
func (b *browser) stream(photos string) *stream {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, photos+"/events", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Sec-Fetch-Mode", "cors")
	r.Header.Set("Sec-Fetch-Dest", "empty")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	client := &http.Client{Jar: b.client.Jar, Transport: b.client.Transport}
	resp, err := client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		cancel()
		resp.Body.Close()
	})
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || kind != "text/event-stream" {
		b.t.Fatalf("the stream answers %d with %q", resp.StatusCode, kind)
	}
	return &stream{b.t, resp.Body, bufio.NewReader(resp.Body)}
}

// event returns the next event.
func (s *stream) event() (name, data string) {
	s.t.Helper()
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			s.t.Fatalf("no further event: %v", err)
		}
		line = strings.TrimSuffix(line, "\n")
		switch field, value, _ := strings.Cut(line, ": "); field {
		case "event":
			name = value
		case "data":
			data += value + "\n"
		case "":
			if name != "" {
				return name, strings.TrimSuffix(data, "\n")
			}
		}
	}
}

// want skips events until one has the name and the text.
func (s *stream) want(name, text string) {
	s.t.Helper()
	for {
		got, data := s.event()
		if got == name && strings.Contains(data, text) {
			return
		}
		if got == "end" {
			s.t.Fatalf("the stream ended with %q, want %q with %q", data, name, text)
		}
	}
}

// The panel shows what another tab does, and what the server does besides. Its
// stream ends with the session, for both tabs.
func TestPanelIsLive(t *testing.T) {
	t.Parallel() // it waits for looks at the session
	s := newStage(t, nil)
	s.get(s.photosURL+"/").want(200, "What just happened")
	if name, data := s.stream(s.photosURL).event(); name != "end" || data != "login_required" {
		t.Errorf("nobody is signed in, and gets %s %q", name, data)
	}
	albums := s.get(s.photosURL+"/sign-in?return_to=/connect").signIn("alice").want(200, `data-events="/events"`)
	first, second := s.stream(s.photosURL), s.stream(s.photosURL)
	first.want("panel", "What just happened")
	second.want("panel", "What just happened")

	albums.submit("Create album", url.Values{"title": {"Holidays"}, "motif": {"Sea"}}).want(200, "Holidays")
	first.want("panel", "POST /albums at the Photo site")
	second.want("panel", "POST /albums at the Photo site")
	bob := newBrowser(t)
	bob.get(s.shopURL + "/sign-in").signIn("bob")
	p := bob.get(s.shopURL+"/order?album="+url.QueryEscape(s.photosURL+"/u/alice/albums/1")).submit("Fetch", nil).want(202)
	if strings.Contains(p.text, "GET /events") {
		t.Error("the stream stands in a panel")
	}
	if err := s.servers[0].stop(); err != nil {
		t.Fatal(err)
	}
	s.get(s.photosURL+"/albums").want(200, "is stopped")
	first.want("panel", "is stopped")
	if err := s.servers[0].start(); err != nil {
		t.Fatal(err)
	}
	s.get(s.photosURL+"/albums").submit("Sign out", nil)
	first.want("end", "login_required")
	second.want("end", "login_required")
}

// Streams do not hold up the end of the program.
func TestStreamsEndWithTheProgram(t *testing.T) {
	s := newStage(t, nil)
	s.get(s.photosURL + "/sign-in?return_to=/connect").signIn("alice")
	open := s.stream(s.photosURL)
	open.want("panel", "What just happened")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.close(ctx); err != nil {
		t.Error(err)
	}
	open.want("end", "shutting_down")
}
