package photos

import (
	"fmt"
	"hash/fnv"
	"html"
	"math/rand/v2"
	"strings"
)

// The program paints the photos of the example. It needs no files, and the same
// photo looks the same every time.

const (
	photoWidth, photoHeight = 640, 480
	// photosInAlbum is how many photos an album has.
	photosInAlbum = 6
)

// motifs are the subjects that an album can show.
var motifs = []string{"Mountains", "Sea", "City", "Desert", "Forest"}

// light is a time of day: the colours of the sky from top to horizon, of the
// sun or moon, and of the foreground, far and near.
type light struct {
	name                  string
	high, low             string
	orb                   string
	far, middle, near     [3]int
	water, glint, windows string
	night                 bool
}

var lights = []light{
	{"at dawn", "#4b6fa8", "#f7c9a9", "#fff3d6", [3]int{168, 150, 178}, [3]int{104, 98, 140}, [3]int{46, 48, 84}, "#6d86b3", "#ffe2c0", "#ffd27a", false},
	{"in the morning", "#6fb1e0", "#dff1fb", "#fffbe8", [3]int{158, 192, 204}, [3]int{92, 142, 148}, [3]int{38, 82, 82}, "#3f8fb5", "#e8f8ff", "#fff6cf", false},
	{"at noon", "#2f83d0", "#bfe3f7", "#ffffff", [3]int{140, 184, 196}, [3]int{74, 136, 122}, [3]int{30, 84, 62}, "#1f78ac", "#d9f3ff", "#eaf6ff", false},
	{"in the evening", "#5a4a8f", "#ff9d6c", "#ffe9b0", [3]int{190, 120, 132}, [3]int{122, 70, 104}, [3]int{54, 30, 62}, "#7d4f86", "#ffc48a", "#ffc65c", false},
	{"at sunset", "#3a2f63", "#f2545b", "#ffd08a", [3]int{158, 72, 96}, [3]int{96, 42, 78}, [3]int{38, 18, 44}, "#5e2c5c", "#ff9c78", "#ffb84d", false},
	{"by moonlight", "#0b1230", "#33477d", "#f1f4ff", [3]int{56, 72, 116}, [3]int{34, 46, 84}, [3]int{14, 20, 44}, "#17234d", "#c7d4ff", "#ffe08a", true},
}

// photoTitle is the title of a photo; the first is number 1.
func photoTitle(a Album, number int) string {
	return a.Motif + " " + lights[(number-1)%len(lights)].name
}

// paint makes the SVG of a photo. A preview has a mark across.
func paint(a Album, number int, preview bool) string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%s/%d", a.Owner, a.ID, number)
	p := &painter{rng: rand.New(rand.NewPCG(h.Sum64(), uint64(number))), light: lights[(number-1)%len(lights)]}
	title := html.EscapeString(photoTitle(a, number))
	fmt.Fprintf(&p.b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s"><title>%s</title>`,
		photoWidth, photoHeight, photoWidth, photoHeight, title, title)
	p.sky()
	switch a.Motif {
	case "Sea":
		p.sea()
	case "City":
		p.city()
	case "Desert":
		p.desert()
	case "Forest":
		p.forest()
	default:
		p.mountains()
	}
	if preview {
		fmt.Fprintf(&p.b, `<g transform="rotate(-24 %d %d)"><text x="%d" y="%d" text-anchor="middle" font-family="Georgia,serif" font-size="84" letter-spacing="10" fill="#fff" fill-opacity=".42">preview</text></g>`,
			photoWidth/2, photoHeight/2, photoWidth/2, photoHeight/2+28)
	}
	p.b.WriteString("</svg>")
	return p.b.String()
}

type painter struct {
	b     strings.Builder
	rng   *rand.Rand
	light light
}

func (p *painter) between(low, high float64) float64 { return low + p.rng.Float64()*(high-low) }

func rgb(c [3]int) string { return fmt.Sprintf("#%02x%02x%02x", c[0], c[1], c[2]) }

// depth mixes the colours from far (0) to near (1).
func (l light) depth(t float64) string {
	from, to, u := l.far, l.middle, 2*t
	if t > .5 {
		from, to, u = l.middle, l.near, 2*t-1
	}
	var c [3]int
	for i := range c {
		c[i] = from[i] + int(u*float64(to[i]-from[i]))
	}
	return rgb(c)
}

func (p *painter) sky() {
	l := p.light
	fmt.Fprintf(&p.b, `<defs><linearGradient id="s" x2="0" y2="1"><stop stop-color="%s"/><stop offset=".75" stop-color="%s"/></linearGradient><radialGradient id="g"><stop stop-color="%s" stop-opacity=".75"/><stop offset="1" stop-color="%s" stop-opacity="0"/></radialGradient></defs><path fill="url(#s)" d="M0 0h640v480H0z"/>`,
		l.high, l.low, l.orb, l.orb)
	if l.night {
		for range 70 {
			fmt.Fprintf(&p.b, `<circle cx="%.0f" cy="%.0f" r="%.1f" fill="#fff" fill-opacity="%.2f"/>`, p.between(0, 640), p.between(0, 260), p.between(.5, 1.6), p.between(.3, .9))
		}
	}
	x, y, r := p.between(120, 520), p.between(90, 220), p.between(24, 40)
	fmt.Fprintf(&p.b, `<circle cx="%.0f" cy="%.0f" r="%.0f" fill="url(#g)"/><circle cx="%.0f" cy="%.0f" r="%.0f" fill="%s"/>`, x, y, r*4.5, x, y, r, l.orb)
	for range 3 {
		cx, cy, w := p.between(40, 600), p.between(50, 190), p.between(50, 120)
		fmt.Fprintf(&p.b, `<path d="M%.0f %.0fq%.0f -18 %.0f 0q%.0f 12 -%.0f 0z" fill="#fff" fill-opacity="%.2f"/>`, cx-w/2, cy, w/2, w, -w/2, w, p.between(.1, .32))
	}
}

// ridge draws a mountain line by halving distances.
func (p *painter) ridge(base, rough float64, fill string) {
	points := []float64{base + p.between(-rough, rough), base + p.between(-rough, rough)}
	for d := rough; len(points) < 65; d *= .52 {
		next := make([]float64, 0, 2*len(points)-1)
		for i := range len(points) - 1 {
			next = append(next, points[i], (points[i]+points[i+1])/2+p.between(-d, d))
		}
		points = append(next, points[len(points)-1])
	}
	p.b.WriteString(`<path d="M0 480`)
	for i, y := range points {
		fmt.Fprintf(&p.b, "L%.0f %.0f", float64(i)*640/float64(len(points)-1), y)
	}
	fmt.Fprintf(&p.b, `L640 480z" fill="%s"/>`, fill)
}

func (p *painter) mountains() {
	for i := range 5 {
		t := float64(i) / 4
		p.ridge(235+52*float64(i), 70-11*float64(i), p.light.depth(t))
	}
}

func (p *painter) sea() {
	l := p.light
	fmt.Fprintf(&p.b, `<path fill="%s" d="M0 300h640v180H0z"/>`, l.water)
	p.b.WriteString(`<g fill="` + l.glint + `">`)
	for range 90 {
		y := p.between(304, 478)
		w := (y - 290) * p.between(.1, .5)
		fmt.Fprintf(&p.b, `<rect x="%.0f" y="%.0f" width="%.0f" height="%.1f" rx="1" fill-opacity="%.2f"/>`, p.between(-20, 640), y, w, 1+(y-300)/90, p.between(.12, .5))
	}
	p.b.WriteString(`</g>`)
	x, size := p.between(140, 500), p.between(.7, 1.3)
	fmt.Fprintf(&p.b, `<g transform="translate(%.0f 316) scale(%.2f)"><path d="M-46 20h92l-16 20h-60z" fill="%s"/><path d="M0-74v88h-40z" fill="#fff" fill-opacity=".9"/><path d="M5-60v74h34z" fill="#fff" fill-opacity=".7"/></g>`, x, size, rgb(l.near))
	p.ridge(470, 14, rgb(l.near))
}

func (p *painter) city() {
	for row := range 3 {
		t := .2 + .4*float64(row)
		for x := p.between(-30, 0); x < 640; {
			w, h := p.between(34, 78), p.between(70, 230)-30*float64(row)
			top := 400 + 28*float64(row) - h
			fmt.Fprintf(&p.b, `<rect x="%.0f" y="%.0f" width="%.0f" height="480" fill="%s"/>`, x, top, w, p.light.depth(t))
			if row > 0 {
				p.lit(x, top, w)
			}
			x += w + p.between(0, 14)
		}
	}
}

// lit draws the windows of a house.
func (p *painter) lit(x, top, w float64) {
	share := .28
	if p.light.night {
		share = .6
	}
	fmt.Fprintf(&p.b, `<g fill="%s">`, p.light.windows)
	for wy := top + 10; wy < 470; wy += 17 {
		for wx := x + 7; wx < x+w-8; wx += 13 {
			if p.rng.Float64() < share {
				fmt.Fprintf(&p.b, `<rect x="%.0f" y="%.0f" width="5" height="8" fill-opacity="%.2f"/>`, wx, wy, p.between(.4, .95))
			}
		}
	}
	p.b.WriteString(`</g>`)
}

func (p *painter) desert() {
	for i := range 4 {
		t := float64(i) / 3
		y, bend := 270+58*float64(i), p.between(-60, 60)
		fmt.Fprintf(&p.b, `<path d="M0 %.0fC180 %.0f 360 %.0f 640 %.0fV480H0z" fill="%s"/>`, y, y-40-bend, y+50+bend, y-20+bend/2, mixSand(p.light, t))
	}
	for range 3 {
		x, y, s := p.between(60, 580), p.between(380, 440), p.between(.6, 1.2)
		fmt.Fprintf(&p.b, `<path transform="translate(%.0f %.0f) scale(%.2f)" d="M-5 40V-8h-14v-24h8v16h6v-42h10v52h6v-20h8v28H5v-2v40z" fill="%s"/>`, x, y, s, rgb(p.light.near))
	}
}

// mixSand warms the colours of the light.
func mixSand(l light, t float64) string {
	sand := [3]int{232, 170, 104}
	from := l.far
	if t > .5 {
		from = l.middle
	}
	var c [3]int
	for i := range c {
		c[i] = (from[i] + 2*sand[i]) / 3
		c[i] = int(float64(c[i]) * (1 - .38*t))
		if l.night {
			c[i] = c[i] * 2 / 5
		}
	}
	return rgb(c)
}

func (p *painter) forest() {
	for row := range 4 {
		t := float64(row) / 3
		base := 330 + 48*float64(row)
		p.ridge(base+10, 16, p.light.depth(t))
		for x := p.between(-20, 10); x < 660; x += p.between(16, 30) + 8*float64(row) {
			h := p.between(70, 130) + 26*float64(row)
			w, y := h*.38, base+p.between(0, 24)
			fmt.Fprintf(&p.b, `<path d="M%.0f %.0fl%.0f %.0fh-%.0fl%.0f %.0fh-%.0fl%.0f %.0fh-%.0fz" fill="%s"/>`,
				x, y-h, w*.36, h*.34, w*.16, w*.42, h*.33, w*.2, w*.48, h*.42, w*1.6, p.light.depth(t))
		}
		fmt.Fprintf(&p.b, `<path d="M0 %.0fh640v60H0z" fill="%s" fill-opacity=".10"/>`, base-10, p.light.low)
	}
}
