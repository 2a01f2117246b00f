package interop_test

import (
	"slices"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/servers"
)

// Dex, one server for all of it: a sign-in that another site starts, the ways of
// answering without a form, and the mode that it does not know.
func TestDexSignsIn(t *testing.T) {
	t.Parallel()
	sites, redirects := sitesFor(t, speakings)
	issuer := servers.StartDex(t, servers.DexClient{ID: "speaking", Secret: "speaking-secret", RedirectURIs: redirects})
	browser := servers.StartChromium(t)
	signIn := func(t *testing.T, b *servers.Chromium) { servers.DexSignIn(t, b, issuer) }
	t.Run("answers", func(t *testing.T) {
		answering{
			issuer: issuer, client: "speaking", origin: issuer, shown: "Notes of alice <alice@example.test>", sites: sites, signIn: signIn, again: signIn,
		}.in(t, browser, slices.DeleteFunc(slices.Clone(speakings), func(s speaking) bool { return s.mode == "form_post" })...)
	})
	t.Run("started elsewhere", func(t *testing.T) {
		notes, browser := notesAt(t, sites["implicit-form"]), browser.Another(t)
		notes.open(t, issuer, &clock{}, gatehouse.RelyingPartyConfig{Client: clientOf("speaking"), Scopes: []string{"profile", "email"}})
		notes.started(t, browser, issuer, issuer, notes.base+"/notes/7", func(b *servers.Chromium) { signIn(t, b) })
		notes.shows(t, browser, "Notes of alice <alice@example.test>", "at /notes/7,")
		notes.wire.want(t, "GET openid-configuration", "token authorization_code", "GET dex/keys", "GET dex/userinfo")
	})
	// It knows no form_post and says nothing about modes, so the answer comes as if
	// no mode had been asked for.
	answering{issuer: issuer, client: "speaking", origin: issuer, sites: sites, signIn: signIn}.refused(t, browser, of("code-form")[0], "response_malformed")
}
