//go:build unix

package ple

import (
	"io"

	"golang.org/x/sys/unix"
)

// canTryRead says that tryRead works here.
const canTryRead = true

// tryRead reads from a socket that does not block what has arrived: errNotYet when
// nothing has, io.EOF at the end.
func tryRead(fd uintptr, p []byte) (int, error) {
	for {
		n, err := unix.Read(int(fd), p)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return 0, errNotYet
		case err != nil:
			return 0, err
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		}
		return n, nil
	}
}
