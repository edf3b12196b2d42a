package checkpoint

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// writeBufferBytes is what a writer holds of the tensor data.
const writeBufferBytes = 1 << 20

// partFile is a file in the making. It is written as PATH.part and gets its
// own name only when it is whole and on the disk, so that a crash or a full
// disk never leaves a broken file under a good name.
type partFile struct {
	path string
	f    *os.File
	w    *bufio.Writer
	off  int64 // bytes written
}

func createPart(path string) (*partFile, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("create %s: something that is not a regular file is there", path)
	}
	f, err := os.Create(path + ".part")
	if err != nil {
		return nil, err
	}
	return &partFile{path: path, f: f, w: bufio.NewWriterSize(f, writeBufferBytes)}, nil
}

// Write counts and buffers.
func (p *partFile) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	p.off += int64(n)
	return n, err
}

// pad writes zeros up to the next multiple of align.
func (p *partFile) pad(align int64) error {
	n := alignUp(p.off, align) - p.off
	zeros := make([]byte, min(n, 4096))
	for n > 0 {
		k := min(n, int64(len(zeros)))
		if _, err := p.Write(zeros[:k]); err != nil {
			return err
		}
		n -= k
	}
	return nil
}

// finish makes the file durable, under its name in the making.
func (p *partFile) finish() error {
	err := p.w.Flush()
	if err == nil {
		err = p.f.Sync()
	}
	return errors.Join(err, p.f.Close())
}

// commit gives a finished file its name.
func (p *partFile) commit() error {
	if err := os.Rename(p.f.Name(), p.path); err != nil {
		return err
	}
	syncFolder(filepath.Dir(p.path))
	return nil
}

// syncFolder makes the new name durable. Where folders cannot be synced the
// name is still right, merely later on the disk, so errors do not count.
func syncFolder(dir string) {
	if runtime.GOOS == "windows" {
		return
	}
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}

// abort throws the file away, finished or not.
func (p *partFile) abort() error {
	_ = p.f.Close() // of bytes that nobody wants, or a second time
	return os.Remove(p.f.Name())
}

// declared is a tensor that a writer has announced.
type declared struct {
	name  string
	bytes int64
}

// tensorStream is what both writers share: tensors are declared, then the
// header is written, then their bytes come in the same order. The first error
// ends it: the part file is removed and every later call returns that error.
type tensorStream struct {
	part     *partFile
	align    int64 // of each tensor's first byte; 1 for none
	header   func(io.Writer) error
	slots    []declared
	names    map[string]bool
	next     int // slot to be written
	started  bool
	finished bool
	closed   bool
	err      error
}

func newTensorStream(path string) (*tensorStream, error) {
	part, err := createPart(path)
	if err != nil {
		return nil, err
	}
	return &tensorStream{part: part, align: 1, names: map[string]bool{}}, nil
}

// fail makes err, wrapped with the file's path, the stream's end.
func (s *tensorStream) fail(err error) error {
	if s.err == nil {
		s.err = fmt.Errorf("write %s: %w", s.part.path, err)
		if abortErr := s.part.abort(); abortErr != nil {
			s.err = errors.Join(s.err, abortErr)
		}
	}
	return s.err
}

// mayDescribe fails once tensor data has begun or the stream has ended.
func (s *tensorStream) mayDescribe(what string) error {
	switch {
	case s.err != nil:
		return s.err
	case s.finished:
		return fmt.Errorf("write %s: %s after the file's end", s.part.path, what)
	case s.started:
		return s.fail(fmt.Errorf("%s after the first tensor's data", what))
	}
	return nil
}

// declare adds a tensor of bytes bytes.
func (s *tensorStream) declare(name string, bytes int64) error {
	if reason := badName(name); reason != "" {
		return s.fail(fmt.Errorf("tensor name %q %s", name, reason))
	}
	if s.names[name] {
		return s.fail(fmt.Errorf("tensor %q declared twice", name))
	}
	s.names[name] = true
	s.slots = append(s.slots, declared{name, bytes})
	return nil
}

// start writes the header, once.
func (s *tensorStream) start() error {
	if s.started {
		return nil
	}
	s.started = true
	if err := s.header(s.part); err != nil {
		return err
	}
	return s.part.pad(s.align)
}

// writeFunc writes the next tensor, which must be name, with what fn writes.
func (s *tensorStream) writeFunc(name string, fn func(io.Writer) error) error {
	switch {
	case s.err != nil:
		return s.err
	case s.finished:
		return fmt.Errorf("write %s: tensor %q after the file's end", s.part.path, name)
	case s.next == len(s.slots):
		return s.fail(fmt.Errorf("tensor %q: all declared tensors are written", name))
	case s.slots[s.next].name != name:
		return s.fail(fmt.Errorf("tensor %q: next in declared order is %q", name, s.slots[s.next].name))
	}
	if err := s.start(); err != nil {
		return s.fail(err)
	}
	slot := &slotWriter{part: s.part, left: s.slots[s.next].bytes}
	err := fn(slot)
	if err == nil {
		err = slot.err // even if fn took no notice
	}
	if err == nil && slot.left != 0 {
		err = fmt.Errorf("data is %d bytes short of %d: %w", slot.left, s.slots[s.next].bytes, io.ErrUnexpectedEOF)
	}
	if err != nil {
		return s.fail(fmt.Errorf("tensor %q: %w", name, err))
	}
	if err := s.part.pad(s.align); err != nil {
		return s.fail(err)
	}
	s.next++
	return nil
}

// write writes the next tensor with the bytes of r, up to its end.
func (s *tensorStream) write(name string, r io.Reader) error {
	return s.writeFunc(name, func(w io.Writer) error {
		// io.Copy sees the first byte too many, as r is read to its end.
		_, err := io.Copy(w, r)
		return err
	})
}

// finish completes the file; its name is left to close.
func (s *tensorStream) finish() error {
	switch {
	case s.err != nil:
		return s.err
	case s.finished:
		return nil
	case s.next < len(s.slots):
		return s.fail(fmt.Errorf("%d of %d declared tensors are missing, first %q",
			len(s.slots)-s.next, len(s.slots), s.slots[s.next].name))
	}
	if err := s.start(); err != nil {
		return s.fail(err)
	}
	s.finished = true
	if err := s.part.finish(); err != nil {
		return s.fail(err)
	}
	return nil
}

// close finishes the file and gives it its name.
func (s *tensorStream) close() error {
	if err := s.finish(); err != nil || s.closed {
		return err
	}
	if err := s.part.commit(); err != nil {
		return s.fail(err)
	}
	s.closed = true
	return nil
}

// errAborted is what calls after Abort return.
var errAborted = errors.New("aborted")

// abort ends the stream unless it has ended.
func (s *tensorStream) abort() {
	if !s.closed && s.err == nil {
		_ = s.fail(errAborted)
	}
}

// slotWriter takes the bytes of one tensor and no more.
type slotWriter struct {
	part *partFile
	left int64
	err  error
}

func (w *slotWriter) Write(b []byte) (int, error) {
	switch {
	case w.err != nil:
		return 0, w.err
	case int64(len(b)) > w.left:
		w.err = fmt.Errorf("data is longer than declared, by %d bytes or more", int64(len(b))-w.left)
		return 0, w.err
	}
	n, err := w.part.Write(b)
	w.left -= int64(n)
	w.err = err
	return n, err
}
