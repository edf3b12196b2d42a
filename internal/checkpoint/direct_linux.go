package checkpoint

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// openDirect opens a file for reads past the page cache.
func openDirect(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
}

// unsupportedRead reports whether a direct read failed because it was one.
func unsupportedRead(err error) bool { return errors.Is(err, unix.EINVAL) }

// isCached reports whether all of a stretch of a file is in the page cache. (A read with
// RWF_NOWAIT would tell as well, but starts reading ahead what it does not find.) Systems
// before Linux 6.5 say no, as they do for files of others.
func isCached(f *os.File, off, n int64) bool {
	var found unix.Cachestat_t
	err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{Off: uint64(off), Len: uint64(n)}, &found, 0)
	page := int64(os.Getpagesize())
	return err == nil && int64(found.Cache) == (off+n-1)/page-off/page+1
}

const hugePage = 2 << 20

// hugeBlock returns n bytes, on huge pages but for its end. Without memory of that kind
// it is as good as any other.
func hugeBlock(n int) (block []byte, free func()) {
	if n < hugePage {
		return heapBlock(n)
	}
	mem, err := unix.Mmap(-1, 0, n+hugePage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return heapBlock(n)
	}
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(mem))) & (hugePage - 1))
	_ = unix.Madvise(mem[skip:skip+n&^(hugePage-1)], unix.MADV_HUGEPAGE)
	return mem[skip : skip+n : skip+n], func() { _ = unix.Munmap(mem) }
}
