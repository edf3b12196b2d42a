package checkpoint

import (
	"os"

	"golang.org/x/sys/unix"
)

// dropCached takes a stretch of a file out of the page cache, for files that cannot be read
// past it, and for what small reads leave there.
func dropCached(f *os.File, off, n int64) {
	_ = unix.Fadvise(int(f.Fd()), off, n, unix.FADV_DONTNEED)
}

// stopReadAhead ends the system's guesses about what will be read next.
func stopReadAhead(f *os.File) {
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM)
}
