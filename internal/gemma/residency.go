package gemma

import (
	"github.com/plume-run/plume/internal/backend"
)

// Residency says which weights stay in memory. The zero value: all of them. The rest
// is read from the file again whenever a step comes to it; the answer stays the same
// to the last bit.
type Residency struct {
	// StreamLayers is for how many layers the matrices (attention, feed-forward, PLE;
	// not a mixture's experts) are read for every step, through two slabs that they
	// take turns in. Which ones: spread evenly, so that one is read while those
	// between it and the one before compute. More than all layers is all layers.
	StreamLayers int

	// StreamHead is whether the output matrix is read for every step that gives logits,
	// in blocks of rows. Input rows are then read one by one.
	StreamHead bool

	// ExpertSlots is how many experts of mixture models are held at once, those of all
	// layers together; 0: all of them.
	ExpertSlots int
}

// group is weights that are read, used and let go together: a layer's matrices, a
// mixture layer's experts, a block of the output matrix.
type group struct {
	rank  int    // place in the order of use
	layer int    // −1: of none
	loads []load // its matrices

	kept  *fetch             // how it came to stay; nil when it does not
	views [][]backend.Matrix // by slab: where its matrices are when it is there
}

// groups are all large weights of a model.
type groups struct {
	start   *group   // projection of the per-layer embeddings
	layers  []*group // by layer
	experts []*group // by layer; the loads of expert e are 3e (gate), 3e+1 (up), 3e+2 (down)
	head    *group   // the output matrix, which also has the input rows
}

// newGroups makes empty groups.
func newGroups(layers int) *groups {
	g := &groups{start: &group{layer: -1}, head: &group{rank: 2*layers + 1, layer: -1}}
	for i := range layers {
		g.layers = append(g.layers, &group{rank: 2*i + 1, layer: i})
		g.experts = append(g.experts, &group{rank: 2*i + 2, layer: i})
	}
	return g
}

// inOrder lists the groups in order of use.
func (gs *groups) inOrder() []*group {
	out := []*group{gs.start}
	for i, g := range gs.layers {
		out = append(out, g, gs.experts[i])
	}
	return append(out, gs.head)
}

// expertUnits is the number of experts of all layers.
func (gs *groups) expertUnits() int {
	n := 0
	for _, g := range gs.experts {
		n += len(g.loads) / expertMatrices
	}
	return n
}

// expertMatrices is the matrices of an expert.
const expertMatrices = 3

// arrangement is where the weights go under a Residency. Bind allocates by it, and a
// plan is made from it.
type arrangement struct {
	kept  []*group // in order of use
	cycle []*group // read for every step, in order of use

	slabs      int
	slabBytes  int64
	slots      int // of experts; 0: these are kept
	slotBytes  int64
	inputBytes int64 // for input rows read one by one; 0: the output matrix is kept
}

// arrange decides where every group goes. size is what a matrix takes.
func (gs *groups) arrange(r Residency, size func(*load) int64) *arrangement {
	a := &arrangement{}
	if units := gs.expertUnits(); r.ExpertSlots > 0 && r.ExpertSlots < units {
		a.slots = r.ExpertSlots
	}
	n := len(gs.layers)
	k := max(0, min(r.StreamLayers, n))
	for _, g := range gs.inOrder() {
		i := g.layer
		switch {
		case len(g.loads) == 0:
		case i >= 0 && g == gs.layers[i] && (i+1)*k/n > i*k/n:
			a.cycle = append(a.cycle, g)
			a.slabBytes = max(a.slabBytes, placed(g.loads, size))
		case i >= 0 && g == gs.experts[i] && a.slots > 0:
			for e := 0; e < len(g.loads); e += expertMatrices {
				a.slotBytes = max(a.slotBytes, placed(g.loads[e:e+expertMatrices], size))
			}
		case g == gs.head && r.StreamHead:
			a.cycle = append(a.cycle, gs.headBlocks(a, size)...)
			a.inputBytes = inputRowsBytes(&g.loads[0], size)
		default:
			a.kept = append(a.kept, g)
		}
	}
	a.slabs = min(2, len(a.cycle))
	return a
}

// headBlockBytes is how large blocks of the output matrix are where no layer's slab
// asks for more: reading the next one overlaps with multiplying, so they should be
// several, and a disk is fast from a few MiB on.
const headBlockBytes = 16 << 20

// headBlocks cuts the output matrix into blocks of rows, as large as the slabs of a,
// which it makes large enough.
func (gs *groups) headBlocks(a *arrangement, size func(*load) int64) []*group {
	whole := gs.head.loads[0]
	panel := whole.rows(0, min(backend.FillRows, whole.matrix.Out))
	unit := size(&panel)
	a.slabBytes = max(a.slabBytes, aligned(min(size(&whole)/8, headBlockBytes)), aligned(unit))
	out := whole.matrix.Out
	step := int(a.slabBytes/unit) * backend.FillRows
	blocks := (out + step - 1) / step
	step = ((out+blocks-1)/blocks + backend.FillRows - 1) / backend.FillRows * backend.FillRows
	var list []*group
	for row := 0; row < out; row += step {
		list = append(list, &group{
			rank: gs.head.rank + len(list), layer: -1,
			loads: []load{whole.rows(row, min(row+step, out))},
		})
	}
	return list
}

// placed is what matrices take one after the other in a slab, each from where one may
// begin.
func placed(loads []load, size func(*load) int64) int64 {
	var n int64
	for i := range loads {
		n += aligned(size(&loads[i]))
	}
	return n
}

// aligned rounds up to where the next matrix may begin.
func aligned(n int64) int64 { return (n + backend.SlabAlign - 1) &^ (backend.SlabAlign - 1) }

// keptBytes is what the groups that stay take.
func (a *arrangement) keptBytes(size func(*load) int64) int64 {
	var n int64
	for _, g := range a.kept {
		n += placed(g.loads, size)
	}
	return n
}

// sharedBytes is what slabs, slots and input rows take.
func (a *arrangement) sharedBytes() int64 {
	return int64(a.slabs)*a.slabBytes + int64(a.slots)*a.slotBytes + a.inputBytes
}
