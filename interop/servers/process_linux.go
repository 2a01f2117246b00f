package servers

import "syscall"

// processAttributes puts the process into a group of its own, so that it can
// be ended with whatever it started, and has the kernel end it when this
// program dies without cleaning up.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
