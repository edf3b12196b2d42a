package gemma

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/quant"
)

// Packed is a copy of a model's weights as a device packs them, in a file of its own:
// they need only be read, for a start and for every token where they do not stay. It is
// the weights of one model for one packed form (backend.Packed), and of no other.
//
// The file is a GGUF file, whose lengths package checkpoint checks. Each matrix, in order
// of use, is a tensor of bytes that begins on a page; the last tensor has a CRC-32C for
// every backend.FillRows rows, against which all that is read is checked:
//
//	general.architecture   "plume-packed"
//	plume.packed.version   1
//	plume.packed.form      the packed form
//	plume.packed.source    Fingerprint of the model
//	-1.per_layer_model_proj.0   I8 [bytes]     LAYER.NAME.FIRST_ROW
//	0.attn_q.0                  I8 [bytes]
//	…
//	sums                        I32 [matrix, 16 rows]
//
// A Packed may be given to several Binds; it and its catalog must stay as long as they.
type Packed struct {
	cat  *checkpoint.Catalog
	sums []byte
}

// The keys of a copy's file.
const (
	packedArchitecture = "plume-packed"
	packedVersion      = 1
	keyArchitecture    = "general.architecture"
	keyPackedVersion   = "plume.packed.version"
	keyPackedForm      = "plume.packed.form"
	keyPackedSource    = "plume.packed.source"
	packedSums         = "sums"
	sumBytes           = 4
)

// ErrStale marks a packed copy that is sound and of something else: of another model, of
// one that has been changed since, or for another device or version.
var ErrStale = errors.New("packed copy does not match")

// PackedForm is what of a backend.Backend tells how weights are packed.
type PackedForm interface {
	Packed() string
	MatrixBytes(t quant.Type, out, in int) int64
}

// castagnoli is the polynomial that processors have an instruction for.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// OpenPacked believes that file is a copy of cat's weights for b only after having compared
// the source, the form, and every matrix's name and length. Errors are ErrStale, and
// checkpoint.ErrCorrupt for a file that contradicts itself, or one of reading.
func OpenPacked(file, cat *checkpoint.Catalog, cfg *Config, b PackedForm) (*Packed, error) {
	meta := file.Meta()
	if !IsPacked(file) {
		return nil, fmt.Errorf("%s is not a packed copy: %w", file.Path(), ErrStale)
	}
	if v, _ := meta.Int(keyPackedVersion); v != packedVersion {
		return nil, fmt.Errorf("%s is of version %d, want %d: %w", file.Path(), v, packedVersion, ErrStale)
	}
	if form, _ := meta.String(keyPackedForm); form == "" || form != b.Packed() {
		return nil, fmt.Errorf("%s is packed for %q, this device wants %q: %w", file.Path(), form, b.Packed(), ErrStale)
	}
	print, err := Fingerprint(cat)
	if err != nil {
		return nil, err
	}
	if source, _ := meta.String(keyPackedSource); source != print {
		return nil, fmt.Errorf("%s was made from another %s than is there now: %w", file.Path(), cat.Path(), ErrStale)
	}
	l, err := dryBind(cat, cfg)
	if err != nil {
		return nil, err
	}
	p := &Packed{cat: file}
	if err := p.check(l.groups.loads(), sizeOn(b)); err != nil {
		return nil, err
	}
	p.sums = make([]byte, p.table().Bytes)
	if _, err := p.table().ReadAt(p.sums, 0); err != nil {
		return nil, err
	}
	return p, nil
}

// IsPacked reports whether a file is a packed copy, of whatever.
func IsPacked(file *checkpoint.Catalog) bool {
	arch, _ := file.Meta().String(keyArchitecture)
	return arch == packedArchitecture
}

// table is the tensor with the sums.
func (p *Packed) table() *checkpoint.Tensor { return p.cat.Tensors()[len(p.cat.Tensors())-1] }

// check compares the file's tensors with what a copy of loads has.
func (p *Packed) check(loads []load, size func(*load) int64) error {
	tensors := p.cat.Tensors()
	if len(tensors) != len(loads)+1 {
		return corruptf("%s has %d tensors, want %d", p.cat.Path(), len(tensors), len(loads)+1)
	}
	sums := 0
	for i := range loads {
		ld, t := &loads[i], tensors[i]
		if t.Name != ld.packedName() || t.Type != quant.I8 || t.Bytes != size(ld) {
			return corruptf("%s: tensor %q of %d bytes, want %q of %d", p.cat.Path(), t.Name, t.Bytes, ld.packedName(), size(ld))
		}
		sums += ld.panels()
	}
	if t := p.table(); t.Name != packedSums || t.Bytes != int64(sums)*sumBytes {
		return corruptf("%s: tensor %q of %d bytes, want %q of %d", p.cat.Path(), t.Name, t.Bytes, packedSums, sums*sumBytes)
	}
	return nil
}

// Bytes is the length of the weights in the copy.
func (p *Packed) Bytes() int64 {
	var n int64
	for _, t := range p.cat.Tensors() {
		n += t.Bytes
	}
	return n - p.table().Bytes
}

// attach tells all loads of gs, which must be whole matrices, where they lie in p.
func (p *Packed) attach(gs *groups) {
	i, sums := 0, p.sums
	for _, g := range gs.inOrder() {
		for k := range g.loads {
			ld := &g.loads[k]
			n := ld.panels() * sumBytes
			ld.packed = packedRows{tensor: p.cat.Tensors()[i], sums: sums[:n]}
			i, sums = i+1, sums[n:]
		}
	}
}

// packedRows is where the rows of a load lie in a packed copy.
type packedRows struct {
	tensor *checkpoint.Tensor // nil: there is no copy
	panel  int                // number of the first panel, in tensor
	sums   []byte             // of all panels of tensor
}

// from returns the rows from row on, a multiple of backend.FillRows.
func (p packedRows) from(row int) packedRows {
	p.panel += row / backend.FillRows
	return p
}

// packedName is what ld's matrix is called in a copy.
func (ld *load) packedName() string {
	return fmt.Sprintf("%d.%s.%d", ld.src.Spec.Layer, ld.src.Spec.Key, ld.from)
}

// panels is how many times backend.FillRows rows ld has, the last of them perhaps fewer.
func (ld *load) panels() int { return panelsOf(ld.matrix.Out) }

func panelsOf(rows int) int { return (rows + backend.FillRows - 1) / backend.FillRows }

// readPacked puts rows [row, row+n) of ld into m from the copy, and checks them.
func (ld *load) readPacked(b backend.Backend, m backend.Matrix, row, n int, buf []byte, read func(t *checkpoint.Tensor, dst, buf []byte, off int64) error) error {
	size := func(rows int) int { return int(b.MatrixBytes(ld.matrix.Type, rows, ld.matrix.In)) }
	mem := b.Memory(m)
	dst := mem[size(row):]
	if row+n < ld.matrix.Out {
		end := size(row + n)
		dst = mem[size(row):end:end]
	}
	p := ld.packed.from(row)
	if err := read(p.tensor, dst, buf, int64(size(p.panel*backend.FillRows))); err != nil {
		return err
	}
	panel := size(backend.FillRows)
	for i := p.panel; len(dst) > 0; i++ {
		k := min(panel, len(dst))
		if crc32.Checksum(dst[:k], castagnoli) != binary.LittleEndian.Uint32(p.sums[i*sumBytes:]) {
			return corruptf("%s: tensor %q: rows from %d on are not what was written", path(p.tensor), p.tensor.Name, i*backend.FillRows)
		}
		dst = dst[k:]
	}
	return nil
}

func path(t *checkpoint.Tensor) string {
	name, _ := t.Location()
	return name
}

// loads lists the matrices of all groups, in order of use.
func (gs *groups) loads() []load {
	var loads []load
	for _, g := range gs.inOrder() {
		loads = append(loads, g.loads...)
	}
	return loads
}
