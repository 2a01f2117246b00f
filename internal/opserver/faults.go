package opserver

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Fault is something that the server does wrong while it is switched on. Each is
// named after the rule it breaks.
type Fault string

// The faults. Those of the last group concern every endpoint unless they are set
// with [Server.SetFaultAt].
const (
	// OpenID Connect.
	WrongNonce             Fault = "wrong-nonce"              // Core §3.1.3.7 item 11: nonce is the one sent
	MissingNonce           Fault = "missing-nonce"            // Core §3.1.3.7 item 11: nonce is present
	WrongIssuer            Fault = "wrong-issuer"             // Core §3.1.3.7 item 2: iss of the ID Token
	WrongAudience          Fault = "wrong-audience"           // Core §3.1.3.7 item 3: aud holds the client
	WrongAuthorizedParty   Fault = "wrong-authorized-party"   // Core §3.1.3.7 item 5: azp is the client
	WrongSignature         Fault = "wrong-signature"          // Core §3.1.3.7 item 6: the signature verifies
	UnsignedIDToken        Fault = "unsigned-id-token"        // Core §3.1.3.7 item 7: alg is the registered one
	ExpiredIDToken         Fault = "expired-id-token"         // Core §3.1.3.7 item 9: now is before exp
	MissingIssuedAt        Fault = "missing-issued-at"        // Core §2: iat is required
	MissingSubject         Fault = "missing-subject"          // Core §2: sub is required
	OldAuthentication      Fault = "old-authentication"       // Core §3.1.3.7 item 13: auth_time within max_age
	WrongAccessTokenHash   Fault = "wrong-access-token-hash"  // Core §3.1.3.8: at_hash fits the access token
	MissingIDToken         Fault = "missing-id-token"         // Core §3.1.3.3: the token response has an id_token
	RefreshOtherSubject    Fault = "refresh-other-subject"    // Core §12.2: sub stays the same
	UserInfoWrongSubject   Fault = "userinfo-wrong-subject"   // Core §5.3.2: sub is that of the ID Token
	MetadataIssuerMismatch Fault = "metadata-issuer-mismatch" // Discovery §4.3: issuer is the one asked
	WrongState             Fault = "wrong-state"              // RFC 6749 §4.1.2: state is the one sent
	WrongResponseIssuer    Fault = "wrong-response-issuer"    // RFC 9207 §2.4: iss is the provider's
	MissingResponseIssuer  Fault = "missing-response-issuer"  // RFC 9207 §2: iss is there when announced
	NoExpiresIn            Fault = "no-expires-in"            // RFC 6749 §5.1: expires_in is recommended

	// UMA.
	SameTicketBack          Fault = "same-ticket-back"          // Grant §3.3.6: the ticket is a new one
	NeedInfoForever         Fault = "need-info-forever"         // Grant §3.3.6: need_info asks for what is missing
	PartialGrant            Fault = "partial-grant"             // Grant §3.3.4: less than asked may be granted
	PermissionExpired       Fault = "permission-expired"        // Federated Authorization §5.1.1: exp of a permission
	PermissionNotYetValid   Fault = "permission-not-yet-valid"  // Federated Authorization §5.1.1: nbf of a permission
	PermissionWithoutScopes Fault = "permission-without-scopes" // Federated Authorization §5.1.1: resource_scopes may be empty
	ScopesAtTopLevel        Fault = "scopes-at-top-level"       // Federated Authorization §5.1.1: no scope member
	LostPAT                 Fault = "lost-pat"                  // RFC 6750 §3.1: PATs given before the fault are unknown
	LostResource            Fault = "lost-resource"             // Federated Authorization §4.1: resources made before the fault are unknown

	// Any endpoint.
	TokenEndpointDown        Fault = "token-endpoint-down"        // RFC 9110 §15.6.1: 500 from the token endpoint
	IntrospectionDown        Fault = "introspection-down"         // RFC 9110 §15.6.4: 503 from introspection
	EndpointDown             Fault = "endpoint-down"              // RFC 9110 §15.6.4: 503
	AuthorizationServerHangs Fault = "authorization-server-hangs" // no answer until the client leaves or the fault ends
	HugeAnswer               Fault = "huge-answer"                // a valid answer behind 8 MiB of white space
	HTMLAnswer               Fault = "html-answer"                // 200 with a page where JSON belongs
)

// Faults lists all faults in the order above.
func Faults() []Fault {
	return []Fault{WrongNonce, MissingNonce, WrongIssuer, WrongAudience, WrongAuthorizedParty, WrongSignature,
		UnsignedIDToken, ExpiredIDToken, MissingIssuedAt, MissingSubject, OldAuthentication, WrongAccessTokenHash,
		MissingIDToken, RefreshOtherSubject, UserInfoWrongSubject, MetadataIssuerMismatch, WrongState,
		WrongResponseIssuer, MissingResponseIssuer, NoExpiresIn, SameTicketBack, NeedInfoForever, PartialGrant,
		PermissionExpired, PermissionNotYetValid, PermissionWithoutScopes, ScopesAtTopLevel, LostPAT, LostResource,
		TokenEndpointDown, IntrospectionDown, EndpointDown, AuthorizationServerHangs, HugeAnswer, HTMLAnswer}
}

// hugeAnswer is how much white space [HugeAnswer] sends: far above what a client
// has reason to read.
const hugeAnswer = 8 << 20

// faultSet holds what is switched on and the requests that are held.
type faultSet struct {
	mu     sync.Mutex
	on     map[Fault][]string // endpoints; none: all
	hooks  map[string]func(*http.Request)
	freed  chan struct{} // closed when held requests may go
	closed bool
}

func (f *faultSet) init() {
	f.on, f.hooks, f.freed = map[Fault][]string{}, map[string]func(*http.Request){}, make(chan struct{})
}

// SetFault switches a fault on or off. An unknown fault is an error.
func (s *Server) SetFault(fault Fault, on bool) error { return s.SetFaultAt(fault, on) }

// SetFaultAt is SetFault for the named endpoints alone. It concerns the faults
// that any endpoint can have; the others have their own place.
func (s *Server) SetFaultAt(fault Fault, on bool, endpoints ...string) error {
	if !slices.Contains(Faults(), fault) {
		return fmt.Errorf("opserver: no fault is called %q", fault)
	}
	for _, e := range endpoints {
		if !slices.Contains(Endpoints(), e) {
			return fmt.Errorf("opserver: no endpoint is called %q", e)
		}
	}
	if on && (fault == LostPAT || fault == LostResource) {
		s.forget(fault)
	}
	f := &s.wrong
	f.mu.Lock()
	defer f.mu.Unlock()
	if on {
		f.on[fault] = slices.Clone(endpoints)
		return nil
	}
	delete(f.on, fault)
	if fault == AuthorizationServerHangs {
		f.free()
	}
	return nil
}

// OnRequest calls hook at every request to the endpoint before it is judged; nil
// takes the hook away. A hook that blocks holds the request.
func (s *Server) OnRequest(endpoint string, hook func(*http.Request)) {
	mustBeEndpoint(endpoint)
	s.wrong.mu.Lock()
	defer s.wrong.mu.Unlock()
	if hook == nil {
		delete(s.wrong.hooks, endpoint)
		return
	}
	s.wrong.hooks[endpoint] = hook
}

// has reports whether a fault is on.
func (f *faultSet) has(fault Fault) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, on := f.on[fault]
	return on
}

// free lets held requests go; the lock is held.
func (f *faultSet) free() {
	close(f.freed)
	f.freed = make(chan struct{})
}

// release ends holding for good.
func (f *faultSet) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	delete(f.on, AuthorizationServerHangs)
	f.free()
}

// at reports whether a fault is on for an endpoint.
func (f *faultSet) at(fault Fault, endpoint string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	where, on := f.on[fault]
	return on && (len(where) == 0 || slices.Contains(where, endpoint))
}

// play does what the faults of any endpoint demand. It returns what the endpoint
// itself is to answer through, nil if it is not to answer at all.
func (f *faultSet) play(w http.ResponseWriter, r *http.Request, name string, human bool) http.ResponseWriter {
	f.mu.Lock()
	hook := f.hooks[name]
	f.mu.Unlock()
	if hook != nil {
		hook(r)
	}
	if f.at(AuthorizationServerHangs, name) && !f.hold(r) {
		return nil
	}
	switch {
	case f.at(TokenEndpointDown, name) && name == EndpointToken:
		http.Error(w, "the token endpoint is out of order", http.StatusInternalServerError)
	case f.at(IntrospectionDown, name) && name == EndpointIntrospect, f.at(EndpointDown, name):
		http.Error(w, "out of order", http.StatusServiceUnavailable)
	case human:
		return w
	case f.at(HTMLAnswer, name):
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<!doctype html><title>Maintenance</title><p>Back soon.</p>")
	case f.at(HugeAnswer, name):
		return &paddedWriter{ResponseWriter: w}
	default:
		return w
	}
	return nil
}

// paddedWriter puts white space before a JSON answer, which stays valid.
type paddedWriter struct {
	http.ResponseWriter
	padded bool
}

func (p *paddedWriter) Write(b []byte) (int, error) {
	if !p.padded {
		p.padded = true
		blank := []byte(strings.Repeat(" ", 1<<16))
		for range hugeAnswer / len(blank) {
			if _, err := p.ResponseWriter.Write(blank); err != nil {
				return 0, err // the client has read enough
			}
		}
	}
	return p.ResponseWriter.Write(b)
}

// hold keeps a request until the fault ends, and reports whether it is still to
// be answered. The body is read first: only then does net/http notice a client
// that leaves.
func (f *faultSet) hold(r *http.Request) bool {
	f.mu.Lock()
	freed, closed := f.freed, f.closed
	f.mu.Unlock()
	if closed {
		return true
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return false
	}
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	select {
	case <-freed:
		return true
	case <-r.Context().Done():
		return false
	}
}
