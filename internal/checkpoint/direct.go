package checkpoint

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"
)

// directAlign is what offset, length and address of a direct read are multiples of. All
// common file systems are content with it; one that is not is read the usual way.
const directAlign = 4096

// directFile is a second descriptor of a file, for reads past the page cache.
type directFile struct {
	once sync.Once
	f    *os.File // nil: the system cannot
	off  atomic.Bool
}

// get returns the descriptor, nil when there is none.
func (d *directFile) get(src *source) *os.File {
	d.once.Do(func() {
		plain, ok := src.r.(*os.File)
		if !ok {
			return
		}
		f, err := openDirect(plain.Name())
		if err != nil {
			return
		}
		// The name may point elsewhere by now.
		if a, err := plain.Stat(); err == nil {
			if b, err := f.Stat(); err == nil && os.SameFile(a, b) {
				d.f = f
				return
			}
		}
		f.Close()
	})
	if d.off.Load() {
		return nil
	}
	return d.f
}

func (d *directFile) close() {
	d.once.Do(func() {}) // nobody opens it from now on
	if d.f != nil {
		d.f.Close()
	}
}

// DirectBuffers returns n buffers, each for a ReadDirect of up to bytes bytes, and what
// gives their memory back. They share one block on huge pages where the system has such:
// a request to a disk is then a few long stretches of memory rather than hundreds of
// pages, and a virtual disk gave 1.7–2.1 GB/s instead of 0.8–1.1 (8 reads of 1 or 4 MiB
// at once, five pairs in turn, 2-core VM with virtio, Linux 6.18, 2026-11-23).
func DirectBuffers(n, bytes int) (bufs [][]byte, free func()) {
	room := directRoom(bytes)
	block, free := hugeBlock(n * room)
	for i := range n {
		bufs = append(bufs, block[i*room:(i+1)*room:(i+1)*room])
	}
	return bufs, free
}

// DirectBuffersBytes is the memory that DirectBuffers takes, outside of Go's heap but on
// systems that have only that.
func DirectBuffersBytes(n, bytes int) int64 { return int64(n) * int64(directRoom(bytes)) }

// directRoom is the buffer of a read of n bytes, which is widened on both sides.
func directRoom(n int) int { return (n + 3*directAlign - 1) &^ (directAlign - 1) }

// heapBlock returns n bytes of Go's heap that begin where direct reads may.
func heapBlock(n int) (block []byte, free func()) {
	b := make([]byte, n+directAlign)
	skip := int(-uintptr(unsafe.Pointer(&b[0])) & (directAlign - 1))
	return b[skip : skip+n : skip+n], func() {}
}

// ReadDirect is ReadAt of n bytes that leaves nothing of them in the page cache, and
// spares the processor the copy out of it (on a 2-core VM with a virtual disk, 2026-11-23,
// 1 MiB at a time: 0.1–0.2 s of processor time per GB instead of 0.7 and more). buf is
// one of DirectBuffers of at least that size; the bytes returned lie in it. Where the system has
// no such reads, it reads as usual and drops what was read.
//
//	file     a·4096       off            off+n       b·4096
//	read     ├────────────┼──────────────┼───────────┤
//	returned              ╞══════════════╡
func (t *Tensor) ReadDirect(buf []byte, off int64, n int) ([]byte, error) {
	if off < 0 || int64(n) > t.Bytes-off || !t.Direct() {
		_, err := t.ReadAt(buf[:n], off)
		t.Drop(off, int64(n))
		return buf[:n], err
	}
	at := t.off + off
	from := at &^ (directAlign - 1)
	to := (at + int64(n) + directAlign - 1) &^ (directAlign - 1)
	skip := int(at - from)
	err := t.readAligned(buf[:to-from], from, skip+n)
	switch {
	case err == nil:
		return buf[skip : skip+n], nil
	case unsupportedRead(err):
		return t.ReadDirect(buf, off, n)
	}
	return nil, err
}

// ReadPlace is ReadDirect into dst: in place where address and offset are multiples of a
// page, and the length is too or dst has the capacity to make it so, whose bytes are then
// unspecified; otherwise by way of buf and a copy.
func (t *Tensor) ReadPlace(dst, buf []byte, off int64) error {
	n := (len(dst) + directAlign - 1) &^ (directAlign - 1)
	misplaced := len(dst) == 0 || n > cap(dst) || (t.off+off)%directAlign != 0 || uintptr(unsafe.Pointer(&dst[0]))%directAlign != 0
	if !misplaced && off >= 0 && int64(len(dst)) <= t.Bytes-off && t.Direct() {
		if err := t.readAligned(dst[:n], t.off+off, len(dst)); err == nil || !unsupportedRead(err) {
			return err
		}
	}
	raw, err := t.ReadDirect(buf, off, len(dst))
	if err == nil {
		copy(dst, raw)
	}
	return err
}

// readAligned fills p from file offset from on by a direct read, at least the first need
// bytes of it: the file may end before the last page does.
func (t *Tensor) readAligned(p []byte, from int64, need int) error {
	got, err := t.src.direct.f.ReadAt(p, from)
	switch {
	case got >= need:
		return nil
	case unsupportedRead(err):
		t.src.direct.off.Store(true)
		return err
	case err == nil || err == io.EOF:
		return t.src.shrunk(t.Name, from+int64(got), t.off)
	}
	return fmt.Errorf("read %s: tensor %q: %d bytes at byte %d: %w", t.src.path, t.Name, need, from, err)
}

// Direct reports whether direct reads are what ReadDirect and ReadPlace do, as far as is
// known yet.
func (t *Tensor) Direct() bool { return t.src.direct.get(t.src) != nil }

// Cached reports whether the system has n bytes, at least 1, from off on in its page cache,
// all of them and as far as it tells.
func (t *Tensor) Cached(off int64, n int) bool {
	f, ok := t.src.r.(*os.File)
	return ok && n > 0 && off >= 0 && int64(n) <= t.Bytes-off && isCached(f, t.off+off, int64(n))
}
