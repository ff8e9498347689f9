package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestARealNodeSaysAtOnceWhatItNeeds(t *testing.T) {
	for _, c := range []struct {
		system string
		user   int
		want   string
	}{{"darwin", 0, "Linux"}, {"linux", 1000, "root"}} {
		err := checkRealNode(c.system, c.user)
		if _, is := err.(usageError); !is || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestProgramsForAdministratorsAreFoundWithoutThemOnPath(t *testing.T) {
	folder := t.TempDir()
	write(t, folder, map[string]string{"runc": "", "plain": ""})
	t.Setenv("PATH", folder)
	if _, err := findProgram("plain"); err == nil {
		t.Error("a file that nobody may run counts")
	}
	if err := os.Chmod(filepath.Join(folder, "runc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if path, err := findProgram("runc"); err != nil || path != filepath.Join(folder, "runc") {
		t.Errorf("got %s, %v", path, err)
	}
	if !strings.Contains(nodePath(folder), "/usr/sbin") {
		t.Error("the folders for administrators are missing")
	}
}

func TestAControlGroupNamesItsSupervisor(t *testing.T) {
	owner := process{PID: 42, Started: 4711}
	if got, is := cgroupOwner(newRealNode(0, owner).Cgroup); !is || got != owner {
		t.Errorf("got %+v, %t", got, is)
	}
	for _, name := range []string{"", "devcluster-", "devcluster-42", "devcluster-x-1", "devcluster-1-x", "42-4711", "system.slice"} {
		if _, is := cgroupOwner(name); is {
			t.Errorf("%q counts as a node's", name)
		}
	}
}

// Two nodes' networks, and a node's and the Services', must never meet.
func TestNodesHaveNetworksOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for index := range maxRealNodes {
		node := newRealNode(index, process{})
		for _, value := range []string{node.Pods, node.Host, node.Address, node.Interface} {
			if seen[value] {
				t.Errorf("%s comes twice", value)
			}
			seen[value] = true
		}
		if len(node.Interface) > 15 {
			t.Errorf("the kernel refuses the interface name %s", node.Interface)
		}
		if newRealNode(index, process{PID: 7, Started: 7}).Interface == node.Interface {
			t.Errorf("another cluster's node %d has the same interface %s, and would take it away when it goes", index, node.Interface)
		}
		if !mustNetwork(node.Host + "/30").Contains(mustNetwork(node.Address + "/32").IP) {
			t.Errorf("host and node %d are not on one link", index)
		}
	}
}

func TestRoutesAreReadFromTheKernelsTable(t *testing.T) {
	const table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n" +
		"eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" +
		"devcluster0\t0000F40A\t0200F50A\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
	var got []string
	for _, network := range parseRoutes(table) {
		got = append(got, network.String())
	}
	if want := []string{"10.244.0.0/24"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestAClaimIsExclusiveUntilItIsGivenUp(t *testing.T) {
	name := "test-" + strconv.Itoa(os.Getpid())
	claim, err := claimName(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := claimName(name); err == nil {
		t.Error("a second claim succeeds")
	}
	claim.Close()
	again, err := claimName(name)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

// A placeholder that is forgotten would be taken for a value.
func TestTheNodesFilesAreFilledIn(t *testing.T) {
	if _, err := findProgram("runc"); err != nil {
		t.Setenv("PATH", fakeProgram(t, "runc"))
	}
	folder := t.TempDir()
	tools := binaries{kubernetes: "/t/kubernetes", containerd: "/t/containerd", cni: "/t/bridge", coredns: "/t/coredns"}
	if err := prepareNode(folder, tools, newRealNode(7, process{1, 1})); err != nil {
		t.Fatal(err)
	}
	// Outside comments.
	placeholder := regexp.MustCompile(`(?m)^[^#\n]*\b([A-Z]{2,}_[A-Z_]+|PKI|SHIM|RUNC)\b`)
	for _, name := range []string{"containerd.toml", "cni/10-bridge.conflist", "kubelet.yaml", "kube-proxy.yaml", "Corefile", "resolv.conf"} {
		content, err := os.ReadFile(nodeFile(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		if left := placeholder.FindString(string(content)); left != "" {
			t.Errorf("%s still says %s", name, left)
		}
	}
	if left := placeholder.FindString(newRealNode(7, process{1, 1}).manifests()); left != "" {
		t.Errorf("the manifests still say %s", left)
	}
	if !strings.Contains(manifest("real.yaml"), "port: "+strconv.Itoa(nodeAPIPort)+"\n") {
		t.Errorf("the Service kubernetes does not lead to port %d", nodeAPIPort)
	}
}

func fakeProgram(t *testing.T, name string) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, name), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	return folder
}

func TestAnArchiveTellsItsNameAndDigest(t *testing.T) {
	content, err := ociArchive("example.test/a:1", "a", []byte("program"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "a.tar")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	images, err := archiveImages(file)
	if err != nil || len(images) != 1 || images[0].name != "example.test/a:1" || !strings.HasPrefix(images[0].digest, "sha256:") {
		t.Errorf("got %v, %v", images, err)
	}
	again, err := ociArchive("example.test/a:1", "a", []byte("program"))
	if err != nil || string(again) != string(content) {
		t.Errorf("the same program gives another image, error %v", err)
	}
	if err := os.WriteFile(file, []byte("no archive at all, but a text that goes on for a while"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := archiveImages(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a text is taken for an image: %v", err)
	}
}
