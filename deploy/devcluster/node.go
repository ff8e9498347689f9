package main

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// realNodeName is the name of the real node, of which a cluster has one.
const realNodeName = "real-0"

// Ports of the node's own programs. They are fixed: the node has a network of its own.
const (
	nodeAPIPort        = 6443
	containerdPort     = 1338
	kubeletPort        = 10250
	kubeletHealthPort  = 10248
	kubeProxyPort      = 10256
	coreDNSHealthPort  = 8080
	coreDNSReadyPort   = 8181
	containerdEndpoint = "/run/containerd/containerd.sock"
)

// pauseImage is the image of every pod's first process; up makes it from the tool containerd.
const pauseImage = "devcluster.storekeeper.dev/pause:1"

// clusterDNSAddress is the Service kube-dns, in manifests/real.yaml too.
const clusterDNSAddress = "10.96.0.10"

// realNode is what cluster.json keeps about the node: enough to remove it after a crash.
type realNode struct {
	// Index chooses the node's networks.
	Index     int    `json:"index"`
	Pods      string `json:"pods"`
	Host      string `json:"host"`
	Address   string `json:"address"`
	Interface string `json:"interface"`
	// Cgroup is the name of the node's control group in each hierarchy.
	Cgroup string `json:"cgroup"`
}

// newRealNode lays out the networks with this index: a /24 for the pods, and a link of two addresses
// between the host and the node.
func newRealNode(index int, supervisor process) *realNode {
	return &realNode{
		Index:     index,
		Pods:      fmt.Sprintf("10.244.%d.0/24", index),
		Host:      fmt.Sprintf("10.245.%d.1", index),
		Address:   fmt.Sprintf("10.245.%d.2", index),
		Interface: interfaceName(index, supervisor),
		// Names a process for good, so anybody can tell whether the group is still somebody's.
		Cgroup: fmt.Sprintf("%s%d-%d", cgroupPrefix, supervisor.PID, supervisor.Started),
	}
}

// interfaceName is of this node alone: another cluster may have the index again while this one's remains are removed, and
// must not lose its link. The kernel allows 15 characters.
func interfaceName(index int, supervisor process) string {
	sum := fnv.New64a()
	fmt.Fprintf(sum, "%d %d %d", index, supervisor.PID, supervisor.Started)
	return fmt.Sprintf("dc%012x", sum.Sum64()>>16)
}

const cgroupPrefix = "devcluster-"

// cgroupOwner is the supervisor whose node's control group has this name.
func cgroupOwner(name string) (process, bool) {
	pid, started, found := strings.Cut(strings.TrimPrefix(name, cgroupPrefix), "-")
	if !found || !strings.HasPrefix(name, cgroupPrefix) {
		return process{}, false
	}
	number, err := strconv.Atoi(pid)
	ticks, err2 := strconv.ParseUint(started, 10, 64)
	return process{PID: number, Started: ticks}, err == nil && err2 == nil && number > 0
}

// nodePrograms are Debian's packages of the programs that the real node takes from the host.
var nodePrograms = []struct{ program, debian string }{
	// Needs libseccomp and cgo, so it can't be built like the tools.
	{"runc", "runc"},
	// kube-proxy and the CNI plugin portmap run it.
	{"nft", "nftables"},
	{"ip", "iproute2"},
}

// checkRealNode says at once what is missing, before minutes of building.
func checkRealNode(system string, user int) error {
	const instead = "; --node simulated needs none of it"
	if system != "linux" {
		return usageError{"--node real needs Linux: it is made of namespaces and control groups"}
	}
	if user != 0 {
		return usageError{"--node real needs root, as it makes namespaces, mounts and control groups" + instead}
	}
	var programs, packages []string
	for _, needed := range nodePrograms {
		if _, err := findProgram(needed.program); err != nil {
			programs, packages = append(programs, needed.program), append(packages, needed.debian)
		}
	}
	if len(programs) > 0 {
		return usageError{fmt.Sprintf("--node real needs the programs %s (Debian: apt-get install %s, or deploy/make/setup real-node)%s",
			strings.Join(programs, ", "), strings.Join(packages, " "), instead)}
	}
	if !haveBridgeFilter() {
		return usageError{"--node real needs the kernel module br_netfilter, which is neither there nor to be loaded" + instead}
	}
	return nil
}

// haveBridgeFilter loads the module where it is one; unlike most others it is not loaded on first use.
func haveBridgeFilter() bool {
	const sign = "/proc/sys/net/bridge"
	if _, err := os.Stat(sign); err != nil {
		_ = exec.Command("modprobe", "br_netfilter").Run()
	}
	_, err := os.Stat(sign)
	return err == nil
}

// findProgram looks in the folders for administrators too, which are not on everybody's PATH.
func findProgram(name string) (string, error) {
	for _, folder := range filepath.SplitList(nodePath(os.Getenv("PATH"))) {
		path := filepath.Join(folder, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}

// nodePath has the folders of nodePrograms.
func nodePath(path string) string {
	const administrators = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
	if path == "" {
		return administrators
	}
	return path + ":" + administrators
}

// Paths of the node in the cluster's folder.
func nodeFolder(folder string) string  { return filepath.Join(folder, "node") }
func nodeFile(folder, n string) string { return filepath.Join(nodeFolder(folder), n) }

// nodeOwnProgram is a copy of this program, which the node can see wherever the original is.
func nodeOwnProgram(folder string) string { return nodeFile(folder, "devcluster") }

// prepareNode writes what the node's programs read.
func prepareNode(folder string, binaries binaries, node *realNode) error {
	// The system folders of the node that outgrow memory: images, containers, logs.
	for _, sub := range []string{"root", "lib", "log", "cni"} {
		if err := os.MkdirAll(nodeFile(folder, sub), 0o755); err != nil {
			return err
		}
	}
	own, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	if err := os.WriteFile(nodeOwnProgram(folder), own, 0o700); err != nil {
		return err
	}
	runc, err := findProgram("runc")
	if err != nil {
		return err
	}
	values := strings.NewReplacer(
		"NODE_NAME", realNodeName,
		"NODE_ADDRESS", node.Address,
		"POD_NETWORK", node.Pods,
		"PAUSE_IMAGE", pauseImage,
		"CNI_BIN", filepath.Dir(binaries.cni),
		"CNI_CONF", nodeFile(folder, "cni"),
		"CONTAINERD_ENDPOINT", containerdEndpoint,
		"CONTAINERD_PORT", strconv.Itoa(containerdPort),
		"RUNC", runc,
		"SHIM", filepath.Join(filepath.Dir(binaries.containerd), "containerd-shim-runc-v2"),
		"PKI", pkiFolder(folder),
		"NODE_FOLDER", nodeFolder(folder),
		"CLUSTER_DNS", clusterDNSAddress,
		"KUBELET_HEALTH_PORT", strconv.Itoa(kubeletHealthPort),
		"KUBELET_PORT", strconv.Itoa(kubeletPort),
		"KUBE_PROXY_PORT", strconv.Itoa(kubeProxyPort),
		"COREDNS_HEALTH_PORT", strconv.Itoa(coreDNSHealthPort),
		"COREDNS_READY_PORT", strconv.Itoa(coreDNSReadyPort),
	)
	for path, name := range map[string]string{
		"containerd.toml":        "containerd.toml",
		"cni/10-bridge.conflist": "cni.conflist",
		"kubelet.yaml":           "kubelet.yaml",
		"kube-proxy.yaml":        "kube-proxy.yaml",
		"Corefile":               "Corefile",
		// Pods resolve the cluster's names only: the node has no way out.
		"resolv.conf": "resolv.conf",
	} {
		if err := os.WriteFile(nodeFile(folder, path), []byte(values.Replace(manifest(name))), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// nodeComponent is the first process of the node's namespaces. All others in the node end with it, so
// the cluster is given up when it ends.
func nodeComponent(folder string, binaries binaries, node *realNode) component {
	arguments := []string{"node-init", "--state=" + folder, "--cgroup=" + node.Cgroup}
	for _, path := range []string{binaries.kubernetes, binaries.containerd, binaries.cni, binaries.coredns} {
		arguments = append(arguments, "--tool="+filepath.Dir(path))
	}
	return component{name: nodeName, path: nodeOwnProgram(folder), arguments: arguments, vital: true}
}

func containerdComponent(folder string, binaries binaries, node *realNode) component {
	return inNode(component{
		name:      containerdName,
		path:      binaries.containerd,
		port:      containerdPort,
		health:    fmt.Sprintf("http://%s:%d/v1/metrics", node.Address, containerdPort),
		arguments: []string{"--config=" + nodeFile(folder, "containerd.toml")},
	})
}

func kubeletComponent(folder string, binaries binaries, node *realNode) component {
	return inNode(component{
		name:   kubeletName,
		path:   binaries.kubernetes,
		port:   kubeletPort,
		health: fmt.Sprintf("http://%s:%d/healthz", node.Address, kubeletHealthPort),
		arguments: []string{"kubelet",
			"--config=" + nodeFile(folder, "kubelet.yaml"),
			"--kubeconfig=" + componentKubeconfig(folder, kubeletName),
			"--hostname-override=" + realNodeName,
			"--node-ip=" + node.Address,
			// Inside the node; it lies in the cluster's folder.
			"--root-dir=/var/lib/kubelet",
		},
	})
}

func kubeProxyComponent(folder string, binaries binaries, node *realNode) component {
	return inNode(component{
		name:      kubeProxyName,
		path:      binaries.kubernetes,
		port:      kubeProxyPort,
		health:    fmt.Sprintf("http://%s:%d/healthz", node.Address, kubeProxyPort),
		arguments: []string{"kube-proxy", "--config=" + nodeFile(folder, "kube-proxy.yaml")},
	})
}

func coreDNSComponent(folder string, binaries binaries, node *realNode) component {
	return inNode(component{
		name:      coreDNSName,
		path:      binaries.coredns,
		port:      53,
		health:    fmt.Sprintf("http://%s:%d/ready", node.Address, coreDNSReadyPort),
		arguments: []string{"-conf", nodeFile(folder, "Corefile")},
	})
}

// inNode has a component started inside the node's namespaces.
func inNode(c component) component {
	c.inNode = true
	return c
}

// nodeKubeconfigs are the node's programs that talk to the API server.
var nodeKubeconfigs = []string{kubeletName, kubeProxyName, coreDNSName}

// writeNodeKubeconfigs point at the relay inside the node, see relay.
func writeNodeKubeconfigs(folder, cluster string) error {
	for _, who := range nodeKubeconfigs {
		server := "https://" + loopback(nodeAPIPort)
		if err := writeKubeconfig(componentKubeconfig(folder, who), pkiFolder(folder), who, cluster, server); err != nil {
			return err
		}
	}
	return nil
}

// errNoNode says that a command needs the real node.
var errNoNode = errors.New("the cluster has no real node; bring it up with --node real")
