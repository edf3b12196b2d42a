package sysinfo

import (
	"unsafe"

	"golang.org/x/sys/windows"
)

// memoryStatus is MEMORYSTATUSEX.
type memoryStatus struct {
	length, load                    uint32
	total, free                     uint64 // of physical memory
	pageTotal, pageFree             uint64
	virtualTotal, virtualFree, more uint64
}

var globalMemoryStatus = windows.NewLazySystemDLL("kernel32.dll").NewProc("GlobalMemoryStatusEx")

// FreeMemory is the memory, in bytes, that a new process can have without others losing
// theirs: free pages and those of cached files. 0: the system does not tell.
func FreeMemory() int64 {
	var s memoryStatus
	s.length = uint32(unsafe.Sizeof(s))
	if globalMemoryStatus.Find() != nil {
		return 0
	}
	if ok, _, _ := globalMemoryStatus.Call(uintptr(unsafe.Pointer(&s))); ok == 0 {
		return 0
	}
	return int64(s.free)
}
