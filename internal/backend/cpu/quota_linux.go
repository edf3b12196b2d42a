package cpu

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// quotaThreads is how many threads the quota of the process's cgroup keeps running; 0 when
// there is none.
func quotaThreads() int { return wholeThreads(cgroupQuota("/")) }

// wholeThreads gives a fraction up: one thread more would be stopped for a part of every
// period, and the others would wait for it.
func wholeThreads(quota float64) int {
	if quota <= 0 {
		return 0
	}
	return max(1, int(quota))
}

// cgroupQuota is the least quota of the process's cgroup and those above it, of version 2 or
// 1, in processors; 0 when there is none. root is "/" but in tests.
func cgroupQuota(root string) float64 {
	groups, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return 0
	}
	var least float64
	for line := range strings.Lines(string(groups)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3) // number:controllers:path
		if len(f) != 3 {
			continue
		}
		mount, quotaIn := "sys/fs/cgroup", quotaV2
		if f[1] != "" {
			if !strings.Contains(","+f[1]+",", ",cpu,") {
				continue
			}
			mount, quotaIn = "sys/fs/cgroup/cpu", quotaV1
		}
		// A container may see its own group as the root of the mount; the paths that
		// do not exist there are passed over.
		for dir := filepath.Join("/", f[2]); ; dir = filepath.Dir(dir) {
			if q := quotaIn(filepath.Join(root, mount, dir)); q > 0 && (least == 0 || q < least) {
				least = q
			}
			if dir == "/" {
				break
			}
		}
	}
	return least
}

// quotaV2 reads "max 100000" or "150000 100000": microseconds in each period of so many.
func quotaV2(dir string) float64 {
	text, err := os.ReadFile(filepath.Join(dir, "cpu.max"))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(text))
	if len(f) != 2 {
		return 0
	}
	return quotient(f[0], f[1])
}

// quotaV1 reads the same from two files, -1 for no quota.
func quotaV1(dir string) float64 {
	quota, err := os.ReadFile(filepath.Join(dir, "cpu.cfs_quota_us"))
	if err != nil {
		return 0
	}
	period, err := os.ReadFile(filepath.Join(dir, "cpu.cfs_period_us"))
	if err != nil {
		return 0
	}
	return quotient(string(quota), string(period))
}

// quotient is a/b, 0 when one of them is not a positive number.
func quotient(a, b string) float64 {
	x, errX := strconv.ParseUint(strings.TrimSpace(a), 10, 53)
	y, errY := strconv.ParseUint(strings.TrimSpace(b), 10, 53)
	if errX != nil || errY != nil || y == 0 {
		return 0
	}
	return float64(x) / float64(y)
}
