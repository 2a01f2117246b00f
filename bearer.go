package gatehouse

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// ResourceServerConfig are the settings of NewResourceServer.
type ResourceServerConfig struct {
	// Client introspects tokens, asks for permission tickets and, unless PAT is
	// set, gets the protection API token. Required.
	Client Client
	// Audience are the names of this API. A token's aud, where the server tells
	// one, must hold one of them or Client.ID.
	Audience []string
	// Realm is the realm of challenges, "" for the host of the first Audience
	// that is a URL, else Client.ID.
	Realm string
	// PAT gives the protection API tokens, by owner. nil means client
	// credentials of Client, which serve the owner "" only: the service itself.
	PAT PATSource
	// ResourceIDs keeps the ids that the authorization server gave to resources.
	// nil means memory, which fills itself again by listing at the server.
	ResourceIDs ResourceIDs
	// CacheTTL is how long the facts of a token are used before the server is
	// asked again; it is also how long a permission that was taken back may
	// still open. 0 means 10 s, negative means not at all; at most 30 s. Facts
	// are never used past the token's expiry.
	CacheTTL time.Duration
	// ErrorHandler, if not nil, writes the answer to every request that is
	// refused, with e.Status. The headers that matter to clients
	// (WWW-Authenticate, Warning, Retry-After, Cache-Control) are set before.
	// nil answers with a small JSON object.
	ErrorHandler func(w http.ResponseWriter, r *http.Request, e *Error)
}

func (c *ResourceServerConfig) validate(p *Provider) error {
	var problems []error
	if p == nil {
		problems = append(problems, errors.New("the Provider is nil"))
	}
	problems = append(problems, c.Client.validate()...)
	if slices.Contains(c.Audience, "") {
		problems = append(problems, errors.New("an entry of Audience is empty"))
	}
	if !printable(c.Realm) {
		problems = append(problems, errors.New("the Realm has characters that cannot stand in a header"))
	}
	if c.CacheTTL > maxFactsTTL {
		problems = append(problems, fmt.Errorf("CacheTTL %v is longer than %v: who loses a permission would keep it that long", c.CacheTTL, maxFactsTTL))
	}
	return invalid("NewResourceServer", problems)
}

// ResourceServer protects an API whose tokens come from one authorization
// server. It is safe for concurrent use.
type ResourceServer struct {
	provider *Provider
	client   Client
	audience []string // what a token's aud may hold, the client's id included
	realm    string
	pats     PATSource
	ids      ResourceIDs
	lists    bool // ids is our memory: fill it by listing
	ttl      time.Duration
	onError  func(http.ResponseWriter, *http.Request, *Error)
	rpts     introspector
	registry registry
}

// NewResourceServer makes a ResourceServer. It does no I/O: the authorization
// server may be down when the process starts. The error lists every problem of
// the arguments at once.
func NewResourceServer(p *Provider, c ResourceServerConfig) (*ResourceServer, error) {
	if err := c.validate(p); err != nil {
		return nil, err
	}
	rs := &ResourceServer{
		provider: p,
		client:   c.Client,
		audience: append(slices.Clone(c.Audience), c.Client.ID),
		realm:    c.realm(),
		pats:     c.PAT,
		ids:      c.ResourceIDs,
		ttl:      c.CacheTTL,
		onError:  c.ErrorHandler,
	}
	if rs.pats == nil {
		rs.pats = &servicePAT{provider: p, client: c.Client}
	}
	if rs.ids == nil {
		rs.ids, rs.lists = &memoryIDs{}, true
	}
	if rs.ttl == 0 {
		rs.ttl = defaultFactsTTL
	}
	return rs, nil
}

func (c *ResourceServerConfig) realm() string {
	if c.Realm != "" {
		return c.Realm
	}
	if len(c.Audience) > 0 {
		if u, err := url.Parse(c.Audience[0]); err == nil && u.Host != "" {
			return u.Host
		}
	}
	return c.Client.ID
}

// Shutdown waits until the calls that requests have started are over, or ctx
// is. It does not stop new ones: stop the HTTP server first.
func (rs *ResourceServer) Shutdown(ctx context.Context) error {
	errs := []error{rs.rpts.flights.Wait(ctx), rs.registry.flights.Wait(ctx), rs.provider.wait(ctx)}
	if s, ok := rs.pats.(*servicePAT); ok {
		errs = append(errs, s.flights.Wait(ctx))
	}
	return errors.Join(errs...)
}

// answer writes the answer to a refused request.
func (rs *ResourceServer) answer(w http.ResponseWriter, r *http.Request, e *Error) {
	writeErrorHeader(w, e)
	if rs.onError != nil {
		handleError(rs.onError, w, r, e)
		return
	}
	writeJSON(w, e.Status, errorBody{Error: e.Code, Message: e.Message, ID: e.ID})
}

// answered is the copy of e that one request is answered with: it has an id,
// and a status that is an error.
func (e *Error) answered() *Error {
	c := *e
	c.ID = rand.Text()[:answerIDLength]
	if c.Status < 400 || c.Status > 599 {
		c.Status = http.StatusInternalServerError
	}
	return &c
}

// answerIDLength makes ids of 60 bits: enough to find one line in a log.
const answerIDLength = 12

// printable reports whether s has only visible ASCII and spaces, so that it can
// stand in a quoted string of a header (RFC 9110 §5.6.4) unchanged.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// errBearer is RFC 6750 §3.1, invalid_request.
var errBearer = kind{"bearer_malformed", 400, "The Authorization header of this request cannot be read."}
