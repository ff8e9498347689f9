package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// realCluster drives the program as a user does.
type realCluster struct {
	t       *testing.T
	program string
	folder  string
	// others is what other programs' containers had on the host before.
	others map[string]bool
}

// startReal skips where no real node can run, and unless it is asked for: it takes about a minute.
func startReal(t *testing.T) *realCluster {
	t.Helper()
	if os.Getenv("DEVCLUSTER_TEST_REAL") != "1" {
		t.Skip("the real node is tested with DEVCLUSTER_TEST_REAL=1, as root")
	}
	if err := checkRealNode("linux", os.Geteuid()); err != nil {
		t.Skip(err)
	}
	around := t.TempDir()
	c := &realCluster{t: t, program: filepath.Join(around, "devcluster"), folder: filepath.Join(around, "cluster"), others: map[string]bool{}}
	for _, trace := range hostTraces() {
		c.others[trace] = true
	}
	if output, err := exec.Command("go", "build", "-o", c.program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	t.Cleanup(func() {
		if output, err := c.command("down").CombinedOutput(); err != nil {
			t.Errorf("down: %v: %s", err, output)
		}
	})
	c.run("up", "--node", "real", "--ingress-address", freeIngress(t))
	return c
}

func freeIngress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func (c *realCluster) command(arguments ...string) *exec.Cmd {
	return exec.Command(c.program, append([]string{"--state", c.folder}, arguments...)...)
}

func (c *realCluster) run(arguments ...string) string {
	c.t.Helper()
	command := c.command(arguments...)
	var problem bytes.Buffer
	command.Stderr = &problem
	output, err := command.Output()
	if err != nil {
		c.t.Fatalf("devcluster %v: %v\n%s%s", arguments, err, output, problem.String())
	}
	return string(output)
}

func (c *realCluster) state() *state {
	c.t.Helper()
	found, err := readState(c.folder)
	if err != nil {
		c.t.Fatal(err)
	}
	return found
}

func (c *realCluster) first() process {
	c.t.Helper()
	for _, component := range c.state().Components {
		if component.Name == nodeName {
			return component.Process
		}
	}
	c.t.Fatal("the node has no first process")
	return process{}
}

// storageAndPod has everything that can stay behind: a volume mounted for a group, a network namespace,
// containers in control groups.
const storageAndPod = `apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: pod}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {runAsNonRoot: true, runAsUser: 10001, fsGroup: 10001, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: main
    image: ` + pauseImage + `
    resources: {limits: {memory: 64Mi}}
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: data, mountPath: /data}]
  volumes:
  - name: data
    persistentVolumeClaim: {claimName: data}
`

// runPod returns all processes of the node once the pod runs.
func (c *realCluster) runPod() []process {
	c.t.Helper()
	apply := c.command("kubectl", "apply", "--filename=-")
	apply.Stdin = strings.NewReader(storageAndPod)
	if output, err := apply.CombinedOutput(); err != nil {
		c.t.Fatalf("%v: %s", err, output)
	}
	c.run("kubectl", "wait", "--for=condition=Ready", "pod/pod", "--timeout=60s")
	var processes []process
	mounts, err := cgroupMounts()
	if err != nil {
		c.t.Fatal(err)
	}
	_ = filepath.WalkDir(filepath.Join(mounts[0].path, c.state().Real.Cgroup), func(path string, entry fs.DirEntry, err error) error {
		content, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if err != nil {
			return nil
		}
		for line := range strings.FieldsSeq(string(content)) {
			pid, _ := strconv.Atoi(line)
			if found, err := findProcess(pid); err == nil {
				processes = append(processes, found)
			}
		}
		return nil
	})
	// The node's first, containerd, kubelet, kube-proxy, CoreDNS, a shim, the pod's two.
	if len(processes) < 8 {
		c.t.Fatalf("only %d processes are in the node's control groups", len(processes))
	}
	processes = append(processes, c.state().Supervisor)
	// Or the search could not fail later.
	for _, kind := range []string{"process", "interface", "route", "control group"} {
		if !strings.Contains(strings.Join(c.leftovers(c.state(), processes), "\n"), kind) {
			c.t.Errorf("the search for what is left does not find the running node's %s", kind)
		}
	}
	return processes
}

// nothingLeft checks the host for everything that a node makes.
func (c *realCluster) nothingLeft(before *state, processes []process) {
	c.t.Helper()
	var left []string
	if !waitUntil(10*time.Second, func() bool { left = c.leftovers(before, processes); return len(left) == 0 }) {
		c.t.Errorf("left behind: %s", strings.Join(left, "; "))
	}
}

func (c *realCluster) leftovers(before *state, processes []process) []string {
	var left []string
	for _, process := range processes {
		if process.alive() {
			left = append(left, fmt.Sprintf("process %d", process.PID))
		}
	}
	// Any other with the folder on its command line: the sweeper, a component.
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, line := range lines {
		if content, err := os.ReadFile(line); err == nil && commandLineNames(string(content), before.Folder) {
			left = append(left, line)
		}
	}
	if _, err := net.InterfaceByName(before.Real.Interface); err == nil {
		left = append(left, "interface "+before.Real.Interface)
	}
	networks, _ := hostNetworks()
	for _, network := range networks {
		if network.String() == before.Real.Pods {
			left = append(left, "route to "+before.Real.Pods)
		}
	}
	mountinfo, _ := os.ReadFile("/proc/self/mountinfo")
	if strings.Contains(string(mountinfo), before.Folder) {
		left = append(left, "mount")
	}
	mounts, _ := cgroupMounts()
	for _, mount := range mounts {
		if group := filepath.Join(mount.path, before.Real.Cgroup); exists(group) {
			left = append(left, "control group "+group)
		}
	}
	for _, trace := range hostTraces() {
		if !c.others[trace] {
			left = append(left, trace)
		}
	}
	return left
}

// hostTraces are what containers leave on a host where they have no namespaces around them.
func hostTraces() []string {
	var traces []string
	mountinfo, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mountinfo)) {
		if strings.Contains(line, " nsfs ") || strings.Contains(line, "/run/containerd") || strings.Contains(line, "kubelet") {
			traces = append(traces, "mount "+line)
		}
	}
	if program, err := findProgram("nft"); err == nil {
		tables, _ := exec.Command(program, "list", "tables").Output()
		traces = append(traces, strings.Split(string(tables), "\n")...)
	}
	for _, path := range []string{"/var/lib/kubelet", "/run/containerd", "/var/lib/containerd", "/var/lib/cni", "/var/log/pods", "/var/log/containers", "/run/netns", "/run/xtables.lock"} {
		if exists(path) {
			traces = append(traces, path)
		}
	}
	return traces
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, os.ErrNotExist)
}

func TestNothingOfARealNodeStaysHoweverItEnds(t *testing.T) {
	c := startReal(t)
	again := func() { c.run("up", "--node", "real", "--ingress-address", freeIngress(t)) }

	t.Log("down")
	processes, before := c.runPod(), c.state()
	checkWorking(t, c)
	c.run("down")
	c.nothingLeft(before, processes)
	if exists(c.folder) {
		t.Error("the folder is still there")
	}

	t.Log("the supervisor is killed")
	again()
	processes, before = c.runPod(), c.state()
	if err := syscall.Kill(before.Supervisor.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.nothingLeft(before, processes)

	t.Log("the node's first process is killed")
	again()
	processes, before = c.runPod(), c.state()
	if err := syscall.Kill(c.first().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.nothingLeft(before, processes)
	if found := c.state(); found.Phase != phaseFailed || !strings.Contains(found.Problem, nodeName) {
		t.Errorf("the cluster is %s: %s", found.Phase, found.Problem)
	}

	t.Log("the folder is removed")
	again()
	processes, before = c.runPod(), c.state()
	if err := os.Remove(stateFile(c.folder)); err != nil {
		t.Fatal(err)
	}
	c.nothingLeft(before, processes)
	if !waitUntil(5*time.Second, func() bool { return !exists(c.folder) }) {
		t.Error("the folder is still there")
	}
}

// checkWorking asks for what only a real kubelet can answer, and loads an image twice.
func checkWorking(t *testing.T, c *realCluster) {
	t.Helper()
	var summary struct {
		Pods []struct {
			PodRef struct{ Name string }
			Memory struct{ WorkingSetBytes uint64 }
		}
	}
	if !waitUntil(30*time.Second, func() bool {
		output := c.run("kubectl", "get", "--raw", "/api/v1/nodes/"+realNodeName+"/proxy/stats/summary")
		return json.Unmarshal([]byte(output), &summary) == nil && len(summary.Pods) == 1 && summary.Pods[0].Memory.WorkingSetBytes > 0
	}) {
		t.Errorf("the node does not know the pod's memory: %+v", summary)
	}
	if output := c.run("status"); strings.Count(output, "healthy\n") != len(c.state().Components) {
		t.Error(output)
	}
	response, err := http.Get("http://" + c.state().Ingress + "/")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusNotFound {
		t.Errorf("the ingress controller answers %s for an unknown host", response.Status)
	}
	content, err := ociArchive("example.test/a:1", "a", []byte("program"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "a.tar")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"loaded in", "was there"} {
		if output := c.run("load", file); !strings.HasPrefix(output, "example.test/a:1  sha256:") || !strings.Contains(output, want) {
			t.Errorf("load says %q", output)
		}
	}
}
