package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A component may crash this often within this time before the cluster is given up.
const (
	maxRestarts   = 5
	restartWindow = 5 * time.Minute
)

// child runs one component and starts it again when it ends by itself.
type child struct {
	component component
	log       string
	changed   func()
	// enter moves the thread that starts the processes to where they shall run; nil leaves it.
	enter func() error

	mu       sync.Mutex
	command  *exec.Cmd
	process  process
	restarts int
	stopping bool
	// logged is where the present process's lines begin in the log.
	logged int64
	ended  chan struct{}
}

// childFailure says which component the cluster was given up for.
type childFailure struct {
	component string
	log       string
	reason    string
}

func (f childFailure) Error() string {
	return fmt.Sprintf("%s %s; its last lines:\n%s\nread %s", f.component, f.reason, indent(tail(f.log, 12)), f.log)
}

// portTaken is the failure that other ports cure.
type portTaken struct{ childFailure }

// startChild returns once the first process runs. failed is called at most once, when the component
// can't be kept running.
func startChild(component component, folder string, enter func() error, changed func(), failed func(error)) (*child, error) {
	c := &child{component: component, log: logFile(folder, component.name), enter: enter, changed: changed, ended: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel sends the parent-death signal when the *thread* that started the child ends, and
		// Go ends idle threads as it likes. This thread lives as long as the child, as the goroutine
		// never gives it back.
		runtime.LockOSThread()
		defer close(c.ended)
		var err error
		if c.enter != nil {
			err = c.enter()
		}
		if err == nil {
			err = c.spawn(folder)
		}
		started <- err
		if err != nil {
			return
		}
		if err := c.keepRunning(folder); err != nil {
			failed(err)
		}
	}()
	return c, <-started
}

// spawn starts a process unless the child is being stopped.
func (c *child) spawn(folder string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(c.log), 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	command := c.component.command(folder)
	command.Dir = folder
	command.Env = componentEnvironment(folder)
	command.Stdout, command.Stderr = log, log
	c.logged = fileSize(c.log)
	if err := command.Start(); err != nil {
		return fmt.Errorf("start %s: %w", c.component.name, err)
	}
	c.command = command
	// Not reaped yet, so it is there even if it ended at once; then its start time doesn't matter.
	// Another thread looks for it, as this one may see the processes of the node.
	found := make(chan process)
	go func() {
		named, err := findProcess(command.Process.Pid)
		if err != nil {
			named = process{PID: command.Process.Pid}
		}
		found <- named
	}()
	c.process = <-found
	return nil
}

func (c component) command(folder string) *exec.Cmd {
	path, arguments := c.path, c.arguments
	if c.inNode {
		path, arguments = nodeOwnProgram(folder), append([]string{"node-exec", path}, arguments...)
	}
	command := exec.Command(path, arguments...)
	switch {
	case c.inNode:
		command.SysProcAttr = insideAttributes()
	case c.name == nodeName:
		command.SysProcAttr = nodeAttributes()
	default:
		command.SysProcAttr = childAttributes()
	}
	if c.tell != nil {
		command.ExtraFiles = []*os.File{c.tell}
	}
	return command
}

func (c *child) keepRunning(folder string) error {
	var crashes []time.Time
	for {
		c.mu.Lock()
		command, before := c.command, time.Now()
		c.mu.Unlock()
		if command == nil {
			// stop came between two processes.
			return nil
		}
		_ = command.Wait()
		c.mu.Lock()
		// From here on the pid may belong to anybody.
		c.command, c.process = nil, process{}
		stopping, logged := c.stopping, c.logged
		c.mu.Unlock()
		if stopping {
			return nil
		}
		failure := childFailure{component: c.component.name, log: c.log}
		if addressInUse(c.log, logged) && time.Since(before) < time.Minute {
			failure.reason = "found its port taken"
			return portTaken{failure}
		}
		if c.component.vital {
			failure.reason = fmt.Sprintf("ended (%s), and all that ran in it", command.ProcessState)
			return failure
		}
		now := time.Now()
		crashes = append(crashes, now)
		for len(crashes) > 0 && now.Sub(crashes[0]) > restartWindow {
			crashes = crashes[1:]
		}
		if len(crashes) > maxRestarts {
			failure.reason = fmt.Sprintf("ended %d times in %d minutes (%s)", len(crashes), int(restartWindow.Minutes()), command.ProcessState)
			return failure
		}
		c.mu.Lock()
		c.restarts++
		c.mu.Unlock()
		logf("%s ended (%s); starting it again (%d of %d)", c.component.name, command.ProcessState, len(crashes), maxRestarts)
		time.Sleep(time.Duration(len(crashes)) * 200 * time.Millisecond)
		if err := c.spawn(folder); err != nil {
			return err
		}
		c.changed()
	}
}

// stop asks the component to end and forces it after the grace period.
func (c *child) stop(grace time.Duration) {
	c.mu.Lock()
	c.stopping = true
	c.mu.Unlock()
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGTERM, grace}, {syscall.SIGKILL, 5 * time.Second}} {
		select {
		case <-c.ended:
			return
		default:
		}
		c.mu.Lock()
		// Its process group has the same number. While command is set nobody reaped the process, so
		// the number is still its own.
		if c.command != nil {
			_ = syscall.Kill(-c.command.Process.Pid, step.signal)
		}
		c.mu.Unlock()
		select {
		case <-c.ended:
			return
		case <-time.After(step.wait):
		}
	}
	logf("%s does not end, not even by SIGKILL", c.component.name)
}

func (c *child) state() componentState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return componentState{Name: c.component.name, Process: c.process, Port: c.component.port, Restarts: c.restarts}
}

// waitHealthy polls quickly: half a second a component would double the time that up takes.
func waitHealthy(ctx context.Context, probe *probe, component component, log string) error {
	return poll(ctx, func() error { return probe.healthy(ctx, component) }, component.name+" did not become healthy (read "+log+")")
}

// poll repeats an attempt until it succeeds, or until the context ends; then it returns the last
// attempt's error, which says what was missing.
func poll(ctx context.Context, attempt func() error, problem string) error {
	for {
		err := attempt()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w", problem, context.Cause(ctx), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// addressInUse looks only at what the last process wrote.
func addressInUse(log string, from int64) bool {
	file, err := os.Open(log)
	if err != nil {
		return false
	}
	defer file.Close()
	if _, err := file.Seek(from, io.SeekStart); err != nil {
		return false
	}
	content, err := io.ReadAll(io.LimitReader(file, 1<<20))
	return err == nil && bytes.Contains(content, []byte("address already in use"))
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

func tail(path string, lines int) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	// Structured logs have lines that fill a screen each.
	const width = 300
	kept := strings.Split(lastLines(string(content), lines), "\n")
	for index, line := range kept {
		if len(line) > width {
			kept[index] = strings.ToValidUTF8(line[:width], "") + " …"
		}
	}
	return strings.Join(kept, "\n")
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(text, "\n", "\n  ")
}

// logTo is the supervisor's log: standard error is it in the background, and the terminal otherwise.
var logTo io.Writer = os.Stderr

func logf(format string, arguments ...any) {
	fmt.Fprintf(logTo, time.Now().Format("15:04:05.000 ")+format+"\n", arguments...)
}
