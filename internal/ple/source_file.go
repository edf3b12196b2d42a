package ple

import (
	"fmt"
	"io"
	"os"
)

// file is a stretch of an open file, read through the page cache.
type file struct {
	f      *os.File
	spec   Spec
	traits Traits
}

// openFile opens kind Disk.
func openFile(spec Spec) (*file, error) {
	f, err := os.Open(spec.Path)
	if err != nil {
		return nil, err
	}
	if err := checkLength(f, spec); err != nil {
		f.Close()
		return nil, err
	}
	adviseRandom(f, spec.Offset, spec.Bytes)
	through := " through the page cache"
	if spec.Drop {
		through += ", which keeps nothing of them"
	}
	return &file{f: f, spec: spec, traits: Traits{
		Kind: Disk, Name: spec.Path, Base: spec.Offset, note: "reads of " + spec.Path + through,
	}}, nil
}

// checkLength compares the file with what spec says of it.
func checkLength(f *os.File, spec Spec) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("not a regular file: %v", st.Mode())
	}
	return spec.checkLength(st.Size())
}

func (s Spec) checkLength(n int64) error {
	switch {
	case s.FileBytes != 0 && n != s.FileBytes:
		return fmt.Errorf("the file has %d bytes, want %d", n, s.FileBytes)
	case n < s.Offset+s.Bytes:
		return fmt.Errorf("the file has %d bytes, the table ends at %d", n, s.Offset+s.Bytes)
	}
	return nil
}

// clip returns p cut to the table, and io.EOF when it was longer.
func (s Spec) clip(p []byte, off int64) ([]byte, error) {
	if off < 0 || off > s.Bytes {
		return nil, fmt.Errorf("read at offset %d of a table of %d bytes", off, s.Bytes)
	}
	if int64(len(p)) > s.Bytes-off {
		return p[:s.Bytes-off], io.EOF
	}
	return p, nil
}

// ReadAt implements io.ReaderAt.
func (s *file) ReadAt(p []byte, off int64) (int, error) {
	p, eof := s.spec.clip(p, off)
	if eof != nil && eof != io.EOF {
		return 0, eof
	}
	n, err := s.f.ReadAt(p, s.spec.Offset+off)
	s.drop(off, n)
	if n == len(p) {
		return n, eof
	}
	return n, s.explain(err, off+int64(len(p)))
}

// explain says more about a read that met the end of the file inside the table.
func (s *file) explain(err error, end int64) error {
	if err != io.EOF {
		return err
	}
	st, statErr := s.f.Stat()
	if statErr != nil {
		return statErr
	}
	return shrunk(st.Size(), s.spec.Offset+end)
}

// watched implements watched.
func (s *file) watched() (stamper, error) { return newFstat(s.f) }

// drop takes the pages of n bytes out of the page cache, if that is wanted.
func (s *file) drop(off int64, n int) {
	if s.spec.Drop && n > 0 {
		adviseGone(s.f, s.spec.Offset+off, n)
	}
}

func (s *file) advise(off int64, n int) { adviseSoon(s.f, s.spec.Offset+off, n) }

// Traits implements Source.
func (s *file) Traits() Traits { return s.traits }

// Close implements Source.
func (s *file) Close() error { return s.f.Close() }
