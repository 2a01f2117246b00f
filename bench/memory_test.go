//go:build !race

package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// RL1: a million sign-ins that nobody finishes leave only the key record, in
// the store and in memory.
func TestRL1_LoginFloodMemory(t *testing.T) {
	f := world.NewFlood(t)
	f.Begin(t, 1000)
	before := heap()
	f.Begin(t, 1_000_000)
	if grown := int64(heap()) - int64(before); grown > 32<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	f.Over(t)
}

// Expired values do not accumulate.
func TestMemoryStoreForgets(t *testing.T) {
	now := time.Now()
	s, ctx := gatehouse.NewMemoryStore(func() time.Time { return now }), context.Background()
	value := make([]byte, 1024)
	before := heap()
	for i := range 200_000 {
		if err := s.CommitCtx(ctx, fmt.Sprint(i), value, now.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Second)
	}
	if grown := int64(heap()) - int64(before); grown > 40<<20 {
		t.Errorf("200,000 values of 1 KiB with a minute's life hold %d bytes", grown)
	}
	if _, found, _ := s.FindCtx(ctx, "199999"); !found {
		t.Error("the newest is gone")
	}
}
