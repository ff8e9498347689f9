package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// report is a line from the supervisor to the up that waits for it.
type report struct {
	Progress string `json:"progress,omitempty"`
	Ready    bool   `json:"ready,omitempty"`
	Error    string `json:"error,omitempty"`
	// Busy says that another supervisor has the folder.
	Busy bool `json:"busy,omitempty"`
}

// options are what up hands to the supervisor.
type options struct {
	target     target
	node       string
	nodes      int
	audit      bool
	timeout    time.Duration
	ownerPID   int
	foreground bool
	// ingress is where the ingress controller listens; empty chooses an address.
	ingress  string
	binaries binaries
}

func (o *options) arguments() []string {
	return []string{"supervise",
		"--name=" + o.target.name,
		"--state=" + o.target.folder,
		"--node=" + o.node,
		fmt.Sprintf("--nodes=%d", o.nodes),
		fmt.Sprintf("--audit=%t", o.audit),
		"--timeout=" + o.timeout.String(),
		fmt.Sprintf("--owner-pid=%d", o.ownerPID),
		fmt.Sprintf("--foreground=%t", o.foreground),
		"--kubernetes=" + o.binaries.kubernetes,
		"--kwok=" + o.binaries.kwok,
		"--containerd=" + o.binaries.containerd,
		"--cni=" + o.binaries.cni,
		"--coredns=" + o.binaries.coredns,
		"--ingress-address=" + o.ingress,
	}
}

var errBusy = errors.New("another devcluster up is at work")

// Reasons to bring the cluster down that are no failure.
var (
	errSignal     = errors.New("asked to stop by a signal")
	errOwnerGone  = errors.New("the owner process ended")
	errParentGone = errors.New("the parent process ended")
	errInputEnded = errors.New("standard input ended")
	errFolderGone = errors.New("the cluster's folder was removed")
	errNoListener = errors.New("nobody waits for the cluster any more")
)

// register is the other side of arguments.
func (o *options) register(flags *flag.FlagSet) {
	o.target.register(flags)
	flags.StringVar(&o.node, "node", "", "")
	flags.IntVar(&o.nodes, "nodes", 0, "")
	flags.BoolVar(&o.audit, "audit", false, "")
	flags.DurationVar(&o.timeout, "timeout", 0, "")
	flags.IntVar(&o.ownerPID, "owner-pid", 0, "")
	flags.BoolVar(&o.foreground, "foreground", false, "")
	flags.StringVar(&o.binaries.kubernetes, "kubernetes", "", "")
	flags.StringVar(&o.binaries.kwok, "kwok", "", "")
	flags.StringVar(&o.binaries.containerd, "containerd", "", "")
	flags.StringVar(&o.binaries.cni, "cni", "", "")
	flags.StringVar(&o.binaries.coredns, "coredns", "", "")
	flags.StringVar(&o.ingress, "ingress-address", "", "")
}

func superviseCommand(arguments []string) error {
	var o options
	flags := newFlags("supervise")
	o.register(flags)
	if err := parseAll(flags, arguments); err != nil {
		return err
	}
	return supervise(o)
}

// supervise owns a cluster from its first file to its last.
func supervise(o options) error {
	tell := listener(o)
	c, unlock, err := claim(o)
	if err != nil {
		_ = tell(report{Error: err.Error(), Busy: errors.Is(err, errBusy)})
		return err
	}
	defer unlock()
	ctx, cancel := context.WithCancelCause(context.Background())
	watchForEnd(o, cancel)
	c.tell = func(line string) {
		logf("%s", line)
		if tell(report{Progress: line}) != nil {
			cancel(errNoListener)
		}
	}

	starting, stopWaiting := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("not within %s", o.timeout))
	err = c.start(starting)
	stopWaiting()
	if err == nil {
		c.enter(phaseReady, "")
		logf("usable after %.1f s", c.state.Usable)
		if tell(report{Ready: true}) != nil {
			cancel(errNoListener)
		}
		select {
		case <-ctx.Done():
		case err = <-c.failed:
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		return c.end(cause, tell)
	}
	return c.giveUp(err, tell)
}

// claim makes the folder this supervisor's own and writes the first cluster.json.
func claim(o options) (*cluster, func(), error) {
	folder := o.target.folder
	self, err := findProcess(os.Getpid())
	if err != nil {
		return nil, nil, err
	}
	// Closed to others: it holds keys, and folders that any user may write.
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, nil, err
	}
	lock, err := os.OpenFile(filepath.Join(folder, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, nil, fmt.Errorf("%w in %s; wait for it and try again", errBusy, folder)
	}
	if o.foreground {
		if err := logToFile(folder); err != nil {
			return nil, nil, err
		}
	}
	c := &cluster{
		binaries: o.binaries,
		began:    time.Now(),
		failed:   make(chan error, 1),
		ingress:  o.ingress,
		state: state{
			Name:       o.target.name,
			Folder:     folder,
			Node:       o.node,
			Nodes:      o.nodes,
			Audit:      o.audit,
			Phase:      phaseStarting,
			Created:    time.Now().UTC().Truncate(time.Second),
			Kubectl:    []string{o.binaries.kubernetes, "kubectl"},
			Kubeconfig: kubeconfigFile(folder),
			Containerd: o.binaries.containerd,
			Supervisor: self,
		},
	}
	return c, func() { lock.Close() }, c.save()
}

// logToFile leaves the terminal to what a person wants to know. The file stays open until the end.
func logToFile(folder string) error {
	path := logFile(folder, superviseLog)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		logTo = file
	}
	return err
}

// end brings the cluster down because somebody wanted it, and leaves nothing.
func (c *cluster) end(cause error, tell func(report) error) error {
	logf("going down: %v", cause)
	if logTo != os.Stderr {
		progress("going down: %v", cause)
	}
	_ = tell(report{Error: "the cluster went down before it was usable: " + cause.Error()})
	if !errors.Is(cause, errFolderGone) {
		c.enter(phaseStopping, "")
	}
	c.stop()
	if err := removeFolder(c.state.Folder); err != nil {
		return fmt.Errorf("remove the cluster's folder: %w", err)
	}
	return nil
}

// giveUp ends the components but keeps the folder, for the logs.
func (c *cluster) giveUp(problem error, tell func(report) error) error {
	logf("giving up: %v", problem)
	c.stop()
	c.enter(phaseFailed, problem.Error())
	_ = tell(report{Error: problem.Error()})
	return problem
}

// listener returns how to reach the up that waits. In the background it is the pipe that up left as
// file 3; a write to it fails once up is gone. In the foreground it is the terminal.
func listener(o options) func(report) error {
	if o.foreground {
		return func(r report) error {
			if r.Progress != "" {
				progress("%s", r.Progress)
			}
			if r.Ready {
				return announceReady(o.target)
			}
			// An error is what the command itself ends with.
			return nil
		}
	}
	pipe := os.NewFile(3, "up")
	// Components must not inherit it, or up would never see it end.
	syscall.CloseOnExec(3)
	signal.Ignore(syscall.SIGPIPE)
	encoder := json.NewEncoder(pipe)
	open := true
	return func(r report) error {
		if !open {
			return nil
		}
		err := encoder.Encode(r)
		if r.Ready || r.Error != "" {
			open = false
			pipe.Close()
		}
		return err
	}
}

// watchForEnd cancels when the cluster should go down.
func watchForEnd(o options, cancel context.CancelCauseFunc) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-signals
		cancel(errSignal)
	}()
	var owner process
	if o.ownerPID > 0 {
		var err error
		if owner, err = findProcess(o.ownerPID); err != nil {
			cancel(errOwnerGone)
			return
		}
	}
	parent := os.Getppid()
	go func() {
		for range time.Tick(250 * time.Millisecond) {
			switch {
			case o.ownerPID > 0 && !owner.alive():
				cancel(errOwnerGone)
			case o.foreground && os.Getppid() != parent:
				cancel(errParentGone)
			case !isFile(stateFile(o.target.folder)):
				// git clean, or rm -r: a cluster that nobody can find any more must not stay.
				cancel(errFolderGone)
			default:
				continue
			}
			return
		}
	}()
	if info, err := os.Stdin.Stat(); o.foreground && err == nil && info.Mode()&os.ModeNamedPipe != 0 {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel(errInputEnded)
		}()
	}
}
