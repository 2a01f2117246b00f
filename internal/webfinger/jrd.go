package webfinger

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"example.com/gatehouse/internal/strictjson"
)

// maxLinks is how many links of an answer are read. A host was asked for one kind
// of link; those that answer with all have some ten.
const maxLinks = 100

var (
	// ErrAnswer means that the answer of a host is no JRD, or one that is too
	// large.
	ErrAnswer = errors.New("webfinger: the answer is not a JSON resource descriptor")
	// ErrNone means that a host names no issuer for an account.
	ErrNone = errors.New("webfinger: no issuer is named")
)

// Issuers returns the issuers that a JRD names, in its order. The error is ErrAnswer
// or ErrNone. Links of other relations may hold anything.
func Issuers(jrd []byte) ([]string, error) {
	var links []json.RawMessage
	err := strictjson.Object(jrd, func(name string, v strictjson.Value) error {
		if name != "links" || v.Null() {
			return nil
		}
		return strictjson.Unmarshal([]byte(v), &links)
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	if len(links) > maxLinks {
		return nil, fmt.Errorf("%w: %d links, more than %d", ErrAnswer, len(links), maxLinks)
	}
	var issuers []string
	for _, link := range links {
		if issuer := issuerOf(link); issuer != "" && !slices.Contains(issuers, issuer) {
			issuers = append(issuers, issuer)
		}
	}
	if len(issuers) == 0 {
		return nil, ErrNone
	}
	return issuers, nil
}

// issuerOf returns the issuer that a link names, or "" if it is another link, or
// one that makes no sense.
func issuerOf(link json.RawMessage) string {
	var rel, href string
	err := strictjson.Object(link, func(name string, v strictjson.Value) (err error) {
		switch name {
		case "rel":
			rel, err = v.Text()
		case "href":
			href, err = v.Text()
		}
		return err
	})
	if err != nil || rel != Rel {
		return ""
	}
	return href
}

// Choose returns the first issuer that is allowed. Their order is the host's
// preference (RFC 7033 §4.4.4). It returns "" if none is.
func Choose(issuers []string, allowed func(issuer string) bool) string {
	if i := slices.IndexFunc(issuers, allowed); i >= 0 {
		return issuers[i]
	}
	return ""
}
