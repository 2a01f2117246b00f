// Package sequence draws sequence diagrams, as SVG, of messages that were
// recorded on the wire. A drawing depends only on its Trace, so it can be made
// again and compared.
package sequence

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Trace is the content of one diagram. It is stored as JSON.
type Trace struct {
	Title       string  `json:"title"`
	Description string  `json:"description"` // in words, for people who cannot see the diagram
	Parties     []Party `json:"parties"`     // from left to right
	Scenes      []Scene `json:"scenes"`
}

// Party is a sender and receiver of messages.
type Party struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Role string `json:"role"` // in the terms of UMA
}

// Scene is everything that follows from one action of a person.
type Scene struct {
	Caption  string    `json:"caption"`
	Messages []Message `json:"messages"`
}

// Message is one request and its answer.
type Message struct {
	From     string    `json:"from"` // the ID of a Party
	To       string    `json:"to"`
	Title    string    `json:"title"`
	Tone     string    `json:"tone,omitempty"` // "yes", "no", "ask" or none
	Request  Half      `json:"request"`
	Inner    []Message `json:"inner,omitempty"` // what it took to answer
	Response Half      `json:"response"`
	Again    []string  `json:"again,omitempty"` // first lines of requests that went the same way
}

// Half is a request or an answer.
type Half struct {
	Line  string `json:"line"`
	Lines []Line `json:"lines,omitempty"`
}

// Line is a header or a member of a body. A body that is not an object has no
// name.
type Line struct {
	Name  string `json:"name,omitempty"`
	Value string `json:"value"`
}

// Encode writes a trace in the form in which it is stored.
func Encode(t Trace) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(t); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Decode reads what Encode wrote. Unknown members, and messages of parties that
// are not in the trace, are errors.
func Decode(text []byte) (Trace, error) {
	var t Trace
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&t); err != nil {
		return Trace{}, fmt.Errorf("sequence: not a trace: %w", err)
	}
	for _, s := range t.Scenes {
		if err := t.check(s.Messages); err != nil {
			return Trace{}, err
		}
	}
	return t, nil
}

func (t Trace) check(messages []Message) error {
	for _, m := range messages {
		if t.lane(m.From) < 0 || t.lane(m.To) < 0 || m.From == m.To {
			return fmt.Errorf("sequence: %q goes from %q to %q", m.Title, m.From, m.To)
		}
		if err := t.check(m.Inner); err != nil {
			return err
		}
	}
	return nil
}

// lane is the position of a party from the left, or -1 if it takes no part.
func (t Trace) lane(id string) int {
	for i, p := range t.Parties {
		if p.ID == id {
			return i
		}
	}
	return -1
}
