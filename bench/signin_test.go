package bench

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"net/http"
	"strings"
	"testing"

	"example.com/gatehouse/bench/paired"
)

// The subjects of a sign-in: our own work, without the network, the provider
// and the browser.
const (
	stepStart    = "start: redirect to the provider"
	stepCode     = "callback: attempt, until the code is sent"
	stepIDToken  = "callback: token answer, ID Token"
	stepSession  = "callback: user info, session, redirect"
	stepCallback = "callback, all of it"
	stepFirst    = "first request of the session"
	wholeSignIn  = "whole sign-in"
	signature    = "one RS256 signature checked"
)

// watches measure the steps. The steps of the callback are divided by its two
// calls, which fetch the tokens and the user info.
type watches struct{ start, code, idToken, session, first *paired.Watch }

func newWatches() *watches {
	return &watches{new(paired.Watch), new(paired.Watch), new(paired.Watch), new(paired.Watch), new(paired.Watch)}
}

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

// serve answers one request while a watch runs. The next watch takes over after
// a call over the network.
func (f *flow) serve(h http.Handler, r *http.Request, want int, steps ...*paired.Watch) {
	f.w.header, f.w.code = http.Header{}, 0
	f.s.wire.begin(steps)
	h.ServeHTTP(&f.w, r)
	if left := f.s.wire.end(); left != 1 {
		f.t.Fatalf("%s: %d steps were not taken", r.URL.Path, left-1)
	}
	if f.w.code != want {
		f.t.Fatalf("%s: status %d, want %d", r.URL.Path, f.w.code, want)
	}
}

// cookie is our cookie from the last answer, as a request sends it.
func (f *flow) cookie() string {
	for _, line := range f.w.header["Set-Cookie"] {
		if pair, _, _ := strings.Cut(line, ";"); !strings.HasSuffix(pair, "=") {
			return pair
		}
	}
	f.t.Fatal("no cookie was set")
	return ""
}

// signIn returns the session cookie of another sign-in.
func (f *flow) signIn(w *watches) string {
	browser := f.s.signedIn[f.next%people].browser
	f.next++
	f.serve(f.start, get(f.s.base+"/notes/7?page=2", ""), http.StatusSeeOther, w.start)
	attempt := f.cookie()
	answer, err := browser.GetUntil(f.w.header.Get("Location"), f.s.base+callbackPath)
	if err != nil {
		f.t.Fatal(err)
	}
	f.serve(f.back, get(answer.Header.Get("Location"), attempt), http.StatusSeeOther, w.code, w.idToken, w.session)
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

// signInSubjects are the steps, all of them together, and a subject to compare
// them with.
func signInSubjects(t *testing.T, s *site) []paired.Subject {
	f := newFlow(t, s)
	steps := func(name string, choose func(s *watches, w *paired.Watch)) paired.Subject {
		return paired.Subject{Name: name, Run: func(w *paired.Watch, n int) {
			s := newWatches()
			choose(s, w)
			cookies := make([]string, 0, n)
			for range n {
				cookies = append(cookies, f.signIn(s))
			}
			f.first(s.first, cookies)
		}}
	}
	return []paired.Subject{
		{Name: stepStart, Run: func(w *paired.Watch, n int) {
			for range n {
				f.serve(f.start, get(f.s.base+"/notes/7?page=2", ""), http.StatusSeeOther, w)
			}
		}},
		steps(stepCode, func(s *watches, w *paired.Watch) { s.code = w }),
		steps(stepIDToken, func(s *watches, w *paired.Watch) { s.idToken = w }),
		steps(stepSession, func(s *watches, w *paired.Watch) { s.session = w }),
		steps(stepCallback, func(s *watches, w *paired.Watch) { s.code, s.idToken, s.session = w, w, w }),
		steps(stepFirst, func(s *watches, w *paired.Watch) { s.first = w }),
		steps(wholeSignIn, func(s *watches, w *paired.Watch) { *s = watches{w, w, w, w, w} }),
		signatureSubject(t),
	}
}

// signatureSubject is work that every sign-in has to do.
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
