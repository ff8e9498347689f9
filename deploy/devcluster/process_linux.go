package main

import "syscall"

// childAttributes make the kernel kill the child when its parent dies, however it dies. The process
// group of its own keeps a Ctrl-C in the terminal from ending children behind the supervisor's back.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// buildAttributes leave the process group alone: a Ctrl-C is meant for the compiler too.
func buildAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
