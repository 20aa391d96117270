package child

import "syscall"

// processAttributes puts the program into a process group of its own and has the
// kernel end it when this process ends, however that happens.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
