// Command devcluster runs a real Kubernetes control plane from its Go modules, without containers.
//
// The program itself depends on the standard library only, so that it builds in seconds; everything
// heavy is in the tool modules under tools/, which it builds once and caches by content.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
)

// Exit codes that scripts may rely on.
const (
	exitFailed = 1
	exitUsage  = 2
	exitDown   = 3
)

const usage = `devcluster runs a real Kubernetes control plane without containers.

usage: devcluster [--name NAME] [--state DIR] COMMAND [OPTION]...

commands:
  up       start the cluster and return when it is usable
           --node none|simulated|real  what runs pods (default simulated; real needs root)
           --nodes N                   number of simulated nodes (default 1)
           --audit=false               no audit log
           --foreground                stay in the foreground; down at SIGINT or SIGTERM, when the
                                       parent process ends, or when standard input is a pipe that ends
           --owner-pid PID             down when that process ends
           --ingress-address IP:PORT   where a real node's ingress controller listens (default: the
                                       first of 127.0.0.1 to 127.0.0.9 whose port 80 is free)
           --timeout DURATION          how long to wait until usable (default 3m)
  down     stop the cluster and remove its folder; succeeds when there is none
  status   one line per component; exit code 0 all healthy, 1 not all, 3 down
  kubectl  run kubectl against the cluster
  load     FILE...: put images into the real node, from OCI or Docker archives
  build    build what is missing of the tools kubernetes, kwok, helm, containerd, cni and coredns
           --print TOOL                print the path of the tool's binary

--state defaults to .devcluster/NAME in the current folder, --name to default.
`

// usageError is a mistake on the command line, as opposed to something that went wrong.
type usageError struct{ message string }

func (e usageError) Error() string { return e.message }

// exitError ends the program with its code and without a further message.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

func main() {
	err := run(os.Args[1:])
	var usage usageError
	var exit exitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		os.Exit(exit.code)
	case errors.As(err, &usage):
		fmt.Fprintln(os.Stderr, "devcluster:", err)
		os.Exit(exitUsage)
	default:
		fmt.Fprintln(os.Stderr, "devcluster:", err)
		os.Exit(exitFailed)
	}
}

func run(arguments []string) error {
	target := target{name: "default"}
	flags := newFlags("devcluster")
	target.register(flags)
	if err := parse(flags, arguments); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		fmt.Fprint(os.Stderr, usage)
		return exitError{exitUsage}
	}
	command, rest := flags.Arg(0), flags.Args()[1:]
	if runtime.GOOS != "linux" && command != "build" {
		return errors.New("clusters run on Linux only: nothing else ends children together with their parent; only build works here")
	}
	switch command {
	case "up":
		return up(target, rest)
	case "down":
		return down(target, rest)
	case "status":
		return status(target, rest)
	case "kubectl":
		return kubectl(target, rest)
	case "build":
		return build(rest)
	case "load":
		return load(target, rest)
	case "supervise":
		// Not in the usage: up starts it.
		return superviseCommand(rest)
	case "node-init":
		// These neither: the supervisor starts them.
		return nodeInit(rest)
	case "node-exec":
		return nodeExec(rest)
	case "node-sweep":
		return nodeSweep(rest)
	case "help":
		fmt.Print(usage)
		return nil
	default:
		return usageError{fmt.Sprintf("unknown command %q; see devcluster help", command)}
	}
}

// target is the cluster that a command is about.
type target struct {
	name   string
	folder string
}

func (t *target) register(flags *flag.FlagSet) {
	flags.StringVar(&t.name, "name", t.name, "name of the cluster")
	flags.StringVar(&t.folder, "state", t.folder, "folder of the cluster")
}

var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$`)

// resolve makes the folder absolute: the components' command lines carry it, which is how their
// processes are recognised later.
func (t *target) resolve() error {
	if !validName.MatchString(t.name) {
		return usageError{fmt.Sprintf("--name %q: use up to 42 lower-case letters, digits and hyphens", t.name)}
	}
	folder := t.folder
	if folder == "" {
		folder = filepath.Join(".devcluster", t.name)
	}
	folder, err := filepath.Abs(folder)
	if err != nil {
		return err
	}
	t.folder = folder
	return nil
}

func newFlags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	return flags
}

func parse(flags *flag.FlagSet, arguments []string) error {
	err := flags.Parse(arguments)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Print(usage)
		return exitError{0}
	}
	if err != nil {
		return usageError{err.Error() + "; see devcluster help"}
	}
	return nil
}

// parseAll is parse for commands that take options only.
func parseAll(flags *flag.FlagSet, arguments []string) error {
	if err := parse(flags, arguments); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return usageError{fmt.Sprintf("unexpected argument %q; see devcluster help", flags.Arg(0))}
	}
	return nil
}
