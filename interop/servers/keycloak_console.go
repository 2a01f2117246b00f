package servers

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// Accept says yes to what is asked of a resource, in Keycloak's account console,
// whose list of resources the browser is at or on the way to. It returns what
// the page says was asked. The resource is found by a part of its name, which
// has no quotation mark.
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
