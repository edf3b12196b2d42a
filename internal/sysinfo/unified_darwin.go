package sysinfo

import "golang.org/x/sys/unix"

// unified is the graphics of Apple's own processors.
func unified() (GPU, bool) {
	arm, err := unix.SysctlUint32("hw.optional.arm64")
	if err != nil || arm != 1 {
		return GPU{}, false
	}
	size, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return GPU{}, false
	}
	name, err := unix.Sysctl("machdep.cpu.brand_string")
	if err != nil {
		name = "Apple"
	}
	return GPU{Name: name, Bytes: int64(size), Shared: true, From: "sysctl hw.memsize"}, true
}
