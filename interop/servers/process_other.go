//go:build !linux

package servers

import "syscall"

// processAttributes puts the process into a group of its own, so that it can
// be ended with whatever it started.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
