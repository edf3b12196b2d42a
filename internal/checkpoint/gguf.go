package checkpoint

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
	"unicode/utf8"

	"github.com/plume-run/plume/internal/quant"
)

// A GGUF file, versions 2 and 3, all integers little-endian:
//
//	4 B magic "GGUF" | u32 version | u64 tensor count T | u64 key count K
//	K × { str key | u32 kind | value }
//	T × { str name | u32 rank | rank × u64 dimension | u32 type | u64 offset }
//	padding to the alignment
//	data: each tensor at its offset from here, padded to the alignment
//
//	str   = u64 length | bytes
//	array = u32 kind of elements | u64 count | elements
//
// The first dimension is the contiguous one.
const (
	ggufMagic        = "GGUF"
	ggufAlignmentKey = "general.alignment"
	ggufDefaultAlign = 32
	ggufMaxRank      = 4
)

// Bounds on what a header may hold, far above any model of the family (a Gemma
// 4 header is 16 MB with 50 keys and 833 tensors). They keep memory small for
// a hostile file of any length.
const (
	maxGGUFHeader = 128 << 20 // bytes
	maxKeys       = 1 << 16
	maxTensors    = 1 << 18
	maxNameBytes  = 64<<10 - 1 // keys and tensor names
	maxTextBytes  = 64 << 20   // one string value
)

// Least bytes that a key with its value, and a tensor's description, can take:
// no file holds more of them than its length divided by this.
const (
	minKeyBytes    = 8 + 1 + 4 + 1
	minTensorBytes = 8 + 1 + 4 + 4 + 8
)

// ggufFile is one parsed file of a GGUF checkpoint.
type ggufFile struct {
	src     *source
	meta    Meta
	tensors []*Tensor // file order
	align   int64
}

// parseGGUF reads and checks everything in front of the tensor data.
func parseGGUF(src *source) (*ggufFile, error) {
	c := newCursor(src, maxGGUFHeader)
	nTensors, nKeys, err := readPreamble(c)
	if err != nil {
		return nil, err
	}
	f := &ggufFile{src: src, meta: readKeys(c, nKeys)}
	if c.err != nil {
		return nil, c.err
	}
	if f.align, err = f.alignment(); err != nil {
		return nil, err
	}
	for i := uint64(0); i < nTensors && c.err == nil; i++ {
		f.tensors = append(f.tensors, f.readTensor(c))
	}
	if c.err != nil {
		return nil, c.err
	}
	return f, f.place(c.offset())
}

// readPreamble reads magic, version and counts.
func readPreamble(c *cursor) (nTensors, nKeys uint64, err error) {
	src := c.src
	if magic := c.take(4, "magic"); c.err == nil && string(magic) != ggufMagic {
		c.fail(0, "file begins with %q, want %q", magic, ggufMagic)
	}
	version := c.u32("version")
	if c.err != nil {
		return 0, 0, c.err
	}
	switch {
	case version == 1:
		return 0, 0, unsupported(src.path, "GGUF version 1 (of August 2023); convert the model again to get version 3")
	case version&0xffff == 0 && version != 0:
		return 0, 0, unsupported(src.path, "big-endian GGUF version %d; only little-endian files are read", bits.ReverseBytes32(version))
	case version != 2 && version != 3:
		c.fail(4, "GGUF version %d, want 2 or 3", version)
	}
	nTensors = c.count("tensor", maxTensors, minTensorBytes)
	nKeys = c.count("key", maxKeys, minKeyBytes)
	return nTensors, nKeys, c.err
}

// alignment returns general.alignment or its default.
func (f *ggufFile) alignment() (int64, error) {
	if f.meta.Raw(ggufAlignmentKey) == nil {
		return ggufDefaultAlign, nil
	}
	align, ok := f.meta.Raw(ggufAlignmentKey).(uint32)
	if !ok {
		return 0, corrupt(f.src.path, "", -1, "%s is a %s, want uint32", ggufAlignmentKey, f.meta.Kind(ggufAlignmentKey))
	}
	if bits.OnesCount32(align) != 1 {
		return 0, corrupt(f.src.path, "", -1, "%s is %d, want a power of two", ggufAlignmentKey, align)
	}
	return int64(align), nil
}

// readTensor reads one tensor description. The offset stays relative to the
// data section until place.
func (f *ggufFile) readTensor(c *cursor) *Tensor {
	t := &Tensor{src: f.src, values: 1}
	t.Name = c.name("tensor name")
	c.tensor = t.Name
	at := c.offset()
	rank := c.u32("rank")
	if rank > ggufMaxRank {
		c.fail(at, "%d dimensions, want at most %d", rank, ggufMaxRank)
		return t
	}
	t.Shape = make([]int, rank)
	rowLen := int64(1)
	for i := range t.Shape {
		at := c.offset()
		dim := c.u64("dimension")
		high, product := bits.Mul64(uint64(t.values), dim)
		if c.err == nil && (dim == 0 || dim > math.MaxInt || high != 0 || product > math.MaxInt64) {
			c.fail(at, "dimension %d is %d (product of those before: %d)", i, dim, t.values)
		}
		if c.err != nil {
			return t
		}
		if i == 0 {
			rowLen = int64(dim)
		}
		t.Shape[len(t.Shape)-1-i] = int(dim)
		t.values = int64(product)
	}
	at = c.offset()
	t.Type = quant.Type(c.u32("type"))
	f.setBytes(c, t, rowLen, at)
	at = c.offset()
	off := c.u64("offset")
	if c.err == nil && (off > math.MaxInt64 || int64(off)%f.align != 0) {
		c.fail(at, "data offset %d is not a multiple of %d below 2^63", off, f.align)
	}
	t.off = int64(off)
	c.tensor = ""
	return t
}

// setBytes computes the stored length from type and shape. at is where the
// type stands in the file.
func (f *ggufFile) setBytes(c *cursor, t *Tensor, rowLen, at int64) {
	if c.err != nil {
		return
	}
	layout, ok := layoutOf(t.Type)
	if !ok {
		c.fail(at, "type %d is not a GGUF type", uint32(t.Type))
		return
	}
	t.TypeName = layout.name
	if rowLen%int64(layout.blockLen) != 0 {
		c.fail(at, "rows of %d values, want a multiple of %d for %s", rowLen, layout.blockLen, layout.name)
		return
	}
	high, low := bits.Mul64(uint64(t.values)/uint64(layout.blockLen), uint64(layout.blockBytes))
	if high != 0 || low > math.MaxInt64 {
		c.fail(at, "%d values of %s take more than 2^63 bytes", t.values, layout.name)
		return
	}
	t.Bytes = int64(low)
}

// place turns offsets into file offsets and checks that the tensors fill the
// data section: each begins where the one before it, padded, ends, and nothing
// but padding follows the last. Readers elsewhere demand the same, and a
// damaged dimension or offset cannot hide in a gap.
func (f *ggufFile) place(headerEnd int64) error {
	path, end := f.src.path, alignUp(headerEnd, f.align)
	byOffset := slices.Clone(f.tensors)
	slices.SortStableFunc(byOffset, func(a, b *Tensor) int { return cmp.Compare(a.off, b.off) })
	dataStart := end
	for _, t := range byOffset {
		if t.off > math.MaxInt64-dataStart {
			return corrupt(path, t.Name, -1, "data offset %d is past the end of the file", t.off)
		}
		off := dataStart + t.off
		switch {
		case off > f.src.sizeBytes || t.Bytes > f.src.sizeBytes-off:
			return corrupt(path, t.Name, off, "%d bytes of data end after the file, which has %d bytes", t.Bytes, f.src.sizeBytes)
		case off < end:
			return corrupt(path, t.Name, off, "data overlaps the tensor before it, which ends at %d", end)
		case off > end:
			return corrupt(path, t.Name, off, "data begins %d bytes after the padded end of what is before it", off-end)
		}
		t.off = off
		end = alignUp(off+t.Bytes, f.align)
	}
	if f.src.sizeBytes > end {
		return corrupt(path, "", end, "%d bytes follow the last tensor", f.src.sizeBytes-end)
	}
	return nil
}

// alignUp rounds n, at most a file's length, up to a multiple of the power of
// two align, at most 2^31.
func alignUp(n, align int64) int64 { return (n + align - 1) &^ (align - 1) }

// catalogGGUF joins the files of one checkpoint, in shard order, and the tensor of a part
// that is not here; nil is none.
func catalogGGUF(path string, files []*ggufFile, away *away) (*Catalog, error) {
	var sources []*source
	var tensors []*Tensor
	for _, f := range files {
		sources = append(sources, f.src)
		tensors = append(tensors, f.tensors...)
	}
	c, err := newCatalog(path, formatGGUF, sources, tensors)
	if err != nil {
		return nil, err
	}
	c.meta = files[0].meta.without(splitPrefix)
	if away == nil {
		return c, nil
	}
	if c.byName[away.Name] != nil {
		return nil, corrupt(path, away.Name, -1, "name occurs twice, once in a part that is not here")
	}
	c.outside, c.byName[away.Name] = away.Outside, away.tensor
	return c, nil
}

// u32 and u64 read one number.
func (c *cursor) u32(what string) uint32 {
	p := c.take(4, what)
	if p == nil {
		return 0
	}
	return binary.LittleEndian.Uint32(p)
}

func (c *cursor) u64(what string) uint64 {
	p := c.take(8, what)
	if p == nil {
		return 0
	}
	return binary.LittleEndian.Uint64(p)
}

// count reads how many things of at least minBytes each follow.
func (c *cursor) count(what string, most, minBytes uint64) uint64 {
	at := c.offset()
	n := c.u64(what + " count")
	switch {
	case c.err != nil:
		return 0
	case n > uint64(c.remaining())/minBytes:
		c.fail(at, "%s count %d, but only %d bytes follow", what, n, c.remaining())
		return 0
	case n > most:
		c.fail(at, "%s count %d, want at most %d", what, n, most)
		return 0
	}
	return n
}

// text reads a string of at most maxBytes.
func (c *cursor) text(what string, maxBytes uint64) string {
	at := c.offset()
	n := c.u64(what)
	if n > maxBytes {
		c.fail(at, "%s of %d bytes, want at most %d", what, n, maxBytes)
	}
	if !c.checkRoom(n, what) {
		return ""
	}
	if n <= windowBytes/4 {
		return string(c.take(int(n), what))
	}
	return string(c.appendBytes(nil, int(n), what))
}

// name reads a key or tensor name.
func (c *cursor) name(what string) string {
	at := c.offset()
	s := c.text(what, maxNameBytes)
	if c.err == nil {
		if reason := badName(s); reason != "" {
			c.fail(at, "%s %q %s", what, s, reason)
		}
	}
	return s
}

// badName returns why s cannot be a key or tensor name, "" when it can.
func badName(s string) string {
	switch {
	case s == "":
		return "is empty"
	case len(s) > maxNameBytes:
		return "is too long"
	case !utf8.ValidString(s):
		return "is not UTF-8"
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f {
			return "holds a control character"
		}
	}
	return ""
}
