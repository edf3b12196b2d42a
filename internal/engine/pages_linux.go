package engine

import (
	"os"

	"golang.org/x/sys/unix"
)

// forgetPages takes a file whose bytes are on the disk out of the page cache.
func forgetPages(f *os.File) { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }
