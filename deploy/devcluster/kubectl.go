package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// kubectl is the command of that name. It replaces this process, so that exit codes, terminals and
// signals are kubectl's own.
func kubectl(target target, arguments []string) error {
	if err := target.resolve(); err != nil {
		return err
	}
	found, err := readState(target.folder)
	if errors.Is(err, errNoCluster) || err == nil && !found.running() {
		return fmt.Errorf("cluster %s is down; run devcluster up first, or give --name or --state before kubectl", target.name)
	}
	if err != nil {
		return err
	}
	binary := found.Kubectl[0]
	if !isFile(binary) {
		return fmt.Errorf("%s is gone; run devcluster build kubernetes", binary)
	}
	environment := []string{
		"KUBECONFIG=" + found.Kubeconfig,
		// kubectl caches what an address serves; the next cluster on the same port may serve something else.
		"KUBECACHEDIR=" + filepath.Join(found.Folder, "kubectl-cache"),
	}
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); name != "KUBECONFIG" && name != "KUBECACHEDIR" {
			environment = append(environment, variable)
		}
	}
	return syscall.Exec(binary, append(append([]string{}, found.Kubectl...), arguments...), environment)
}
