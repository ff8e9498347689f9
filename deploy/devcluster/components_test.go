package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPortsAreFreeAndDifferent(t *testing.T) {
	ports, err := freePorts(portNames(nodeSimulated))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]string{}
	for name, port := range ports {
		if other, found := seen[port]; found {
			t.Errorf("%s and %s share port %d", name, other, port)
		}
		seen[port] = name
		listener, err := net.Listen("tcp4", loopback(port))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !isListening(port) {
			t.Errorf("port %d is not seen as taken", port)
		}
		listener.Close()
	}
	if len(ports) != len(portNames(nodeSimulated)) {
		t.Errorf("got %v", ports)
	}
}

// Without its folder on the command line a process could not be recognised later, and with an address
// that is not loopback the cluster would be open to the network.
func TestEveryComponentNamesItsFolderAndListensOnLoopback(t *testing.T) {
	const folder = "/home/me/.devcluster/a"
	ports := map[string]int{}
	for index, name := range portNames(nodeSimulated) {
		ports[name] = 20000 + index
	}
	for _, component := range allComponents(&state{Folder: folder, Node: nodeSimulated, Ports: ports}) {
		line := strings.Join(component.arguments, "\x00")
		if !commandLineNames(line, folder) {
			t.Errorf("%s does not name its folder", component.name)
		}
		if strings.Contains(line, "0.0.0.0") || !strings.Contains(line, "127.0.0.1") || !strings.Contains(component.health, "127.0.0.1:") {
			t.Errorf("%s does not listen on loopback: %q", component.name, component.arguments)
		}
		if component.port == 0 {
			t.Errorf("%s has no port", component.name)
		}
	}
}

// The node's programs listen in the node's own network, which only the host reaches.
func TestEveryComponentOfARealNodeNamesItsFolder(t *testing.T) {
	const folder = "/home/me/.devcluster/a"
	node := newRealNode(3, process{PID: 1, Started: 2})
	inside := 0
	for _, component := range allComponents(&state{Folder: folder, Node: nodeReal, Ingress: "127.0.0.2:80", Real: node}) {
		if !commandLineNames(strings.Join(component.arguments, "\x00"), folder) {
			t.Errorf("%s does not name its folder", component.name)
		}
		if component.inNode {
			inside++
			if !strings.HasPrefix(component.health, "http://"+node.Address+":") {
				t.Errorf("%s is asked for its health at %s", component.name, component.health)
			}
			line := strings.Join(component.command(folder).Args, "\x00")
			if !strings.HasPrefix(line, nodeOwnProgram(folder)+"\x00node-exec\x00"+component.path) {
				t.Errorf("%s is not started inside the node: %q", component.name, line)
			}
		}
	}
	if inside != 4 {
		t.Errorf("%d components run in the node", inside)
	}
}

func TestEveryManifestHasAPath(t *testing.T) {
	for _, name := range []string{"storage.yaml", "kubelet-client.yaml", "simulated.yaml", "simulated-node.yaml", "real.yaml", "ingress.yaml"} {
		for document := range strings.SplitSeq(manifest(name), "\n---\n") {
			if _, err := manifestPath(document); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if !strings.Contains(manifest("storage.yaml"), "provisioner: "+storageProvisioner+"\n") {
		t.Errorf("the StorageClass does not name %s", storageProvisioner)
	}
}

func TestOptionsReachTheSupervisorWhole(t *testing.T) {
	given := options{target: target{name: "a", folder: "/f"}, node: nodeNone, nodes: 3, audit: true, timeout: 90e9, ownerPID: 7, ingress: "127.0.0.2:80", binaries: binaries{"/k", "/w", "/c", "/n", "/d"}}
	var read options
	flags := newFlags("supervise")
	read.register(flags)
	if err := flags.Parse(given.arguments()[1:]); err != nil || read != given {
		t.Errorf("read %+v, error %v", read, err)
	}
}

func TestATakenPortIsSeenInTheLastRunOnly(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	before := "old: bind: address already in use\n"
	if err := os.WriteFile(log, []byte(before+"new: all is well\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if addressInUse(log, int64(len(before))) {
		t.Error("an earlier run's message counts")
	}
	if !addressInUse(log, 0) {
		t.Error("the message is not found")
	}
}

func TestLongLogsAreShownShort(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(log, []byte("first\n"+strings.Repeat("x", 5000)+"\nlast\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	shown := tail(log, 2)
	if strings.Contains(shown, "first") || !strings.HasSuffix(shown, "\nlast") || len(shown) > 400 {
		t.Errorf("shown: %s", shown)
	}
}
