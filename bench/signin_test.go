package bench

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"net/http"
	"strings"
	"testing"

	"example.com/gatehouse/internal/paired"
)

// The subjects of a sign-in: our own work in it, without the network, the
// provider and the browser.
const (
	stepStart    = "start: redirect to the provider"
	stepCallback = "callback: code, ID Token, user info, session"
	stepFirst    = "first request of the session"
	wholeSignIn  = "whole sign-in"
	signature    = "one RS256 signature checked"
)

func signInLimits() []paired.Limit {
	return []paired.Limit{{Subject: wholeSignIn, Peer: signature, AtMost: 12}}
}

// flow goes through sign-ins step by step, each person in turn.
type flow struct {
	t     *testing.T
	s     *site
	start http.Handler
	back  http.Handler
	w     writer
	next  int
}

func newFlow(t *testing.T, s *site) *flow {
	nothing := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	return &flow{t: t, s: s, start: s.login.RequireLogin(nothing), back: s.login.CallbackHandler(), w: writer{header: http.Header{}}}
}

// serve answers one request while the watch runs.
func (f *flow) serve(w *paired.Watch, h http.Handler, r *http.Request, want int) {
	f.w.header, f.w.code = http.Header{}, 0
	f.s.wire.setWatch(w) // which halts on the network
	w.Start()
	h.ServeHTTP(&f.w, r)
	w.Stop()
	f.s.wire.setWatch(nil)
	if f.w.code != want {
		f.t.Fatalf("%s: status %d, want %d", r.URL.Path, f.w.code, want)
	}
}

// cookie is the one of ours that the last answer set, as a request has it.
func (f *flow) cookie() string {
	for _, line := range f.w.header["Set-Cookie"] {
		if pair, _, _ := strings.Cut(line, ";"); !strings.HasSuffix(pair, "=") {
			return pair
		}
	}
	f.t.Fatal("no cookie was set")
	return ""
}

// signIn gives the session cookie of one more sign-in. start and callback take
// the time of the steps.
func (f *flow) signIn(start, callback *paired.Watch) string {
	browser := f.s.signedIn[f.next%people].browser
	f.next++
	f.serve(start, f.start, get(f.s.base+"/notes/7?page=2", ""), http.StatusSeeOther)
	attempt := f.cookie()
	answer, err := browser.GetUntil(f.w.header.Get("Location"), f.s.base+callbackPath)
	if err != nil {
		f.t.Fatal(err)
	}
	f.serve(callback, f.back, get(answer.Header.Get("Location"), attempt), http.StatusSeeOther)
	return f.cookie()
}

// first makes the first request of each session.
func (f *flow) first(w *paired.Watch, cookies []string) {
	requests := make([]*http.Request, 0, len(cookies))
	for _, c := range cookies {
		requests = append(requests, get(f.s.base+"/notes/7?page=2", c))
	}
	f.w.header, f.w.code = http.Header{}, 0
	w.Start()
	for _, r := range requests {
		clear(f.w.header)
		f.start.ServeHTTP(&f.w, r)
	}
	w.Stop()
	if f.w.code != 0 {
		f.t.Fatalf("a first request had status %d", f.w.code)
	}
}

// signInSubjects are the steps, all of them, and a measure to hold them against.
func signInSubjects(t *testing.T, s *site) []paired.Subject {
	f := newFlow(t, s)
	steps := func(name string, run func(w *paired.Watch) (start, callback, first *paired.Watch)) paired.Subject {
		return paired.Subject{Name: name, Run: func(w *paired.Watch, n int) {
			start, callback, first := run(w)
			cookies := make([]string, 0, n)
			for range n {
				cookies = append(cookies, f.signIn(start, callback))
			}
			f.first(first, cookies)
		}}
	}
	aside := func() *paired.Watch { return new(paired.Watch) }
	return []paired.Subject{
		{Name: stepStart, Run: func(w *paired.Watch, n int) {
			for range n {
				f.serve(w, f.start, get(f.s.base+"/notes/7?page=2", ""), http.StatusSeeOther)
			}
		}},
		steps(stepCallback, func(w *paired.Watch) (start, callback, first *paired.Watch) { return aside(), w, aside() }),
		steps(stepFirst, func(w *paired.Watch) (start, callback, first *paired.Watch) { return aside(), aside(), w }),
		steps(wholeSignIn, func(w *paired.Watch) (start, callback, first *paired.Watch) { return w, w, w }),
		signatureSubject(t),
	}
}

// signatureSubject is what no sign-in can do without.
func signatureSubject(t *testing.T) paired.Subject {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	message := make([]byte, 1000) // of an ID Token
	sum := sha256.Sum256(message)
	signed, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return paired.Loop(signature, func() {
		sum := sha256.Sum256(message)
		if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], signed); err != nil {
			t.Error(err)
		}
	})
}
