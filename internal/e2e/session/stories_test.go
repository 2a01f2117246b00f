package session_test

import (
	"testing"

	"example.com/gatehouse/internal/e2e/stories"
)

// These stories run on other stores too.

func TestSessionOnEveryReplica(t *testing.T) { stories.OnEveryReplica(t, stories.InMemory) }

func TestSE3_AnotherPersonSignsIn(t *testing.T) { stories.SE3AnotherPersonSignsIn(t, stories.InMemory) }

func TestSE3_NothingPassesOn(t *testing.T) { stories.SE3NothingPassesOn(t, stories.InMemory) }

func TestSE4_AbsoluteLimit(t *testing.T) { stories.SE4AbsoluteLimit(t, stories.InMemory) }

func TestSE4_IdleLimit(t *testing.T) { stories.SE4IdleLimit(t, stories.InMemory) }

func TestSE8_StoreHoldsNoSecrets(t *testing.T) { stories.SE8StoreHoldsNoSecrets(t, stories.InMemory) }

func TestSessionsList(t *testing.T) { stories.SessionsList(t, stories.InMemory) }

func TestLO1_LogoutOnEveryReplica(t *testing.T) { stories.LO1LogoutOnEveryReplica(t, stories.InMemory) }

func TestM13_SlowHandlerDoesNotResurrect(t *testing.T) {
	stories.M13SlowHandlerDoesNotResurrect(t, stories.InMemory)
}

func TestM13_LogoutBetweenAnyTwoCalls(t *testing.T) {
	stories.M13LogoutBetweenAnyTwoCalls(t, stories.InMemory)
}

func TestCC1_OneRefresh(t *testing.T) { stories.CC1OneRefresh(t, stories.InMemory) }

func TestSE10_InvalidGrantEndsTheSession(t *testing.T) {
	stories.SE10InvalidGrantEndsTheSession(t, stories.InMemory)
}

func TestSE10_ScriptGets401(t *testing.T) { stories.SE10ScriptGets401(t, stories.InMemory) }

func TestFA11_ProviderInTrouble(t *testing.T) { stories.FA11ProviderInTrouble(t, stories.InMemory) }

func TestFA11_TroubleThenInvalidGrant(t *testing.T) {
	stories.FA11TroubleThenInvalidGrant(t, stories.InMemory)
}

func TestSessionGarbageRecord(t *testing.T) { stories.GarbageRecord(t, stories.InMemory) }

func TestSessionCutRecord(t *testing.T) { stories.CutRecord(t, stories.InMemory) }

func TestSessionGarbageKey(t *testing.T) { stories.GarbageKey(t, stories.InMemory) }

func TestSessionUnreadableRecord(t *testing.T) { stories.UnreadableRecord(t, stories.InMemory) }

func TestSessionUnknownKey(t *testing.T) { stories.UnknownKey(t, stories.InMemory) }

func TestSessionUnsealedRecord(t *testing.T) { stories.UnsealedRecord(t, stories.InMemory) }

func TestSessionKeyRotation(t *testing.T) { stories.KeyRotation(t, stories.InMemory) }

func TestFA6_StoreDownAtStart(t *testing.T) { stories.FA6StoreDownAtStart(t, stories.InMemory) }

func TestFA6_StoreFailsDuringCallback(t *testing.T) {
	stories.FA6StoreFailsDuringCallback(t, stories.InMemory)
}

func TestFA6_StoreFailsAfterTheSessionIsStored(t *testing.T) {
	stories.FA6StoreFailsAfterTheSessionIsStored(t, stories.InMemory)
}

func TestCC8_Drain(t *testing.T) { stories.CC8Drain(t, stories.InMemory) }

func TestSessionLostStore(t *testing.T) { stories.LostStore(t, stories.InMemory) }

func TestLO3_SIDEndsOneSession(t *testing.T) { stories.LO3SIDEndsOneSession(t, stories.InMemory) }

func TestLO4_SubjectEndsAll(t *testing.T) { stories.LO4SubjectEndsAll(t, stories.InMemory) }

func TestLO4_SameSubjectElsewhere(t *testing.T) {
	stories.LO4SameSubjectElsewhere(t, stories.InMemory)
}

func TestLO7_NoLogoutToken(t *testing.T) { stories.LO7NoLogoutToken(t, stories.InMemory) }

func TestLO9_NotForUsOrNotOfNow(t *testing.T) { stories.LO9NotForUsOrNotOfNow(t, stories.InMemory) }

func TestLO11_Replay(t *testing.T) { stories.LO11Replay(t, stories.InMemory) }

func TestLO14_FrontChannel(t *testing.T) { stories.LO14FrontChannel(t, stories.InMemory) }

func TestLO14_WhoMayFrame(t *testing.T) { stories.LO14WhoMayFrame(t, stories.InMemory) }

func TestLO14_FrontChannelInTrouble(t *testing.T) {
	t.Parallel() // it waits for a store that hangs
	stories.LO14FrontChannelInTrouble(t, stories.InMemory)
}

func TestFrontChannelClearsItsCookie(t *testing.T) {
	stories.FrontChannelClearsItsCookie(t, stories.InMemory)
}

func TestFA6_BackchannelInTrouble(t *testing.T) {
	t.Parallel() // it waits for a store that hangs
	stories.FA6BackchannelInTrouble(t, stories.InMemory)
}

func TestBackchannelBeatsACallback(t *testing.T) {
	stories.BackchannelBeatsACallback(t, stories.InMemory)
}

func TestSessionRandomRecord(t *testing.T) { stories.RandomRecord(t, stories.InMemory) }
