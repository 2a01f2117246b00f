package webfinger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"sync"
	"time"

	"example.com/gatehouse/internal/bounded"
	"example.com/gatehouse/internal/flight"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/places"
)

const (
	// Timeout bounds the finding of one provider: names, connections, redirects
	// and the whole answer. A person waits for a page, for 5 s at most (WF5).
	Timeout = 4 * time.Second
	// maxJRD caps an answer, in bytes. Real ones have less than 4 KiB.
	maxJRD = 64 << 10
	// maxRedirects is how many redirects are followed. Hosts use one, from
	// example.org to www.example.org or to a service (RFC 7033 §4.2).
	maxRedirects = 3
	// pause is how long a host is left alone that failed, and maxPause how long at
	// most if it asks for more time.
	pause    = 10 * time.Second
	maxPause = time.Minute
	// maxCalls is how many hosts are asked at a time, and maxHostCalls how often
	// one of them. Strangers name the hosts; who comes when all places are taken
	// is turned away.
	maxCalls     = 64
	maxHostCalls = 16
	// maxFailed bounds the memory of hosts that failed, in bytes: some thousand.
	// Those of longest ago are forgotten first.
	maxFailed = 256 << 10
	// failedSize is roughly what one of them takes besides its error.
	failedSize = 200
)

// ErrBusy means that as many hosts are asked as may be. Nobody was asked.
var ErrBusy = errors.New("webfinger: all places are taken")

// Failure means that a host could not be asked, or not now.
type Failure struct {
	Host  string
	After time.Duration // when it may be asked again; more than 0
	Err   error         // what came of asking it
}

func (e *Failure) Error() string { return "webfinger: " + e.Host + ": " + e.Err.Error() }
func (e *Failure) Unwrap() error { return e.Err }

// Asker asks hosts about accounts. It is safe for concurrent use. Make it with
// [New].
type Asker struct {
	client *http.Client
	now    func() time.Time

	flights flight.Group[Account, []string]
	calls   places.Pool
	failed  *bounded.Memory[failed]

	mu    sync.Mutex
	hosts map[string]int // calls under way; guarded by mu
}

type failed struct {
	until time.Time
	err   error
}

// New makes an Asker. client follows no redirects and bounds what it reads, as
// [outbound.NewClient] makes it.
func New(client *http.Client, now func() time.Time) *Asker {
	return &Asker{client: client, now: now, failed: bounded.New[failed](maxFailed), hosts: map[string]int{}}
}

// Ask returns the issuers that the host of an account names for it. All who ask
// about an account at a time share one request. A host that failed is not asked
// again before its pause is over. The error is ErrNone, ErrAnswer, ErrBusy, a
// *Failure, or that of ctx.
func (a *Asker) Ask(ctx context.Context, account Account) ([]string, error) {
	if err := a.paused(account); err != nil {
		return nil, err
	}
	return a.flights.Do(ctx, account, Timeout, func(ctx context.Context) ([]string, error) { return a.ask(ctx, account) })
}

// Wait returns when nobody is asked any more, or with the error of ctx.
func (a *Asker) Wait(ctx context.Context) error { return a.flights.Wait(ctx) }

// paused returns what came of asking the host, or this host about this account,
// as long as nobody may ask again.
func (a *Asker) paused(account Account) error {
	now := a.now()
	for _, what := range []string{account.Host, account.Address()} {
		if f := a.failed.Get(bounded.KeyOf(what), now); f != nil {
			return &Failure{account.Host, f.until.Sub(now), f.err}
		}
	}
	return nil
}

func (a *Asker) ask(ctx context.Context, account Account) ([]string, error) {
	if err := a.paused(account); err != nil {
		return nil, err // it failed between the look and the flight
	}
	if !a.enter(account.Host) {
		return nil, ErrBusy
	}
	defer a.leave(account.Host)
	jrd, wait, err := a.fetch(ctx, account.Address())
	switch {
	case errors.Is(err, ErrNone):
		return nil, err // an answer like any other
	case err == nil:
		var issuers []string
		if issuers, err = Issuers(jrd); !errors.Is(err, ErrAnswer) {
			return issuers, err
		}
	}
	return nil, a.fail(account, wait, err)
}

// fail notes who failed: a host, or with an answer that is no good, what it says
// about one account.
func (a *Asker) fail(account Account, wait time.Duration, err error) error {
	now, what, host := a.now(), account.Host, account.Host
	if errors.Is(err, ErrAnswer) {
		what = account.Address()
	}
	wait = min(max(wait, pause), maxPause)
	a.failed.Put(bounded.KeyOf(what), failedSize+len(err.Error()), now, now.Add(wait), func(f *failed) { *f = failed{now.Add(wait), err} })
	return &Failure{host, wait, err}
}

func (a *Asker) enter(host string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.hosts[host] >= maxHostCalls || !a.calls.Try(maxCalls) {
		return false
	}
	a.hosts[host]++
	return true
}

func (a *Asker) leave(host string) {
	a.calls.Leave()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.hosts[host]--; a.hosts[host] == 0 {
		delete(a.hosts, host)
	}
}

// fetch returns the JRD at an address, or behind its redirects, and after an error
// for how long the host asks to be left alone.
func (a *Asker) fetch(ctx context.Context, address string) (jrd []byte, wait time.Duration, err error) {
	for range 1 + maxRedirects {
		resp, err := a.get(ctx, address)
		if err != nil {
			return nil, 0, err
		}
		next := ""
		switch resp.StatusCode {
		case http.StatusOK:
			jrd, err = read(resp)
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
			next, err = redirect(resp)
		default:
			status := &outbound.StatusError{Code: resp.StatusCode, RetryAfter: outbound.RetryAfter(resp.Header), Address: outbound.Address(address)}
			if wait, err = status.RetryAfter, status; status.Lasting() {
				err = fmt.Errorf("%w: %w", ErrNone, status)
			}
		}
		_ = resp.Body.Close() // it was read, or is not wanted
		if next == "" {
			return jrd, wait, err
		}
		address = next
	}
	return nil, 0, fmt.Errorf("%w: more than %d redirects", ErrAnswer, maxRedirects)
}

func (a *Asker) get(ctx context.Context, address string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(outbound.WithLimit(ctx, maxJRD), http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: an address that cannot be asked", ErrAnswer)
	}
	req.Header.Set("Accept", "application/jrd+json, application/json") // RFC 7033 §10.2
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, outbound.Redact(err)
	}
	return resp, nil
}

func read(resp *http.Response) ([]byte, error) {
	switch media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); {
	case err != nil, media != "application/jrd+json" && media != "application/json":
		return nil, fmt.Errorf("%w: its type is neither application/jrd+json nor application/json", ErrAnswer)
	}
	jrd, err := io.ReadAll(io.LimitReader(resp.Body, maxJRD+1))
	if err == nil && len(jrd) > maxJRD {
		err = &outbound.SizeError{Limit: maxJRD}
	}
	if errors.Is(err, outbound.ErrTooLarge) {
		err = fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return jrd, err
}

// redirect returns where an answer leads, which has to be https too (RFC 7033
// §4.2).
func redirect(resp *http.Response) (string, error) {
	base := resp.Request.URL
	next, err := base.Parse(resp.Header.Get("Location"))
	if err != nil || resp.Header.Get("Location") == "" {
		return "", fmt.Errorf("%w: a redirect to nowhere", ErrAnswer)
	}
	u := url.URL{Scheme: next.Scheme, User: next.User, Host: next.Host, Path: next.Path, RawPath: next.RawPath, RawQuery: next.RawQuery}
	address := u.String()
	if checked, err := outbound.CheckURL(address, false); err != nil {
		return "", fmt.Errorf("%w: a redirect that is not followed: %w", ErrAnswer, err)
	} else if checked.Scheme != "https" {
		return "", fmt.Errorf("%w: a redirect to http", ErrAnswer)
	}
	return address, nil
}
