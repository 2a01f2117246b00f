package token

import (
	"errors"
	"fmt"
	"time"

	"example.com/gatehouse/internal/strictjson"
)

// claims holds what the checks read from a token of any kind. A claim that is
// null counts as absent.
type claims struct {
	issuer   string
	tenant   string // tid, "" if it is no text
	subject  string
	audience []string
	party    *string  // azp
	expires  *numeric // exp
	issued   *numeric // iat
	before   *numeric // nbf
	authTime *numeric
	nonce    *string
	sid      string
	atHash   string
	cHash    string
	logout   bool // "events" holds the one of a logout token

	payload []byte   // what was signed
	defects []string // claims that make no sense and count as absent
}

// read takes the claims from payload by the rules of strictjson, in one pass.
// It does not judge them.
func (c *claims) read(payload []byte) error {
	c.payload = payload
	return readClaims(payload, c.set)
}

// readClaims calls set for each claim in payload that is not null. An error of
// set is about a claim that set knows, so the name may be told.
func readClaims(payload []byte, set func(name string, v strictjson.Value) error) error {
	err := strictjson.Object(payload, func(name string, v strictjson.Value) error {
		if v.Null() {
			return nil
		}
		if err := set(name, v); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%w: claims are not strict JSON of the right types: %w", ErrMalformed, err)
	}
	return nil
}

func (c *claims) set(name string, v strictjson.Value) (err error) {
	switch name {
	case "iss":
		c.issuer, err = v.Text()
	case "tid": // of Entra ID; elsewhere it may mean anything
		c.tenant, _ = v.Text()
	case "sub":
		c.subject, err = v.Text()
	case "aud":
		c.audience, err = v.Texts() // RFC 7519 §4.1.3
	case "azp":
		c.party, err = present(v.Text())
	case "exp":
		c.expires, err = present(readNumeric(v))
	case "iat":
		c.issued, err = present(readNumeric(v))
	case "nbf":
		c.before, err = present(readNumeric(v))
	case "auth_time":
		if c.authTime, err = present(readNumeric(v)); err != nil { // refused only if max_age was requested
			c.authTime, err = nil, nil
			c.defects = append(c.defects, name)
		}
	case "nonce":
		c.nonce, err = present(v.Text())
	case "sid":
		if c.sid, err = v.Text(); err != nil { // costs the logout by sid alone
			c.sid, err = "", nil
			c.defects = append(c.defects, name)
		}
	case "at_hash":
		c.atHash, err = v.Text()
	case "c_hash":
		c.cHash, err = v.Text()
	case "events":
		c.logout = isLogout(v)
	}
	return err
}

// logoutEvent is the member of events in a logout token (Back-Channel Logout
// §2.4). Other claims of that name are the issuer's own.
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

func isLogout(v strictjson.Value) (is bool) {
	if !v.Object() {
		return false
	}
	err := strictjson.Object([]byte(v), func(name string, _ strictjson.Value) error {
		is = is || name == logoutEvent
		return nil
	})
	return is || err != nil
}

// dropFuture treats an auth_time in the future as absent, because it would meet every
// limit on its age.
func (c *claims) dropFuture(now time.Time) {
	if c.authTime != nil && c.authTime.time().After(now.Add(ClockSkew)) {
		c.authTime = nil
		c.defects = append(c.defects, "auth_time")
	}
}

// present is a claim that is there, as opposed to nil.
func present[T any](claim T, err error) (*T, error) { return &claim, err }

// numeric is a NumericDate in seconds (RFC 7519 §2), possibly with a fraction.
type numeric float64

// maxNumericDate is the year 9999. Beyond it, arithmetic would overflow (M6).
const maxNumericDate = 253402300799

func readNumeric(v strictjson.Value) (numeric, error) {
	f, err := v.Number()
	if err != nil || f < 0 || f > maxNumericDate {
		return 0, errors.New("a time is not a NumericDate")
	}
	return numeric(f), nil
}

// String is the time for an error.
func (n numeric) String() string { return stamp(n.time()) }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func (n numeric) time() time.Time { return time.UnixMilli(int64(float64(n) * 1000)) }
