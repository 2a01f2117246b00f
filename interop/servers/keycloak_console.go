package servers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// consolePatience is how long the account console may list no request before the
// person asks again. It has never taken more than a second.
const consolePatience = 20 * time.Second

// Accept accepts the requests for a resource in Keycloak's account console, and
// returns what the page says was requested. The browser is at the list of
// resources or on the way to it. The resource is found by a part of its name
// that has no quotation mark.
//
// Keycloak 26.7.3 was seen once, under load, to answer request_submitted and then to
// list no request. Then people do what they would: the other one asks again, and
// the owner loads the page again. What Keycloak's API lists is logged.
func (kc *Keycloak) Accept(t testing.TB, browser *Chromium, resource string, again func()) string {
	t.Helper()
	if strings.ContainsRune(resource, '"') {
		t.Fatalf("keycloak: %q has a quotation mark", resource)
	}
	const dialog = `//*[@role="dialog"]`
	row := fmt.Sprintf(`//tr[td[contains(., "%s")]]`, resource)
	button := row + `/td[@data-label="Permission requests"]//button`
	requests := chromedp.Search(button)
	browser.Run(t, "find "+resource, chromedp.WaitVisible(chromedp.Search(row)))
	if !browser.appears(t, button, consolePatience) {
		t.Logf("keycloak: the account console lists no request; the API lists %+v", kc.Owner(t, "alice").Inbox(t, ""))
		again()
		browser.Reload(t)
	}
	browser.Run(t, "open the requests for "+resource, chromedp.Click(requests))
	asked := Get(t, browser, "read the requests", chromedp.Text(chromedp.Search(dialog+`//tbody`)))
	browser.Run(t, "accept the requests for "+resource,
		chromedp.Click(chromedp.Search(dialog+`//button[text()="Accept"]`)),
		chromedp.WaitNotPresent(chromedp.Search(dialog)),
		chromedp.WaitNotPresent(requests))
	return asked
}
