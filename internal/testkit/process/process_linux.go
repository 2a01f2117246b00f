package process

import "syscall"

// processAttributes puts the process into a group of its own, so that it can
// be ended with whatever it started, and has the kernel end it when this
// program dies without cleaning up.
func processAttributes(attr *syscall.SysProcAttr) *syscall.SysProcAttr {
	if attr == nil {
		attr = new(syscall.SysProcAttr)
	}
	attr.Setpgid, attr.Pdeathsig = true, syscall.SIGKILL
	return attr
}
