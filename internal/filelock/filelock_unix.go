//go:build !windows

package filelock

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func try(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EINTR {
			return mark(err)
		}
	}
}

// mark gives an error of flock its class.
func mark(err error) error {
	switch {
	case err == unix.EWOULDBLOCK:
		return ErrHeld
	case err == unix.ENOSYS, err == unix.ENOTSUP, err == unix.EOPNOTSUPP, err == unix.ENOLCK:
		return fmt.Errorf("%w: %w", ErrNone, err)
	}
	return err
}
