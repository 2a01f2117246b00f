package signin_test

import (
	"testing"

	"example.com/gatehouse/internal/e2e/stories"
)

// These stories run on other stores too.

func TestSE1_Fixation(t *testing.T) { stories.SE1Fixation(t, stories.InMemory) }

func TestSE1_NewIDAtEachSignIn(t *testing.T) { stories.SE1NewIDAtEachSignIn(t, stories.InMemory) }

func TestLO1_Logout(t *testing.T) { stories.LO1Logout(t, stories.InMemory) }

func TestLO1_DeadBeforeTheRedirect(t *testing.T) {
	stories.LO1DeadBeforeTheRedirect(t, stories.InMemory)
}

func TestCK1_CookiesOnHTTPS(t *testing.T) { stories.CK1CookiesOnHTTPS(t, stories.InMemory) }

func TestCK1_CookiesOnLoopbackHTTP(t *testing.T) {
	stories.CK1CookiesOnLoopbackHTTP(t, stories.InMemory)
}

func TestCK3_ClearedCookies(t *testing.T) { stories.CK3ClearedCookies(t, stories.InMemory) }

func TestCK3_ClearedCookiesOnLoopback(t *testing.T) {
	stories.CK3ClearedCookiesOnLoopback(t, stories.InMemory)
}

func TestCK6_HostileCookies(t *testing.T) { stories.CK6HostileCookies(t, stories.InMemory) }

func TestCK8_NothingIsCached(t *testing.T) { stories.CK8NothingIsCached(t, stories.InMemory) }

func TestCK8_HandlerSetsCacheControl(t *testing.T) {
	stories.CK8HandlerSetsCacheControl(t, stories.InMemory)
}

func TestCC4_TwoTabs(t *testing.T) { stories.CC4TwoTabs(t, stories.InMemory) }

func TestCC4_TwoTabsTwoReplicas(t *testing.T) { stories.CC4TwoTabsTwoReplicas(t, stories.InMemory) }
