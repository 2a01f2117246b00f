package bounds

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// challengeCases are answers of a resource server to our UMA client that cost
// its caller something. The requests are ours and not a stranger's, but a
// stranger chooses what they cost.
func challengeCases(s *service) []requestCase {
	honest := fmt.Sprintf(`UMA realm="album", as_uri=%q, ticket=%q`, providerName, ticket)
	floods := map[string][]string{
		"an honest challenge":        {honest},
		"1 MiB of one ticket":        {fmt.Sprintf(`UMA as_uri=%q, ticket="%s"`, providerName, strings.Repeat("t", 1<<20))},
		"1 MiB without a quote":      {`UMA realm="` + strings.Repeat("x", 1<<20)},
		"1 MiB of backslashes":       {`UMA realm="` + strings.Repeat(`\\`, 1<<19) + `"`},
		"1 MiB of commas":            {strings.Repeat(",", 1<<20)},
		"100,000 parameters":         {"UMA " + repeated(100_000, "a=b", ",")},
		"100,000 schemes":            {repeated(100_000, "UMA", ",")},
		"16 KiB of parameters":       {honest + ", " + repeated(3000, "a=b", ",")},
		"16 KiB of schemes":          {honest + ", " + repeated(3000, "UMA", ",")},
		"10,000 lines":               slices.Repeat([]string{honest}, 10_000),
		"100 lines and then the one": append(slices.Repeat([]string{`Basic realm="album"`}, 100), honest),
	}
	var cases []requestCase
	for name, lines := range floods {
		cases = append(cases, s.challengeCase(name, http.Header{"Www-Authenticate": lines}, ""))
	}
	return append(cases, s.challengeCase("a body without end", http.Header{"Www-Authenticate": {honest}}, "body"))
}

// challengeCase has the UMA client meet a challenge. The caller reads none of
// the answer's body.
func (s *service) challengeCase(name string, header http.Header, body string) requestCase {
	answer := func() *http.Response {
		resp := &http.Response{StatusCode: http.StatusUnauthorized, Header: header, Body: http.NoBody}
		if body != "" {
			resp.Body = io.NopCloser(zeros{})
		}
		return resp
	}
	send := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resp, err := s.client.RoundTrip(r)
		if err != nil {
			w.WriteHeader(http.StatusTeapot) // stands for an error in the table
			return
		}
		resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
	})
	return requestCase{kind: "UMATransport: " + name, make: func() (shot, error) {
		s.peer = answer
		s.visits++ // to a separate origin, for which no token is kept
		r, err := http.NewRequest(http.MethodGet, fmt.Sprintf("https://album-%d.example.org/photo", s.visits), nil)
		return shot{send, r}, err
	}}
}
