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
	events   bool // there is an "events" claim

	payload []byte // what was signed
}

// read takes the claims from payload by the rules of strictjson, in one pass.
// It does not judge them.
func (c *claims) read(payload []byte) error {
	c.payload = payload
	err := strictjson.Object(payload, func(name string, v strictjson.Value) error {
		if v.Null() {
			return nil
		}
		return c.set(name, v)
	})
	if err != nil {
		return fmt.Errorf("%w: claims are not strict JSON of the right types", ErrMalformed)
	}
	return nil
}

func (c *claims) set(name string, v strictjson.Value) (err error) {
	switch name {
	case "iss":
		c.issuer, err = v.Text()
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
		c.authTime, err = present(readNumeric(v))
	case "nonce":
		c.nonce, err = present(v.Text())
	case "sid":
		c.sid, err = v.Text()
	case "at_hash":
		c.atHash, err = v.Text()
	case "events":
		if c.events = v.Object(); !c.events {
			err = strictjson.ErrType
		}
	}
	return err
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

func (n numeric) time() time.Time { return time.UnixMilli(int64(float64(n) * 1000)) }
