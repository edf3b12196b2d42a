//go:build unix

package ple

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// fstat asks for the state of a file that may be closed meanwhile. It allocates
// nothing, unlike os.File.Stat, and belongs to one goroutine.
type fstat struct {
	conn syscall.RawConn
	ask  func(fd uintptr)
	st   unix.Stat_t
	err  error
}

func newFstat(f *os.File) (*fstat, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	a := &fstat{conn: conn}
	a.ask = func(fd uintptr) { a.err = unix.Fstat(int(fd), &a.st) }
	return a, nil
}

func (a *fstat) stamp() (stamp, error) {
	if err := a.conn.Control(a.ask); err != nil {
		return stamp{}, err
	}
	return stamp{
		bytes: a.st.Size, written: time.Unix(a.st.Mtim.Unix()), changed: time.Unix(a.st.Ctim.Unix()),
		nameless: a.st.Nlink == 0,
	}, a.err
}
