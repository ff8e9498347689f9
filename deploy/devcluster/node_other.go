//go:build !linux

package main

import (
	"errors"
	"syscall"
)

// main refuses to run clusters here; these exist so that the rest compiles.

var errLinuxOnly = errors.New("the real node needs Linux")

func nodeInit([]string) error { return errLinuxOnly }

func nodeExec([]string) error { return errLinuxOnly }

func enterNode(process) error { return errLinuxOnly }

func enterNodeNetwork(process) error { return errLinuxOnly }

func makeCgroups(string) error { return errLinuxOnly }

func removeCgroups(string) error { return nil }

func removeStaleCgroups() {}

func nodeAttributes() *syscall.SysProcAttr { return nil }

func insideAttributes() *syscall.SysProcAttr { return nil }

func checkNodeFolder(string) error { return errLinuxOnly }
