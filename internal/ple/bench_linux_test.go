package ple

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

func dropCached(f *os.File) { unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }

// mincore says for each page of m whether it is in memory.
func mincore(m, in []byte) error {
	_, _, e := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), uintptr(unsafe.Pointer(&in[0])))
	if e != 0 {
		return e
	}
	return nil
}
