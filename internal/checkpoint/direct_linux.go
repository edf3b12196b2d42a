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

// readCached fills p from what the page cache has, or reports that it has not all of it.
func readCached(f *os.File, p []byte, off int64) bool {
	for len(p) > 0 {
		n, err := unix.Preadv2(int(f.Fd()), [][]byte{p}, off, unix.RWF_NOWAIT)
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			return false
		}
		p, off = p[n:], off+int64(n)
	}
	return true
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
