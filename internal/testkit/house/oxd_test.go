package house_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const (
	oxdDoc       = "docs/coming-from-oxd.md"
	metadataFile = "client_metadata.go"
)

// oxdCalls are the calls of oxd's documents, the tutorial for CGI, the page of
// oxd-python and the overview of the server, with every field that a call takes and
// every member of its answer.
var oxdCalls = map[string][2]string{
	"register_site": {
		"authorization_redirect_uri redirect_uris op_host post_logout_redirect_uri application_type response_types grant_types scope acr_values client_name " +
			"client_jwks_uri client_token_endpoint_auth_method client_request_uris client_logout_uris client_frontchannel_logout_uris client_sector_identifier_uri " +
			"contacts ui_locales claims_locales claims_redirect_uri client_id client_secret trusted_client",
		"oxd_id op_host client_id client_secret client_registration_access_token client_registration_client_uri client_id_issued_at client_secret_expires_at",
	},
	"update_site_registration": {
		"oxd_id authorization_redirect_uri post_logout_redirect_uri client_logout_uris response_type grant_types redirect_uris scope acr_values client_secret_expires_at " +
			"client_jwks_uri client_token_endpoint_auth_method client_request_uris client_sector_identifier_uri contacts logoutRedirecturl ui_locales claims_locales",
		"status",
	},
	"get_client_token":      {"op_host scope client_id client_secret authentication_method algorithm key_id", "access_token"},
	"get_authorization_url": {"oxd_id scope acr_values prompt", "authorization_url"},
	"get_tokens_by_code":    {"oxd_id code state scopes", "access_token expires_in refresh_token id_token id_token_claims iss sub aud nonce exp iat at_hash"},
	"get_user_info":         {"oxd_id access_token", "claims"},
	"get_logout_uri":        {"oxd_id id_token_hint post_logout_redirect_uri state session_state", "uri"},
	"uma_rs_protect":        {"oxd_id resources path conditions httpMethods scopes ticketScopes", "status"},
	"uma_rs_check_access":   {"oxd_id rpt path http_method", "access granted denied www-authenticate_header ticket error invalid_request"},
	"uma_rp_get_rpt":        {"oxd_id force_new", "rpt"},
	"uma_rp_authorize_rpt":  {"oxd_id rpt ticket", "status not_authorized invalid_ticket invalid_rpt"},
	"uma_rp_get_gat":        {"oxd_id scopes", "gat"},

	"uma_rp_get_claims_gathering_url": {"oxd_id ticket claims_redirect_uri", "url state"},
}

func TestComingFromOxd(t *testing.T) { hold(t, comingFromOxd) }

// comingFromOxd checks the page for those who come from oxd. Each call has a section
// whose two tables, "Parameter" and "Answer", name every field. The table of all
// metadata has what ClientMetadata writes and reads, and the page names what it
// refuses and leaves out.
func comingFromOxd(t *testing.T, tr *tree) []string {
	_, out := tr.docTables(t, oxdDoc)
	text := tr.read(t, oxdDoc)
	sections := map[string]string{}
	for _, part := range strings.Split(text, "\n## ")[1:] {
		title, body, _ := strings.Cut(part, "\n")
		sections[title] = body
	}
	for _, call := range slices.Sorted(maps.Keys(oxdCalls)) {
		rows := rowsBelow(sections[call])
		for i, head := range []string{"Parameter", "Answer"} {
			for _, field := range strings.Fields(oxdCalls[call][i]) {
				if !slices.Contains(rows[head], field) {
					out = append(out, fmt.Sprintf("%s: the table %s of %s does not name %s", oxdDoc, head, call, field))
				}
			}
		}
	}
	meta := tr.clientMetadata(t)
	listed := map[string]bool{}
	for line := range strings.Lines(sections["All metadata"]) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || len(spans(cells[1])) == 0 {
			continue
		}
		name := spans(cells[1])[0]
		listed[name] = true
		if got := append(spans(cells[2]), slices.Sorted(slices.Values(spans(cells[3])))...); !slices.Equal(got, meta.members[name]) {
			out = append(out, fmt.Sprintf("%s: %s: the row has %q, the code %q", oxdDoc, name, got, meta.members[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(meta.members)) {
		if !listed[name] {
			out = append(out, fmt.Sprintf("%s: the metadata %s have no row", oxdDoc, name))
		}
	}
	for _, name := range meta.refused {
		if !slices.Contains(spans(sections["All metadata"]), name) {
			out = append(out, fmt.Sprintf("%s: the end of All metadata does not name %s", oxdDoc, name))
		}
	}
	return out
}

// rowsBelow lists the code spans in the first column of a section's tables, by the
// head of that column.
func rowsBelow(section string) map[string][]string {
	out := map[string][]string{}
	head := ""
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		switch {
		case len(cells) < 3:
			head = ""
		case head == "":
			head = strings.TrimSpace(cells[1])
		default:
			out[head] = append(out[head], spans(cells[1])...)
		}
	}
	return out
}

// metadataNames is what the source says about ClientMetadata.
type metadataNames struct {
	members map[string][]string // a name on the wire → its field, and the names of oxd in order
	refused []string            // what is an error, or left out
}

// clientMetadata reads the literals of client_metadata.go.
func (tr *tree) clientMetadata(t *testing.T) (m metadataNames) {
	m.members = map[string][]string{}
	named := map[string]string{}
	for _, f := range tr.rootFiles(t) {
		for _, c := range f.constants() {
			if lit, ok := c.value.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				named[c.name], _ = strconv.Unquote(lit.Value)
			}
		}
	}
	said := func(e ast.Expr) string {
		switch e := e.(type) {
		case *ast.BasicLit:
			text, _ := strconv.Unquote(e.Value)
			return text
		case *ast.Ident:
			return named[e.Name]
		}
		return ""
	}
	oxd := map[string][]string{}
	for _, f := range tr.goFiles(t, func(name string) bool { return name == metadataFile }) {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
				if lit, ok := spec.Values[0].(*ast.CompositeLit); ok {
					for _, e := range lit.Elts {
						switch e := e.(type) {
						case *ast.KeyValueExpr: // oxdNames
							oxd[said(e.Value)] = append(oxd[said(e.Value)], said(e.Key))
						default: // notMetadata, toOxd
							m.refused = append(m.refused, said(e))
						}
					}
				}
			}
			lit, ok := n.(*ast.CompositeLit)
			if !ok || len(lit.Elts) != 2 {
				return true
			}
			at, ok := lit.Elts[1].(*ast.UnaryExpr)
			if !ok {
				return true
			}
			if field, ok := at.X.(*ast.SelectorExpr); ok && said(lit.Elts[0]) != "" {
				m.members[said(lit.Elts[0])] = []string{field.Sel.Name}
			}
			return true
		})
	}
	for name, old := range oxd {
		slices.Sort(old)
		m.members[name] = append(m.members[name], old...)
	}
	return m
}

// TestComingFromOxdReports changes one place of the page or of the code at a time.
func TestComingFromOxdReports(t *testing.T) {
	real := openTree(t)
	for _, c := range []struct{ file, old, new, want string }{
		{oxdDoc, "", "", ""},
		{oxdDoc, "| `session_state` |", "| session |", "the table Parameter of get_logout_uri does not name session_state"},
		{oxdDoc, "| `gat` |", "| it |", "the table Answer of uma_rp_get_gat does not name gat"},
		{oxdDoc, "## uma_rs_protect\n", "## uma_rs\n", "of uma_rs_protect does not name resources"},
		{oxdDoc, "| `tos_uri` | `TOSURI` | the same |\n", "", "the metadata tos_uri have no row"},
		{oxdDoc, "| `response_type` |\n", "| the same |\n", "response_types: the row has"},
		{oxdDoc, "`oxd_rp_programming_language` and", "and", "does not name oxd_rp_programming_language"},
		{metadataFile, `"client_logout_uris":`, `"client_logout":`, "frontchannel_logout_uris: the row has"},
		{metadataFile, `{"logo_uri", &m.LogoURI}`, `{"logo", &m.LogoURI}`, "the metadata logo have no row"},
	} {
		files := fstest.MapFS{}
		for _, name := range real.files {
			if name == oxdDoc || name == ".gitignore" || strings.HasSuffix(name, ".go") && !strings.Contains(name, "/") {
				text := real.read(t, name)
				if name == c.file && !strings.Contains(text, c.old) {
					t.Fatalf("%s does not hold %q", name, c.old)
				}
				if name == c.file {
					text = strings.Replace(text, c.old, c.new, 1)
				}
				files[name] = &fstest.MapFile{Data: []byte(text)}
			}
		}
		got := comingFromOxd(t, newTree(t, "/src/checkout", files))
		if c.want == "" && len(got) > 0 || c.want != "" && !slices.ContainsFunc(got, func(p string) bool { return strings.Contains(p, c.want) }) {
			t.Errorf("%q for %q: got %q, want a problem with %q", c.new, c.old, got, c.want)
		}
	}
}
