package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// The node's namespaces: with their first process the kernel ends all processes in them, and then
// nothing holds their mounts, network interfaces and nft tables any more. What the node does to its
// network and mounts never reaches the host's.
const nodeNamespaces = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC

// Not in package syscall, which is frozen.
const cloneNewCgroup = 0x02000000

func init() {
	// Namespaces belong to threads, and others look at a process's first one. This keeps it for main.
	runtime.LockOSThread()
}

// nodeAttributes start the first process of the node.
func nodeAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Cloneflags: nodeNamespaces}
}

// insideAttributes start a program in the node.
func insideAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// dieWithParent has the kernel kill this process when the supervisor dies. Package syscall offers the
// same for a child, but takes a parent outside the child's process namespace for one that has died.
func dieWithParent() error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0); errno != 0 {
		return fmt.Errorf("bind this process to its parent: %w", errno)
	}
	return nil
}

// nodeInitOptions are the arguments of node-init.
type nodeInitOptions struct {
	folder string
	cgroup string
	tools  []string
}

// nodeInit is the first process of the node: it builds the node's view of the machine, tells the
// supervisor, and then reaps what is orphaned.
func nodeInit(arguments []string) error {
	var o nodeInitOptions
	flags := newFlags("node-init")
	flags.StringVar(&o.folder, "state", "", "")
	flags.StringVar(&o.cgroup, "cgroup", "", "")
	flags.Func("tool", "", func(path string) error {
		o.tools = append(o.tools, path)
		return nil
	})
	if err := parseAll(flags, arguments); err != nil {
		return err
	}
	if os.Getpid() != 1 {
		return errors.New("node-init is started by up, as the first process of its namespaces")
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGCHLD, syscall.SIGTERM)
	told := os.NewFile(3, "supervisor")
	syscall.CloseOnExec(3)
	if err := dieWithParent(); err != nil {
		return err
	}
	if err := o.build(); err != nil {
		fmt.Fprintln(told, err)
		return err
	}
	// Fails if the supervisor died before the kernel was told to watch it.
	if _, err := fmt.Fprintln(told, nodeBuilt); err != nil {
		return err
	}
	told.Close()
	for received := range signals {
		if received == syscall.SIGTERM {
			return nil
		}
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if pid <= 0 && !errors.Is(err, syscall.EINTR) {
				break
			}
		}
	}
	return nil
}

// build makes the node's view step by step; each step names itself when it fails.
func (o *nodeInitOptions) build() error {
	cgroups, err := cgroupMounts()
	if err != nil {
		return err
	}
	root := nodeFile(o.folder, "root")
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"join the node's control groups", func() error { return joinCgroups(cgroups, o.cgroup) }},
		{"name the node", func() error { return syscall.Sethostname([]byte(realNodeName)) }},
		{"keep mounts inside the node", func() error { return syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "") }},
		{"make the node's root", func() error { return mountAt("tmpfs", root, "tmpfs", 0, "mode=755") }},
		{"show the system's programs", func() error { return bindSystem(root) }},
		{"make the node's own folders", func() error { return o.bindFolders(root) }},
		{"mount proc, sys and dev", func() error { return mountKernel(root) }},
		{"mount the control groups", func() error { return mountCgroups(root, cgroups) }},
		{"enter the node's root", func() error { return enterRoot(root) }},
		{"hand out control groups", func() error { return delegateCgroups(cgroups) }},
		{"set up the node's kernel parameters", setParameters},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// systemFolders are what programs of a Linux system need. They are read-only in the node.
var systemFolders = []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "nix", "gnu"}

func bindSystem(root string) error {
	for _, name := range systemFolders {
		source, target := filepath.Join("/", name), filepath.Join(root, name)
		info, err := os.Lstat(source)
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue
		case err != nil:
			return err
		case info.Mode()&os.ModeSymlink != 0:
			link, err := os.Readlink(source)
			if err != nil {
				return err
			}
			if err := os.Symlink(link, target); err != nil {
				return err
			}
			continue
		}
		if err := bind(source, target, syscall.MS_REC); err != nil {
			return err
		}
		if err := syscall.Mount("", target, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("make %s read-only: %w", target, err)
		}
	}
	return nil
}

// bindFolders gives the node folders of its own where programs write by default, so that nothing of it
// lands on the host's. The large ones lie in the cluster's folder.
func (o *nodeInitOptions) bindFolders(root string) error {
	for _, name := range []string{"run", "tmp", "var"} {
		if err := mountAt("tmpfs", filepath.Join(root, name), "tmpfs", 0, "mode=755"); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(root, "tmp"), 0o1777); err != nil {
		return err
	}
	if err := os.Symlink("/run", filepath.Join(root, "var", "run")); err != nil {
		return err
	}
	for _, name := range []string{"lib", "log"} {
		if err := bind(nodeFile(o.folder, name), filepath.Join(root, "var", name), 0); err != nil {
			return err
		}
	}
	// Not recursively: the root is mounted in it.
	if err := bind(o.folder, filepath.Join(root, o.folder), 0); err != nil {
		return err
	}
	for _, tool := range o.tools {
		if err := bind(tool, filepath.Join(root, tool), 0); err != nil {
			return err
		}
	}
	return nil
}

func mountKernel(root string) error {
	if err := mountAt("proc", filepath.Join(root, "proc"), "proc", 0, ""); err != nil {
		return err
	}
	if err := mountAt("sysfs", filepath.Join(root, "sys"), "sysfs", 0, ""); err != nil {
		return err
	}
	if err := bind("/dev", filepath.Join(root, "dev"), syscall.MS_REC); err != nil {
		return err
	}
	return hideParameters(root)
}

// kubeletParameters are the kernel parameters of the whole machine that a kubelet sets. It finds them
// set already: in the node these files stand in front of the real ones.
var kubeletParameters = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

func hideParameters(root string) error {
	folder := filepath.Join(root, "run", "parameters")
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	for name, value := range kubeletParameters {
		target := filepath.Join(root, "proc", "sys", name)
		if !isFile(target) {
			continue
		}
		file := filepath.Join(folder, strings.ReplaceAll(name, "/", "."))
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := syscall.Mount(file, target, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("hide %s: %w", name, err)
		}
	}
	return nil
}

// enterRoot makes the folder the root and drops the host's tree out of sight.
func enterRoot(root string) error {
	const old = ".host"
	if err := os.Mkdir(filepath.Join(root, old), 0o700); err != nil {
		return err
	}
	if err := syscall.PivotRoot(root, filepath.Join(root, old)); err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := syscall.Unmount("/"+old, syscall.MNT_DETACH); err != nil {
		return err
	}
	if err := os.Remove("/" + old); err != nil {
		return err
	}
	// What the kubelet mounts must be seen by the containers that are there already.
	return syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED, "")
}

// setParameters makes the node's network forward between pods. All these belong to its namespace.
func setParameters() error {
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return err
	}
	// Without it an answer from a pod to a pod on the same bridge would bypass the address translation
	// of a Service.
	const bridged = "/proc/sys/net/bridge/bridge-nf-call-iptables"
	if !isFile(bridged) {
		return errors.New("the kernel lacks br_netfilter: modprobe br_netfilter")
	}
	return os.WriteFile(bridged, []byte("1"), 0o644)
}

func bind(source, target string, flags uintptr) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount(source, target, "", syscall.MS_BIND|flags, ""); err != nil {
		return fmt.Errorf("bind %s: %w", source, err)
	}
	return nil
}

func mountAt(source, target, kind string, flags uintptr, options string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount(source, target, kind, flags, options); err != nil {
		return fmt.Errorf("mount %s: %w", target, err)
	}
	return nil
}

// enterNode moves the calling thread, and what it starts, into the node. The thread can't come back:
// lock it and let it end with its goroutine. nodeExec enters the last of the namespaces.
func enterNode(first process) error {
	return enter(first, "ipc", "uts", "net", "pid", "mnt")
}

// enterNodeNetwork moves only the network of the calling thread.
func enterNodeNetwork(first process) error {
	return enter(first, "net")
}

func enter(first process, namespaces ...string) error {
	if !first.alive() {
		return errors.New("the node's first process has ended")
	}
	// All files first: behind the mount namespace /proc is another.
	var files []*os.File
	for _, name := range namespaces {
		file, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", first.PID, name))
		if err != nil {
			return err
		}
		defer file.Close()
		files = append(files, file)
	}
	if slices.Contains(namespaces, "mnt") {
		// The kernel wants the thread to have a current folder of its own.
		if err := syscall.Unshare(syscall.CLONE_FS); err != nil {
			return fmt.Errorf("leave the shared current folder: %w", err)
		}
	}
	for index, file := range files {
		if err := setns(file); err != nil {
			return fmt.Errorf("enter the node's %s namespace: %w", namespaces[index], err)
		}
	}
	return nil
}

func setns(file *os.File) error {
	if _, _, errno := syscall.RawSyscall(sysSetns, file.Fd(), 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// nodeExec puts itself into the node's control groups and becomes the program: the supervisor, which
// starts it, is not in them.
func nodeExec(arguments []string) error {
	if len(arguments) < 2 {
		return errors.New("node-exec is started by up")
	}
	if err := dieWithParent(); err != nil {
		return err
	}
	// Without a parent outside, the node's first process is the parent.
	if os.Getppid() != 0 {
		return errors.New("the supervisor has died")
	}
	mounts, err := cgroupMounts()
	if err != nil {
		return err
	}
	if err := joinCgroups(mounts, cgroupInit); err != nil {
		return err
	}
	// Only now: from inside this namespace no process outside may be moved, not even the caller.
	namespace, err := os.Open("/proc/1/ns/cgroup")
	if err != nil {
		return err
	}
	if err := setns(namespace); err != nil {
		return fmt.Errorf("enter the node's cgroup namespace: %w", err)
	}
	if err := raiseFileLimit(); err != nil {
		return err
	}
	return syscall.Exec(arguments[0], arguments, os.Environ())
}

// raiseFileLimit gives the node's programs, and through containerd the containers, as many open files
// as they may have: a login's limit is made for people.
func raiseFileLimit() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = limit.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

// overlayMagic is the file system type that statfs reports for overlayfs.
const overlayMagic = 0x794c7630

// checkNodeFolder refuses a folder where containerd could not keep its containers.
func checkNodeFolder(folder string) error {
	// It may not be there yet.
	for ; ; folder = filepath.Dir(folder) {
		var found syscall.Statfs_t
		err := syscall.Statfs(folder, &found)
		if errors.Is(err, syscall.ENOENT) && folder != "/" {
			continue
		}
		if err == nil && int64(found.Type) == overlayMagic {
			return usageError{fmt.Sprintf("--node real: %s lies on an overlay file system, on which containers' file systems can't be made; choose another --state", folder)}
		}
		return err
	}
}
