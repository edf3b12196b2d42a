package ple

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"unsafe"
)

// direct is a stretch of a file read past the page cache: nothing of the table
// stays in the kernel's memory, or counts against a container's.
//
// Where the system wants it, offset, length and address of a read are multiples
// of align; a read is then widened and copied:
//
//	file offset   a·align     off          off+n      b·align
//	read          ├───────────┼────────────┼──────────┤
//	wanted                    ╞════════════╡
type direct struct {
	file
	align   int64
	buffers sync.Pool // of *[]byte, aligned
}

// openDirect opens kind Direct.
func openDirect(spec Spec) (*direct, error) {
	f, err := openUncached(spec.Path)
	if err != nil {
		return nil, err
	}
	d := &direct{file: file{f: f, spec: spec}}
	if err := checkLength(f, spec); err != nil {
		f.Close()
		return nil, err
	}
	if d.align, err = alignment(f, spec.Offset); err != nil {
		f.Close()
		return nil, err
	}
	d.traits = Traits{
		Kind: Direct, Name: spec.Path, Base: spec.Offset, AlignBytes: int(d.align),
		note: fmt.Sprintf("direct reads of %s (aligned to %d bytes)", spec.Path, d.align),
	}
	return d, nil
}

// probe finds the smallest alignment that reads at off accept.
func probe(f *os.File, off int64) (int64, error) {
	var err error
	for _, align := range []int64{512, 4096, 64 << 10} {
		if err = tryAligned(f, off, align); err == nil {
			return align, nil
		}
	}
	return 0, fmt.Errorf("%w: a direct read failed: %v", errors.ErrUnsupported, err)
}

func tryAligned(f *os.File, off, align int64) error {
	n, err := f.ReadAt(alignedBytes(int(align), align), off&^(align-1))
	if n > 0 || err == io.EOF {
		return nil
	}
	return err
}

// alignedBytes returns n bytes whose address is a multiple of align.
func alignedBytes(n int, align int64) []byte {
	b := make([]byte, n+int(align))
	skip := int(-int64(uintptr(unsafe.Pointer(&b[0]))) & (align - 1))
	return b[skip : skip+n : skip+n]
}

// widen returns the aligned stretch of the file that covers n bytes from off.
func (d *direct) widen(off int64, n int) (from int64, bytes int) {
	from = off &^ (d.align - 1)
	to := (off + int64(n) + d.align - 1) &^ (d.align - 1)
	return from, int(to - from)
}

// ReadAt implements io.ReaderAt.
func (d *direct) ReadAt(p []byte, off int64) (int, error) {
	p, eof := d.spec.clip(p, off)
	if eof != nil && eof != io.EOF {
		return 0, eof
	}
	n, err := d.readFile(p, d.spec.Offset+off)
	if n == len(p) {
		return n, eof
	}
	return n, d.explain(err, off+int64(len(p)))
}

// readFile reads from an offset of the file. It needs no buffer of its own when
// everything is aligned.
func (d *direct) readFile(p []byte, off int64) (int, error) {
	from, n := d.widen(off, len(p))
	if from == off && n == len(p) && (n == 0 || int64(uintptr(unsafe.Pointer(&p[0])))&(d.align-1) == 0) {
		return d.f.ReadAt(p, off)
	}
	buf := d.buffer(n)
	defer d.buffers.Put(buf)
	got, err := d.f.ReadAt((*buf)[:n], from)
	got = min(max(0, got-int(off-from)), len(p))
	copy(p[:got], (*buf)[off-from:])
	if got == len(p) {
		return got, nil // what is missing lies behind the wanted bytes
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return got, err
}

func (d *direct) buffer(n int) *[]byte {
	if b, _ := d.buffers.Get().(*[]byte); b != nil && len(*b) >= n {
		return b
	}
	b := alignedBytes(n, d.align)
	return &b
}

// advise hides that of file: there is no cache to read into.
func (d *direct) advise(int64, int) {}
