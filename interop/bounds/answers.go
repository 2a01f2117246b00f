package bounds

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"example.com/gatehouse"
)

// An answerCase is an endpoint of a provider. It says how much of one answer
// may be read (docs/limits.md), and what makes us call the endpoint. Ask
// returns how the flood showed.
type answerCase struct {
	endpoint string
	most     int64
	ask      func(*service) error
}

func answerCases() []answerCase {
	register := func(s *service) error {
		_, err := s.rs.Register(context.Background(), album)
		return err
	}
	signIn := func(s *service) error {
		_, err := s.signIn()
		return err
	}
	return []answerCase{
		{discovery, 512 << 10, func(s *service) error {
			_, err := s.provider.Metadata(context.Background())
			return err
		}},
		{umaDiscovery, 512 << 10, register},
		{keySet, 512 << 10, signIn},
		{codeGrant, 1 << 20, signIn},
		{refreshGrant, 1 << 20, (*service).refresh},
		{clientGrant, 1 << 20, register},
		{ticketGrant, 1 << 20, (*service).exchange},
		{userInfo, 32 << 10, signIn},
		{introspect, 256 << 10, (*service).showToken},
		{permission, 1 << 20, (*service).askTicket},
		{listing, 1 << 20, register},
		{registration, 1 << 20, register},
		{revocation, 1 << 20, (*service).revoke},
	}
}

// refresh uses the access token of a session after it has expired.
func (s *service) refresh() error {
	session, err := s.signIn()
	if err != nil {
		return fmt.Errorf("before the flood: %w", err)
	}
	s.ahead.Add(int64(6 * time.Minute))
	r := navigate("/album")
	r.AddCookie(session)
	return failed(s.serve(s.login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := s.login.Token(r.Context()); err != nil {
			http.Error(w, gatehouse.ErrorCode(err), http.StatusBadGateway)
		}
	})), r))
}

// exchange meets a challenge.
func (s *service) exchange() error {
	s.peer = func() *http.Response { return challenged(s.op.issuer) }
	r, err := http.NewRequest(http.MethodGet, "https://album.example.org/photo", nil)
	if err != nil {
		return err
	}
	resp, err := s.client.RoundTrip(r)
	if err != nil {
		return err
	}
	return failed(resp)
}

// challenged is an honest challenge of a resource server.
func challenged(issuer string) *http.Response {
	return &http.Response{StatusCode: http.StatusUnauthorized, Body: http.NoBody,
		Header: http.Header{"Www-Authenticate": {fmt.Sprintf("UMA as_uri=%q, ticket=%q", issuer, ticket)}}}
}

// showToken asks for what is protected, with a good token.
func (s *service) showToken() error {
	r := httptest.NewRequest(http.MethodGet, site+"/album", nil)
	r.Header.Set("Authorization", "Bearer "+goodToken)
	return failed(s.do("UMAProtect", r))
}

// askTicket asks for what is protected, without a token, and expects a ticket.
func (s *service) askTicket() error {
	resp := s.do("UMAProtect", httptest.NewRequest(http.MethodGet, site+"/album", nil))
	if strings.Contains(resp.Header.Get("WWW-Authenticate"), ticket) {
		return nil
	}
	return failed(resp)
}

// revoke signs out, and looks for the line that the refresh token was not revoked.
func (s *service) revoke() error {
	session, err := s.signIn()
	if err != nil {
		return fmt.Errorf("before the flood: %w", err)
	}
	r := httptest.NewRequest(http.MethodPost, site+"/auth/logout", nil)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.AddCookie(session)
	if resp := s.do("LogoutHandler", r); resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusSeeOther {
		return fmt.Errorf("before the flood: the sign-out answered %s", resp.Status)
	}
	if err := s.close(); err != nil {
		return err
	}
	if s.log.contains("code=unrevoked_token") {
		return errors.New("logged")
	}
	return nil
}

// failed makes an error from an answer that lets nobody in.
func failed(resp *http.Response) error {
	if resp.StatusCode < http.StatusBadRequest {
		return nil
	}
	return errors.New(resp.Status)
}

// measureAnswers measures every endpoint under every flood.
func measureAnswers(e Effort) ([]Figure, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	var figures []Figure
	for _, c := range answerCases() {
		calm, err := c.meet(key, flood{name: "as it should be"})
		if err != nil {
			return nil, err
		}
		if calm.Result != "" { // otherwise the floods would show nothing
			return nil, fmt.Errorf("%s: without a flood: %s", c.endpoint, calm.Result)
		}
		for _, f := range floods(c.most) {
			figure, err := c.meet(key, f)
			if err != nil {
				return nil, err
			}
			figures = append(figures, figure)
		}
	}
	if !e.Slow {
		return figures, nil
	}
	dripping, err := measureSlow(key)
	return append(figures, dripping...), err
}

// measureSlow measures the time of every endpoint under an answer that arrives
// byte by byte, all of them at once. How much they allocate is not known.
func measureSlow(key *rsa.PrivateKey) ([]Figure, error) {
	cases := answerCases()
	figures, problems := make([]Figure, len(cases)), make([]error, len(cases))
	var wg sync.WaitGroup
	for i, c := range cases {
		wg.Go(func() {
			figures[i], problems[i] = c.meet(key, slow)
			figures[i].Heap = 0
		})
	}
	wg.Wait()
	return figures, errors.Join(problems...)
}

// meet calls an endpoint that is flooded, or not if the flood has no answer.
func (c answerCase) meet(key *rsa.PrivateKey, f flood) (_ Figure, err error) {
	op := &provider{key: key}
	address, stop, err := listen(op)
	if err != nil {
		return Figure{}, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	op.issuer = address
	count := &counting{base: &http.Transport{}}
	defer count.base.CloseIdleConnections()
	var transport http.RoundTripper = count
	if f.header {
		transport = nil // our own, which limits headers
	}
	s, err := newService(op, transport)
	if err != nil {
		return Figure{}, err
	}
	op.now = s.now
	op.drown(c.endpoint, f.answer)
	var shown error
	begin := time.Now()
	got, err := measure(func() { shown = c.ask(s) })
	if err != nil {
		return Figure{}, err
	}
	figure := Figure{Kind: c.endpoint + ": " + f.name, CPU: got.cpu, Heap: got.heap, Read: count.most.Load(), Cap: c.most, Time: time.Since(begin)}
	if shown != nil {
		figure.Result = resultOf(shown)
	}
	figure.judge(f)
	return figure, s.close()
}

// resultOf is an error as the table shows it: its code if it has one.
func resultOf(err error) string {
	if code := gatehouse.ErrorCode(err); code != "" {
		return code
	}
	return err.Error()
}

// slack is how much later than allowed the end of a call may be observed on a
// busy machine. A call without a deadline would never end here.
const slack = 10 * time.Second

func (f *Figure) judge(by flood) {
	if by.answer == nil {
		return
	}
	// One more byte distinguishes an answer that is too large from one that
	// exactly fits.
	if f.Read > f.Cap+1 {
		f.Over = append(f.Over, fmt.Sprintf("%d bytes read, %d allowed", f.Read, f.Cap))
	}
	if f.Heap > maxAnswerHeap {
		f.Over = append(f.Over, fmt.Sprintf("%d KiB of heap, %d KiB allowed", f.Heap>>10, maxAnswerHeap>>10))
	}
	if f.Time > MaxTime+slack {
		f.Over = append(f.Over, fmt.Sprintf("%v, %v allowed", f.Time, MaxTime))
	}
	if f.Result == "" && !by.fits {
		f.Over = append(f.Over, "the answer was taken")
	}
}
