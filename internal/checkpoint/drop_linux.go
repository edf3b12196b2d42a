package checkpoint

import (
	"os"

	"golang.org/x/sys/unix"
)

// dropCached takes a stretch of a file out of the page cache. Reading through the cache
// and dropping was as fast as O_DIRECT (docs/measurements/memory.md), needs no aligned
// buffers and works on every file system.
func dropCached(f *os.File, off, n int64) {
	_ = unix.Fadvise(int(f.Fd()), off, n, unix.FADV_DONTNEED)
}

// stopReadAhead ends the system's guesses about what will be read next.
func stopReadAhead(f *os.File) {
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM)
}
