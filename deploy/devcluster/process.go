package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process names a process for good: a pid alone may belong to somebody else later.
type process struct {
	PID int `json:"pid"`
	// Started is in clock ticks since boot, as the kernel counts it.
	Started uint64 `json:"started"`
}

var errNoProcess = errors.New("no such process")

// findProcess returns the running process with this pid. One that ended and only waits to be reaped
// is no process any more.
func findProcess(pid int) (process, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return process{}, errNoProcess
	}
	if err != nil {
		return process{}, err
	}
	state, started, err := parseStat(string(content))
	if err != nil {
		return process{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	if state == "Z" || state == "X" {
		return process{}, errNoProcess
	}
	return process{PID: pid, Started: started}, nil
}

// parseStat reads the state and the start time from /proc/PID/stat. The program's name in it may
// contain spaces and parentheses, so fields count from the last closing parenthesis.
func parseStat(content string) (state string, started uint64, err error) {
	end := strings.LastIndexByte(content, ')')
	if end < 0 {
		return "", 0, errors.New("unexpected format of /proc/PID/stat")
	}
	// The first field here is the third of the manual page's list; the start time is its 22nd.
	fields := strings.Fields(content[end+1:])
	if len(fields) < 20 {
		return "", 0, errors.New("unexpected format of /proc/PID/stat")
	}
	started, err = strconv.ParseUint(fields[19], 10, 64)
	return fields[0], started, err
}

// alive says whether the very same process still runs.
func (p process) alive() bool {
	if p.PID <= 0 {
		return false
	}
	found, err := findProcess(p.PID)
	return err == nil && found == p
}

// belongsTo says whether the process still runs and its command line names the cluster's folder.
// Nothing is ever killed without it.
func (p process) belongsTo(folder string) bool {
	if !p.alive() {
		return false
	}
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
	return err == nil && commandLineNames(string(content), folder)
}

// commandLineNames looks for the folder, or a path in it, as a whole argument or as an option's
// value: the folder of the cluster "a" is a prefix of that of the cluster "a2".
func commandLineNames(commandLine, folder string) bool {
	for argument := range strings.SplitSeq(commandLine, "\x00") {
		if _, value, found := strings.Cut(argument, "="); found && strings.HasPrefix(argument, "-") {
			argument = value
		}
		if argument == folder || strings.HasPrefix(argument, folder+"/") {
			return true
		}
	}
	return false
}

// end stops a process of the cluster: a request first, force after the grace period.
func (p process) end(folder string, grace time.Duration) error {
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGTERM, grace}, {syscall.SIGKILL, 5 * time.Second}} {
		if !p.belongsTo(folder) {
			return nil
		}
		if err := syscall.Kill(p.PID, step.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("end process %d: %w", p.PID, err)
		}
		if waitUntil(step.wait, func() bool { return !p.alive() }) {
			return nil
		}
	}
	return fmt.Errorf("process %d does not end, not even by SIGKILL", p.PID)
}

func waitUntil(limit time.Duration, condition func() bool) bool {
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		if condition() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}
