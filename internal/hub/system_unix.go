//go:build !windows

package hub

import (
	"errors"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// freeBytes is what an ordinary user may still write below dir.
func freeBytes(dir string) (int64, error) {
	var s unix.Statfs_t
	for {
		err := unix.Statfs(dir, &s)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			return 0, err
		}
	}
	block := uint64(max(s.Bsize, 1))
	if blocks := uint64(s.Bavail); blocks < math.MaxInt64/block {
		return int64(blocks * block), nil
	}
	return math.MaxInt64, nil
}

// errFull is the system's word for a full disk.
const errFull = unix.ENOSPC

func noSpace(err error) bool { return errors.Is(err, errFull) || errors.Is(err, unix.EDQUOT) }

// syncDir makes a rename in dir survive a crash.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		err = nil // some file systems do not sync folders
	}
	return errors.Join(err, d.Close())
}
