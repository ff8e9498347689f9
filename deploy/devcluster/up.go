package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// up is the command of that name.
func up(target target, arguments []string) error {
	o := options{target: target}
	flags := newFlags("up")
	o.target.register(flags)
	flags.StringVar(&o.node, "node", nodeSimulated, "")
	flags.IntVar(&o.nodes, "nodes", 1, "")
	flags.BoolVar(&o.audit, "audit", true, "")
	flags.DurationVar(&o.timeout, "timeout", 3*time.Minute, "")
	flags.IntVar(&o.ownerPID, "owner-pid", 0, "")
	flags.BoolVar(&o.foreground, "foreground", false, "")
	flags.StringVar(&o.ingress, "ingress-address", "", "")
	if err := parseAll(flags, arguments); err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	// Two at once, as tests in parallel have them: the one that lost waits for the other's cluster.
	for {
		if ready, err := o.existing(); ready || err != nil {
			return err
		}
		var err error
		if o.binaries, err = buildFor(o.node); err != nil {
			return err
		}
		if o.foreground {
			return o.becomeSupervisor()
		}
		if err = o.startSupervisor(); !errors.Is(err, errBusy) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (o *options) check() error {
	switch o.node {
	case nodeNone, nodeSimulated:
	case nodeReal:
		if err := checkRealNode(runtime.GOOS, os.Geteuid()); err != nil {
			return err
		}
		if o.nodes != 1 {
			return usageError{fmt.Sprintf("--nodes %d: a cluster has one real node", o.nodes)}
		}
	default:
		return usageError{fmt.Sprintf("--node %q: use none, simulated or real", o.node)}
	}
	if o.nodes < 1 || o.nodes > 1000 {
		return usageError{fmt.Sprintf("--nodes %d: use 1 to 1000", o.nodes)}
	}
	if o.ingress != "" {
		address, err := netip.ParseAddrPort(o.ingress)
		if err != nil || !address.Addr().Is4() || address.Addr().IsUnspecified() || address.Port() == 0 || o.node != nodeReal {
			return usageError{fmt.Sprintf("--ingress-address %q: use IP:PORT, such as 127.0.0.2:80, with --node real", o.ingress)}
		}
	}
	if o.ownerPID != 0 {
		if _, err := findProcess(o.ownerPID); err != nil {
			return usageError{fmt.Sprintf("--owner-pid %d: %v", o.ownerPID, err)}
		}
	}
	if err := o.target.resolve(); err != nil || o.node != nodeReal {
		return err
	}
	return checkNodeFolder(o.target.folder)
}

// existing deals with what is in the folder already: a cluster that runs is used, one that is being
// started is waited for, what a dead one left is removed.
func (o *options) existing() (ready bool, err error) {
	found, err := readState(o.target.folder)
	if errors.Is(err, errNoCluster) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if found.running() && found.Phase == phaseStarting {
		progress("cluster %s is being started already; waiting", found.Name)
		waitUntil(o.timeout, func() bool {
			found, err = readState(o.target.folder)
			return err != nil || !found.running() || found.Phase != phaseStarting
		})
		if errors.Is(err, errNoCluster) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	if !found.running() {
		return false, cleanUp(found)
	}
	if found.Phase != phaseReady {
		return false, fmt.Errorf("cluster %s is %s; wait, or run devcluster down", found.Name, found.Phase)
	}
	if found.Node != o.node || found.Nodes != o.nodes || found.Audit != o.audit {
		return false, fmt.Errorf("cluster %s is up with other options (--node %s --nodes %d --audit=%t); run devcluster down first, or choose another --name",
			found.Name, found.Node, found.Nodes, found.Audit)
	}
	if o.ingress != "" && found.Ingress != o.ingress {
		return false, fmt.Errorf("cluster %s is up with its ingress on %s; run devcluster down first, or choose another --name", found.Name, found.Ingress)
	}
	if o.foreground || o.ownerPID != 0 {
		return false, fmt.Errorf("cluster %s is up already, owned by process %d; run devcluster down first, or choose another --name", found.Name, found.Supervisor.PID)
	}
	return true, announceReady(o.target)
}

func buildFor(node string) (binaries, error) {
	names := []string{"kubernetes"}
	switch node {
	case nodeSimulated:
		names = append(names, "kwok")
	case nodeReal:
		names = append(names, "containerd", "cni", "coredns")
	}
	paths, err := ensureTools(names)
	return binaries{
		kubernetes: paths["kubernetes"],
		kwok:       paths["kwok"],
		containerd: paths["containerd"],
		cni:        paths["cni"],
		coredns:    paths["coredns"],
	}, err
}

// becomeSupervisor replaces this process, so that its command line names the cluster's folder like
// that of a supervisor in the background.
func (o *options) becomeSupervisor() error {
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(executable, append([]string{executable}, o.arguments()...), os.Environ())
}

// startSupervisor starts the supervisor in a session of its own and waits until it has something to say.
func (o *options) startSupervisor() error {
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	logPath := logFile(o.target.folder, superviseLog)
	if err := os.MkdirAll(filepath.Dir(logPath), 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reader.Close()
	command := exec.Command(executable, o.arguments()...)
	command.Stdout, command.Stderr = log, log
	command.ExtraFiles = []*os.File{writer}
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		return err
	}
	writer.Close()
	// Ctrl-C while waiting ends the cluster too: the supervisor is in another session and sees none.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		for range signals {
			_ = command.Process.Signal(syscall.SIGTERM)
		}
	}()
	lines := bufio.NewScanner(reader)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var said report
		if err := json.Unmarshal(lines.Bytes(), &said); err != nil {
			return fmt.Errorf("the supervisor says something unexpected: %w", err)
		}
		switch {
		case said.Ready:
			return announceReady(o.target)
		case said.Error != "":
			// It stops the components, then ends.
			_ = command.Wait()
			if said.Busy {
				return errBusy
			}
			return errors.New("the cluster did not come up: " + said.Error)
		default:
			progress("%s", said.Progress)
		}
	}
	_ = command.Wait()
	return fmt.Errorf("the supervisor ended (%s); its last lines:\n%s\nread %s", command.ProcessState, indent(tail(logPath, 12)), logPath)
}

// announceReady prints what scripts and people need; standard output holds nothing else.
func announceReady(target target) error {
	found, err := readState(target.folder)
	if err != nil {
		return err
	}
	fmt.Printf("cluster %s is up: API ready after %.1f s, usable after %.1f s\nkubeconfig: %s\n",
		found.Name, found.APIReady, found.Usable, found.Kubeconfig)
	if found.Ingress != "" {
		fmt.Printf("ingress: %s\n", found.Ingress)
	}
	return nil
}
