package inbound

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const formType = "application/x-www-form-urlencoded"

// charsets are those in which a form may say that it is. The type has no such
// parameter, but common HTTP clients send it, Apache's with its default. What
// anybody reads of a form is ASCII, which is the same in all of them.
var charsets = []string{"utf-8", "us-ascii", "iso-8859-1"}

// The errors of [Field] and [Fields], besides those of reading the body.
var (
	// ErrForm means that the body is no form in the usual encoding.
	ErrForm = errors.New("the body is no " + formType)
	// ErrField means that a field is not there exactly once, or malformed.
	ErrField = errors.New("not exactly one field")
)

// Field reads the form in the body of r, which its caller has bounded, and
// returns the one value of the field with that name. Other fields are not even
// decoded, so however many there are, they cost no more than their bytes.
// Neither a multipart form nor a compressed body is read. The query does not
// count.
func Field(r *http.Request, name string) (string, error) {
	fields, err := Fields(r, name)
	if err == nil && !fields.Has(name) {
		return "", fmt.Errorf("%w: no %s", ErrField, name)
	}
	return fields.Get(name), err
}

// Fields is [Field] for several names. A field that is not there is left out.
// Which of two values counts would be anybody's guess, so a field that is there
// twice is an error.
func Fields(r *http.Request, names ...string) (url.Values, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != formType || len(r.Header.Values("Content-Type")) > 1 {
		return nil, ErrForm
	}
	if charset := strings.ToLower(params["charset"]); charset != "" && !slices.Contains(charsets, charset) {
		return nil, ErrForm
	}
	if coding := strings.Join(r.Header.Values("Content-Encoding"), ","); coding != "" && !strings.EqualFold(coding, "identity") {
		return nil, fmt.Errorf("%w: it has a Content-Encoding", ErrForm)
	}
	if r.Body == nil {
		return url.Values{}, nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	return fieldsOf(string(body), names)
}

// fieldsOf returns the fields with those names.
func fieldsOf(form string, names []string) (url.Values, error) {
	longest := 0
	for _, name := range names {
		longest = max(longest, 3*len(name)) // with each byte encoded
	}
	fields := url.Values{}
	for pair := range strings.SplitSeq(form, "&") {
		key, written, _ := strings.Cut(pair, "=")
		if len(key) > longest {
			continue
		}
		key, err := url.QueryUnescape(key)
		if err != nil || !slices.Contains(names, key) {
			continue
		}
		if fields.Has(key) {
			return nil, fmt.Errorf("%w: %s occurs more than once", ErrField, key)
		}
		value, err := url.QueryUnescape(written)
		if err != nil {
			return nil, fmt.Errorf("%w: %s is malformed", ErrField, key)
		}
		fields.Set(key, value)
	}
	return fields, nil
}
