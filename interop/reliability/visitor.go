package reliability

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"example.com/gatehouse/interop/reliability/site"
)

// Visitor is a browser of one person. It is safe for concurrent use, as tabs are.
type Visitor struct {
	User string
	SID  string // of the last sign-in, at the provider
	w    *World
	rely site.Relying
	p    *Provider

	mu      sync.Mutex
	cookies map[string]string
}

// Answer is what a visitor gets.
type Answer struct {
	Status   int
	Body     string
	Location string
	Warning  string
	Clears   bool // it takes a cookie away
	Took     time.Duration

	cookies []*http.Cookie
}

// takesAway reports whether a Set-Cookie removes a cookie.
func takesAway(c *http.Cookie) bool { return c.MaxAge < 0 || c.Value == "" }

// fetch sends a request and reads the whole answer.
func (f *Front) fetch(r *http.Request) (*Answer, error) {
	begin := time.Now()
	resp, err := f.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return nil, err
	}
	cookies := resp.Cookies()
	return &Answer{
		Status: resp.StatusCode, Body: string(body), Location: resp.Header.Get("Location"), Warning: resp.Header.Get("Warning"),
		Clears: slices.ContainsFunc(cookies, takesAway), Took: time.Since(begin), cookies: cookies,
	}, nil
}

// meets says for whom an answer was made.
type verdict int

// The verdicts about an answer.
const (
	right     verdict = iota // for its visitor
	wrong                    // for another person
	anonymous                // for nobody: it asks to sign in
	trouble                  // 503
	broken                   // another 5xx, or no answer
	odd                      // anything else
)

// judge compares an answer of a page with the person who asked for it.
func (v *Visitor) judge(a *Answer, err error) verdict {
	switch {
	case err != nil:
		return broken
	case a.Status == http.StatusOK && a.Body == "user="+v.User:
		return right
	case a.Status == http.StatusOK && strings.HasPrefix(a.Body, "user="):
		return wrong
	case a.Status >= 300 && a.Status < 400 || a.Status == http.StatusUnauthorized:
		return anonymous
	case a.Status == http.StatusServiceUnavailable:
		return trouble
	case a.Status >= 500:
		return broken
	}
	return odd
}

// Visitor makes a person who has a browser. Relying is the number of the relying
// party.
func (w *World) Visitor(user string, relying int) (*Visitor, error) {
	rely := w.config.Relying[relying]
	for _, p := range w.Providers {
		if p.Issuer() == rely.Issuer {
			if !p.HasUser(user) {
				if err := p.AddUser(user, password, nil); err != nil {
					return nil, err
				}
			}
			return &Visitor{User: user, w: w, rely: rely, p: p, cookies: map[string]string{}}, nil
		}
	}
	return nil, errors.New("no provider has that relying party")
}

// Clone is the same browser at this moment.
func (v *Visitor) Clone() *Visitor {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := &Visitor{User: v.User, SID: v.SID, w: v.w, rely: v.rely, p: v.p, cookies: map[string]string{}}
	for name, value := range v.cookies {
		c.cookies[name] = value
	}
	return c
}

// Get opens a page, at the replica whose turn it is if at is nil.
func (v *Visitor) Get(ctx context.Context, at *Replica, path string) (*Answer, error) {
	return v.send(ctx, at, http.MethodGet, v.rely.Path+path)
}

// Post submits an empty form.
func (v *Visitor) Post(ctx context.Context, at *Replica, path string) (*Answer, error) {
	return v.send(ctx, at, http.MethodPost, v.rely.Path+path)
}

// answerPatience bounds an answer. It only finds what hangs.
const answerPatience = time.Minute

// send sends a request as the front does: if a replica takes no connection, or
// closes one before it has answered a GET, another one gets the request.
func (v *Visitor) send(ctx context.Context, at *Replica, method, path string) (a *Answer, err error) {
	for range 5 {
		one := at
		if one == nil {
			one = v.w.Front.next()
		}
		if one == nil {
			return nil, errNoReplica
		}
		a, err = v.ask(ctx, one, method, path)
		refused := errors.Is(err, syscall.ECONNREFUSED)
		closed := method == http.MethodGet && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET))
		if err == nil || at != nil || !refused && !closed {
			return a, err
		}
	}
	return a, err
}

func (v *Visitor) ask(ctx context.Context, at *Replica, method, path string) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+at.Addr+path, nil)
	if err != nil {
		return nil, err
	}
	r.Host = strings.TrimPrefix(site.Public, "https://")
	r.Header = http.Header{
		"Accept": {"text/html"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}, "Sec-Fetch-Site": {"same-origin"},
	}
	if method == http.MethodPost {
		r.Header.Set("Origin", site.Public)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	v.mu.Lock()
	for name, value := range v.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	v.mu.Unlock()
	a, err := v.w.Front.fetch(r)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range a.cookies {
		if takesAway(c) {
			delete(v.cookies, c.Name)
			continue
		}
		v.cookies[c.Name] = c.Value
	}
	return a, nil
}

// Begin asks for the page without being signed in, and returns where the browser
// is sent: the provider.
func (v *Visitor) Begin(ctx context.Context, at *Replica) (authorize string, err error) {
	a, err := v.Get(ctx, at, site.Page)
	if err != nil {
		return "", err
	}
	if a.Status/100 != 3 || !strings.HasPrefix(a.Location, v.rely.Issuer) {
		return "", &answerError{"no sign-in begins", a}
	}
	return a.Location, nil
}

// Approve signs the person in at the provider. It returns the code, and the path
// of the callback.
func (v *Visitor) Approve(ctx context.Context, authorize string) (code, callback string, err error) {
	to, err := v.p.approve(ctx, authorize, v.User)
	if err != nil {
		return "", "", err
	}
	u, err := url.Parse(to)
	if err != nil {
		return "", "", err
	}
	return u.Query().Get("code"), strings.TrimPrefix(to, site.Public+v.rely.Path), nil
}

// Finish opens the callback.
func (v *Visitor) Finish(ctx context.Context, at *Replica, callback string) error {
	a, err := v.Get(ctx, at, callback)
	if err != nil {
		return err
	}
	if a.Status/100 != 3 || !strings.HasSuffix(a.Location, site.Page) {
		return &answerError{"the callback does not lead to the page", a}
	}
	return nil
}

// SignIn signs the person in, and returns the code that was redeemed.
func (v *Visitor) SignIn(ctx context.Context) (code string, err error) {
	authorize, err := v.Begin(ctx, nil)
	if err != nil {
		return "", err
	}
	code, callback, err := v.Approve(ctx, authorize)
	if err != nil {
		return "", err
	}
	err = v.Finish(ctx, nil, callback)
	v.SID = v.p.gaveTo(code).sid
	return code, err
}

// insist signs the person in, and tries again if the site was too slow: what is
// measured comes later.
func (v *Visitor) insist(ctx context.Context) (code string, err error) {
	for range insistTries {
		if code, err = v.SignIn(ctx); err == nil || ctx.Err() != nil {
			return code, err
		}
		if err := pause(ctx, time.Second); err != nil {
			return "", err
		}
	}
	return code, err
}

// insistTries are enough for a machine that others use too.
const insistTries = 5

// answerError is an answer that was not expected.
type answerError struct {
	what string
	a    *Answer
}

// Error says what the answer was, without the query of its address.
func (e *answerError) Error() string {
	to, _, _ := strings.Cut(e.a.Location, "?")
	return fmt.Sprintf("%s: %d, to %q: %.200s", e.what, e.a.Status, to, e.a.Body)
}

// signInAll signs n people in, one visitor each, with some at a time.
func (w *World) signInAll(ctx context.Context, n, relying int, name string) ([]*Visitor, error) {
	all := make([]*Visitor, n)
	err := parallel(ctx, n, signInsAtOnce, func(ctx context.Context, i int) error {
		v, err := w.Visitor(fmt.Sprintf("%s%d", name, i), relying)
		if err != nil {
			return err
		}
		all[i] = v
		_, err = v.insist(ctx)
		return err
	})
	return all, err
}

// signInsAtOnce keeps two cores busy without long queues.
const signInsAtOnce = 16
