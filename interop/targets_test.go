package interop_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/testkit/returntargets"
)

const (
	// judgeTime bounds the run of Node, which takes 0.2 s.
	judgeTime = 5 * time.Minute
	// mostTooLong is the largest number of spellings that may be refused
	// unread.
	mostTooLong = 40
	// outright is the least number of targets that would lead elsewhere if they
	// were sent unchanged.
	outright = 500
)

// A redirection is a redirect that a browser gets.
type redirection struct {
	Why      string `json:"why"` // what was asked for
	At       string `json:"at"`  // the address that answered
	Location string `json:"location"`
}

// A whatwgJudge asks the URL parser that Node shares with browsers in all that
// matters (WHATWG URL) which redirections leave the origin, or cannot be read.
const whatwgJudge = `
const steps = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const leaves = ({at, location}) => {
	try { return new URL(location, at).origin !== new URL(at).origin } catch { return true }
};
process.stdout.write(JSON.stringify(steps.filter(leaves)));`

// leaving returns the redirections that do not stay at the origin.
func leaving(t *testing.T, steps []redirection) []redirection {
	t.Helper()
	in, err := json.Marshal(steps)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), judgeTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "-e", whatwgJudge)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node: %v", err)
	}
	var found []redirection
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatalf("node: %v", err)
	}
	return found
}

// The judge knows what leads elsewhere and what does not, and hundreds of targets
// would lead elsewhere.
func TestRT4_Judge(t *testing.T) {
	const at = "https://notes.test/auth/callback?code=x"
	stepsTo := func(locations ...string) (steps []redirection) {
		for _, location := range locations {
			steps = append(steps, redirection{Why: location, At: at, Location: location})
		}
		return steps
	}
	bad := stepsTo("//evil.example", `/\evil.example`, `\/evil.example`, `\\evil.example`, "/\t/evil.example", "/\n/evil.example", "\t//evil.example", " //evil.example",
		"https:///evil.example", `https:\\evil.example`, "hTtPs://evil.example", "ht\ttps://evil.example", "//notes.test@evil.example", "https://notes.test.evil.example/", `https://google.fr\.notes.test/`,
		"//notes.test:8443/", "http://notes.test/", "javascript:alert(1)", "java\nscript:alert(1)", "data:,x", "//[::1]", "///evil.example", "//%", "https://[")
	if got := leaving(t, bad); !slices.Equal(got, bad) {
		t.Errorf("the judge finds %d of %d that leave: %+v", len(got), len(bad), got)
	}
	good := stepsTo("/", "", "?x", "#x", "/notes/", "/%09/evil.example", "/%2fevil.example", "/%5cevil.example", "/..//evil.example", "evil.example", "https://notes.test/", "https://NOTES.test:443/x", "https:evil.example", "https:/evil.example", "/ /evil.example")
	if got := leaving(t, good); len(got) > 0 {
		t.Errorf("the judge finds that these leave: %+v", got)
	}
	all := returntargets.All()
	got := len(leaving(t, stepsTo(all...)))
	if got < outright {
		t.Errorf("%d of %d targets lead elsewhere as they are, want at least %d", got, len(all), outright)
	}
	t.Logf("%d of %d targets lead elsewhere as they are", got, len(all))
}

// RT4: where a browser is sent at the end of a sign-in and of a sign-out,
// whatever was requested.
func TestRT4_Locations(t *testing.T) {
	s := newTargetSite(t)
	var spellings []string
	for _, target := range returntargets.All() {
		spellings = append(spellings, target)
		if encoded := url.QueryEscape(target); encoded != target {
			spellings = append(spellings, encoded)
		}
	}
	for _, target := range spellings {
		s.signIn(t, target)
		s.address(t, target)
		s.setting(t, target)
	}
	for _, step := range leaving(t, s.steps) {
		t.Errorf("%.300s: %.100s leads to %.300q", step.Why, step.At, step.Location)
	}
	kinds := map[string]int{}
	for _, step := range s.steps {
		kind, _, _ := strings.Cut(step.Why, " ")
		kinds[kind]++
	}
	t.Logf("%d targets in %d spellings; Locations: %v", len(returntargets.All()), len(spellings), kinds)
	if kinds["sign-in"] < len(spellings)-mostTooLong || kinds["address"] == 0 || kinds["setting"] == 0 {
		t.Errorf("Locations: %v of %d spellings", kinds, len(spellings))
	}
}
