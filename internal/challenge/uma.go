package challenge

import (
	"errors"
	"slices"
	"strings"
)

// UMA is what a resource server says with 401 (UMA 2.0 Grant §3.2.1).
type UMA struct {
	Issuer string // as_uri
	Ticket string
}

// FindUMA returns the UMA challenge among the lines of a WWW-Authenticate
// header, or nil if there is none. It is an error if there are two, or if one
// lacks as_uri or ticket. A header that cannot be parsed is an error only if it
// may hold a UMA challenge.
func FindUMA(lines []string) (*UMA, error) {
	all, err := Parse(lines)
	if err != nil {
		if !slices.ContainsFunc(lines, mentionsUMA) {
			return nil, nil
		}
		return nil, err
	}
	var found *UMA
	for _, c := range all {
		if !strings.EqualFold(c.Scheme, "UMA") {
			continue
		}
		if found != nil {
			return nil, errors.New("two UMA challenges")
		}
		found = &UMA{Issuer: c.Params["as_uri"], Ticket: c.Params["ticket"]}
	}
	switch {
	case found == nil:
		return nil, nil
	case found.Issuer == "":
		return nil, errors.New("the UMA challenge has no as_uri")
	case found.Ticket == "":
		return nil, errors.New("the UMA challenge has no ticket")
	}
	return found, nil
}

// mentionsUMA reports whether a header value that cannot be parsed may hold a
// UMA challenge, that is, whether it has UMA as a separate word.
func mentionsUMA(value string) bool {
	for word := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' }) {
		if strings.EqualFold(word, "UMA") {
			return true
		}
	}
	return false
}
