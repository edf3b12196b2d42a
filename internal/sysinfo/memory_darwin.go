package sysinfo

import (
	"os"

	"golang.org/x/sys/unix"
)

// FreeMemory is the memory, in bytes, that a new process can have without others losing
// theirs: pages that are free, hold files, or may be thrown away. 0: the system does not
// tell.
func FreeMemory() int64 {
	var pages int64
	for _, name := range []string{"vm.page_free_count", "vm.page_pageable_external_count", "vm.page_purgeable_count"} {
		n, err := unix.SysctlUint32(name)
		if err != nil {
			return 0
		}
		pages += int64(n)
	}
	return pages * int64(os.Getpagesize())
}
