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
	Roles   []RoleBytes // matrices, in order of Roles()
	Vectors int64       // norms and scales, float32 in host memory
	Loading int64       // buffers while weights are read
	PLERows int         // rows of the per-layer table; 0: none
	PLERow  int64       // bytes of a row as stored

	cfg      *Config
	products []product
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
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	w := &Weights{cfg: cfg}
	m := &Model{cfg: cfg, layers: make([]layer, cfg.NumLayers), lastOwner: cfg.FirstShared() - 1}
	l := loader{cat: cat, cfg: cfg, dry: true}
	m.bindAll(&l)
	if cfg.PLESize > 0 {
		if table := m.bindPLE(&l); table != nil {
			w.PLERows, w.PLERow = cfg.PLEVocabSize, table.Bytes/int64(cfg.PLEVocabSize)
		}
	}
	if l.err != nil {
		return nil, fmt.Errorf("bind %s: %w", cat.Path(), l.err)
	}
	w.Vectors = l.resident.Load()
	byRole := map[Role]int64{}
	var largest int64
	for _, ld := range l.loads {
		src := &ld.src
		n := z.MatrixBytes(src.Type, src.Out, src.In)
		if n == 0 {
			return nil, markedError{fmt.Sprintf("bind %s: %s: type %s cannot be multiplied", cat.Path(), src.Name, src.Type), checkpoint.ErrUnsupported}
		}
		byRole[ld.spec.Role] += n
		largest = max(largest, z.LoadBytes(src.Type, src.Out, src.In))
		w.products = append(w.products, product{
			key: ld.spec.Key, layer: ld.spec.Layer, typ: src.Type, out: src.Out, in: src.In,
			late: ld.spec.Key == KeyPLEProj && ld.from > 0,
		})
	}
	w.Loading = largest * int64(min(loaders, len(l.loads)))
	for _, r := range Roles() {
		if byRole[r] > 0 {
			w.Roles = append(w.Roles, RoleBytes{r, byRole[r]})
		}
	}
	return w, nil
}

// Vocab is the number of tokens that logits are for.
func (w *Weights) Vocab() int { return w.cfg.VocabSize }

// Resident is what the weights take, the table left out; equal to
// Model.ResidentBytes.
func (w *Weights) Resident() int64 {
	sum := w.Vectors
	for _, r := range w.Roles {
		sum += r.Bytes
	}
	return sum
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
