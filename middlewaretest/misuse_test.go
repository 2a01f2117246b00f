package middlewaretest_test

import (
	"fmt"
	"testing"

	"example.com/gatehouse/middlewaretest"
)

// strictTB stands in for a test that fails: it panics where a test would end.
type strictTB struct{ testing.TB }

type failed string

func (strictTB) Fatal(args ...any)            { panic(failed(fmt.Sprint(args...))) }
func (strictTB) Fatalf(f string, args ...any) { panic(failed(fmt.Sprintf(f, args...))) }

func TestMisuseFailsTheTest(t *testing.T) {
	op := middlewaretest.NewServer(strictTB{t})
	op.AddUser("ana", nil)
	for name, misuse := range map[string]func(){
		"unknown user":            func() { op.Browser(strictTB{t}, "eve") },
		"user without name":       func() { op.AddUser("", nil) },
		"relative redirect URI":   func() { op.AddClient("/cb") },
		"unknown endpoint":        func() { op.Count("tokn") },
		"unknown endpoint, hook":  func() { op.OnRequest("tokn", nil) },
		"unknown endpoint, fault": func() { op.BreakAt(middlewaretest.EndpointDown, "tokn") },
		"unknown fault":           func() { op.Break("no-such-fault") },
		"unknown resource":        func() { op.As("ana").Share("album", "bob", "view") },
		"unknown request":         func() { op.As("ana").Approve("1") },
		"unknown inbox":           func() { op.As("eve").AcceptRequests(true) },
		"unknown self-made":       func() { op.ForgetClient("client-1") },
		"origin with a path":      func() { op.Serve("https://notes.test/", nil) },
		"issuer without a host":   func() { middlewaretest.NewOffline(strictTB{t}, "op.test") },
		"claims without sub text": func() { op.AddUser("bob", middlewaretest.Claims{"sub": 1}) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if _, ok := recover().(failed); !ok {
					t.Error("the test goes on")
				}
			}()
			misuse()
		})
	}
}
