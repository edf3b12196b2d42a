package cpu

import (
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// physicalCores counts the cores behind the processors of the affinity mask; 0
// when the system does not tell.
func physicalCores() int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 0
	}
	return countCores(&set, "/sys/devices/system/cpu")
}

// countCores reads the topology files below root for the processors in set.
func countCores(set *unix.CPUSet, root string) int {
	cores := map[string]bool{}
	for cpu := range len(set) * 64 {
		if !set.IsSet(cpu) {
			continue
		}
		core := coreOf(filepath.Join(root, "cpu"+strconv.Itoa(cpu), "topology"))
		if core == "" {
			return 0
		}
		cores[core] = true
	}
	return len(cores)
}

// coreOf names a processor's core by the processors that share it, of which a core has its
// own list. Kernels before 5.3 call the list thread_siblings_list; what has neither has
// numbers, which some arm64 machines begin anew in every cluster.
func coreOf(dir string) string {
	for _, name := range []string{"core_cpus_list", "thread_siblings_list"} {
		if list, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
			return string(list)
		}
	}
	core, err := os.ReadFile(filepath.Join(dir, "core_id"))
	if err != nil {
		return ""
	}
	pkg, err := os.ReadFile(filepath.Join(dir, "physical_package_id"))
	if err != nil {
		return ""
	}
	return string(pkg) + "/" + string(core)
}
