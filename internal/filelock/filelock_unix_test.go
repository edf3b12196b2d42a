//go:build !windows

package filelock

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// What a file system without locks answers is told from what is wrong with one.
func TestMark(t *testing.T) {
	for _, err := range []error{unix.ENOSYS, unix.ENOTSUP, unix.EOPNOTSUPP, unix.ENOLCK} {
		if got := mark(err); !errors.Is(got, ErrNone) || !errors.Is(got, err) {
			t.Errorf("%v: %v", err, got)
		}
	}
	for _, err := range []error{unix.EIO, unix.EACCES, unix.EROFS, unix.EBADF, nil} {
		if got := mark(err); got != err {
			t.Errorf("%v: %v", err, got)
		}
	}
	if got := mark(unix.EWOULDBLOCK); got != ErrHeld {
		t.Error(got)
	}
}
