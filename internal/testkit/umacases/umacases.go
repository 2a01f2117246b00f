package umacases

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// World is an authorization server with the people alice, bob and carol, the
// resource server photoz and the client printshop. Bob may not own resources. A
// client's secret is its name followed by -secret.
type World struct {
	// Keycloak says that the server is a Keycloak or speaks like one.
	Keycloak bool
	// Prefix distinguishes the names of resources from those of other tests.
	Prefix string
	// Tokens signs a person in at a client and returns the resulting tokens.
	// The access token is a PAT if the person may have one. "" is the client
	// itself.
	Tokens func(user, client string) (Tokens, error)
	// SignOut ends the sessions in which Tokens has signed the person in.
	SignOut func(user string) error
	// Share lets somebody use a scope of a resource of the owner, who is a
	// person. TakeBack ends that.
	Share, TakeBack func(owner, resource, who, scope string) error
	// Pending counts the open requests to an owner about a resource.
	Pending func(owner, resource string) (int, error)
}

// Tokens are the tokens of a sign-in.
type Tokens struct{ Access, ID string }

// Case is a sequence of requests that build on each other.
type Case struct {
	// Name says what the case is about, with the rows of the deviations (K…).
	Name string
	// Steps are run in order.
	Steps []Step
}

// Step is a request with its answers, or an action: "share RESOURCE WHO SCOPE",
// "take back RESOURCE WHO SCOPE", "sign out WHO", or "pending RESOURCE", whose
// answer is the number of requests to the owner.
type Step struct {
	// Do is the request or the action. As is who sends the request.
	Do, As string
	// JSON or Form is the body. A form is a list of name=value separated by
	// spaces.
	JSON, Form string
	// Want is the answer, and Keycloak is that of a Keycloak if it differs. "-"
	// means that no request is sent.
	Want, Keycloak string
}

// Table runs cases at one server, one after another.
type Table struct {
	meta     map[string]string
	signedIn map[string]Tokens // over all cases, because a sign-in takes long
	cases    int
}

// Open reads the metadata of a server.
func Open(ctx context.Context, issuer string) (*Table, error) {
	table := &Table{meta: map[string]string{}, signedIn: map[string]Tokens{}}
	for _, document := range []string{"openid-configuration", "uma2-configuration"} {
		at := issuer + "/.well-known/" + document
		a, err := send(ctx, http.MethodGet, at, "", "", "")
		if err == nil && a.status != http.StatusOK {
			err = fmt.Errorf("GET %s: %d", at, a.status)
		}
		if err != nil {
			return nil, err
		}
		for name, value := range a.members {
			if text, ok := value.(string); ok {
				table.meta[name] = text
			}
		}
		table.meta["uma"] = at
	}
	return table, nil
}

// Run runs one case. The error says what the server answered and what it should
// have answered.
func (table *Table) Run(ctx context.Context, w World, c Case) error {
	table.cases++
	r := &run{Table: table, w: w, vars: map[string]string{
		"name": fmt.Sprintf("%s%d", w.Prefix, table.cases), "issuer": table.meta["issuer"],
		"uma": "urn:ietf:params:oauth:grant-type:uma-ticket", "format": "http://openid.net/specs/openid-connect-core-1_0.html#IDToken",
	}}
	defer r.tidy(ctx)
	for n, step := range c.Steps {
		if strings.HasPrefix(step.Do, "POST revoke") || strings.HasPrefix(step.Do, "sign out") {
			defer clear(table.signedIn) // before tidy
		}
		err := r.step(ctx, step)
		if r.err != nil {
			err = r.err
		}
		if err != nil {
			return fmt.Errorf("step %d: %w", n+1, err)
		}
	}
	return nil
}

// run is one case being run.
type run struct {
	*Table
	w    World
	vars map[string]string
	made []string // ids of resources
	err  error    // values that requests may contain
}

// tidy deletes what the case has made, because people look at their resources
// at the same time, in other tests. The server refuses to delete what is
// already gone or belongs to somebody else.
func (r *run) tidy(ctx context.Context) {
	for _, id := range r.made {
		for _, owner := range []string{"alice", "service"} {
			_, _ = send(ctx, http.MethodDelete, r.meta["resource_registration_endpoint"]+"/"+id, r.authorization("pat "+owner), "", "")
		}
	}
}

// want is the expected answer of this kind of server.
func (s Step) want(w World) string {
	if w.Keycloak && s.Keycloak != "" {
		return s.Keycloak
	}
	return s.Want
}

func (r *run) step(ctx context.Context, s Step) error {
	want := s.want(r.w)
	if want == "-" {
		return nil
	}
	words := strings.Fields(r.fill(s.Do))
	switch {
	case r.err != nil:
		return r.err
	case words[0] == "share":
		return r.w.Share("alice", words[1], words[2], words[3])
	case words[0] == "take":
		return r.w.TakeBack("alice", words[2], words[3], words[4])
	case words[0] == "sign":
		return r.w.SignOut(words[2])
	case words[0] == "pending":
		got, err := r.w.Pending("alice", words[1])
		if err == nil && fmt.Sprint(got) != want {
			err = fmt.Errorf("%s: there are %d, want %s", s.Do, got, want)
		}
		return err
	}
	body, kind := r.fill(s.JSON), "application/json"
	if s.JSON == "" {
		body, kind = r.form(s.Form), "application/x-www-form-urlencoded"
	}
	if words[0] == http.MethodGet || words[0] == http.MethodDelete {
		body, kind = "", ""
	}
	address, authorization := r.address(words[1]), r.authorization(s.As)
	if r.err != nil {
		return r.err
	}
	a, err := send(ctx, words[0], address, authorization, kind, body)
	if err != nil {
		return err
	}
	if id, ok := a.members["_id"].(string); ok && a.status == http.StatusCreated {
		r.made = append(r.made, id)
	}
	if bad := r.judge(a, want); len(bad) > 0 {
		return fmt.Errorf("%s as %q with %s%s\nwant %s\ngot  %s\nnot so: %s", s.Do, s.As, s.JSON, s.Form, want, a, strings.Join(bad, " "))
	}
	return nil
}

var variable = regexp.MustCompile(`\$[a-z0-9]+(\.(id|access)(@[a-z]+)?)?`)

// fill replaces $x with its value.
func (r *run) fill(text string) string {
	return variable.ReplaceAllStringFunc(text, func(found string) string {
		name := found[1:]
		if value, known := r.vars[name]; known {
			return value
		}
		who, what, ok := strings.Cut(name, ".")
		if !ok {
			r.fail("nothing is called %s", found)
			return ""
		}
		what, client, elsewhere := strings.Cut(what, "@")
		if !elsewhere {
			client = "printshop"
		}
		got := r.tokens(who, client)
		if what == "id" {
			return got.ID
		}
		return got.Access
	})
}

func (r *run) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// tokens signs somebody in, once per client.
func (r *run) tokens(who, client string) Tokens {
	key := who + " " + client
	if got, known := r.signedIn[key]; known {
		return got
	}
	user := who
	if who == "service" {
		user = ""
	}
	got, err := r.w.Tokens(user, client)
	if err != nil {
		r.fail("%s at %s: %w", who, client, err)
		return got
	}
	r.signedIn[key] = got
	return got
}

func (r *run) form(text string) string {
	values := url.Values{}
	for _, pair := range strings.Fields(text) {
		name, value, _ := strings.Cut(pair, "=")
		values.Add(name, r.fill(value))
	}
	return values.Encode()
}

func (r *run) address(what string) string {
	path, query, asks := strings.Cut(what, "?")
	if asks {
		query = "?" + query
	}
	name, rest, deeper := strings.Cut(path, "/")
	at := r.meta[map[string]string{"resource": "resource_registration_endpoint", "permission": "permission_endpoint", "token": "token_endpoint",
		"introspect": "introspection_endpoint", "revoke": "revocation_endpoint", "uma": "uma"}[name]]
	if at == "" {
		r.fail("no endpoint is called %q", name)
	}
	if deeper {
		at += "/" + rest
	}
	return at + query
}

func (r *run) authorization(as string) string {
	words := strings.Fields(r.fill(as))
	if len(words) == 0 {
		return ""
	}
	switch words[0] {
	case "pat":
		return "Bearer " + r.tokens(words[1], "photoz").Access
	case "bearer":
		return "Bearer " + words[1]
	}
	secret := words[1] + "-secret"
	if len(words) > 2 {
		secret = words[2]
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(words[1]+":"+secret))
}

// answer is what the server returned.
type answer struct {
	status  int
	header  http.Header
	body    []byte
	members map[string]any // nil if the body is not an object
	claims  map[string]any // of the token or ticket in it, if that is a JWT
}

var longToken = regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_.-]{20,}`)

func (a answer) String() string {
	claims := ""
	if a.claims != nil {
		claims = fmt.Sprintf(" jwt %v", a.claims)
	}
	return fmt.Sprintf("%d %.800s%s", a.status, longToken.ReplaceAll(a.body, []byte("(a JWT)")), claims)
}

// maxAnswer bounds how much of an answer is read.
const maxAnswer = 1 << 20

func send(ctx context.Context, method, address, authorization, kind, body string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	if a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer)); err != nil {
		return answer{}, err
	}
	if json.Unmarshal(a.body, &a.members) != nil {
		a.members = nil
	}
	for _, name := range []string{"access_token", "ticket"} {
		token, _ := a.members[name].(string)
		parts := strings.Split(token, ".")
		if len(parts) != 3 {
			continue
		}
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err == nil && json.NewDecoder(bytes.NewReader(payload)).Decode(&a.claims) != nil {
			a.claims = nil
		}
	}
	return a, nil
}

// judge lists how the answer differs from the expected one.
func (r *run) judge(a answer, want string) (bad []string) {
	words := strings.Fields(want)
	if fmt.Sprint(a.status) != words[0] {
		return []string{"the status is another"}
	}
	for _, word := range words[1:] {
		rest, negative := strings.CutPrefix(word, "!")
		if name, ok := strings.CutPrefix(rest, "@"); ok {
			if (a.header.Get(name) == "") != negative {
				bad = append(bad, word)
			}
			continue
		}
		var from any = a.members
		if a.members == nil {
			var list []any
			if json.Unmarshal(a.body, &list) == nil {
				from = list
			}
		}
		if claim, ok := strings.CutPrefix(rest, "jwt:"); ok {
			from, rest = any(nil), claim
			if a.claims != nil {
				from = a.claims
			}
		}
		path, value, compared := strings.Cut(rest, "=")
		path, keep, kept := strings.Cut(path, ">")
		got, there := at(from, path)
		switch {
		case there == negative, compared && r.fill(value) != text(got):
			bad = append(bad, word)
		case kept:
			r.vars[keep] = text(got)
		}
	}
	return bad
}

// at follows a path; "" is the whole value.
func at(from any, path string) (any, bool) {
	if path == "" {
		return from, from != nil
	}
	for name := range strings.SplitSeq(path, ".") {
		switch v := from.(type) {
		case map[string]any:
			next, ok := v[name]
			if !ok {
				return nil, false
			}
			from = next
		case []any:
			var n int
			if _, err := fmt.Sscan(name, &n); err != nil || n >= len(v) {
				return nil, false
			}
			from = v[n]
		default:
			return nil, false
		}
	}
	return from, true
}

// text formats a value. A list is sorted and joined by commas, and objects in
// it appear by name.
func text(value any) string {
	list, ok := value.([]any)
	if !ok {
		return strings.ReplaceAll(fmt.Sprint(value), " ", "_")
	}
	out := make([]string, 0, len(list))
	for _, one := range list {
		if object, ok := one.(map[string]any); ok {
			one = object["name"]
		}
		out = append(out, fmt.Sprint(one))
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}
