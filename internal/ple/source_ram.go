package ple

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// inMemory is a table read once, into memory that the garbage collector neither
// scans nor counts.
type inMemory struct {
	spec   Spec
	traits Traits
	region []byte // all of the memory
	table  []byte // the table in it
}

// Reads that fill the memory: large, and several at once, which is what disks
// and servers need to show their bandwidth.
const (
	fillBytes   = 4 << 20
	fillReaders = 8
)

// openRAM opens kind RAM, by direct reads where they work, so that the page cache is not
// filled with a copy.
func openRAM(spec Spec) (*inMemory, error) {
	var from Source
	align := int64(1)
	d, err := openDirect(spec)
	switch {
	case err == nil:
		from, align = d, d.align
	case errors.Is(err, errors.ErrUnsupported):
		from, err = asSource(openFile(spec))
	}
	if err != nil {
		return nil, err
	}
	defer from.Close()
	m, err := newInMemory(spec, align)
	if err != nil {
		return nil, err
	}
	if err := m.fill(from, align); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// newInMemory gets memory in which the table's bytes have the same remainder by
// align as in the file, so that aligned reads put them where they belong.
func newInMemory(spec Spec, align int64) (*inMemory, error) {
	lead := spec.Offset & (align - 1)
	n := (lead + spec.Bytes + align - 1) &^ (align - 1)
	if int64(int(n)) != n {
		return nil, fmt.Errorf("%w: %d bytes do not fit the address space", errors.ErrUnsupported, n)
	}
	region, err := allocate(int(n))
	if err != nil {
		return nil, fmt.Errorf("get %d bytes of memory: %w", n, err)
	}
	return &inMemory{spec: spec, region: region, table: region[lead : lead+spec.Bytes : lead+spec.Bytes], traits: Traits{
		Kind: RAM, Name: spec.name(), Base: spec.Offset, Resident: n, note: "a copy of " + spec.name() + " in memory",
	}}, nil
}

// fill reads the table from src. Direct reads fill the region by offsets of the
// file, others the table by offsets of the table.
func (m *inMemory) fill(src Source, align int64) error {
	f := filler{dst: m.table, read: src.ReadAt, end: m.spec.Bytes, spec: m.spec}
	if d, ok := src.(*direct); ok {
		f.dst, f.read = m.region, d.readFile
		f.base, f.end = m.spec.Offset&^(align-1), m.spec.Offset+m.spec.Bytes
	}
	var wg sync.WaitGroup
	for range fillReaders {
		wg.Go(f.work)
	}
	wg.Wait()
	return f.err
}

// filler is a fill under way: dst gets the bytes from base on, of which those
// before end matter.
type filler struct {
	dst       []byte
	base, end int64
	read      func(p []byte, off int64) (int, error)
	spec      Spec
	next      atomic.Int64

	mu  sync.Mutex
	err error
}

func (f *filler) work() {
	total := int64(len(f.dst))
	for {
		at := f.next.Add(fillBytes) - fillBytes
		if at >= total {
			return
		}
		p := f.dst[at:min(at+fillBytes, total)]
		off := f.base + at
		n, err := f.read(p, off)
		if off+int64(n) >= min(off+int64(len(p)), f.end) {
			err = nil // what is missing lies behind the table
		} else if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		f.ended(len(p), off, err)
	}
}

// ended tells of a read, and makes the first error the last one.
func (f *filler) ended(n int, off int64, err error) {
	f.spec.ended()
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next.Store(int64(len(f.dst)))
	if f.err == nil {
		f.err = fmt.Errorf("read %d bytes at offset %d: %w", n, off, err)
	}
}

// ReadAt implements io.ReaderAt.
func (m *inMemory) ReadAt(p []byte, off int64) (int, error) {
	p, eof := m.spec.clip(p, off)
	if eof != nil && eof != io.EOF {
		return 0, eof
	}
	return copy(p, m.table[off:]), eof
}

func (m *inMemory) bytes() []byte { return m.table }

// Traits implements Source.
func (m *inMemory) Traits() Traits { return m.traits }

// Close gives the memory back: no row of the table may be in use.
func (m *inMemory) Close() error {
	region := m.region
	m.region, m.table = nil, nil
	if region == nil {
		return nil
	}
	return free(region)
}
