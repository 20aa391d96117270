//go:build unix && !linux

package child

import "syscall"

// processAttributes puts the program into a process group of its own.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
