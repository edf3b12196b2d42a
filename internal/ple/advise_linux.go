package ple

import (
	"os"

	"golang.org/x/sys/unix"
)

// adviseRandom turns read-ahead off: it is megabytes on some devices, and rows
// are not read in order. Advice may fail without harm, here and below.
func adviseRandom(f *os.File, off, n int64) {
	control(f, func(fd int) error { return unix.Fadvise(fd, off, n, unix.FADV_RANDOM) })
}

// adviseSoon starts a read into the page cache and does not wait for it. Unlike
// a read in another goroutine it needs no free thread to get under way.
func adviseSoon(f *os.File, off int64, n int) {
	unix.Fadvise(int(f.Fd()), off, int64(n), unix.FADV_WILLNEED)
}

// adviseGone takes whole pages out of the page cache, those too that n bytes from
// off touch only in part.
func adviseGone(f *os.File, off int64, n int) {
	page := int64(os.Getpagesize())
	from := off &^ (page - 1)
	unix.Fadvise(int(f.Fd()), from, (off+int64(n)-from+page-1)&^(page-1), unix.FADV_DONTNEED)
}

// control calls do with f's descriptor, which stays open meanwhile.
func control(f *os.File, do func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if e := c.Control(func(fd uintptr) { err = do(int(fd)) }); e != nil {
		return e
	}
	return err
}
