package hub

import (
	"errors"
	"math"

	"golang.org/x/sys/windows"
)

// freeBytes is what this user may still write below dir.
func freeBytes(dir string) (int64, error) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(path, &free, nil, nil); err != nil {
		return 0, err
	}
	return int64(min(free, math.MaxInt64)), nil
}

// errFull is the system's word for a full disk.
const errFull = windows.ERROR_DISK_FULL

func noSpace(err error) bool {
	return errors.Is(err, errFull) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}

// syncDir does nothing: Windows keeps no promise that could be asked for.
func syncDir(string) error { return nil }
