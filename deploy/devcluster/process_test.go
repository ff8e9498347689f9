package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestCommandLineNamesOnlyItsOwnCluster(t *testing.T) {
	const folder = "/home/me/.devcluster/a"
	for _, c := range []struct {
		commandLine []string
		want        bool
	}{
		{[]string{"etcd", "--data-dir=/home/me/.devcluster/a/etcd"}, true},
		{[]string{"devcluster", "supervise", "--state=/home/me/.devcluster/a"}, true},
		{[]string{"devcluster", "supervise", "--state", "/home/me/.devcluster/a"}, true},
		{[]string{"etcd", "--data-dir=/home/me/.devcluster/a2/etcd"}, false},
		{[]string{"devcluster", "supervise", "--state=/home/me/.devcluster/a2"}, false},
		{[]string{"sh", "-c", "watch /home/me/.devcluster/a/logs"}, false},
		{[]string{"etcd", "--data-dir=/mnt/home/me/.devcluster/a/etcd"}, false},
		{[]string{"sleep", "1000"}, false},
	} {
		if got := commandLineNames(strings.Join(c.commandLine, "\x00")+"\x00", folder); got != c.want {
			t.Errorf("%q: got %t", c.commandLine, got)
		}
	}
}

func TestStartTimeIsReadBehindAnyProgramName(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21"
	for _, name := range []string{"etcd", "a b", "a) R 1 (b"} {
		state, started, err := parseStat("77 (" + name + ")" + rest)
		if err != nil || state != "S" || started != 4242 {
			t.Errorf("%q: state %q, started %d, error %v", name, state, started, err)
		}
	}
	if _, _, err := parseStat("77 (short) S 1"); err == nil {
		t.Error("a short line is accepted")
	}
}

func TestOnlyTheSameProcessOfTheClusterIsEnded(t *testing.T) {
	folder := t.TempDir()
	// tail is there on every Linux, and names a file in the folder on its command line.
	command := exec.Command("tail", "-f", "/dev/null", folder+"/none")
	if err := command.Start(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill() })
	go func() { _ = command.Wait() }()
	own, err := findProcess(command.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	// Between fork and exec the command line is still the test's.
	if !waitUntil(5*time.Second, func() bool { return own.belongsTo(folder) }) {
		t.Fatal("the process is not recognised")
	}
	reused := process{PID: own.PID, Started: own.Started - 1}
	for _, wrong := range []error{reused.end(folder, 0), own.end(folder+"2", 0), process{}.end(folder, 0)} {
		if wrong != nil {
			t.Error(wrong)
		}
	}
	if !own.alive() {
		t.Fatal("a process that was not meant is ended")
	}
	if err := own.end(folder, 5*time.Second); err != nil || own.alive() {
		t.Errorf("the process is not ended: %v", err)
	}
}

func TestAnEndedProcessIsNotAlive(t *testing.T) {
	self, err := findProcess(os.Getpid())
	if err != nil || !self.alive() {
		t.Fatalf("the test itself is not found: %v", err)
	}
	command := exec.Command("true")
	if err := command.Start(); err != nil {
		t.Skip(err)
	}
	// Nobody reaps it before the end of the test: it becomes a zombie, which is not alive.
	defer func() { _ = command.Wait() }()
	if !waitUntil(5*time.Second, func() bool {
		_, err := findProcess(command.Process.Pid)
		return err == errNoProcess
	}) {
		t.Error("a zombie counts as a process")
	}
}
