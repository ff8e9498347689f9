package main

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestStateIsReadAsItWasWritten(t *testing.T) {
	folder := t.TempDir()
	written := state{
		Name: "a", Folder: folder, Node: nodeSimulated, Nodes: 2, Audit: true, Phase: phaseReady,
		Created: time.Unix(1700000000, 0).UTC(), Kubectl: []string{"/bin/x", "kubectl"},
		Kubeconfig: "/k", Server: "https://127.0.0.1:1", Supervisor: process{PID: 1, Started: 2},
		Components: []componentState{{Name: etcdName, Process: process{PID: 3, Started: 4}, Port: 5, Restarts: 6}},
		Ports:      map[string]int{etcdName: 5}, APIReady: 3.1, Usable: 4.2,
	}
	if err := written.write(); err != nil {
		t.Fatal(err)
	}
	read, err := readState(folder)
	if err != nil || !reflect.DeepEqual(*read, written) {
		t.Errorf("read %+v, error %v", read, err)
	}
}

func TestAFolderWithoutAClusterIsTold(t *testing.T) {
	folder := t.TempDir()
	for _, path := range []string{filepath.Join(folder, "missing"), folder} {
		if _, err := readState(path); !errors.Is(err, errNoCluster) {
			t.Errorf("%s: %v", path, err)
		}
	}
	write(t, folder, map[string]string{lockName: "", "logs/supervisor.log": ""})
	if _, err := readState(folder); !errors.Is(err, errNoCluster) {
		t.Errorf("a cluster's first moment is refused: %v", err)
	}
}

func TestSomebodyElsesFolderIsRefused(t *testing.T) {
	folder := t.TempDir()
	write(t, folder, map[string]string{"thesis.tex": "years of work"})
	if _, err := readState(folder); err == nil || errors.Is(err, errNoCluster) || !strings.Contains(err.Error(), "--state") {
		t.Errorf("got %v", err)
	}
	if err := down(target{name: "a", folder: folder}, nil); err == nil {
		t.Error("down accepts it")
	}
	if _, err := os.Stat(filepath.Join(folder, "thesis.tex")); err != nil {
		t.Error(err)
	}
}

func TestADamagedOrCopiedStateIsRefused(t *testing.T) {
	for content, want := range map[string]string{
		`{"name":`:                "damaged",
		`{"folder":"/elsewhere"}`: "/elsewhere",
	} {
		if _, err := parseState([]byte(content), "/here"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", content, err)
		}
	}
}

func TestTheFolderAroundAllClustersGoesWithTheLast(t *testing.T) {
	around := filepath.Join(t.TempDir(), ".devcluster")
	write(t, around, map[string]string{"a/cluster.json": "", "a/deep/er/file": "", "b/cluster.json": ""})
	outside := t.TempDir()
	write(t, outside, map[string]string{"file": ""})
	if err := os.Symlink(outside, filepath.Join(around, "a", "link")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		left bool
	}{{"a", true}, {"b", false}} {
		if err := removeFolder(filepath.Join(around, c.name)); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(around); (err == nil) != c.left {
			t.Errorf("after removing %s: %v", c.name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(outside, "file")); err != nil {
		t.Errorf("what a link leads to is removed: %v", err)
	}
}
