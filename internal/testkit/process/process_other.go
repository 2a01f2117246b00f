//go:build unix && !linux

package process

import "syscall"

// processAttributes puts the process into a group of its own, so that it can
// be ended with whatever it started.
func processAttributes(attr *syscall.SysProcAttr) *syscall.SysProcAttr {
	if attr == nil {
		attr = new(syscall.SysProcAttr)
	}
	attr.Setpgid = true
	return attr
}
