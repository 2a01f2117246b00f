package signin_test

import (
	"testing"

	"example.com/gatehouse/internal/e2e/world"
)

func TestMain(m *testing.M) { world.Main(m) }
