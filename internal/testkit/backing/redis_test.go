//go:build unix

package backing_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"example.com/gatehouse/internal/testkit/backing"
)

func TestNotInstalled(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := backing.StartRedis(t.Context(), backing.RedisConfig{})
	if !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "apt-get install redis-server") {
		t.Errorf("got %v", err)
	}
}
