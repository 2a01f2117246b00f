package world

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// leastSecret is the length of the shortest secret in bytes.
const leastSecret = 8

// Mint remembers a secret, which must never show.
func (w *World) Mint(kind, value string) {
	if len(value) < leastSecret { // not one of our secrets, and shows by chance
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.secrets[value] = kind
}

// Show records texts that outsiders see.
func (w *World) Show(texts ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shown = append(w.shown, texts...)
}

// Secrets are the secrets minted so far, with their kinds.
func (w *World) Secrets() map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.secrets)
}

// Shown are the texts that outsiders have seen so far.
func (w *World) Shown() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.shown)
}

// noteRequest records a request and the secrets in it.
func (w *World) noteRequest(r *http.Request, body []byte) {
	form, _ := url.ParseQuery(string(body))
	for _, name := range []string{"code", "code_verifier", "refresh_token", "token", "client_secret", "ticket", "claim_token", "rpt"} {
		w.Mint(name, form.Get(name))
	}
	_, credentials, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	w.Mint("credentials", credentials)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, Call{r.Method, r.URL.Scheme + "://" + r.URL.Host + r.URL.Path, r.Header.Get("Authorization"), form, r.Header.Values("DPoP")})
}

// mostNoted is the size of answer that is searched for secrets. gatehouse
// accepts no larger one, and reading opserver.HugeAnswer is slow under the race
// detector.
const mostNoted = 2 << 20

// noteAnswer records the secrets of an answer.
func (w *World) noteAnswer(resp *http.Response) {
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil {
		resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), failing{err}))
	}
	var m map[string]any
	if len(body) > mostNoted || json.Unmarshal(body, &m) != nil {
		return
	}
	for _, name := range []string{"access_token", "refresh_token", "id_token", "ticket", "pct", "client_secret", "registration_access_token"} {
		if v, ok := m[name].(string); ok {
			w.Mint(name, v)
		}
	}
}

// failing is the end of a body that broke off.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// ticketOf finds the ticket of a UMA challenge.
var ticketOf = regexp.MustCompile(`ticket="[^"]*"`)

// NoteShown records what a browser, a proxy or a log of addresses sees of an
// answer, and records the cookies as secrets.
func (w *World) NoteShown(rec *httptest.ResponseRecorder) {
	w.T.Helper()
	for _, c := range rec.Result().Cookies() {
		w.Mint("cookie", c.Value)
		for part := range strings.SplitSeq(c.Value, ".") {
			w.Mint("cookie", part)
		}
	}
	location := rec.Header().Get("Location")
	if end := w.Endpoint("end_session_endpoint"); end != "" && strings.HasPrefix(location, end) { // the one place of an ID Token: id_token_hint
		u, err := url.Parse(location)
		w.Must(err)
		q := u.Query()
		q.Del("id_token_hint")
		q.Del("state") // it has a cookie of the same value
		u.RawQuery = q.Encode()
		location = u.String()
	}
	challenge := ticketOf.ReplaceAllString(strings.Join(rec.Header().Values("WWW-Authenticate"), " "), "") // the one place of a ticket
	w.Show("Location: "+location, rec.Body.String(), challenge)
}

// CheckSilence searches the log, the events, the pages and the addresses for
// every minted secret, and the cookies for verifiers and tokens (R13: no secret
// shows).
func (w *World) CheckSilence() {
	w.T.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	texts := append([]string{w.log.String()}, w.shown...)
	for _, e := range w.events {
		texts = append(texts, fmt.Sprintf("%+v %v", e, e.Err))
	}
	var cookies []string
	for value, kind := range w.secrets {
		if kind == "cookie" {
			cookies = append(cookies, value)
		}
	}
	inShown, inCookies := finds(texts, w.secrets), finds(cookies, w.secrets)
	for value, kind := range w.secrets {
		if where, found := inShown[value]; found {
			w.T.Errorf("a %s shows in %q", kind, where)
		}
		if _, found := inCookies[value]; found && kind != "cookie" {
			w.T.Errorf("a %s is in a cookie in clear", kind)
		}
	}
}

// finds returns those of the secrets that are in one of the texts, each with
// what stands before it. A world has thousands of secrets, so it compares only
// those that begin with the bytes at hand.
func finds(texts []string, secrets map[string]string) map[string]string {
	byStart := map[[leastSecret]byte][]string{}
	for value := range secrets {
		start := [leastSecret]byte([]byte(value[:leastSecret]))
		byStart[start] = append(byStart[start], value)
	}
	found := map[string]string{}
	for _, text := range texts {
		for at := 0; at+leastSecret <= len(text); at++ {
			for _, value := range byStart[[leastSecret]byte([]byte(text[at:at+leastSecret]))] {
				if strings.HasPrefix(text[at:], value) {
					found[value] = text[max(0, at-80):min(len(text), at+8)]
				}
			}
		}
	}
	return found
}
