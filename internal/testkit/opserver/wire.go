package opserver

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxBody bounds how much of any request is read. A form with an ID Token, a
// ticket and an RPT stays below a tenth of it.
const maxBody = 64 << 10

// apiError is an OAuth error answer. RFC 6749 §5.2.
type apiError struct {
	status    int
	code      string
	desc      string
	challenge string         // WWW-Authenticate
	extra     map[string]any // further members
}

func badRequest(code, desc string) *apiError {
	return &apiError{status: http.StatusBadRequest, code: code, desc: desc}
}

func writeError(w http.ResponseWriter, e *apiError) {
	body := map[string]any{"error": e.code}
	if e.desc != "" {
		body["error_description"] = e.desc
	}
	for k, v := range e.extra {
		body[k] = v
	}
	if e.challenge != "" {
		w.Header().Set("WWW-Authenticate", e.challenge)
	}
	w.Header().Set("Cache-Control", "no-store") // RFC 6749 §5.2
	writeJSON(w, e.status, body)
}

// reply writes the result of an API handler.
func reply(w http.ResponseWriter, status int, body any, e *apiError) {
	if e != nil {
		writeError(w, e)
		return
	}
	w.Header().Set("Cache-Control", "no-store") // RFC 6749 §5.1
	writeJSON(w, status, body)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		http.Error(w, "the answer cannot be written as JSON", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// readForm reads a form body. It refuses repeated parameters (RFC 6749 §3.2)
// and parameters in the URL.
func (s *Server) readForm(w http.ResponseWriter, r *http.Request) (url.Values, *apiError) {
	if mt, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mt != "application/x-www-form-urlencoded" {
		return nil, badRequest("invalid_request", "the body must be a form")
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, badRequest("invalid_request", "the body cannot be read")
	}
	if r.URL.RawQuery != "" {
		// RFC 6749 §2.3.1: parameters stay out of the URI.
		s.stats.violation("request to %s with parameters in its URL", r.URL.Path)
		return nil, badRequest("invalid_request", "parameters belong in the body")
	}
	form, err := url.ParseQuery(string(b))
	if err != nil {
		return nil, badRequest("invalid_request", "the form cannot be parsed")
	}
	if name, twice := repeated(form); twice {
		return nil, badRequest("invalid_request", "a parameter is sent twice: "+name)
	}
	return form, nil
}

// repeated finds a parameter with more than one value. Only resource may have
// several (RFC 8707 §2).
func repeated(form url.Values) (string, bool) {
	for name, values := range form {
		if len(values) > 1 && name != "resource" {
			return printable(name), true
		}
	}
	return "", false
}

// bearer returns the token of the Authorization header. RFC 6750 §2.1.
func bearer(r *http.Request) (string, bool) {
	scheme, tok, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || tok == "" || len(r.Header.Values("Authorization")) != 1 {
		return "", false
	}
	return tok, true
}

// bearerError returns the refusal of a bearer token. RFC 6750 §3.
func bearerError(status int, code, desc string) *apiError {
	e := &apiError{status: status, code: code, desc: desc}
	e.challenge = `Bearer realm="opserver", error="` + code + `", error_description="` + desc + `"`
	return e
}

// printable keeps the characters that RFC 6749 §5.2 allows in a description and
// cuts long texts.
func printable(text string) string {
	const most = 64 // enough to recognise a parameter or scope
	out := strings.Map(func(c rune) rune {
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return -1
		}
		return c
	}, text)
	return out[:min(len(out), most)]
}

func contains(list []string, s string) bool { return slices.Contains(list, s) }
