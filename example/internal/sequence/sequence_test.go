package sequence_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"example.com/gatehouse/example/internal/sequence"
)

// hostile is a text that would do harm if it were taken for markup.
const hostile = `"'><script>alert(1)</script><a href="javascript:x">]]>&amp;` + "\x00\x1b\xff"

func trace(change func(*sequence.Trace)) sequence.Trace {
	t := sequence.Trace{
		Title: "A title", Description: "A description.",
		Parties: []sequence.Party{{ID: "a", Name: "Client", Role: "client"}, {ID: "b", Name: "Site", Role: "resource server"}, {ID: "c", Name: "Server", Role: ""}},
		Scenes: []sequence.Scene{{Caption: "Once", Messages: []sequence.Message{{
			From: "a", To: "b", Title: "Asks", Tone: "ask",
			Request: sequence.Half{Line: "GET /x", Lines: []sequence.Line{{Name: "Authorization", Value: "Bearer t-1"}}},
			Inner: []sequence.Message{{From: "b", To: "c", Title: "Looks", Request: sequence.Half{Line: "POST /p",
				Lines: []sequence.Line{{Value: `[{"resource_id":"r-1","resource_scopes":["view","print"]}]`}}}, Response: sequence.Half{Line: "no answer"}}},
			Response: sequence.Half{Line: "401 Unauthorized", Lines: []sequence.Line{
				{Name: "WWW-Authenticate", Value: `UMA realm="x", as_uri="http://s", ticket="t-2"`}, {Name: "realm", Value: "not said"}}},
			Again: []string{"GET /y", "GET /z"},
		}}}},
	}
	if change != nil {
		change(&t)
	}
	return t
}

// texts parses a drawing and returns what stands in it; elements that could act
// or fetch fail the test.
func texts(t *testing.T, svg []byte) string {
	t.Helper()
	var all []string
	allowed := " svg title desc style rect path circle text g "
	for dec := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return strings.Join(all, "\n")
		}
		if err != nil {
			t.Fatalf("not XML: %v\n%s", err, svg)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if !strings.Contains(allowed, " "+token.Name.Local+" ") {
				t.Errorf("there is an element %s", token.Name.Local)
			}
			for _, a := range token.Attr {
				if strings.HasPrefix(a.Name.Local, "on") || a.Name.Local == "href" {
					t.Errorf("there is an attribute %s", a.Name.Local)
				}
			}
		case xml.CharData:
			all = append(all, string(token))
		}
	}
}

func TestDraw(t *testing.T) {
	svg := sequence.Draw(trace(nil))
	got := texts(t, svg)
	for _, want := range []string{"A title", "A description.", "Client", "resource server", "Once", "Asks", "GET /x", "Bearer t-1", "Looks", "r-1: view, print", "no answer", "401 Unauthorized", "UMA t-2 · as_uri http://s", "and 2 more like it"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in the drawing:\n%s", want, got)
		}
	}
	if strings.Contains(got, "not said") {
		t.Error("a member that nothing turns on is shown")
	}
	if !bytes.Equal(svg, sequence.Draw(trace(nil))) {
		t.Error("two drawings of one trace differ")
	}
	// The answer is drawn below the messages that it took.
	if strings.Index(got, "no answer") > strings.Index(got, "401 Unauthorized") {
		t.Error("the inner message stands below the answer")
	}
}

func TestDrawEscapes(t *testing.T) {
	changes := map[string]func(*sequence.Trace){
		"title":       func(t *sequence.Trace) { t.Title = hostile },
		"description": func(t *sequence.Trace) { t.Description = hostile },
		"party":       func(t *sequence.Trace) { t.Parties[0].Name = hostile },
		"role":        func(t *sequence.Trace) { t.Parties[0].Role = hostile },
		"caption":     func(t *sequence.Trace) { t.Scenes[0].Caption = hostile },
		"message":     func(t *sequence.Trace) { t.Scenes[0].Messages[0].Title = hostile },
		"tone":        func(t *sequence.Trace) { t.Scenes[0].Messages[0].Tone = hostile },
		"line":        func(t *sequence.Trace) { t.Scenes[0].Messages[0].Request.Line = hostile },
		"member":      func(t *sequence.Trace) { t.Scenes[0].Messages[0].Request.Lines[0].Value = "Bearer " + hostile },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			svg := sequence.Draw(trace(change))
			texts(t, svg)
			if strings.Contains(string(svg), "<script") || strings.Contains(string(svg), "<a ") {
				t.Errorf("markup gets in:\n%s", svg)
			}
			if !strings.Contains(string(svg), "&gt;&lt;script&gt;") {
				t.Error("the text is not there: the test looks at nothing")
			}
		})
	}
}

// No text is longer than its room, by the width of its characters.
func TestDrawClips(t *testing.T) {
	long := strings.Repeat("ä", 500)
	got := texts(t, sequence.Draw(trace(func(t *sequence.Trace) {
		m := &t.Scenes[0].Messages[0]
		m.Title, m.Request.Line, m.Response.Line = long, long, long
		m.Request.Lines[0].Value = "Bearer " + long
	})))
	for line := range strings.Lines(got) {
		if n := strings.Count(line, "ä"); n > 70 {
			t.Errorf("a line has %d characters", n)
		}
	}
	if !strings.Contains(got, "ä…") {
		t.Error("nothing says that something is missing")
	}
}

func TestDecode(t *testing.T) {
	text, err := sequence.Encode(trace(nil))
	if err != nil {
		t.Fatal(err)
	}
	back, err := sequence.Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := sequence.Encode(back); err != nil || !bytes.Equal(text, again) {
		t.Errorf("decoded and encoded it differs (error %v):\n%s", err, again)
	}
	for name, bad := range map[string]string{
		"no JSON":       `{`,
		"other members": `{"titel":"x"}`,
		"nobody":        `{"parties":[{"id":"a"}],"scenes":[{"messages":[{"from":"a","to":"b"}]}]}`,
		"to itself":     `{"parties":[{"id":"a"}],"scenes":[{"messages":[{"from":"a","to":"a"}]}]}`,
		"inner nobody":  `{"parties":[{"id":"a"},{"id":"b"}],"scenes":[{"messages":[{"from":"a","to":"b","inner":[{"from":"b","to":"c"}]}]}]}`,
	} {
		if _, err := sequence.Decode([]byte(bad)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
