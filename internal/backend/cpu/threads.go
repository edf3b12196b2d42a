package cpu

import "runtime"

// DefaultThreads is the number of threads that New is best given: one for each
// physical core that the process may use, and no more than its cgroup's quota keeps
// running. Two hardware threads of a core share the units that multiply, and the
// second one only adds to the traffic.
//
// GOMAXPROCS bounds it, which the Go runtime sets from the affinity mask and the quota,
// the latter rounded up and at least 2; a program may have raised it since to leave
// room for others.
func DefaultThreads() int {
	n := min(startProcs, runtime.GOMAXPROCS(0))
	for _, most := range []int{physicalCores(), quotaThreads()} {
		if most > 0 {
			n = min(n, most)
		}
	}
	return max(n, 1)
}

// startProcs is GOMAXPROCS as the runtime set it.
var startProcs = runtime.GOMAXPROCS(0)
