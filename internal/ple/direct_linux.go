package ple

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openUncached opens a file for reads past the page cache.
func openUncached(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) {
		return nil, fmt.Errorf("%w by the file system: %w", errors.ErrUnsupported, err)
	}
	return f, err
}

// alignment returns what direct reads must be multiples of: the kernel's word
// (since 6.1, where the file system tells), else the result of trying.
func alignment(f *os.File, off int64) (int64, error) {
	var st unix.Statx_t
	err := control(f, func(fd int) error {
		return unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st)
	})
	if err == nil && st.Mask&unix.STATX_DIOALIGN != 0 {
		align := int64(max(st.Dio_offset_align, st.Dio_mem_align))
		if st.Dio_offset_align == 0 {
			return 0, fmt.Errorf("%w by the file system", errors.ErrUnsupported)
		}
		if align >= 512 && align&(align-1) == 0 && tryAligned(f, off, align) == nil {
			return align, nil
		}
	}
	return probe(f, off)
}
