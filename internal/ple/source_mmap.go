//go:build linux || darwin

package ple

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"

	"golang.org/x/sys/unix"
)

// mapped copies rows out of a mapping of the file. The kernel decides what stays
// in memory.
type mapped struct {
	file
	data []byte // the table and what lies before it in its first page
	skip int    // of data, to the table's first byte

	mu sync.RWMutex // held for reading while data is used
}

// openMmap opens kind Mmap.
func openMmap(spec Spec) (*mapped, error) {
	f, err := openFile(spec)
	if err != nil {
		return nil, err
	}
	page := int64(os.Getpagesize())
	skip := spec.Offset & (page - 1)
	if int64(int(skip+spec.Bytes)) != skip+spec.Bytes {
		f.Close()
		return nil, fmt.Errorf("%w: %d bytes do not fit the address space", errors.ErrUnsupported, spec.Bytes)
	}
	m := &mapped{file: *f, skip: int(skip)}
	m.data, err = unix.Mmap(int(f.f.Fd()), spec.Offset-skip, int(skip+spec.Bytes), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		f.Close()
		return nil, os.NewSyscallError("mmap", err)
	}
	// Without it one row costs a read-ahead of megabytes on some devices.
	unix.Madvise(m.data, unix.MADV_RANDOM)
	m.traits.Kind, m.traits.note = Mmap, "a mapping of "+spec.Path
	return m, nil
}

// ReadAt implements io.ReaderAt. A page that cannot be had, because the file has
// shrunk or the disk fails, is an error and not a signal.
func (m *mapped) ReadAt(p []byte, off int64) (n int, err error) {
	p, eof := m.spec.clip(p, off)
	if eof != nil && eof != io.EOF {
		return 0, eof
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.data == nil {
		return 0, os.ErrClosed
	}
	gone := copyMapped(p, m.data[m.skip+int(off):])
	// Only now, since the file may shrink meanwhile: the rest of its last page would read as
	// zeros, without a fault.
	st, err := m.f.Stat()
	end := m.spec.Offset + off + int64(len(p))
	switch {
	case err != nil:
		return 0, err
	case st.Size() < end:
		return 0, shrunk(st.Size(), end)
	case gone != nil:
		return 0, gone
	}
	return len(p), eof
}

// copyMapped copies len(dst) bytes, or says that a page of src is gone.
func copyMapped(dst, src []byte) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			if _, fault := r.(interface{ Addr() uintptr }); !fault {
				panic(r)
			}
			err = fmt.Errorf("%w: a page of the mapping is gone: the file was truncated or the disk failed", io.ErrUnexpectedEOF)
		}
	}()
	copy(dst, src)
	return nil
}

// advise starts reading the pages of a row.
func (m *mapped) advise(off int64, n int) {
	page := os.Getpagesize()
	from := (m.skip + int(off)) &^ (page - 1)
	to := min(m.skip+int(off)+n, len(m.data))
	if from < to {
		unix.Madvise(m.data[from:to], unix.MADV_WILLNEED)
	}
}

// Close implements Source. It waits for reads under way, unless they hang: then
// the mapping stays.
func (m *mapped) Close() error {
	if m.mu.TryLock() {
		defer m.mu.Unlock()
		if m.data != nil {
			unix.Munmap(m.data)
			m.data = nil
		}
	}
	return m.f.Close()
}
