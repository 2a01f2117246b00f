package authrequest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.com/gatehouse/internal/jsonvalue"
	"example.com/gatehouse/internal/strictjson"
)

const (
	// MaxEssential bounds the encoded form of what has to be checked, in bytes, so
	// that it fits into the cookie of an attempt beside everything else. Six
	// claims of ordinary names with one value each fit.
	MaxEssential = 160
	// digestSize is how much of the hash of a value is kept: who chooses a claim
	// cannot find another text with the same 96 bits.
	digestSize = 12
	// maxName bounds the name of a claim that must have a value, in bytes.
	maxName = 100
	// maxValues bounds how many values such a claim may have.
	maxValues = 12
)

// Claim is one claim of the claims parameter (Core §5.5.1).
type Claim struct {
	Essential bool
	Value     any // nil for any
	Values    []any
}

// Claims is the claims parameter (Core §5.5).
type Claims struct{ IDToken, UserInfo map[string]Claim }

// Join returns the claims of c with those of other on top, name by name.
func (c Claims) Join(other Claims) Claims {
	join := func(a, b map[string]Claim) map[string]Claim {
		if len(a)+len(b) == 0 {
			return nil
		}
		out := map[string]Claim{}
		maps.Copy(out, a)
		maps.Copy(out, b)
		return out
	}
	return Claims{join(c.IDToken, other.IDToken), join(c.UserInfo, other.UserInfo)}
}

// encode returns the JSON of the parameter, or "" if it asks for nothing.
func (c Claims) encode() (string, error) {
	out := map[string]map[string]any{}
	for member, claims := range map[string]map[string]Claim{memberIDToken: c.IDToken, memberUserInfo: c.UserInfo} {
		for name, claim := range claims {
			written, err := claim.written()
			if err == nil && name == "" {
				err = errors.New("a name is empty")
			}
			if err != nil {
				return "", fmt.Errorf("%s %q: %w", member, name, err)
			}
			if out[member] == nil {
				out[member] = map[string]any{}
			}
			out[member][name] = written
		}
	}
	if len(out) == 0 {
		return "", nil
	}
	b, err := json.Marshal(out) // with its names in order
	return string(b), err
}

// written returns the claim as it stands in the parameter: null for a claim that
// is asked for without more.
func (c Claim) written() (any, error) {
	if c.Value != nil && len(c.Values) > 0 {
		return nil, errors.New("it has Value and Values")
	}
	wanted := c.Values
	if c.Value != nil {
		wanted = []any{c.Value}
	}
	for _, v := range wanted {
		if _, err := jsonvalue.Of(v); err != nil {
			return nil, err
		}
	}
	out := map[string]any{}
	if c.Essential {
		out["essential"] = true
	}
	if c.Value != nil {
		out["value"] = c.Value
	}
	if len(c.Values) > 0 {
		out["values"] = c.Values
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

// The members of the parameter, and where their claims come from.
const (
	memberIDToken  = "id_token"
	memberUserInfo = "userinfo"
)

// Essential are the claims that must come with one of their values.
type Essential []essential

type essential struct {
	userInfo bool
	name     string
	values   [][digestSize]byte
}

// essentialOf reads the parameter. Only what is asked for with a value is
// checked, because a provider may leave out any other claim (Core §5.5.1). The
// sub of an ID Token with a value is, whether it is called essential or not:
// nobody else may sign in then (Core §3.1.2.2).
func essentialOf(text string) (Essential, error) {
	var param map[string]json.RawMessage
	if err := strictjson.Unmarshal([]byte(text), &param); err != nil || param == nil {
		return nil, errors.New("it is not one JSON object")
	}
	var all Essential
	for _, member := range []string{memberIDToken, memberUserInfo} {
		var claims map[string]json.RawMessage
		if raw := param[member]; raw != nil && (json.Unmarshal(raw, &claims) != nil || claims == nil) {
			return nil, fmt.Errorf("%s is no object", member)
		}
		for _, name := range slices.Sorted(maps.Keys(claims)) {
			asked, values, err := readClaim(claims[name])
			switch {
			case err != nil:
				return nil, fmt.Errorf("%s %.40q: %w", member, name, err)
			case len(values) == 0, !asked && (name != "sub" || member != memberIDToken):
			case len(name) > maxName || len(values) > maxValues:
				return nil, fmt.Errorf("%s %.40q has a name of %d bytes and %d values; at most %d and %d can be checked", member, name, len(name), len(values), maxName, maxValues)
			default:
				all = append(all, essential{member == memberUserInfo, name, values})
			}
		}
	}
	if n := len(all.Encode()); n > MaxEssential {
		return nil, fmt.Errorf("the essential claims with values take %d bytes, more than %d: ask for fewer", n, MaxEssential)
	}
	return all, nil
}

// readClaim reads what is asked of one claim. Members that we do not know are the
// provider's own.
func readClaim(raw json.RawMessage) (asked bool, values [][digestSize]byte, err error) {
	var claim struct {
		Essential bool              `json:"essential"`
		Value     json.RawMessage   `json:"value"`
		Values    []json.RawMessage `json:"values"`
	}
	if string(raw) == "null" {
		return false, nil, nil
	}
	if !bytes.HasPrefix(raw, []byte("{")) || strictjson.Unmarshal(raw, &claim) != nil {
		return false, nil, errors.New("it is neither null nor an object with essential, value and values")
	}
	wanted := claim.Values
	if claim.Value != nil {
		if wanted = append(wanted, claim.Value); len(claim.Values) > 0 {
			return false, nil, errors.New("it has value and values")
		}
	}
	for _, v := range wanted {
		digest, ok := digestOf(v)
		if !ok {
			return false, nil, errors.New("no claim can ever equal one of its values")
		}
		values = append(values, digest)
	}
	return claim.Essential, values, nil
}

func digestOf(raw json.RawMessage) (digest [digestSize]byte, ok bool) {
	text, ok := jsonvalue.Canonical(raw)
	sum := sha256.Sum256([]byte(text))
	copy(digest[:], sum[:])
	return digest, ok
}

// Check returns an error unless the claims of an ID Token, or those of the user
// info, have all the values that were asked for there. claim returns a claim, or
// nil. The error names no value.
func (all Essential) Check(userInfo bool, claim func(name string) json.RawMessage) error {
	for _, e := range all {
		if e.userInfo != userInfo {
			continue
		}
		if err := e.check(claim(e.name)); err != nil {
			return err
		}
	}
	return nil
}

func (e essential) check(raw json.RawMessage) error {
	member := memberIDToken
	if e.userInfo {
		member = memberUserInfo
	}
	have, ok := digestOf(raw)
	switch {
	case raw == nil:
		return fmt.Errorf("%s has no %q, which was asked for with a value", member, e.name)
	case !ok || !slices.ContainsFunc(e.values, func(want [digestSize]byte) bool { return hmac.Equal(have[:], want[:]) }):
		return fmt.Errorf("%q of %s has none of the values that were asked for", e.name, member)
	}
	return nil
}

// Met reports whether one set of claims, from both sources, has all the values.
func (all Essential) Met(claim func(name string) json.RawMessage) bool {
	return !slices.ContainsFunc(all, func(e essential) bool { return e.check(claim(e.name)) != nil })
}

// NeedsUserInfo reports whether a claim has to come from the user info.
func (all Essential) NeedsUserInfo() bool {
	return slices.ContainsFunc(all, func(e essential) bool { return e.userInfo })
}

// String names the claims, without their values.
func (all Essential) String() string {
	names := make([]string, 0, len(all))
	for _, e := range all {
		name := memberIDToken + "." + e.name
		if e.userInfo {
			name = memberUserInfo + "." + e.name
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// Encode returns the form that an attempt carries: for each claim where it comes
// from, its name, and digests of its values. It is "" if there are none.
func (all Essential) Encode() string {
	var b []byte
	for _, e := range all {
		var source byte
		if e.userInfo {
			source = 1
		}
		b = append(b, source)
		b = binary.AppendUvarint(b, uint64(len(e.name)))
		b = append(b, e.name...)
		b = append(b, byte(len(e.values)))
		for _, v := range e.values {
			b = append(b, v[:]...)
		}
	}
	return string(b)
}

// Decode reads the form of [Essential.Encode].
func Decode(encoded string) (all Essential, err error) {
	b := []byte(encoded)
	for len(b) > 0 {
		var e essential
		e.userInfo, b = b[0] == 1, b[1:]
		size, n := binary.Uvarint(b)
		if n <= 0 || size >= uint64(len(b)-n) {
			return nil, errors.New("not the form of essential claims")
		}
		e.name, b = string(b[n:n+int(size)]), b[n+int(size):]
		count := int(b[0])
		if b = b[1:]; len(b) < count*digestSize || count == 0 {
			return nil, errors.New("not the form of essential claims")
		}
		for range count {
			e.values = append(e.values, [digestSize]byte(b[:digestSize]))
			b = b[digestSize:]
		}
		all = append(all, e)
	}
	return all, nil
}
