package bounds

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"time"
)

// providerName is the issuer of the provider that is asked without a network.
const providerName = "https://id.example.org"

// measureRequests measures every kind of request.
func measureRequests(e Effort) ([]Figure, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	op := &provider{issuer: providerName, key: key, now: time.Now}
	s, err := newService(op, inside{op})
	if err != nil {
		return nil, err
	}
	session, err := s.signIn() // to learn the name of its cookie, and to have fetched the keys
	if err != nil {
		return nil, err
	}
	floor, _, err := requestCase{kind: "nothing", make: func() (shot, error) {
		return shot{nothing, navigate("/")}, nil
	}}.fire(e)
	if err != nil {
		return nil, err
	}
	cases, err := shapeCases(s, session.Name)
	if err != nil {
		return nil, err
	}
	var figures []Figure
	for _, c := range slices.Concat(cases, callbackCases(s), bearerCases(s), challengeCases(s)) {
		got, status, err := c.fire(e)
		if err != nil {
			return nil, err
		}
		figures = append(figures, judgeRequest(c, status, cost{max(0, got.cpu-floor.cpu), max(0, got.heap-floor.heap)}))
	}
	return figures, s.close()
}

func judgeRequest(c requestCase, status int, got cost) Figure {
	f := Figure{Kind: c.kind, Result: fmt.Sprint(status), CPU: got.cpu, Heap: got.heap}
	if got.cpu > MaxCPU {
		f.Over = append(f.Over, fmt.Sprintf("%v of CPU, %v allowed", got.cpu, MaxCPU))
	}
	if got.heap > MaxHeap {
		f.Over = append(f.Over, fmt.Sprintf("%d KiB of heap, %d KiB allowed", got.heap>>10, MaxHeap>>10))
	}
	if len(c.want) > 0 && !slices.Contains(c.want, status) || status >= http.StatusInternalServerError {
		f.Over = append(f.Over, fmt.Sprintf("status %d, want one of %v", status, c.want))
	}
	return f
}

// junk is text that nobody issued, different every time.
type junk struct{ n int }

func (j *junk) next(size int) string {
	j.n++
	number := fmt.Sprint(j.n)
	return strings.Repeat("A", size-len(number)) + number
}

// repeated joins n copies.
func repeated(n int, one, between string) string {
	return strings.TrimSuffix(strings.Repeat(one+between, n), between)
}

// zeros is a body without end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// shapes change a request into one that is larger than honest ones (RL2, large
// requests) or has cookies that we did not set (CK6, hostile cookies). The
// session's cookie has the given name; attempts are cookies of sign-ins that
// have begun. net/http accepts 1 MiB of header and 3,000 cookies.
func shapes(session string, attempts []*http.Cookie) map[string]func(*http.Request) *http.Request {
	header := func(name, value string) func(*http.Request) *http.Request {
		return func(r *http.Request) *http.Request { r.Header.Set(name, value); return r }
	}
	body := func(length int64) func(*http.Request) *http.Request {
		return func(r *http.Request) *http.Request {
			post := httptest.NewRequest(http.MethodPost, r.URL.String(), io.LimitReader(zeros{}, 10<<20))
			post.ContentLength, post.Header = length, r.Header
			post.Header.Set("Sec-Fetch-Site", "same-origin")
			post.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			return post
		}
	}
	// As net/http reads it: the original text stays in RequestURI.
	target := func(path, query string) func(*http.Request) *http.Request {
		return func(r *http.Request) *http.Request {
			r.URL.Path, r.URL.RawPath, r.URL.RawQuery = path, "", query
			r.RequestURI = path
			if query != "" {
				r.RequestURI += "?" + query
			}
			return r
		}
	}
	const long = 1 << 20
	valid, spoilt := "", ""
	for _, a := range attempts {
		valid += a.Name + "=" + a.Value + "; "
		spoilt += a.Name + "=" + strings.Repeat("A", len(a.Value)) + "; "
	}
	return map[string]func(*http.Request) *http.Request{
		"as a browser opens it":         func(r *http.Request) *http.Request { return r },
		"as a script asks it":           header("Sec-Fetch-Mode", "cors"),
		"10 MiB body":                   body(10 << 20),
		"10 MiB body of unknown length": body(-1),
		"40 KiB header":                 header("X-Long", strings.Repeat("x", 40<<10)),
		"2,000 cookies":                 header("Cookie", repeated(2000, "some-cookie=some-value", "; ")),
		"2,000 header lines": func(r *http.Request) *http.Request {
			for i := range 2000 {
				r.Header.Set(fmt.Sprint("X-Line-", i), "some value")
			}
			return r
		},
		"2,999 cookies of the session":   header("Cookie", repeated(2999, session+"="+strings.Repeat("A", 86), "; ")),
		"900 KiB of cookies":             header("Cookie", repeated(180<<10, "a=b", "; ")),
		"session cookie of 8 KiB":        header("Cookie", session+"="+strings.Repeat("A", 8<<10)),
		"session cookie of 900 KiB":      header("Cookie", session+"="+strings.Repeat("A", 900<<10)),
		"session cookie that looks good": header("Cookie", session+"="+strings.Repeat("A", 86)),
		"cookies of control bytes":       header("Cookie", session+"=\x80\xff\x00;\";=; ;"),
		"60 sign-ins under way":          header("Cookie", valid),
		"60 spoilt sign-ins under way":   header("Cookie", spoilt),
		"1 MiB path":                     target("/albums/"+strings.Repeat("a", long), ""),
		"1 MiB path of quotes":           target("/albums/"+strings.Repeat(`"`, long), ""),
		"1 MiB path of bytes":            target("/albums/"+strings.Repeat("\xff", long), ""),
		"1 MiB query":                    target("/albums/", strings.Repeat("a", long)),
		"900 KiB Referer":                header("Referer", "https://notes.test/"+strings.Repeat("a", 900<<10)),
		"20,000 query parameters": func(r *http.Request) *http.Request {
			r.URL.RawQuery = repeated(20_000, "a=b", "&")
			return r
		},
		"20,000 return_to": func(r *http.Request) *http.Request {
			r.URL.RawQuery = repeated(20_000, "return_to=/a", "&")
			return r
		},
	}
}

// shapeCases applies all shapes to all handlers.
func shapeCases(s *service, session string) ([]requestCase, error) {
	var attempts []*http.Cookie
	for range 60 {
		a, err := s.begin()
		if err != nil {
			return nil, err
		}
		attempts = append(attempts, a.cookie)
	}
	var cases []requestCase
	for door := range s.doors {
		for name, change := range shapes(session, attempts) {
			cases = append(cases, requestCase{kind: door + ": " + name, make: func() (shot, error) {
				return shot{s.doors[door], change(navigate(pathOf(door)))}, nil
			}})
		}
	}
	return cases, nil
}

// callbackCases are answers that no provider gave, with and without a sign-in
// under way.
func callbackCases(s *service) []requestCase {
	door := s.doors["CallbackHandler"]
	with := func(name string, query func(state string) url.Values) requestCase {
		return requestCase{kind: "CallbackHandler, sign-in under way: " + name, make: func() (shot, error) {
			a, err := s.begin()
			if err != nil {
				return shot{}, err
			}
			r := navigate("/auth/callback?" + query(a.query.Get("state")).Encode())
			r.AddCookie(a.cookie)
			return shot{door, r}, nil
		}, want: []int{http.StatusBadRequest, http.StatusForbidden}}
	}
	return []requestCase{
		{kind: "CallbackHandler: code and state of junk", make: func() (shot, error) {
			return shot{door, navigate("/auth/callback?code=junk&state=" + strings.Repeat("A", 22))}, nil
		}, want: []int{http.StatusBadRequest}},
		{kind: "CallbackHandler: 15 KiB of state", make: func() (shot, error) {
			return shot{door, navigate("/auth/callback?code=junk&state=" + strings.Repeat("%41", 5<<10))}, nil
		}, want: []int{http.StatusBadRequest}},
		with("code of junk", func(state string) url.Values { return url.Values{"state": {state}, "code": {"junk"}} }),
		with("code of 8 KiB", func(state string) url.Values {
			return url.Values{"state": {state}, "code": {strings.Repeat("A", 8<<10)}}
		}),
		with("code of 15 KiB", func(state string) url.Values {
			return url.Values{"state": {state}, "code": {strings.Repeat("A", 15<<10)}}
		}),
		with("two codes", func(state string) url.Values { return url.Values{"state": {state}, "code": {"one", "two"}} }),
		with("error of 8 KiB", func(state string) url.Values {
			return url.Values{"state": {state}, "error": {strings.Repeat("<", 5<<10)}}
		}),
		with("issuer of junk", func(state string) url.Values {
			return url.Values{"state": {state}, "code": {"junk"}, "iss": {"https://evil.example"}}
		}),
		{kind: "LoginHandler: return_to of 15 KiB", make: func() (shot, error) {
			return shot{s.doors["LoginHandler"], navigate("/auth/login?return_to=" + strings.Repeat("%2F", 5<<10))}, nil
		}},
	}
}

// bearerCases are requests to an API with tokens that nobody issued (JW16, odd
// shapes of tokens). Each token is new, because facts about tokens are
// remembered.
func bearerCases(s *service) []requestCase {
	var j junk
	header := encode([]byte(`{"alg":"RS256","kid":"one","typ":"JWT"}`))
	tokens := map[string]func() string{
		"token of 40 letters":          func() string { return j.next(40) },
		"token of 16 KiB":              func() string { return j.next(16 << 10) },
		"token of 16 KiB like a JWT":   func() string { return header + "." + j.next(15<<10) + "." + j.next(342) },
		"1 MiB of dots":                func() string { return strings.Repeat(".", 1<<20) },
		"1 MiB of letters":             func() string { return strings.Repeat("A", 1<<20) },
		"1 MiB of letters, three dots": func() string { return repeated(3, strings.Repeat("A", 350_000), ".") },
		"header segment of 300 KiB":    func() string { return strings.Repeat("A", 300<<10) + ".e30.AAAA" },
		"two parts":                    func() string { return header + ".e30" },
		"1 MiB of spaces":              func() string { return strings.Repeat(" ", 1<<20) },
		"two tokens":                   func() string { return j.next(40) + " " + j.next(40) },
	}
	var cases []requestCase
	for _, door := range []string{"UMAProtect", "Either", "RequireLogin"} {
		for name, token := range tokens {
			cases = append(cases, requestCase{kind: door + ": " + name, make: func() (shot, error) {
				r := httptest.NewRequest(http.MethodGet, site+"/album", nil)
				r.Header.Set("Authorization", "Bearer "+token())
				return shot{s.doors[door], r}, nil
			}, want: []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestHeaderFieldsTooLarge}})
		}
		cases = append(cases,
			requestCase{kind: door + ": no token", make: func() (shot, error) {
				return shot{s.doors[door], httptest.NewRequest(http.MethodGet, site+"/album", nil)}, nil
			}, want: []int{http.StatusUnauthorized}},
			requestCase{kind: door + ": 1 MiB of Basic", make: func() (shot, error) {
				r := httptest.NewRequest(http.MethodGet, site+"/album", nil)
				r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString(make([]byte, 3<<18)))
				return shot{s.doors[door], r}, nil
			}},
			requestCase{kind: door + ": 1,000 Authorization lines", make: func() (shot, error) {
				r := httptest.NewRequest(http.MethodGet, site+"/album", nil)
				for range 1000 {
					r.Header.Add("Authorization", "Bearer "+j.next(40))
				}
				return shot{s.doors[door], r}, nil
			}},
		)
	}
	return cases
}
