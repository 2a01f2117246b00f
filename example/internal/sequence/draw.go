package sequence

import (
	"bytes"
	_ "embed"
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

//go:embed style.css
var style string

// The measures, in pixels.
const (
	width    = 960 // fits beside the text of a code host
	side     = 108 // from the edge to the first lifeline: half a head and the margin
	headTop  = 20
	headHigh = 46
	headWide = 184
	bar      = 4   // half the width of the bar of a party that is working
	pad      = 12  // from a lifeline to a text
	mono     = 7.0 // width of a character, a little more than in most fonts
	sans     = 6.2
)

// Draw draws the trace as an SVG document without scripts, fonts or addresses.
func Draw(t Trace) []byte {
	d := &drawing{trace: t, y: headTop + headHigh + 26, active: map[int]bool{}}
	for _, s := range t.Scenes {
		d.scene(s)
	}
	return d.document()
}

// drawing is a diagram in the making, from top to bottom.
type drawing struct {
	trace  Trace
	bars   bytes.Buffer // below the arrows
	body   bytes.Buffer
	y      int // everything above is drawn
	number int
	active map[int]bool // lanes that are answering
}

// x is where a lifeline stands.
func (d *drawing) x(lane int) int {
	if n := len(d.trace.Parties); n > 1 {
		return side + lane*(width-2*side)/(n-1)
	}
	return width / 2
}

func (d *drawing) document() []byte {
	var b bytes.Buffer
	bottom := d.y + 8
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img" aria-labelledby="title desc">`+"\n", width, bottom+16)
	fmt.Fprintf(&b, "<title id=\"title\">%s</title>\n<desc id=\"desc\">%s</desc>\n", escape(d.trace.Title), escape(d.trace.Description))
	fmt.Fprintf(&b, "<style>\n%s</style>\n", style)
	fmt.Fprintf(&b, `<rect class="paper" x=".5" y=".5" width="%d" height="%d" rx="8"/>`+"\n", width-1, bottom+15)
	for i, p := range d.trace.Parties {
		x := d.x(i)
		fmt.Fprintf(&b, `<path class="life" d="M%d %dV%d"/>`+"\n", x, headTop+headHigh, bottom)
		fmt.Fprintf(&b, `<rect class="head" x="%d" y="%d" width="%d" height="%d" rx="6"/>`+"\n", x-headWide/2, headTop, headWide, headHigh)
		text(&b, "name", x, headTop+20, p.Name)
		text(&b, "role", x, headTop+36, p.Role)
	}
	b.Write(d.bars.Bytes())
	b.Write(d.body.Bytes())
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func (d *drawing) scene(s Scene) {
	if s.Caption != "" {
		fmt.Fprintf(&d.body, `<rect class="band" x="12" y="%d" width="%d" height="24" rx="4"/>`+"\n", d.y, width-24)
		text(&d.body, "caption", 24, d.y+16, s.Caption)
		d.y += 48
	}
	for _, m := range s.Messages {
		d.message(m)
	}
}

// message draws the request, the messages that it took to answer it, and the
// answer.
func (d *drawing) message(m Message) {
	from, to := d.trace.lane(m.From), d.trace.lane(m.To)
	d.number++
	left := d.x(min(from, to)) + pad
	room := d.x(max(from, to)) - left - pad
	tone := "t-" + m.Tone
	if m.Tone == "" {
		tone = "t-plain"
	}
	fmt.Fprintf(&d.body, `<g class="%s">`+"\n", escape(tone))
	fmt.Fprintf(&d.body, `<circle class="badge" cx="%d" cy="%d" r="8.5"/>`+"\n", left+9, d.y-4)
	text(&d.body, "number", left+9, d.y, strconv.Itoa(d.number))
	text(&d.body, "title", left+23, d.y, clip(m.Title, room+60, sans+0.6))
	d.body.WriteString("</g>\n")
	d.y += 17
	d.half(m.Request, false, left, room)
	if m.Response.Line == noAnswer {
		d.arrow(from, to, "lost")
		text(&d.body, "line", left, d.y+22, noAnswer)
		d.y += 56
		return
	}
	d.arrow(from, to, "ask")
	begin, before := d.y, d.active[to]
	d.active[to] = true
	d.y += 28
	for _, inner := range m.Inner {
		d.message(inner)
	}
	d.half(m.Response, true, left, room)
	if n := len(m.Again); n > 0 {
		text(&d.body, "more", left, d.y, fmt.Sprintf("and %d more like it", n))
		d.y += 14
	}
	d.active[to] = before
	fmt.Fprintf(&d.bars, `<rect class="bar" x="%d" y="%d" width="%d" height="%d" rx="2"/>`+"\n", d.x(to)-bar, begin, 2*bar, d.y-7-begin)
	d.arrow(to, from, "answer")
	d.y += 30
}

// noAnswer stands for the answer if a connection was refused.
const noAnswer = "no answer"

// half writes the two lines above an arrow.
func (d *drawing) half(h Half, answer bool, left, room int) {
	text(&d.body, "line", left, d.y, clip(h.Line, room, mono))
	d.y += 15
	said := ""
	for _, part := range details(h, answer) {
		next := part
		if said != "" {
			next = said + " · " + part
			if float64(utf8.RuneCountInString(next))*sans > float64(room) {
				continue
			}
		}
		said = next
	}
	if said != "" {
		text(&d.body, "detail", left, d.y, clip(said, room, sans))
		d.y += 14
	}
}

// arrow draws an arrow at the current height, from bar to bar. One that is lost
// ends in a cross.
func (d *drawing) arrow(from, to int, class string) {
	d.y -= 7
	x1, x2, way := d.x(from), d.x(to), 1
	if from > to {
		way = -1
	}
	if d.active[from] || class == "answer" {
		x1 += way * bar
	}
	switch {
	case class == "lost":
		fmt.Fprintf(&d.body, `<path class="ask" d="M%d %dH%d"/><path class="cross" d="M%d %dl10 10m0 -10l-10 10"/>`+"\n", x1, d.y, x2-way*14, x2-way*9-5, d.y-5)
		return
	case class == "ask" || d.active[to]:
		x2 -= way * bar
	}
	fmt.Fprintf(&d.body, `<path class="%s" d="M%d %dH%d"/><path class="tip" d="M%d %dl%d -4v8z"/>`+"\n", class, x1, d.y, x2-way*6, x2, d.y, -way*8)
}

func text(b *bytes.Buffer, class string, x, y int, s string) {
	fmt.Fprintf(b, `<text class="%s" x="%d" y="%d">%s</text>`+"\n", class, x, y, escape(s))
}

// clip shortens a text to the room, given the width of its characters.
func clip(s string, room int, char float64) string {
	most := max(int(float64(room)/char), 4)
	if runes := []rune(s); len(runes) > most {
		return strings.TrimRight(string(runes[:most-1]), " ") + "…"
	}
	return s
}

// escape makes a text safe between and within tags. Characters that XML does
// not allow become the replacement character.
func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder does not fail
	return b.String()
}
