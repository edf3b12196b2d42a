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
		dir := filepath.Join(root, "cpu"+strconv.Itoa(cpu), "topology")
		core, err := os.ReadFile(filepath.Join(dir, "core_id"))
		if err != nil {
			return 0
		}
		pkg, err := os.ReadFile(filepath.Join(dir, "physical_package_id"))
		if err != nil {
			return 0
		}
		cores[string(pkg)+"/"+string(core)] = true
	}
	return len(cores)
}
