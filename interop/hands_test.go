package interop_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"example.com/gatehouse/interop/servers"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// A control is something on a page to press or to write into. It is identified
// by its kind and by what a person would call it.
type control struct{ kind, name string }

// find is JavaScript that returns the element of a control, in the page proper
// unless it is only elsewhere. Its name is what a screen reader would say: the
// label or the text.
func (c control) find() string {
	kind, err := json.Marshal(c.kind)
	if err != nil {
		panic(err) // a string always marshals
	}
	name, err := json.Marshal(c.name)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`((kind, name) => {
		const called = e => [e.getAttribute('aria-label') ?? '', ...Array.from(e.labels ?? [], l => l.textContent), e.textContent]
			.some(text => text.replace(/\s+/g, ' ').trim().startsWith(name));
		const all = Array.from(document.querySelectorAll(kind)).filter(e => e.checkVisibility() && called(e));
		return all.find(e => e.closest('main')) ?? all[0];
	})(%s, %s)`, kind, name)
}

const (
	button = "a, button"
	field  = "input:not([type=checkbox]):not([type=radio])"
	choice = "input[type=radio]"
	box    = "input[type=checkbox]"
)

// A hand operates a page: with a mouse, or with a keyboard alone.
type hand interface {
	// press presses a button or follows a link, and waits for the next page.
	press(t testing.TB, browser *servers.Chromium, name string)
	// write writes a text into a field in place of what is there.
	write(t testing.TB, browser *servers.Chromium, name, text string)
	// set chooses a radio button, or ticks or clears a box.
	set(t testing.TB, browser *servers.Chromium, kind, name string, on bool)
}

// mouse clicks at the position of an element, so that anything in front of it
// gets the click. It types text into what it has clicked.
type mouse struct{}

func (mouse) at(t testing.TB, browser *servers.Chromium, c control) chromedp.Action[chromedp.Void] {
	t.Helper()
	point := servers.Get(t, browser, "find "+c.name, chromedp.Evaluate[[]float64](fmt.Sprintf(`(e => {
		if (!e) return [];
		e.scrollIntoView({block: 'center', behavior: 'instant'});
		const r = e.getBoundingClientRect();
		return [r.x + r.width / 2, r.y + r.height / 2];
	})(%s)`, c.find())))
	if len(point) != 2 {
		t.Fatalf("%s has no %s called %q:\n%s", browser.URL(), c.kind, c.name, browser.Text(t))
	}
	return chromedp.MouseClickXY(point[0], point[1])
}

func (m mouse) press(t testing.TB, browser *servers.Chromium, name string) {
	t.Helper()
	browser.Follow(t, "press "+name, m.at(t, browser, control{button, name}))
}

func (m mouse) write(t testing.TB, browser *servers.Chromium, name, text string) {
	t.Helper()
	browser.Run(t, "write into "+name, m.at(t, browser, control{field, name}), selectAll, chromedp.KeyEvent(text))
}

func (m mouse) set(t testing.TB, browser *servers.Chromium, kind, name string, on bool) {
	t.Helper()
	if isSet(t, browser, control{kind, name}) != on {
		browser.Run(t, "set "+name, m.at(t, browser, control{kind, name}))
	}
	wantSet(t, browser, control{kind, name}, on)
}

// insisting is a mouse that tries again if a site is unavailable because the
// server behind it is slow.
type insisting struct{ mouse }

func (m insisting) press(t testing.TB, browser *servers.Chromium, name string) {
	t.Helper()
	m.mouse.press(t, browser, name)
	browser.Insist(t)
}

// keyboard reaches everything by Tab, and uses no pointer.
type keyboard struct{}

// mostTabs is more than the number of tab stops on any page.
const mostTabs = 150

var selectAll = chromedp.KeyEvent("a", chromedp.KeyModifiers(chromedp.ModifierCtrl))

// reach tabs to a control. It must be visible where the focus is.
func (keyboard) reach(t testing.TB, browser *servers.Chromium, c control) {
	t.Helper()
	for range mostTabs {
		where := servers.Get(t, browser, "look where the focus is", chromedp.Evaluate[string](fmt.Sprintf(`(e => {
			if (!e) return 'missing';
			const a = document.activeElement;
			const mine = a === e || (a?.type === 'radio' && a.name === e.name && a.form === e.form);
			if (!mine) return '';
			const s = getComputedStyle(a);
			return (s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0) || s.boxShadow !== 'none' ? 'there' : 'unseen';
		})(%s)`, c.find())))
		switch where {
		case "there":
			return
		case "unseen":
			t.Fatalf("%s: the focus on %q cannot be seen", browser.URL(), c.name)
		case "missing":
			t.Fatalf("%s has no %s called %q:\n%s", browser.URL(), c.kind, c.name, browser.Text(t))
		}
		browser.Run(t, "press Tab", chromedp.KeyEvent(kb.Tab))
	}
	t.Fatalf("%s: %q is not reached by Tab", browser.URL(), c.name)
}

func (k keyboard) press(t testing.TB, browser *servers.Chromium, name string) {
	t.Helper()
	k.reach(t, browser, control{button, name})
	browser.Follow(t, "press Enter on "+name, chromedp.KeyEvent(kb.Enter))
}

func (k keyboard) write(t testing.TB, browser *servers.Chromium, name, text string) {
	t.Helper()
	k.reach(t, browser, control{field, name})
	browser.Run(t, "write into "+name, selectAll, chromedp.KeyEvent(text))
}

// set ticks a box with Space and goes through radio buttons with the arrows.
func (k keyboard) set(t testing.TB, browser *servers.Chromium, kind, name string, on bool) {
	t.Helper()
	c := control{kind, name}
	k.reach(t, browser, c)
	for range mostTabs {
		if isSet(t, browser, c) == on {
			break
		}
		key := " "
		if focused := servers.Get(t, browser, "look where the focus is",
			chromedp.Evaluate[bool]("document.activeElement === "+c.find())); !focused {
			key = kb.ArrowDown
		}
		browser.Run(t, "set "+name, chromedp.KeyEvent(key))
	}
	wantSet(t, browser, c, on)
}

func isSet(t testing.TB, browser *servers.Chromium, c control) bool {
	t.Helper()
	return servers.Get(t, browser, "read "+c.name, chromedp.Evaluate[bool]("!!"+c.find()+"?.checked"))
}

func wantSet(t testing.TB, browser *servers.Chromium, c control, on bool) {
	t.Helper()
	if isSet(t, browser, c) != on {
		t.Fatalf("%s: %s: %q is set: %t, want %t", browser.URL(), c.kind, c.name, !on, on)
	}
}

// dark switches between dark and light pages. Animations are off, because a
// colour half way through one would be judged as it is.
func dark(t testing.TB, browser *servers.Chromium, on bool) {
	t.Helper()
	scheme := "light"
	if on {
		scheme = "dark"
	}
	_, err := chromedp.Call(browser.Context(), emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme},
			{Name: "prefers-reduced-motion", Value: "reduce"}}})
	if err != nil {
		t.Fatalf("chromium: %v", err)
	}
}
