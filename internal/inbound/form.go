package inbound

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

const formType = "application/x-www-form-urlencoded"

// The errors of [Field], besides those of reading the body.
var (
	// ErrForm means that the body is no form in the usual encoding.
	ErrForm = errors.New("the body is no " + formType)
	// ErrField means that the field is not there exactly once, or malformed.
	ErrField = errors.New("not exactly one field")
)

// Field reads the form in the body of r, which its caller has bounded, and
// returns the one value of the field with that name. Other fields are not even
// decoded, so however many there are, they cost no more than their bytes.
// Neither a multipart form nor a compressed body is read. The query does not
// count.
func Field(r *http.Request, name string) (string, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != formType || len(r.Header.Values("Content-Type")) > 1 {
		return "", ErrForm
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return "", ErrForm
	}
	if coding := strings.Join(r.Header.Values("Content-Encoding"), ","); coding != "" && !strings.EqualFold(coding, "identity") {
		return "", fmt.Errorf("%w: it has a Content-Encoding", ErrForm)
	}
	if r.Body == nil {
		return fieldOf("", name)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return "", err
	}
	return fieldOf(string(body), name)
}

// fieldOf returns the value of the one field with that name.
func fieldOf(form, name string) (value string, err error) {
	found := 0
	for pair := range strings.SplitSeq(form, "&") {
		key, written, _ := strings.Cut(pair, "=")
		if len(key) > 3*len(name) { // longer than with each byte encoded
			continue
		}
		if key, err = url.QueryUnescape(key); err != nil || key != name {
			continue
		}
		if found++; found > 1 {
			return "", fmt.Errorf("%w: %s occurs more than once", ErrField, name)
		}
		value = written
	}
	if found == 0 {
		return "", fmt.Errorf("%w: no %s", ErrField, name)
	}
	if value, err = url.QueryUnescape(value); err != nil {
		return "", fmt.Errorf("%w: %s is malformed", ErrField, name)
	}
	return value, nil
}
