package gemma

import (
	"fmt"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/quant"
)

// Weights says what a checkpoint's weights will take on a device. It comes from the
// headers, by the code that binds them.
type Weights struct {
	Roles   []RoleBytes // all matrices, in order of Roles()
	Vectors int64       // norms and scales, float32 in host memory
	PLERows int         // rows of the per-layer table; 0: none
	PLERow  int64       // bytes of a row as stored
	PLEPart int64       // of these, what is read for tokens that nobody wants logits of

	cfg      *Config
	groups   *groups
	size     func(*load) int64 // what a matrix takes
	products []product

	pieceBytes int // of the largest piece that is read at once
}

// RoleBytes sums the matrices of one role.
type RoleBytes struct {
	Role  Role
	Bytes int64
}

// product is one matrix as a step uses it.
type product struct {
	key     Key
	layer   int
	late    bool // of KeyPLEProj: only for the wanted rows
	typ     quant.Type
	out, in int
}

// Weigh checks names, shapes and types as Bind does and reads nothing. Errors are
// those of Bind, and one for a matrix that the device cannot hold.
func Weigh(cat *checkpoint.Catalog, cfg *Config, z backend.Sizer) (*Weights, error) {
	l, err := dryBind(cat, cfg)
	if err != nil {
		return nil, err
	}
	w := &Weights{cfg: cfg, groups: l.groups, size: sizeOn(z), Vectors: l.vectors}
	if l.table != nil {
		w.PLERows, w.PLERow = cfg.PLEVocabSize, l.table.Bytes/int64(cfg.PLEVocabSize)
		w.PLEPart = leadingBytes(l.table.Type, (cfg.FirstShared()-1)*cfg.PLESize)
	}
	byRole := map[Role]int64{}
	for _, g := range w.groups.inOrder() {
		for i := range g.loads {
			ld := &g.loads[i]
			n := w.size(ld)
			if n == 0 {
				return nil, ld.noLayout("bind", cat)
			}
			spec := ld.src.Spec
			byRole[spec.Role] += aligned(n)
			w.products = append(w.products, product{
				key: spec.Key, layer: spec.Layer, typ: ld.matrix.Type, out: ld.matrix.Out, in: ld.matrix.In,
				late: spec.Key == KeyPLEProj && ld.from > 0,
			})
		}
	}
	w.pieceBytes = w.groups.cut(w.size)
	for _, r := range Roles() {
		if byRole[r] > 0 {
			w.Roles = append(w.Roles, RoleBytes{r, byRole[r]})
		}
	}
	w.groups.makeUnits(w.size)
	return w, nil
}

// noLayout is the error for a matrix that a device cannot hold.
func (ld *load) noLayout(doing string, cat *checkpoint.Catalog) error {
	return markedError{fmt.Sprintf("%s %s: %s: type %s cannot be multiplied", doing, cat.Path(), ld.src.Spec, ld.matrix.Type), checkpoint.ErrUnsupported}
}

// dryBind binds without reading anything.
func dryBind(cat *checkpoint.Catalog, cfg *Config) (*loader, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m := &Model{cfg: cfg, layers: make([]layer, cfg.NumLayers), lastOwner: cfg.FirstShared() - 1}
	l := &loader{cat: cat, cfg: cfg, groups: newGroups(cfg), dry: true}
	m.bindAll(l)
	if cfg.PLESize > 0 {
		l.table = m.bindPLE(l)
	}
	if l.err != nil {
		return nil, fmt.Errorf("bind %s: %w", cat.Path(), l.err)
	}
	return l, nil
}

// Vocab is the number of tokens that logits are for.
func (w *Weights) Vocab() int { return w.cfg.VocabSize }

// Resident is what the weights take when all stay, the table left out; equal to
// Model.ResidentBytes.
func (w *Weights) Resident() int64 { return w.ResidentWith(Residency{}) }

// ResidentWith is what the weights take under r, the table left out; equal to
// Model.ResidentBytes.
func (w *Weights) ResidentWith(r Residency) int64 {
	sum := w.Vectors
	for _, role := range w.RolesWith(r) {
		sum += role.Bytes
	}
	return sum
}

// Roles of memory that weights of different roles take turns in.
const (
	RoleRing  Role = "ring"
	RoleSlots Role = "expert slots"
	RoleInput Role = "input rows"
)

// RolesWith is Roles under r: the matrices that stay, the ring, slots, and buffers for
// input rows.
func (w *Weights) RolesWith(r Residency) []RoleBytes {
	a := w.groups.arrange(r, w.size)
	byRole := map[Role]int64{
		RoleRing:  a.ringBytes,
		RoleSlots: int64(a.slots) * a.slotBytes,
		RoleInput: a.inputBytes,
	}
	for _, k := range a.kept {
		for i := range k.loads {
			byRole[k.loads[i].src.Spec.Role] += aligned(w.size(&k.loads[i]))
		}
	}
	var list []RoleBytes
	for _, role := range append(Roles(), RoleRing, RoleSlots, RoleInput) {
		if byRole[role] > 0 {
			list = append(list, RoleBytes{role, byRole[role]})
		}
	}
	return list
}

// Loading is the buffers that weights are read into under r: for good when some are read for
// every step, else until all are there.
func (w *Weights) Loading(r Residency) int64 {
	return checkpoint.DirectBuffersBytes(r.readers(), w.pieceBytes)
}

// KeptBytes is what the matrices take that stay under r, experts in slots not among them.
func (w *Weights) KeptBytes(r Residency) int64 { return w.groups.arrange(r, w.size).keptBytes(w.size) }

// StreamedBytes is what a step that gives logits reads of the weights under r, as
// stored, experts left out. What fits in the ring all at once is not read again.
func (w *Weights) StreamedBytes(r Residency) int64 {
	a := w.groups.arrange(r, w.size)
	if !a.rereads() {
		return 0
	}
	var n int64
	for _, p := range a.cycle {
		n += storedBytes(p.loads)
	}
	return n
}

// ExpertCount is the number of experts of all layers together; 0 in models without.
func (w *Weights) ExpertCount() int { return w.groups.expertUnits() }

// ExpertsPerToken is how many of them a token goes through.
func (w *Weights) ExpertsPerToken() int {
	n := 0
	for _, g := range w.groups.experts {
		if len(g.loads) > 0 {
			n += w.cfg.TopKExperts
		}
	}
	return n
}

// ExpertBytes is what is read for an expert, the mean over all.
func (w *Weights) ExpertBytes() int64 {
	var n int64
	for _, g := range w.groups.experts {
		n += storedBytes(g.loads)
	}
	return n / int64(max(1, w.ExpertCount()))
}

// CacheBytes is what a cache of NewCache takes, full layers and rings apart.
func (w *Weights) CacheBytes(z backend.Sizer, maxTokens, slack int, typ quant.Type) (full, sliding int64) {
	for i, spec := range w.cfg.cacheSpecs(maxTokens, slack, typ) {
		switch {
		case spec.Slots == 0:
		case w.cfg.Sliding[i]:
			sliding += z.KVBytes(spec)
		default:
			full += z.KVBytes(spec)
		}
	}
	return full, sliding
}
