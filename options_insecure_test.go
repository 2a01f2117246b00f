package gatehouse_test

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse"
)

// configs are all exported config structs. A test compares them with the
// source.
var configs = []any{
	gatehouse.ProviderConfig{}, gatehouse.SessionsConfig{}, gatehouse.RelyingPartyConfig{}, gatehouse.Client{}, gatehouse.Metadata{},
	gatehouse.ResourceServerConfig{}, gatehouse.OwnerGrantsConfig{}, gatehouse.UMATransportConfig{}, gatehouse.RegistrationConfig{}, gatehouse.ClientMetadata{}, gatehouse.FinderConfig{}, gatehouse.LoginsConfig{}, gatehouse.ClaimsProvider{},
}

// judged says for every switch in a config why it does not weaken security. An
// option that does is called Insecure… and belongs in weakening.
var judged = map[string]string{
	"RelyingPartyConfig.AuthorizeByPOST":               "the same request in a body instead of an address",
	"RelyingPartyConfig.SkipUserInfo":                  "fewer claims, none that is less checked",
	"ClientMetadata.FrontchannelLogoutSessionRequired": "asks the provider for more; what comes is checked as before",
	"ClientMetadata.BackchannelLogoutSessionRequired":  "asks the provider for more; what comes is checked as before",
	"ClientMetadata.RequireAuthTime":                   "asks the provider for more; what comes is checked as before",
	"ClientMetadata.TrustedClient":                     "a wish to the provider, which decides whom it asks to agree",
	"Metadata.ResponseIssuer":                          "on asks for more; off is what the provider announces, and an iss that is there is compared all the same",
	"UMATransportConfig.SubmitRequest":                 "a wish to the authorization server (UMA Grant §3.3.1)",
	"UMATransportConfig.ClaimsWhenAsked":               "the claims go to the configured issuer one answer later, and Keycloak, which never asks, gets them first all the same",
	"RelyingPartyConfig.SessionProtocolClaims":         "the person's own script sees what the person's ID Token says, and no token",
	"RelyingPartyConfig.AllowUpgrades":                 "one protocol by name, never HTTP, and judged as an unsafe method",
	"ResourceServerConfig.AllowUpgrades":               "one protocol by name, never HTTP",
}

// weakening turns on each insecure option, alone, in a config that works.
var weakening = map[string]struct {
	code  string
	start func(c gatehouse.ProviderConfig) error
}{
	"ProviderConfig.InsecureHTTP": {"insecure_http", func(c gatehouse.ProviderConfig) error {
		c.InsecureHTTP = true
		_, err := gatehouse.NewProvider("http://id.example.org", &c)
		return err
	}},
	"ProviderConfig.InsecureLogoutTokens": {"insecure_logout_tokens", func(c gatehouse.ProviderConfig) error {
		c.InsecureLogoutTokens = true
		_, err := gatehouse.NewProvider("https://id.example.org", &c)
		return err
	}},
	"ClaimsProvider.InsecureInnerAddresses": {"insecure_inner_addresses", func(c gatehouse.ProviderConfig) error {
		p, err := gatehouse.NewProvider("https://id.example.org", &c)
		if err != nil {
			return err
		}
		inner := gatehouse.ClaimsProvider{Provider: p, InnerNetworks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, InsecureInnerAddresses: true}
		_, err = gatehouse.NewRelyingParty(p, gatehouse.RelyingPartyConfig{Client: gatehouse.Client{ID: "x"}, RedirectURL: "https://notes.example.org/cb", ClaimsProviders: []gatehouse.ClaimsProvider{inner}})
		return err
	}},
	"FinderConfig.InsecureInnerAddresses": {"insecure_inner_addresses", func(c gatehouse.ProviderConfig) error {
		p, err := gatehouse.NewProvider("https://id.example.org", &c)
		if err != nil {
			return err
		}
		_, err = gatehouse.NewFinder(gatehouse.FinderConfig{InnerNetworks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, InsecureInnerAddresses: true}, p)
		return err
	}},
	"ResourceServerConfig.InsecureAnyAudience": {"insecure_any_audience", func(c gatehouse.ProviderConfig) error {
		p, err := gatehouse.NewProvider("https://id.example.org", &c)
		if err != nil {
			return err
		}
		_, err = gatehouse.NewResourceServer(p, gatehouse.ResourceServerConfig{InsecureAnyAudience: true})
		return err
	}},
	"SessionsConfig.InsecureUnsealed": {"insecure_unsealed", func(c gatehouse.ProviderConfig) error {
		p, err := gatehouse.NewProvider("https://id.example.org", &c)
		if err != nil {
			return err
		}
		key := gatehouse.NewSecret(strings.Repeat("k", 32))
		sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{Keys: []gatehouse.Secret{key}, InsecureUnsealed: true})
		if err != nil {
			return err
		}
		for _, id := range []string{"notes", "wiki"} { // two on one Sessions warn once
			_, err = gatehouse.NewRelyingParty(p, gatehouse.RelyingPartyConfig{
				Client: gatehouse.Client{ID: id}, RedirectURL: "https://notes.example.org/" + id + "/callback", Sessions: sessions,
			})
			if err != nil {
				return err
			}
		}
		return nil
	}},
}

// A new switch fails here until it is in judged or weakening (CF3).
func TestCF3_EverySwitchIsJudged(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range configs {
		typ := reflect.TypeOf(c)
		for i := range typ.NumField() {
			field := typ.Field(i)
			name := typ.Name() + "." + field.Name
			if !field.IsExported() && name != "Client.prover" { // that of a constructor's own copy holds what nothing may print
				t.Errorf("%s: a config has no hidden fields", name)
			}
			insecure := strings.HasPrefix(field.Name, "Insecure")
			if insecure && field.Type.Kind() != reflect.Bool {
				t.Errorf("%s is a %s, want a bool that is off by default", name, field.Type)
			}
			if !insecure && !switches(field.Type) {
				if judged[name] != "" {
					seen[name] = true
				} else if weakName(field.Name) {
					t.Errorf("%s sounds as if it weakened security; then it must be called Insecure…", name)
				}
				continue
			}
			seen[name] = true
			_, weak := weakening[name]
			if reason := judged[name]; insecure != weak || insecure == (reason != "") {
				t.Errorf("%s is not judged: say in judged why it is harmless, or call it Insecure… and warn", name)
			}
		}
	}
	for _, list := range [][]string{keysOf(judged), keysOf(weakening)} {
		for _, name := range list {
			if !seen[name] {
				t.Errorf("%s is judged, but does not exist", name)
			}
		}
	}
}

func keysOf[V any](m map[string]V) (list []string) {
	for k := range m {
		list = append(list, k)
	}
	return list
}

// switches reports whether the type is a bool, or holds a field that could
// turn something off.
func switches(typ reflect.Type) bool {
	switch typ.Kind() {
	case reflect.Bool:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return switches(typ.Elem())
	}
	return false
}

// weakName matches names that other packages use for turning checks off.
func weakName(name string) bool {
	return slices.ContainsFunc([]string{"Skip", "Disable", "No", "Allow", "Unsafe", "Ignore", "Trust"}, func(p string) bool {
		rest, ok := strings.CutPrefix(name, p)
		return ok && rest != "" && rest[0] >= 'A' && rest[0] <= 'Z' && name != "TrustedOrigins"
	})
}

// Every exported struct that a constructor takes is in configs.
func TestCF3_EveryConfigIsKnown(t *testing.T) {
	known := map[string]bool{}
	for _, c := range configs {
		known[reflect.TypeOf(c).Name()] = true
	}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, entry := range files {
		if name := entry.Name(); !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), entry.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "New") {
				continue
			}
			for _, p := range f.Type.Params.List {
				typ := p.Type
				if star, ok := typ.(*ast.StarExpr); ok {
					typ = star.X
				}
				if id, ok := typ.(*ast.Ident); ok && strings.HasSuffix(id.Name, "Config") {
					found++
					if !known[id.Name] {
						t.Errorf("%s takes %s, which is not in configs", f.Name.Name, id.Name)
					}
				}
			}
		}
	}
	if found < 5 {
		t.Errorf("only %d constructors with a config were found", found)
	}
}

// Each insecure option is off in the zero value, is reported once at start by
// a warning and an event, and cannot be changed afterwards.
func TestCF3_WarnsAtStart(t *testing.T) {
	for name, w := range weakening {
		t.Run(name, func(t *testing.T) {
			_, field, _ := strings.Cut(name, ".")
			var log countingLog
			var events []gatehouse.Event
			config := gatehouse.ProviderConfig{Logger: slog.New(&log), Events: func(_ context.Context, e gatehouse.Event) { events = append(events, e) }}
			if err := w.start(config); err != nil {
				t.Fatal(err)
			}
			if len(log.lines) != 1 || log.levels[0] != slog.LevelWarn || !strings.Contains(log.lines[0], field) {
				t.Errorf("log %q at %v, want one warning that names %s", log.lines, log.levels, field)
			}
			if len(events) != 1 || events[0].Name != gatehouse.EventInsecureOption || events[0].Code != w.code {
				t.Errorf("events %+v, want one %q with code %q", events, gatehouse.EventInsecureOption, w.code)
			}
		})
	}
	var log countingLog
	if err := provider("https://id.example.org", gatehouse.ProviderConfig{Logger: slog.New(&log)}); err != nil || len(log.lines) != 0 {
		t.Errorf("a safe config: error %v, log %q", err, log.lines)
	}
}

// Only a constructor can turn on an insecure option: no method, function or
// variable has the word in its name.
func TestCF3_NotPerRequest(t *testing.T) {
	golden, err := os.ReadFile("api/gatehouse.txt")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.SplitSeq(string(golden), "\n") {
		if strings.HasPrefix(line, "pkg example.com/gatehouse, ") && strings.Contains(line, "Insecure") && !strings.Contains(line, "EventInsecureOption") {
			got = append(got, line)
		}
	}
	for name := range weakening {
		typ, field, _ := strings.Cut(name, ".")
		got = slices.DeleteFunc(got, func(line string) bool {
			return strings.Contains(line, typ) && strings.Contains(line, field+" bool")
		})
	}
	if len(got) != 0 {
		t.Errorf("the API has %q", got)
	}
	// A provider keeps the options it was made with.
	c := gatehouse.ProviderConfig{}
	p, err := gatehouse.NewProvider("https://id.example.org", &c)
	if err != nil {
		t.Fatal(err)
	}
	c.InsecureHTTP = true
	_, err = gatehouse.NewRelyingParty(p, gatehouse.RelyingPartyConfig{Client: gatehouse.Client{ID: "x"}, RedirectURL: "http://notes.example.org/cb"})
	if err == nil {
		t.Error("InsecureHTTP of a provider let an http redirect address in")
	}
}

// countingLog records lines and levels.
type countingLog struct {
	lines  []string
	levels []slog.Level
}

func (l *countingLog) Enabled(context.Context, slog.Level) bool { return true }
func (l *countingLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *countingLog) WithGroup(string) slog.Handler            { return l }
func (l *countingLog) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	l.lines, l.levels = append(l.lines, line), append(l.levels, r.Level)
	return nil
}
