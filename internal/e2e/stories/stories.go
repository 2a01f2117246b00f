// Package stories has the stories of sessions that have to come out the same on
// every store: the cases SE, CK, CC, LO and FA of docs/threat-model.md, over two
// replicas. The packages internal/e2e/session and signin run them in memory. The
// modules of the stores run them all on a real server:
//
//	stories.Run(t, func(t testing.TB) func() gatehouse.Store { … })
//
// The clock of a story is its own. It begins at the present time and only moves
// forward, so it is never behind that of the store: nothing expires there too
// early, and what the store keeps for too long must not matter (decision 2).
package stories

import (
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// On puts a site on a store.
type On = func(*world.SiteOptions)

// InMemory puts a site on a store in memory, which has the clock of the world.
func InMemory(*world.SiteOptions) {}

// Open makes an empty place for one site, such as a new prefix or table. Each
// call of connect makes the store of one more process.
type Open func(t testing.TB) (connect func() gatehouse.Store)

// On puts each site into a place of its own. Each replica connects for itself.
func (open Open) On(o *world.SiteOptions) {
	o.Open, o.Begin = open, time.Now().Truncate(time.Second).Add(time.Second)
}

// Story is one story, named after its case.
type Story struct {
	Name string
	Run  func(t *testing.T, on On)
}

// Run runs all stories on a store, each with an empty place.
func Run(t *testing.T, open Open) {
	t.Helper()
	for _, s := range All() {
		t.Run(s.Name, func(t *testing.T) { s.Run(t, open.On) })
	}
}

// All lists the stories.
func All() []Story {
	return []Story{
		{"a session on every replica", OnEveryReplica},
		{"SE1 fixation", SE1Fixation},
		{"SE1 new id at each sign-in", SE1NewIDAtEachSignIn},
		{"SE3 another person signs in", SE3AnotherPersonSignsIn},
		{"SE3 nothing passes on", SE3NothingPassesOn},
		{"SE4 absolute limit", SE4AbsoluteLimit},
		{"SE4 idle limit", SE4IdleLimit},
		{"SE8 the store holds no secrets", SE8StoreHoldsNoSecrets},
		{"SE10 invalid grant ends the session", SE10InvalidGrantEndsTheSession},
		{"SE10 a script gets 401", SE10ScriptGets401},
		{"the list of sessions", SessionsList},
		{"CK1 on https", CK1CookiesOnHTTPS},
		{"CK1 on loopback", CK1CookiesOnLoopbackHTTP},
		{"CK3 cleared cookies", CK3ClearedCookies},
		{"CK3 cleared cookies on loopback", CK3ClearedCookiesOnLoopback},
		{"CK6 hostile cookies", CK6HostileCookies},
		{"CK8 nothing is cached", CK8NothingIsCached},
		{"CK8 the handler sets Cache-Control", CK8HandlerSetsCacheControl},
		{"CC1 one refresh", CC1OneRefresh},
		{"CC4 two tabs", CC4TwoTabs},
		{"CC4 two tabs, two replicas", CC4TwoTabsTwoReplicas},
		{"CC6 everything at once", CC6EverythingAtOnce},
		{"CC8 drain", CC8Drain},
		{"LO1 sign-out", LO1Logout},
		{"LO1 on every replica", LO1LogoutOnEveryReplica},
		{"LO1 dead before the redirect", LO1DeadBeforeTheRedirect},
		{"LO3 a sid ends one session", LO3SIDEndsOneSession},
		{"LO4 a subject ends all", LO4SubjectEndsAll},
		{"LO4 the same subject elsewhere", LO4SameSubjectElsewhere},
		{"LO7 no logout token", LO7NoLogoutToken},
		{"LO9 not for us or not of now", LO9NotForUsOrNotOfNow},
		{"LO11 replay", LO11Replay},
		{"LO14 front channel", LO14FrontChannel},
		{"LO14 who may frame", LO14WhoMayFrame},
		{"LO14 front channel in trouble", LO14FrontChannelInTrouble},
		{"the front channel clears its cookie", FrontChannelClearsItsCookie},
		{"the back channel beats a callback", BackchannelBeatsACallback},
		{"M13 a slow handler", M13SlowHandlerDoesNotResurrect},
		{"M13 between any two calls", M13LogoutBetweenAnyTwoCalls},
		{"live connections end", LiveConnectionsEnd},
		{"FA6 down at start", FA6StoreDownAtStart},
		{"FA6 back channel", FA6BackchannelInTrouble},
		{"FA6 fails during a callback", FA6StoreFailsDuringCallback},
		{"FA6 fails after the session is stored", FA6StoreFailsAfterTheSessionIsStored},
		{"FA11 provider in trouble", FA11ProviderInTrouble},
		{"FA11 trouble, then invalid grant", FA11TroubleThenInvalidGrant},
		{"a garbage record", GarbageRecord},
		{"a cut record", CutRecord},
		{"random records", RandomRecord},
		{"a garbage key", GarbageKey},
		{"a record of a newer version", UnreadableRecord},
		{"a record under an unknown key", UnknownKey},
		{"a record that is not sealed", UnsealedRecord},
		{"keys rotate", KeyRotation},
		{"the store loses everything", LostStore},
		{"what the build before left", TakeOver},
	}
}
