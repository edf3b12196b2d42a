package cpu

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// write puts a file of the system below root.
func write(t *testing.T, root, name, text string) {
	t.Helper()
	name = filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

// TestCountCores: eight processors in pairs, told in each of the ways that kernels have.
func TestCountCores(t *testing.T) {
	for _, kernel := range []struct {
		name string
		tell func(cpu int, file func(name, text string))
	}{
		{"numbers", func(cpu int, file func(name, text string)) { // two packages of two cores
			file("core_id", fmt.Sprintln(cpu/2%2))
			file("physical_package_id", fmt.Sprintln(cpu/4))
		}},
		{"lists", func(cpu int, file func(name, text string)) {
			file("core_cpus_list", fmt.Sprintf("%d-%d\n", cpu&^1, cpu|1))
		}},
		{"older lists", func(cpu int, file func(name, text string)) {
			file("thread_siblings_list", fmt.Sprintf("%d-%d\n", cpu&^1, cpu|1))
		}},
		{"clusters that count anew", func(cpu int, file func(name, text string)) { // in one package
			file("core_id", fmt.Sprintln(cpu/2%2))
			file("physical_package_id", "0\n")
			file("core_cpus_list", fmt.Sprintf("%d,%d\n", cpu&^1, cpu|1))
		}},
	} {
		root := t.TempDir()
		for cpu := range 8 {
			kernel.tell(cpu, func(name, text string) {
				write(t, root, filepath.Join(fmt.Sprint("cpu", cpu), "topology", name), text)
			})
		}
		for _, c := range []struct {
			cpus []int
			want int
		}{
			{[]int{0, 1, 2, 3, 4, 5, 6, 7}, 4},
			{[]int{0, 1}, 1},
			{[]int{1, 2, 7}, 3},
			{[]int{0, 9}, 0}, // no topology for cpu9
		} {
			var set unix.CPUSet
			for _, cpu := range c.cpus {
				set.Set(cpu)
			}
			if got := countCores(&set, root); got != c.want {
				t.Errorf("%s: cpus %v: %d cores, want %d", kernel.name, c.cpus, got, c.want)
			}
		}
	}
}

func TestCgroupQuota(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  float64
	}{
		{"nothing", nil, 0},
		{"version 2, none", map[string]string{
			"proc/self/cgroup":          "0::/a\n",
			"sys/fs/cgroup/a/cpu.max":   "max 100000\n",
			"sys/fs/cgroup/a/b/cpu.max": "50000 100000\n",
		}, 0},
		{"version 2", map[string]string{
			"proc/self/cgroup":        "0::/a\n",
			"sys/fs/cgroup/a/cpu.max": "250000 100000\n",
		}, 2.5},
		{"version 2, less above", map[string]string{
			"proc/self/cgroup":          "0::/a/b\n",
			"sys/fs/cgroup/a/b/cpu.max": "250000 100000\n",
			"sys/fs/cgroup/a/cpu.max":   "15000 10000\n",
		}, 1.5},
		{"a container's own root", map[string]string{
			"proc/self/cgroup":      "0::/docker/4711\n",
			"sys/fs/cgroup/cpu.max": "100000 100000\n",
		}, 1},
		{"version 1", map[string]string{
			"proc/self/cgroup":                      "4:memory:/m\n2:cpu,cpuacct:/a\n0::/\n",
			"sys/fs/cgroup/cpu/a/cpu.cfs_quota_us":  "50000\n",
			"sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
		}, 0.5},
		{"version 1, none", map[string]string{
			"proc/self/cgroup":                      "2:cpu:/a\n",
			"sys/fs/cgroup/cpu/a/cpu.cfs_quota_us":  "-1\n",
			"sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
		}, 0},
		{"nonsense", map[string]string{
			"proc/self/cgroup":      "0::/\n",
			"sys/fs/cgroup/cpu.max": "100000 0\n",
		}, 0},
	} {
		root := t.TempDir()
		for name, text := range c.files {
			write(t, root, name, text)
		}
		if got := cgroupQuota(root); got != c.want {
			t.Errorf("%s: %v processors, want %v", c.name, got, c.want)
		}
	}
	for quota, want := range map[float64]int{0: 0, 0.5: 1, 1: 1, 1.5: 1, 2.5: 2, 4: 4} {
		if got := wholeThreads(quota); got != want {
			t.Errorf("%d threads within %v processors, want %d", got, quota, want)
		}
	}
}

// TestDefaultThreads: whatever this machine says, it is a number to compute with.
func TestDefaultThreads(t *testing.T) {
	if n := DefaultThreads(); n < 1 || n > startProcs {
		t.Errorf("%d default threads of %d", n, startProcs)
	}
}
