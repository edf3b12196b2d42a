package ple

import (
	"os"

	"golang.org/x/sys/unix"
)

// openUncached opens a file whose reads leave nothing in the page cache.
func openUncached(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_NOCACHE, 1); err != nil {
		f.Close()
		return nil, os.NewSyscallError("fcntl F_NOCACHE", err)
	}
	return f, nil
}

// alignment is that of a page: reads of other shapes work too, by way of a copy
// in the kernel.
func alignment(f *os.File, off int64) (int64, error) { return probe(f, off) }
