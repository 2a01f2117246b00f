package reliability

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"example.com/gatehouse/interop/reliability/site"
)

// outage is a way in which a provider is away.
type outage struct {
	name  string
	begin func(*Provider) error
	end   func(context.Context, *Provider) error
}

func outages() []outage {
	toxic := func(name, kind string, attributes map[string]any) outage {
		return outage{name, func(p *Provider) error { return p.Toxic.Add(kind, attributes) },
			func(ctx context.Context, p *Provider) error { return p.Toxic.Remove(ctx, kind) }}
	}
	return []outage{
		{"down", func(p *Provider) error { p.Toxic.Down(); return nil }, func(ctx context.Context, p *Provider) error { return p.Toxic.Up(ctx) }},
		toxic("no answer", "timeout", map[string]any{"timeout": 0}),
		toxic("latency 30 s", "latency", map[string]any{"latency": 30_000}),
		toxic("reset", "reset_peer", map[string]any{"timeout": 0}),
	}
}

// awayPerSecond is how many requests a second come for each provider, half of
// them with a session and half with a token.
const awayPerSecond = 50

// awayFew is how many answers of a kind the p99 is taken of, again and again: two
// and a half seconds of them. Each p99 is the third slowest answer.
const awayFew = 250

// providerAway is G5: four providers are away in four ways for 10 minutes, all
// at the same time, so that they disturb each other too.
func providerAway(ctx context.Context, r *Run) error {
	ways := outages()
	w, err := r.build(ctx, setting{store: onRedis, replicas: 2, providers: len(ways), api: true})
	if err != nil {
		return err
	}
	defer w.Close()
	a := &away{r: r, w: w, ways: ways}
	if err := a.prepare(ctx); err != nil {
		return err
	}
	before, err := a.normal(ctx)
	if err != nil {
		return err
	}
	for i, way := range ways {
		if err := way.begin(w.Providers[i]); err != nil {
			return err
		}
	}
	begin := time.Now()
	cold, err := w.Start(ctx, w.program) // has never reached a provider
	if err != nil {
		return err
	}
	w.Front.remove(cold)
	stop := a.strangers(ctx, cold)
	defer stop()
	during, err := a.live(ctx, r.during(10*time.Minute, 30*time.Second))
	if err != nil {
		return err
	}
	stop()
	r.show("away for", time.Since(begin).Round(time.Second).Seconds(), "s")
	for i, way := range ways {
		if err := way.end(ctx, w.Providers[i]); err != nil {
			return err
		}
	}
	after, err := a.normal(ctx)
	if err != nil {
		return err
	}
	before.join(after)
	for i, kind := range []string{"session", "JWT"} {
		usual := before.took[i].typical(99, awayFew)
		r.show(kind+" p99 normally", milliseconds(usual), "ms")
		r.took(kind+" p99 with the providers away", during.took[i].typical(99, awayFew), usual*3/2)
		r.show(kind+" p99 of the whole time, normally", milliseconds(before.took[i].percentile(99)), "ms")
		r.show(kind+" p99 of the whole time away", milliseconds(during.took[i].percentile(99)), "ms")
	}
	r.count("live answers that are not right", int(before.bad.Load()+during.bad.Load()), Exactly, 0)
	a.report()
	return nil
}

// A stranger is a request that needs the provider.
type stranger struct {
	name    string
	limit   time.Duration
	percent float64 // of the answers keep the limit
	took    latencies
	odd     string // the first answer that is not as it should be
}

// away measures one G5.
type away struct {
	r    *Run
	w    *World
	ways []outage

	visitors [][]*Visitor // by provider
	tokens   []string     // JWTs, by provider
	held     []heldLogin  // by provider
	figures  []*stranger
}

func (a *away) prepare(ctx context.Context) error {
	for i, p := range a.w.Providers {
		visitors, err := a.w.signInAll(ctx, 20, i, "visitor")
		if err != nil {
			return err
		}
		a.visitors = append(a.visitors, visitors)
		token, err := p.Token(map[string]any{"sub": "service", "aud": site.Audience})
		if err != nil {
			return err
		}
		a.tokens = append(a.tokens, token)
		v, err := a.w.Visitor("held", i)
		if err != nil {
			return err
		}
		authorize, err := v.Begin(ctx, nil)
		if err != nil {
			return err
		}
		_, callback, err := v.Approve(ctx, authorize)
		if err != nil {
			return err
		}
		a.held = append(a.held, heldLogin{v, callback})
		for _, one := range a.w.Front.Replicas() { // the resource is registered, and the keys are known
			if got, err := a.ask(ctx, one, i, site.Album, ""); err != nil || got.Status != http.StatusUnauthorized {
				return fmt.Errorf("album: %v %w", got, err)
			}
			if got, err := a.ask(ctx, one, i, site.JWT, token); err != nil || got.Status != http.StatusOK {
				return fmt.Errorf("JWT: %v %w", got, err)
			}
		}
	}
	return nil
}

// ask sends a request to the API of a provider.
func (a *away) ask(ctx context.Context, at *Replica, provider int, path, token string) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.Addr+a.w.config.Relying[provider].Path+path, nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return a.w.Front.fetch(r)
}

// liveTimes are those of answers that need no provider.
type liveTimes struct {
	took [2]latencies // session, JWT
	bad  counter
}

func (l *liveTimes) join(other *liveTimes) {
	for i := range l.took {
		for _, d := range other.took[i].all {
			l.took[i].add(d)
		}
	}
	l.bad.Add(other.bad.Load())
}

// normal is live while all providers are there. Requests that need one come
// besides, as many as later, so that only the outage makes a difference.
func (a *away) normal(ctx context.Context) (*liveTimes, error) {
	others, stop := context.WithCancel(ctx)
	var company sync.WaitGroup
	for i := range a.ways {
		for _, path := range []string{site.Page, site.Opaque, site.Album} {
			token := ""
			if path == site.Opaque {
				token = "a token that nobody has seen"
			}
			company.Go(func() { a.repeat(others, i, path, token, &stranger{}, 0, "") })
		}
	}
	l, err := a.live(ctx, a.r.during(time.Minute, 5*time.Second))
	stop()
	company.Wait()
	return l, err
}

// live sends requests that need no provider, for a time.
func (a *away) live(ctx context.Context, during time.Duration) (*liveTimes, error) {
	l := &liveTimes{}
	stop := steady(ctx, awayPerSecond*len(a.ways), func(ctx context.Context, i int) {
		provider, kind := i%len(a.ways), i/len(a.ways)%2
		at := a.w.Front.next()
		var got *Answer
		var err error
		good := false
		if kind == 0 {
			v := a.visitors[provider][i/len(a.ways)/2%len(a.visitors[provider])]
			got, err = v.Get(ctx, at, site.Page)
			good = v.judge(got, err) == right
		} else {
			got, err = a.ask(ctx, at, provider, site.JWT, a.tokens[provider])
			good = err == nil && got.Status == http.StatusOK && got.Body == "user=service"
		}
		if !good {
			l.bad.Add(1)
			a.r.note("G5: %v %v", got, err)
			return
		}
		l.took[kind].add(got.Took)
	})
	err := pause(ctx, during)
	stop()
	return l, err
}

const (
	noSessionLimit = time.Second
	breakerLimit   = 50 * time.Millisecond
	apiLimit       = 2 * time.Second
	callbackLimit  = 10 * time.Second
)

// strangers sends requests that need a provider, until stop is called.
func (a *away) strangers(ctx context.Context, cold *Replica) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	for _, way := range a.ways {
		for _, one := range []*stranger{
			{name: "no session, first fetch", limit: noSessionLimit, percent: 100}, {name: "no session, p99 afterwards", limit: breakerLimit, percent: 99},
			{name: "callback", limit: callbackLimit, percent: 100}, {name: "introspection", limit: apiLimit, percent: 100}, {name: "UMA", limit: apiLimit, percent: 100},
		} {
			one.name = way.name + ": " + one.name
			a.figures = append(a.figures, one)
		}
	}
	go func() {
		defer close(done)
		_ = parallel(ctx, len(a.ways)*4, len(a.ways)*4, func(ctx context.Context, n int) error {
			provider, kind := n/4, n%4
			figures := a.figures[provider*5 : provider*5+5]
			switch kind {
			case 0:
				a.noSession(ctx, cold, provider, figures[0], figures[1])
			case 1:
				h := a.held[provider]
				got, err := h.v.Get(ctx, nil, h.callback)
				figures[2].add(got, err, http.StatusServiceUnavailable, "")
			case 2:
				a.repeat(ctx, provider, site.Opaque, "a token that nobody has seen", figures[3], http.StatusServiceUnavailable, "")
			case 3:
				a.repeat(ctx, provider, site.Album, "", figures[4], http.StatusForbidden, `199 - "UMA Authorization Server Unreachable"`)
			}
			return nil
		})
	}()
	return func() { cancel(); <-done }
}

// noSession asks a replica that knows nothing of the provider yet.
func (a *away) noSession(ctx context.Context, cold *Replica, provider int, first, open *stranger) {
	v, err := a.w.Visitor("stranger", provider)
	if err != nil {
		first.odd = err.Error()
		return
	}
	figure := first
	for begin := time.Now(); ctx.Err() == nil; {
		got, err := v.Clone().Get(ctx, cold, site.Page)
		if ctx.Err() != nil {
			return
		}
		figure.add(got, err, http.StatusServiceUnavailable, "")
		if time.Since(begin) > callbackLimit+time.Second { // the first fetch has failed
			figure = open
		}
		_ = pause(ctx, 200*time.Millisecond)
	}
}

func (a *away) repeat(ctx context.Context, provider int, path, token string, s *stranger, status int, warning string) {
	for i := 0; ctx.Err() == nil; i++ {
		said := token
		if token != "" {
			said = fmt.Sprintf("token%d", i)
		}
		got, err := a.ask(ctx, a.w.Front.next(), provider, path, said)
		if ctx.Err() == nil {
			s.add(got, err, status, warning)
		}
		_ = pause(ctx, 200*time.Millisecond)
	}
}

func (s *stranger) add(got *Answer, err error, status int, warning string) {
	switch {
	case err != nil:
		s.odd = err.Error()
	case got.Status != status || got.Warning != warning:
		s.odd = fmt.Sprintf("%d %q", got.Status, got.Warning)
		s.took.add(got.Took)
	default:
		s.took.add(got.Took)
	}
}

// report writes down the slowest answer of each kind.
func (a *away) report() {
	odd := 0
	for _, s := range a.figures {
		if s.odd != "" {
			a.r.note("G5 %s: %s", s.name, s.odd)
			odd++
		}
		a.r.took(s.name, s.took.percentile(s.percent), s.limit)
	}
	a.r.count("kinds of answers that are not as they should be", odd, Exactly, 0)
}
