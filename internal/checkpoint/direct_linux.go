package checkpoint

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// openDirect opens a file for reads past the page cache.
func openDirect(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
}

// unsupportedRead reports whether a direct read failed because it was one.
func unsupportedRead(err error) bool { return errors.Is(err, unix.EINVAL) }
