package plume

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/plume-run/plume/internal/sysinfo"
)

// RAMVariable is the environment variable that stands for Options.RAM.
const RAMVariable = "PLUME_RAM"

// budget is how much memory the process may take, and who says so.
type budget struct {
	bytes   int64 // 0: nobody says
	from    string
	limited bool // it is a limit, not just what happens to be free
}

// findBudget resolves Options.RAM: the value itself, PLUME_RAM, the memory cgroup's limit,
// or what is free; what the system tells is taken less a margin, since others live
// there too. root is "/" but in tests, which other systems than Linux have no part in.
// Systems that tell nothing have no budget.
func findBudget(ram int64, env, root string) (budget, error) {
	switch {
	case ram > 0:
		return budget{ram, "as asked for", true}, nil
	case ram < 0:
		return budget{}, nil
	case env != "":
		n, err := ParseSize(env)
		if err != nil {
			return budget{}, requestError{fmt.Errorf("%s: %w", RAMVariable, err)}
		}
		return budget{n, RAMVariable, true}, nil
	}
	free := memAvailable(root)
	if free == 0 && root == "/" {
		free = sysinfo.FreeMemory()
	}
	limit := cgroupLimit(root)
	switch {
	case limit > 0 && (free == 0 || limit <= free):
		return budget{limit - limit/64, "the memory cgroup's limit less a margin", true}, nil
	case free > 0:
		return budget{free - free/16, "the machine's free memory less a margin", false}, nil
	}
	return budget{}, nil
}

// memAvailable is MemAvailable of /proc/meminfo; 0 where there is none.
func memAvailable(root string) int64 {
	data, err := os.ReadFile(path.Join(root, "proc/meminfo"))
	if err != nil {
		return 0
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		if f := strings.Fields(lines.Text()); len(f) == 3 && f[0] == "MemAvailable:" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n << 10
		}
	}
	return 0
}

// cgroupLimit is the smallest limit of the process's memory cgroup and those above it,
// of version 2 or 1; 0 when there is none. Version 2 has two kinds: above memory.high
// a group is slowed down until it is no use to anybody, above memory.max it is killed.
func cgroupLimit(root string) int64 {
	data, err := os.ReadFile(path.Join(root, "proc/self/cgroup"))
	if err != nil {
		return 0
	}
	var least int64
	for line := range strings.Lines(string(data)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3) // number:controllers:path
		if len(f) != 3 {
			continue
		}
		mount, files := "sys/fs/cgroup", []string{"memory.max", "memory.high"}
		if f[1] != "" {
			if !strings.Contains(","+f[1]+",", ",memory,") {
				continue
			}
			mount, files = "sys/fs/cgroup/memory", []string{"memory.limit_in_bytes"}
		}
		// A container may see its own group as the root of the mount; the paths that
		// do not exist there are passed over.
		for dir := path.Join("/", f[2]); ; dir = path.Dir(dir) {
			for _, file := range files {
				if n := readLimit(path.Join(root, mount, dir, file)); n > 0 && (least == 0 || n < least) {
					least = n
				}
			}
			if dir == "/" {
				break
			}
		}
	}
	return least
}

// noLimit is above what any machine has; version 1 writes such a number for none.
const noLimit = 1 << 60

func readLimit(file string) int64 {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil || n >= noLimit { // "max"
		return 0
	}
	return n
}
