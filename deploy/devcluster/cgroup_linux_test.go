package main

import (
	"reflect"
	"testing"
)

func TestHierarchiesAreFoundInBothVersions(t *testing.T) {
	for _, c := range []struct {
		name, mountinfo string
		want            []cgroupMount
	}{
		{"first version, with the second beside it", `22 1 0:20 / /sys rw,relatime - sysfs sysfs rw
26 22 0:24 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
27 26 0:25 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
28 26 0:26 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
29 26 0:27 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`, []cgroupMount{
			{path: "/sys/fs/cgroup/cpu,cpuacct", options: []string{"cpu", "cpuacct"}},
			{path: "/sys/fs/cgroup/systemd", options: []string{"none", "name=systemd"}},
			{path: "/sys/fs/cgroup/unified", unified: true},
		}},
		{"second version", `30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
31 22 0:26 / /mnt/elsewhere rw - cgroup2 cgroup2 rw
`, []cgroupMount{{path: "/sys/fs/cgroup", unified: true}}},
	} {
		if got := parseCgroupMounts(c.mountinfo); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v", c.name, got)
		}
	}
}
