package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Phases of a cluster.
const (
	phaseStarting = "starting"
	phaseReady    = "ready"
	phaseStopping = "stopping"
	phaseFailed   = "failed"
)

// state is cluster.json: all that the commands know about a cluster. Only its supervisor writes it.
type state struct {
	Name       string           `json:"name"`
	Folder     string           `json:"folder"`
	Node       string           `json:"node"`
	Nodes      int              `json:"nodes"`
	Audit      bool             `json:"audit"`
	Phase      string           `json:"phase"`
	Problem    string           `json:"problem,omitempty"`
	Created    time.Time        `json:"created"`
	Kubectl    []string         `json:"kubectl"`
	Kubeconfig string           `json:"kubeconfig"`
	Server     string           `json:"server"`
	Supervisor process          `json:"supervisor"`
	Components []componentState `json:"components"`
	Ports      map[string]int   `json:"ports"`
	// Ingress is where the ingress controller listens, Real and Containerd are the real node and the
	// binary of its container runtime; all are empty without one.
	Ingress    string    `json:"ingress,omitempty"`
	Real       *realNode `json:"real,omitempty"`
	Containerd string    `json:"containerd,omitempty"`
	// APIReady and Usable are in seconds since the supervisor began.
	APIReady float64 `json:"apiReadySeconds"`
	Usable   float64 `json:"usableSeconds"`
}

type componentState struct {
	Name     string  `json:"name"`
	Process  process `json:"process"`
	Port     int     `json:"port"`
	Restarts int     `json:"restarts"`
}

// Paths inside a cluster's folder.
func stateFile(folder string) string      { return filepath.Join(folder, "cluster.json") }
func kubeconfigFile(folder string) string { return filepath.Join(folder, "kubeconfig") }
func auditFile(folder string) string      { return filepath.Join(folder, "audit.log") }
func pkiFolder(folder string) string      { return filepath.Join(folder, "pki") }
func volumesFolder(folder string) string  { return filepath.Join(folder, "volumes") }
func logFile(folder, component string) string {
	return filepath.Join(folder, logsFolder, component+".log")
}

// superviseLog is the component name of the supervisor's own log.
const superviseLog = "supervisor"

// What the folder holds for the moment before cluster.json is written.
const (
	lockName   = "lock"
	logsFolder = "logs"
)

var errNoCluster = errors.New("no cluster")

// readState returns errNoCluster if there is no cluster in the folder, and refuses folders that hold
// something else: a mistyped --state must not remove somebody's files.
func readState(folder string) (*state, error) {
	content, err := os.ReadFile(stateFile(folder))
	if err == nil {
		return parseState(content, folder)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for _, entry := range entries {
		if entry.Name() != lockName && entry.Name() != logsFolder {
			return nil, fmt.Errorf("%s holds files but no cluster.json, so it is not a devcluster's; choose another --state, or remove the folder yourself", folder)
		}
	}
	return nil, errNoCluster
}

func parseState(content []byte, folder string) (*state, error) {
	var parsed state
	if err := json.Unmarshal(content, &parsed); err != nil {
		return nil, fmt.Errorf("%s is damaged (%w); end what still runs in it, then remove the folder yourself", stateFile(folder), err)
	}
	// A folder that was moved or copied: its processes belong to the original.
	if parsed.Folder != folder {
		return nil, fmt.Errorf("%s was made for %s; use that as --state, or remove this copy", stateFile(folder), parsed.Folder)
	}
	return &parsed, nil
}

// write replaces cluster.json at once, so that no reader sees half of it.
func (s *state) write() error {
	content, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	temporary := stateFile(s.Folder) + ".new"
	if err := os.WriteFile(temporary, append(content, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, stateFile(s.Folder))
}

// running says whether the supervisor runs, and with it everything else.
func (s *state) running() bool {
	return s.Supervisor.belongsTo(s.Folder)
}

// removeFiles removes the files below a folder, several at a time: one at a time, the fifty thousand
// files of a real node's images mean as many waits for the disk. It leaves what it can't remove.
func removeFiles(folder string) {
	const hands = 8
	folders := make(chan string, hands)
	var group sync.WaitGroup
	for range hands {
		group.Go(func() {
			for path := range folders {
				entries, _ := os.ReadDir(path)
				for _, entry := range entries {
					if !entry.IsDir() {
						_ = os.Remove(filepath.Join(path, entry.Name()))
					}
				}
			}
		})
	}
	_ = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			folders <- path
		}
		return nil
	})
	close(folders)
	group.Wait()
}

// removeFolder removes the cluster's folder, and the folder around all clusters if it is then empty.
func removeFolder(folder string) error {
	// A component that is being killed may still create a file in a folder that was just emptied.
	var err error
	for range 10 {
		removeFiles(folder)
		if err = os.RemoveAll(folder); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	if parent := filepath.Dir(folder); filepath.Base(parent) == ".devcluster" {
		// Fails, as it should, while other clusters are in it.
		_ = os.Remove(parent)
	}
	return nil
}
