package servers

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// Accept accepts the requests for a resource in Keycloak's account console, and
// returns what the page says was requested. The browser is at the list of
// resources or on the way to it. The resource is found by a part of its name
// that has no quotation mark.
func (kc *Keycloak) Accept(t testing.TB, browser *Chromium, resource string) string {
	t.Helper()
	if strings.ContainsRune(resource, '"') {
		t.Fatalf("keycloak: %q has a quotation mark", resource)
	}
	const dialog = `//*[@role="dialog"]`
	requests := chromedp.Search(fmt.Sprintf(`//tr[td[contains(., "%s")]]/td[@data-label="Permission requests"]//button`, resource))
	browser.Run(t, "open the requests for "+resource, chromedp.Click(requests))
	asked := Get(t, browser, "read the requests", chromedp.Text(chromedp.Search(dialog+`//tbody`)))
	browser.Run(t, "accept the requests for "+resource,
		chromedp.Click(chromedp.Search(dialog+`//button[text()="Accept"]`)),
		chromedp.WaitNotPresent(chromedp.Search(dialog)),
		chromedp.WaitNotPresent(requests))
	return asked
}
