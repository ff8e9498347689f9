package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// down is the command of that name.
func down(target target, arguments []string) error {
	flags := newFlags("down")
	target.register(flags)
	if err := parseAll(flags, arguments); err != nil {
		return err
	}
	if err := target.resolve(); err != nil {
		return err
	}
	// Whatever becomes of this cluster: those that nobody can find any more.
	defer removeStaleCgroups()
	found, err := readState(target.folder)
	if errors.Is(err, errNoCluster) {
		fmt.Printf("no cluster in %s\n", target.folder)
		return removeFolder(target.folder)
	}
	if err != nil {
		return err
	}
	began := time.Now()
	if err := cleanUp(found); err != nil {
		return err
	}
	fmt.Printf("cluster %s is down after %.1f s\n", found.Name, seconds(time.Since(began)))
	return nil
}

// cleanUp ends what runs of a cluster and removes its folder.
func cleanUp(found *state) error {
	// The supervisor stops the components in order, and takes at most 7 s for each of three stages. Then it
	// removes the folder: a real node's images are fifty thousand files, and the disk may be busy.
	if err := found.Supervisor.end(found.Folder, 2*time.Minute); err != nil {
		return err
	}
	// It may have started a component since the file was read.
	if latest, err := readState(found.Folder); err == nil {
		found = latest
	}
	// After a killed supervisor the kernel has killed the components already; this makes sure of it.
	for _, component := range found.Components {
		if err := component.Process.end(found.Folder, 2*time.Second); err != nil {
			return fmt.Errorf("%s: %w", component.Name, err)
		}
	}
	if found.Real != nil {
		if err := found.Real.remove(); err != nil {
			return err
		}
	}
	if err := removeFolder(found.Folder); err != nil {
		return fmt.Errorf("remove the cluster's folder: %w", err)
	}
	return verifyGone(found)
}

// verifyGone is the promise of down, checked.
func verifyGone(found *state) error {
	processes := []process{found.Supervisor}
	for _, component := range found.Components {
		processes = append(processes, component.Process)
	}
	if index := slices.IndexFunc(processes, process.alive); index >= 0 {
		return fmt.Errorf("process %d of cluster %s still runs", processes[index].PID, found.Name)
	}
	if _, err := os.Stat(found.Folder); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is still there", found.Folder)
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err == nil && strings.Contains(string(mounts), " "+found.Folder+"/") {
		return fmt.Errorf("something is still mounted in %s", found.Folder)
	}
	for name, port := range found.Ports {
		// No process of the cluster runs, so this can only be somebody who took the port since.
		if isListening(port) {
			progress("note: another program now listens on port %d, which was %s's", port, name)
		}
	}
	return nil
}
