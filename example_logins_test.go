package gatehouse_test

import (
	"fmt"
	"html"
	"html/template"
	"io"
	"net/http"
	"strings"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// newTwoProviderApp is a site whose people sign in at one of two providers.
func newTwoProviderApp(corpProvider, googleProvider *gatehouse.Provider, corpClient, googleClient gatehouse.Client, base string) http.Handler {
	sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{})
	if err != nil {
		panic(err)
	}
	corp, err := gatehouse.NewRelyingParty(corpProvider, gatehouse.RelyingPartyConfig{
		Client: corpClient, RedirectURL: base + "/auth/corp/callback", Sessions: sessions, ProviderName: "Example Corp",
	})
	if err != nil {
		panic(err)
	}
	google, err := gatehouse.NewRelyingParty(googleProvider, gatehouse.RelyingPartyConfig{
		Client: googleClient, RedirectURL: base + "/auth/google/callback", Sessions: sessions, ProviderName: "Google",
	})
	if err != nil {
		panic(err)
	}
	logins, err := gatehouse.NewLogins(gatehouse.LoginsConfig{}, corp, google)
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", logins.Handler())
	mux.Handle("/notes/", logins.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := gatehouse.IdentityFrom(r.Context())
		where := "Example Corp"
		if id.Issuer == googleProvider.Issuer() {
			where = "Google"
		}
		fmt.Fprintf(w, "notes of %s at %s", id.Subject, where)
	})))
	mux.Handle("/payroll/", corp.RequireLogin(notes)) // only who signed in at corp
	return mux
}

// A site whose people sign in at one of two providers, and a person who chooses
// the second one.
func ExampleNewLogins() {
	t := newExampleTB()
	defer t.end()
	corp, google := middlewaretest.NewServer(t), middlewaretest.NewServer(t)
	google.AddUser("ana", nil)
	url := middlewaretest.NewApp(t, func(base string) http.Handler {
		return newTwoProviderApp(corp.Provider(), google.Provider(),
			corp.AddClient(base+"/auth/corp/callback"), google.AddClient(base+"/auth/google/callback"), base)
	})
	ana := google.Browser(t, "ana")
	page, err := ana.Get(url + "/notes/")
	if err != nil {
		fmt.Println(err)
		return
	}
	text, _ := io.ReadAll(page.Body)
	var link string
	for part := range strings.SplitSeq(string(text), `<a href="`) {
		if address, name, _ := strings.Cut(part, `">`); strings.Contains(name, "</a>") {
			name, _, _ = strings.Cut(name, "<")
			fmt.Println(name)
			link = html.UnescapeString(address) // the last one
		}
	}
	show(ana.Get(url + link))
	// Output:
	// Example Corp
	// Google
	// 200 notes of ana at Google
}

// A page of one's own on which people choose where to sign in.
func ExampleLoginsConfig() {
	t := newExampleTB()
	defer t.end()
	op := middlewaretest.NewServer(t)
	url := middlewaretest.NewApp(t, func(base string) http.Handler {
		sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{})
		if err != nil {
			panic(err)
		}
		var parties []*gatehouse.RelyingParty
		for _, name := range []string{"Staff", "Guests"} {
			callback := base + "/auth/" + strings.ToLower(name) + "/callback"
			party, err := gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{
				Client: op.AddClient(callback), RedirectURL: callback, Sessions: sessions, ProviderName: name,
			})
			if err != nil {
				panic(err)
			}
			parties = append(parties, party)
		}
		links := template.Must(template.New("").Parse("{{range .}}<li><a href=\"{{.URL}}\">{{.Name}}</a>\n{{end}}"))
		logins, err := gatehouse.NewLogins(gatehouse.LoginsConfig{
			Page: func(w http.ResponseWriter, r *http.Request, choices []gatehouse.LoginChoice) {
				_ = links.Execute(w, choices) // html/template escapes names and addresses
			},
		}, parties...)
		if err != nil {
			panic(err)
		}
		return logins.Handler()
	})
	show(op.Browser(t, "").Get(url + "/auth/login"))
	// Output:
	// 200 <li><a href="/auth/staff/login">Staff</a>
	// <li><a href="/auth/guests/login">Guests</a>
}
