//go:build !linux

package main

import "syscall"

// childAttributes lack the parent-death signal, which only Linux has; main refuses to run clusters.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

func buildAttributes() *syscall.SysProcAttr { return nil }
