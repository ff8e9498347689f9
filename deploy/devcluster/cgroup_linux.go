package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// cgroupMount is a mounted hierarchy of control groups.
type cgroupMount struct {
	path string
	// unified is the second version's. It may be mounted beside those of the first, without controllers.
	unified bool
	// options are the controllers of a hierarchy of the first version.
	options []string
}

const cgroupRoot = "/sys/fs/cgroup"

// cgroupInit is the group of the node's own programs where the second version demands it: there a
// group that has groups with controllers may have no processes.
const cgroupInit = "init"

func cgroupMounts() ([]cgroupMount, error) {
	content, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	mounts := parseCgroupMounts(string(content))
	if len(mounts) == 0 {
		return nil, errors.New("no control groups are mounted under " + cgroupRoot)
	}
	return mounts, nil
}

// parseCgroupMounts reads lines such as
// 31 29 0:26 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu
func parseCgroupMounts(mountinfo string) []cgroupMount {
	var mounts []cgroupMount
	for line := range strings.Lines(mountinfo) {
		before, after, found := strings.Cut(strings.TrimSpace(line), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !found || len(left) < 5 || len(right) < 3 {
			continue
		}
		path := left[4]
		if path != cgroupRoot && !strings.HasPrefix(path, cgroupRoot+"/") {
			continue
		}
		if slices.ContainsFunc(mounts, func(m cgroupMount) bool { return m.path == path }) {
			continue
		}
		switch right[0] {
		case "cgroup2":
			mounts = append(mounts, cgroupMount{path: path, unified: true})
		case "cgroup":
			var options []string
			for option := range strings.SplitSeq(right[2], ",") {
				if option != "rw" && option != "ro" && option != "xattr" && option != "clone_children" && !strings.HasPrefix(option, "release_agent=") {
					options = append(options, option)
				}
			}
			if strings.HasPrefix(options[0], "name=") {
				options = append([]string{"none"}, options...)
			}
			mounts = append(mounts, cgroupMount{path: path, options: options})
		}
	}
	return mounts
}

// alone says whether the second version is the only one, so that it has the controllers.
func (m cgroupMount) alone() bool { return m.unified && m.path == cgroupRoot }

// makeCgroups makes the node's group in every hierarchy.
func makeCgroups(name string) error {
	mounts, err := cgroupMounts()
	if err != nil {
		return err
	}
	for _, mount := range mounts {
		if mount.alone() {
			if err := enableControllers(mount.path); err != nil {
				return err
			}
		}
		group := filepath.Join(mount.path, name)
		if err := os.Mkdir(group, 0o755); err != nil {
			return fmt.Errorf("make a control group: %w", err)
		}
		if slices.Contains(mount.options, "cpuset") {
			// Empty at first, and nothing may enter an empty one.
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				content, err := os.ReadFile(filepath.Join(mount.path, file))
				if err == nil {
					err = os.WriteFile(filepath.Join(group, file), content, 0o644)
				}
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// enableControllers lets the groups in a group of the second version have all that it has itself.
func enableControllers(group string) error {
	content, err := os.ReadFile(filepath.Join(group, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(content)) {
		err := os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte("+"+name), 0o644)
		// A kubelet can do without the others.
		if err != nil && (name == "memory" || name == "cpu" || name == "pids") {
			return fmt.Errorf("enable the controller %s in %s: %w", name, group, err)
		}
	}
	return nil
}

// joinCgroups moves this process into the group of that name in every hierarchy; cgroupInit means the
// node's own, seen from inside.
func joinCgroups(mounts []cgroupMount, name string) error {
	for _, mount := range mounts {
		group := filepath.Join(mount.path, name)
		if name == cgroupInit && !mount.alone() {
			group = mount.path
		}
		// 0 is whoever writes it.
		if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte("0"), 0o644); err != nil {
			return fmt.Errorf("enter %s: %w", group, err)
		}
	}
	if name == cgroupInit {
		return nil
	}
	// From here on the groups just entered look like the roots of their hierarchies.
	return syscall.Unshare(cloneNewCgroup)
}

// mountCgroups mounts the hierarchies as the host has them, with the node's groups as their roots.
func mountCgroups(root string, mounts []cgroupMount) error {
	if !mounts[0].alone() {
		if err := mountAt("tmpfs", filepath.Join(root, cgroupRoot), "tmpfs", 0, "mode=755"); err != nil {
			return err
		}
	}
	for _, mount := range mounts {
		target := filepath.Join(root, mount.path)
		if mount.unified {
			if err := mountAt("cgroup2", target, "cgroup2", 0, ""); err != nil {
				return err
			}
			continue
		}
		if err := mountAt("cgroup", target, "cgroup", 0, strings.Join(mount.options, ",")); err != nil {
			return err
		}
		// Some systems mount cpu and cpuacct together, and link their names to that.
		for _, name := range mount.options {
			if link := filepath.Join(root, cgroupRoot, name); !strings.Contains(name, "=") && name != "none" && filepath.Base(target) != name {
				if err := os.Symlink(filepath.Base(target), link); err != nil && !errors.Is(err, os.ErrExist) {
					return err
				}
			}
		}
	}
	return nil
}

// delegateCgroups lets the node's pods have controllers in the second version.
func delegateCgroups(mounts []cgroupMount) error {
	for _, mount := range mounts {
		if !mount.alone() {
			continue
		}
		if err := os.Mkdir(filepath.Join(mount.path, cgroupInit), 0o755); err != nil {
			return err
		}
		if err := joinCgroups([]cgroupMount{mount}, cgroupInit); err != nil {
			return err
		}
		if err := enableControllers(mount.path); err != nil {
			return err
		}
	}
	return nil
}

// removeCgroups removes the group of that name and those in it from every hierarchy. No process is left
// in them, though the kernel may need a moment to see it.
func removeCgroups(name string) error {
	mounts, err := cgroupMounts()
	if err != nil || name == "" {
		return err
	}
	for _, mount := range mounts {
		group := filepath.Join(mount.path, name)
		if !waitUntil(5*time.Second, func() bool { err = removeGroup(group); return err == nil }) {
			return fmt.Errorf("remove control group: %w", err)
		}
	}
	return nil
}

func removeGroup(group string) error {
	entries, err := os.ReadDir(group)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeGroup(filepath.Join(group, entry.Name())); err != nil {
				return err
			}
		}
	}
	return os.Remove(group)
}

// removeStaleCgroups removes the groups of supervisors that were killed together with their folders,
// so that nobody else knows of them.
func removeStaleCgroups() {
	mounts, _ := cgroupMounts()
	for _, mount := range mounts {
		entries, _ := os.ReadDir(mount.path)
		for _, entry := range entries {
			if owner, is := cgroupOwner(entry.Name()); is && !owner.alive() {
				// With processes in it, it is somebody's after all, and the kernel refuses.
				_ = removeGroup(filepath.Join(mount.path, entry.Name()))
			}
		}
	}
}
