//go:build !darwin && !windows

package sysinfo

// FreeMemory is the memory, in bytes, that a new process can have without others losing
// theirs. 0: the system does not tell, or, as Linux, elsewhere.
func FreeMemory() int64 { return 0 }
