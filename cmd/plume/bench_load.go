package main

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// What Linux tells about the load of the machine. Elsewhere the files are missing
// and everything here is unknown.

// cpuTimes are clock ticks since the machine (total, busy) and the program (own,
// ended children included) started.
type cpuTimes struct {
	total, busy, own int64
	known            bool
}

func readTimes() cpuTimes {
	machine, err := os.ReadFile("/proc/stat")
	if err != nil {
		return cpuTimes{}
	}
	program, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return cpuTimes{}
	}
	return parseTimes(machine, program)
}

// parseTimes reads the first line of /proc/stat, "cpu user nice system idle iowait
// irq softirq steal guest …", and the fields 14 to 17 of /proc/self/stat, which
// follow a name in brackets that may hold spaces. Guests are in user already.
func parseTimes(machine, program []byte) cpuTimes {
	var t cpuTimes
	line, _, _ := bytes.Cut(machine, []byte("\n"))
	for i, v := range numbers(line, 1, 8) {
		t.total += v
		if i != 3 && i != 4 { // idle, iowait
			t.busy += v
		}
	}
	if at := bytes.LastIndexByte(program, ')'); at >= 0 {
		own := numbers(program[at+1:], 11, 4)
		for _, v := range own {
			t.own += v
		}
		t.known = len(own) == 4 && t.total > 0
	}
	return t
}

// parseFaults reads field 12 of /proc/self/stat, see parseTimes.
func parseFaults(program []byte) int64 {
	if v := numbers(program[bytes.LastIndexByte(program, ')')+1:], 9, 1); len(v) == 1 {
		return v[0]
	}
	return 0
}

// numbers returns n fields from number from on, fewer when there are fewer.
func numbers(line []byte, from, n int) []int64 {
	var out []int64
	fields := strings.Fields(string(line))
	for i := from; i < min(from+n, len(fields)); i++ {
		v, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			break
		}
		out = append(out, v)
	}
	return out
}

// others returns the share of all processors that went to others between two
// readings, time that the host took for itself included; -1 when unknown.
func (t cpuTimes) others(since cpuTimes) float64 {
	total := t.total - since.total
	if !t.known || !since.known || total <= 0 {
		return -1
	}
	busy := (t.busy - since.busy) - (t.own - since.own)
	return max(0, float64(busy)/float64(total))
}

// cpuName returns what the processor calls itself, or its architecture.
func cpuName() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(info)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
