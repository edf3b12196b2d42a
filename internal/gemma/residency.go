package gemma

import (
	"github.com/plume-run/plume/internal/backend"
)

// Residency says which weights stay in memory. The zero value: all of them. The rest
// is read from the file again whenever a step comes to it; the answer stays the same
// to the last bit.
type Residency struct {
	// StreamBytes is how much of the matrices (all but a mixture's experts), as the device
	// holds them, is read for every step. Which rows: see spread. More than all is all.
	StreamBytes int64

	// ExpertSlots is how many experts of mixture models are held at once, those of all
	// layers together; 0: all of them.
	ExpertSlots int

	// FewReads takes less memory for the reading: fewReaders pieces at once, as wherever
	// something is read for every step, instead of manyReaders.
	FewReads bool
}

// readers is how many pieces are read at once.
func (r Residency) readers() int {
	if r == (Residency{}) {
		return manyReaders
	}
	return fewReaders
}

// group is weights that are loaded and waited for together: a layer's matrices, a
// mixture layer's experts, the output matrix. Those of its rows that are streamed are
// waited for one block at a time.
type group struct {
	rank  int    // place in the order of use
	layer int    // −1: of none
	loads []load // its matrices, in order of use
	kept  *fetch // how what stays of it came; nil when nothing does
}

// groups are all large weights of a model.
type groups struct {
	cfg     *Config
	start   *group   // projection of the per-layer embeddings
	layers  []*group // by layer
	experts []*group // by layer; the loads of expert e are 3e (gate), 3e+1 (up), 3e+2 (down)
	head    *group   // the output matrix, which also has the input rows
	units   []*unit  // of all but the experts, in order of use, see makeUnits
}

// newGroups makes empty groups.
func newGroups(cfg *Config) *groups {
	n := cfg.NumLayers
	g := &groups{cfg: cfg, start: &group{layer: -1}, head: &group{rank: 2*n + 1, layer: -1}}
	for i := range n {
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
	kept  []keptGroup // in order of use
	cycle []placed    // read for every step, in order of use

	ringBytes  int64 // that the cycle is read into
	slots      int   // of experts; 0: these are kept
	slotBytes  int64
	inputBytes int64 // for input rows read one by one; 0: the output matrix is kept
}

// keptGroup is what stays of a group.
type keptGroup struct {
	group *group
	loads []load
}

// placed is a streamed block and where it goes in the ring.
type placed struct {
	*block
	off int64
}

// arrange decides where everything goes. size is what a matrix takes. The groups have
// been divided into units.
func (gs *groups) arrange(r Residency, size func(*load) int64) *arrangement {
	a := &arrangement{}
	if n := gs.expertUnits(); r.ExpertSlots > 0 && r.ExpertSlots < n {
		a.slots = r.ExpertSlots
	}
	streamed := spread(gs.units, r.StreamBytes)
	next := 0
	for _, g := range gs.inOrder() {
		var loads []load
		for ; next < len(gs.units) && gs.units[next].group == g; next++ {
			loads = gs.units[next].divide(a, loads, streamed)
		}
		if g.layer >= 0 && g == gs.experts[g.layer] && a.slots > 0 {
			for e := 0; e < len(g.loads); e += expertMatrices {
				a.slotBytes = max(a.slotBytes, placedBytes(g.loads[e:e+expertMatrices], size))
			}
		} else if g.layer >= 0 && g == gs.experts[g.layer] {
			loads = g.loads
		}
		if len(loads) > 0 {
			a.kept = append(a.kept, keptGroup{g, loads})
		}
	}
	if n := len(a.cycle); n > 0 && a.cycle[n-1].unit.group == gs.head {
		a.inputBytes = inputRowsBytes(&gs.head.loads[0], size)
	}
	a.layRing()
	return a
}

// layRing places the cycle's blocks in the ring, one behind the other and again from its
// beginning. Each has one place, so that it is laid out once.
func (a *arrangement) layRing() {
	var all, largest int64
	for _, b := range a.cycle {
		all, largest = all+b.bytes, max(largest, b.bytes)
	}
	a.ringBytes = min(all, ringBlocks*largest)
	var off int64
	for i := range a.cycle {
		b := &a.cycle[i]
		if off+b.bytes > a.ringBytes {
			off = 0
		}
		b.off = off
		off += b.bytes
	}
}

// ringBlocks is how many of the largest blocks the ring has room for: with one, the step
// computes, while the others are read.
const ringBlocks = 4

// rereads reports whether the ring is too small for the cycle. Otherwise it is read once.
func (a *arrangement) rereads() bool {
	var all int64
	for _, b := range a.cycle {
		all += b.bytes
	}
	return all > a.ringBytes
}

// placedBytes is what matrices take one after the other in a slab, each from where one
// may begin.
func placedBytes(loads []load, size func(*load) int64) int64 {
	var n int64
	for i := range loads {
		n += aligned(size(&loads[i]))
	}
	return n
}

// aligned rounds up to where the next matrix may begin.
func aligned(n int64) int64 { return (n + backend.SlabAlign - 1) &^ (backend.SlabAlign - 1) }

// keptBytes is what stays.
func (a *arrangement) keptBytes(size func(*load) int64) int64 {
	var n int64
	for _, k := range a.kept {
		n += placedBytes(k.loads, size)
	}
	return n
}

// sharedBytes is what ring, slots and input rows take.
func (a *arrangement) sharedBytes() int64 {
	return a.ringBytes + int64(a.slots)*a.slotBytes + a.inputBytes
}
