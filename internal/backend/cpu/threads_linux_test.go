package cpu

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCountCores(t *testing.T) {
	root := t.TempDir()
	for cpu := range 8 { // two packages of two cores of two threads
		dir := filepath.Join(root, fmt.Sprint("cpu", cpu), "topology")
		if err := os.MkdirAll(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		for name, id := range map[string]int{"core_id": cpu / 2 % 2, "physical_package_id": cpu / 4} {
			if err := os.WriteFile(filepath.Join(dir, name), fmt.Appendln(nil, id), 0o666); err != nil {
				t.Fatal(err)
			}
		}
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
			t.Errorf("cpus %v: %d cores, want %d", c.cpus, got, c.want)
		}
	}
	if n := DefaultThreads(); n < 1 {
		t.Errorf("%d default threads", n)
	}
}
