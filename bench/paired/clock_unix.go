//go:build unix

package paired

import (
	"syscall"
	"time"
)

// spent is the processor time of the process. It does not include the work of
// other processes.
func spent() time.Duration {
	var use syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &use) != nil {
		return 0 // which Measure reads as a watch that was never started
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
