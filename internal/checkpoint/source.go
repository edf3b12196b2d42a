package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// source is one file that stays open: the only way this package touches bytes, direct
// reads (direct.go) aside.
type source struct {
	path      string
	r         io.ReaderAt
	sizeBytes int64 // when opened; the file may shrink later
	direct    directFile
}

// openFile opens a regular file (or a link to one). A pipe or device would
// block or have no length, so neither is accepted.
func openFile(path string) (*source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open %s: not a regular file (%w)", path, ErrUnsupported)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	// Ask the open file again: the name may point elsewhere by now.
	if info, err = f.Stat(); err != nil {
		f.Close()
		return nil, err
	}
	return &source{path: path, r: f, sizeBytes: info.Size()}, nil
}

// Stamp is what a system tells of a file that is written to: it changes with every write,
// to the grain of the system's clock.
type Stamp struct {
	Bytes   int64
	Written int64 // unix nanoseconds
}

// Stamp is that of t's file as it is now. What is not in a file has none, which is an error.
func (t *Tensor) Stamp() (Stamp, error) {
	f, ok := t.src.r.(*os.File)
	if !ok {
		return Stamp{}, fmt.Errorf("look at %s: not a file (%w)", t.src.path, ErrUnsupported)
	}
	info, err := f.Stat()
	if err != nil {
		return Stamp{}, err
	}
	return Stamp{info.Size(), info.ModTime().UnixNano()}, nil
}

// close closes the file, if the source owns one.
func (s *source) close() error {
	s.direct.close()
	if c, ok := s.r.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// readFull fills p from file offset off or fails. tensor is for the message.
func (s *source) readFull(p []byte, off int64, tensor string) error {
	n, err := s.r.ReadAt(p, off)
	switch {
	case n == len(p) && (err == nil || errors.Is(err, io.EOF)):
		return nil
	case err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return s.shrunk(tensor, off+int64(n), off)
	case tensor == "":
		return fmt.Errorf("read %s: %d bytes at byte %d: %w", s.path, len(p), off, err)
	}
	return fmt.Errorf("read %s: tensor %q: %d bytes at byte %d: %w", s.path, tensor, len(p), off, err)
}

// shrunk says that the file ends at byte end, before what is read from off on.
func (s *source) shrunk(tensor string, end, off int64) error {
	return corrupt(s.path, tensor, off, "file ends at byte %d of %d, it has shrunk since it was opened", end, s.sizeBytes)
}

// windowBytes is the cursor's buffer. A Gemma 4 header is about 16 MB of short
// strings; with this window it takes some 60 reads.
const windowBytes = 256 << 10

// cursor reads a header front to back through a window. The first failure
// sticks in err; after it every read returns zero values, so that a run of
// reads needs one check at its end. Loops look at err each time around.
type cursor struct {
	src    *source
	limit  int64  // no byte at or after this file offset may be read
	start  int64  // file offset of window[0]
	next   int    // index in window of the next byte
	window []byte // bytes already fetched
	tensor string // the tensor being described, for messages
	err    error
}

// newCursor reads from the start of src, up to maxBytes of it.
func newCursor(src *source, maxBytes int64) *cursor {
	limit := min(src.sizeBytes, maxBytes)
	return &cursor{src: src, limit: limit, window: make([]byte, 0, min(limit, windowBytes))}
}

// offset is the file offset of the next byte.
func (c *cursor) offset() int64 { return c.start + int64(c.next) }

// remaining is what may still be read.
func (c *cursor) remaining() int64 { return c.limit - c.offset() }

// fail records a broken rule found at file offset off.
func (c *cursor) fail(off int64, format string, args ...any) {
	if c.err == nil {
		c.err = corrupt(c.src.path, c.tensor, off, format, args...)
	}
}

// checkRoom fails when fewer than n bytes remain for what.
func (c *cursor) checkRoom(n uint64, what string) bool {
	if c.err != nil {
		return false
	}
	if n <= uint64(c.remaining()) {
		return true
	}
	if c.limit < c.src.sizeBytes {
		c.fail(c.offset(), "%s of %d bytes makes the header longer than %d bytes", what, n, c.limit)
	} else {
		c.fail(c.offset(), "%s of %d bytes, but the file ends after %d more", what, n, c.remaining())
	}
	return false
}

// take returns the next n bytes, n at most windowBytes. They are valid until
// the next call. It returns nil after a failure.
func (c *cursor) take(n int, what string) []byte {
	if c.err != nil {
		return nil
	}
	if len(c.window)-c.next < n && !c.fill(n, what) {
		return nil
	}
	p := c.window[c.next : c.next+n]
	c.next += n
	return p
}

// fill moves the window to the current offset; at least n bytes are in it then.
func (c *cursor) fill(n int, what string) bool {
	if !c.checkRoom(uint64(n), what) {
		return false
	}
	off := c.offset()
	window := c.window[:min(int64(cap(c.window)), c.limit-off)]
	if err := c.src.readFull(window, off, c.tensor); err != nil {
		c.err = err
		return false
	}
	c.window, c.start, c.next = window, off, 0
	return true
}

// appendBytes appends the next n bytes to dst, which grows as they arrive.
func (c *cursor) appendBytes(dst []byte, n int, what string) []byte {
	if !c.checkRoom(uint64(n), what) {
		return dst
	}
	for n > 0 && c.err == nil {
		p := c.take(min(n, windowBytes/4), what)
		dst = append(dst, p...)
		n -= len(p)
	}
	return dst
}
