package gemma

import (
	"context"
	"math"
	"slices"
	"sync/atomic"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/quant"
)

// expertCache holds some of a mixture model's experts in slots of equal size.
//
// A layer says choose with the experts that its tokens go to, then take and give back
// one after the other, in ascending order. Those that are missing are read as far as
// slots can be had, so that prompts, which may need all experts of a layer, get along with few
// slots. The slot that is taken for a missing expert is the one whose expert was used
// least, where a use counts half after each step. Whether an expert of a later layer is
// used in this step is not known yet, so its uses are taken as they were a step ago;
// plain recency would take away, with few slots, just what is needed next.
//
// Used by the goroutine of Forward.
type expertCache struct {
	reader *reader
	layers []*group // the experts of each layer
	kinds  []int    // by layer: which of a slot's layouts its experts have
	slots  []slot
	held   [][]int32   // by layer and expert: the slot that has it; −1: none
	score  [][]float64 // by layer and expert: uses, older ones counting less
	grow   float64     // what a use counts now
	steps  int         // begun so far

	layer int     // whose experts are in use
	ids   []int32 // which, ascending
	ahead int     // the first of ids that was not looked up

	hits, misses, evictions atomic.Int64
}

// slot is memory for an expert.
type slot struct {
	index     int
	layer, id int32              // what it has or is being filled with; −1: nothing
	begun     int                // in which step it was
	busy      bool               // the current layer needs it
	layouts   [][]backend.Matrix // by kind
	fetch     fetch
}

// fade is how many uses of the step before count as one of this step. Chosen among
// last use alone and half-lives from half a step to all time by TestExpertPolicies.
const fade = 2

// newExpertCache takes memory for the slots.
func newExpertCache(r *reader, layers []*group, a *arrangement) (*expertCache, error) {
	c := &expertCache{reader: r, layers: layers, grow: 1, slots: make([]slot, a.slots)}
	kinds, examples := expertKinds(layers)
	c.kinds = kinds
	for _, g := range layers {
		n := len(g.loads) / expertMatrices
		c.held = append(c.held, slices.Repeat([]int32{-1}, n))
		c.score = append(c.score, make([]float64, n))
	}
	mem, err := r.back.NewSlab(int64(a.slots) * a.slotBytes)
	if err != nil {
		return nil, err
	}
	for i := range c.slots {
		s := &c.slots[i]
		s.index, s.layer, s.id = i, -1, -1
		for _, loads := range examples {
			m, err := layOut(r.back, mem, int64(i)*a.slotBytes, loads)
			if err != nil {
				return nil, err
			}
			s.layouts = append(s.layouts, m)
		}
	}
	return c, nil
}

// expertKinds numbers the different ways in which layers store their experts, and
// returns an expert of each.
func expertKinds(layers []*group) (kinds []int, examples [][]load) {
	types := func(loads []load) (t [expertMatrices]quant.Type) {
		for i := range t {
			t[i] = loads[i].matrix.Type
		}
		return t
	}
	for _, g := range layers {
		kind := slices.IndexFunc(examples, func(e []load) bool { return types(e) == types(g.loads) })
		if kind < 0 {
			kind = len(examples)
			examples = append(examples, g.loads[:expertMatrices])
		}
		kinds = append(kinds, kind)
	}
	return kinds, examples
}

// step begins a step: uses before it count less from now on.
func (c *expertCache) step() {
	c.steps++
	if c.grow *= fade; c.grow < 1e200 {
		return
	}
	for _, scores := range c.score {
		for i := range scores {
			scores[i] /= c.grow
		}
	}
	c.grow = 1
}

// choose says which experts of a layer are used next, in ascending order, and starts
// reading those that are missing. ids must not change until the last is given back.
func (c *expertCache) choose(layer int, ids []int32) {
	c.layer, c.ids, c.ahead = layer, ids, 0
	for _, id := range ids {
		c.score[layer][id] += c.grow
	}
	c.advance()
}

// advance looks up experts until a slot is missing.
func (c *expertCache) advance() {
	for ; c.ahead < len(c.ids); c.ahead++ {
		id := c.ids[c.ahead]
		if at := c.held[c.layer][id]; at >= 0 {
			c.hits.Add(1)
			c.slots[at].busy = true
			continue
		}
		s := c.spare()
		if s == nil {
			return
		}
		c.misses.Add(1)
		c.fill(s, id)
	}
}

// fill starts reading an expert of the current layer into s.
func (c *expertCache) fill(s *slot, id int32) {
	if s.id >= 0 {
		c.evictions.Add(1)
		c.empty(s)
	}
	s.layer, s.id, s.busy = int32(c.layer), id, true
	c.held[c.layer][id] = int32(s.index)
	c.read(s)
}

// read starts reading what s is to have.
func (c *expertCache) read(s *slot) {
	s.begun = c.steps
	s.fetch.loads = c.layers[s.layer].loads[expertMatrices*s.id:][:expertMatrices]
	s.fetch.into = s.layouts[c.kinds[s.layer]]
	s.fetch.rank = -1 // the step waits for it, or will very soon
	c.reader.begin(&s.fetch)
}

// empty forgets what a slot has.
func (c *expertCache) empty(s *slot) {
	if s.id >= 0 {
		c.held[s.layer][s.id] = -1
	}
	s.layer, s.id, s.busy = -1, -1, false
}

// spare returns the slot that can best be taken for another expert, nil when every one
// is in use or being filled. Experts that the layer comes to later go last, the one it
// comes to last first.
func (c *expertCache) spare() *slot {
	var best *slot
	least := math.Inf(1)
	for i := range c.slots {
		s := &c.slots[i]
		if s.busy || s.id >= 0 && !s.fetch.complete.Load() && c.reader.running(&s.fetch) {
			continue
		}
		if cost := c.cost(s); best == nil || cost < least {
			best, least = s, cost
		}
	}
	return best
}

// cost is how much it costs to take a slot.
func (c *expertCache) cost(s *slot) float64 {
	if s.id < 0 {
		return -1
	}
	if int(s.layer) == c.layer {
		if k, found := slices.BinarySearch(c.ids[c.ahead:], s.id); found {
			return math.MaxFloat64 / float64(2+k)
		}
	}
	if int(s.layer) > c.layer {
		return fade * c.score[s.layer][s.id]
	}
	return c.score[s.layer][s.id]
}

// take waits for the next expert, id, and returns it.
func (c *expertCache) take(ctx context.Context, id int32) (backend.Expert, error) {
	for c.held[c.layer][id] < 0 { // slots are being filled for a step that was given up
		if err := c.drain(ctx); err != nil {
			return backend.Expert{}, err
		}
		c.advance()
	}
	s := &c.slots[c.held[c.layer][id]]
	err := c.reader.wait(ctx, &s.fetch)
	if err != nil && s.begun != c.steps && !c.reader.running(&s.fetch) {
		c.read(s) // what went wrong in an earlier step may go well now
		err = c.reader.wait(ctx, &s.fetch)
	}
	if err != nil {
		if !c.reader.running(&s.fetch) {
			c.empty(s)
		}
		return backend.Expert{}, err
	}
	m := s.fetch.into
	return backend.Expert{Gate: m[0], Up: m[1], Down: m[2]}, nil
}

// drain waits for a slot that is being filled for a step that was given up.
func (c *expertCache) drain(ctx context.Context) error {
	for i := range c.slots {
		if s := &c.slots[i]; !s.busy {
			return c.reader.waitEnd(ctx, &s.fetch)
		}
	}
	panic("gemma: internal error: no slot for an expert that is used next")
}

// give ends the use of an expert.
func (c *expertCache) give(id int32) {
	c.slots[c.held[c.layer][id]].busy = false
	c.advance()
}

// end ends a step, wherever it has come to. What is being read is read to its end.
func (c *expertCache) end() {
	for i := range c.slots {
		c.slots[i].busy = false
	}
	c.ids = nil
}
