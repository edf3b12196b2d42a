package gemma

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/quant"
)

// supply hands a step its weights, group by group in the order of use: those that stay,
// those that are read for every step, and the experts that fit.
//
// A step says begin, then use before and done after each group, and end. Only these
// calls decide what is read next, all on the goroutine of Forward.
type supply struct {
	reader  *reader
	plan    *arrangement
	groups  *groups
	stream  stream
	experts *expertCache // nil when all experts stay
	input   *inputRows   // nil when the output matrix is always there
	head    []*group     // the output matrix: one group, or blocks
}

// newSupply takes memory for the weights by the plan a, and reads nothing. early is
// whether steps may begin before everything that stays is there.
func newSupply(r *reader, gs *groups, a *arrangement, early bool) (*supply, error) {
	w := &supply{reader: r, plan: a, groups: gs, head: []*group{gs.head}}
	r.lasts = len(a.cycle) > a.slabs || a.slots > 0
	if err := w.keep(); err != nil {
		return nil, err
	}
	if err := w.stream.init(r, a); err != nil {
		return nil, err
	}
	if a.inputBytes > 0 || early {
		var err error
		if w.input, err = newInputRows(r.back, &gs.head.loads[0]); err != nil {
			return nil, err
		}
	}
	if a.inputBytes > 0 {
		w.head = slices.DeleteFunc(slices.Clone(a.cycle), func(g *group) bool { return g.layer >= 0 })
	}
	if a.slots > 0 {
		var err error
		w.experts, err = newExpertCache(r, gs.experts, a)
		return w, err
	}
	return w, nil
}

// keep takes memory for the groups that stay, all in one slab.
func (w *supply) keep() error {
	b := w.reader.back
	s, err := b.NewSlab(w.plan.keptBytes(sizeOn(b)))
	if err != nil {
		return err
	}
	var off int64
	for _, g := range w.plan.kept {
		g.kept = &fetch{rank: g.rank, loads: g.loads}
		if g.kept.into, err = layOut(b, s, off, g.loads); err != nil {
			return err
		}
		for i := range g.loads {
			*g.loads[i].dst = g.kept.into[i]
		}
		off += placed(g.loads, sizeOn(b))
	}
	return nil
}

// sizeOn tells what a matrix takes on a device.
func sizeOn(z interface {
	MatrixBytes(quant.Type, int, int) int64
}) func(*load) int64 {
	return func(ld *load) int64 { return z.MatrixBytes(ld.matrix.Type, ld.matrix.Out, ld.matrix.In) }
}

// layOut puts matrices into a slab, one after the other from off on.
func layOut(b backend.Backend, s backend.Slab, off int64, loads []load) ([]backend.Matrix, error) {
	size := sizeOn(b)
	var out []backend.Matrix
	for i := range loads {
		m, err := b.Place(s, off, loads[i].matrix)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", loads[i].src.Spec, err)
		}
		out = append(out, m)
		off += aligned(size(&loads[i]))
	}
	return out, nil
}

// load starts reading everything that stays.
func (w *supply) load() {
	for _, g := range w.plan.kept {
		w.reader.ensure(g.kept)
	}
}

// ready waits for everything that stays.
func (w *supply) ready(ctx context.Context) error {
	for _, g := range w.plan.kept {
		w.reader.ensure(g.kept)
		if err := w.reader.wait(ctx, g.kept); err != nil {
			return err
		}
	}
	return nil
}

// begin starts a step, which goes to layer last and no further, or to the output
// matrix when last is −1.
func (w *supply) begin(last int) {
	w.stream.begin(last)
	if w.experts != nil {
		w.experts.step()
	}
}

// embed sets x to rows ids of the output matrix, times scale, whether it is there or not.
func (w *supply) embed(x *backend.Tensor, ids []int32, scale float32) error {
	head := w.groups.head
	if kept := head.kept; kept != nil && (w.input == nil || kept.complete.Load()) {
		w.reader.back.Embed(x, kept.into[0], ids, scale)
		return nil
	}
	return w.input.embed(x, ids, scale)
}

// use makes sure that g's matrices are there, until done.
func (w *supply) use(ctx context.Context, g *group) error {
	switch {
	case g.kept == nil:
		if len(g.loads) == 0 {
			return nil
		}
		return w.stream.use(ctx, g)
	case g.kept.complete.Load():
		return nil
	}
	w.reader.ensure(g.kept)
	return w.reader.wait(ctx, g.kept)
}

// done says that the step has used g.
func (w *supply) done(g *group) {
	if g.kept == nil && len(g.loads) > 0 {
		w.stream.done()
	}
}

// end ends the step, wherever it has come to.
func (w *supply) end() {
	w.stream.end()
	if w.experts != nil {
		w.experts.end()
	}
}

// WeightStats says what reading weights has cost. All but Resident are counts since
// Bind, its own reading included.
type WeightStats struct {
	Resident  int64         // now: memory for matrices, those that stay, slabs and slots
	Groups    int64         // layers, experts and blocks that were read whole
	Reads     int64         // pieces
	ReadBytes int64         // as stored
	ReadTime  time.Duration // in which something was being read or packed
	Waits     int64         // how often a step found weights missing
	Wait      time.Duration // how long it waited for them

	// Of mixture models with slots: how often a step found an expert in one, had to
	// read it, and took the slot of another for it.
	ExpertHits, ExpertMisses, ExpertEvictions int64
}

// Sub returns the counts since the earlier snapshot b.
func (s WeightStats) Sub(b WeightStats) WeightStats {
	s.Groups -= b.Groups
	s.Reads -= b.Reads
	s.ReadBytes -= b.ReadBytes
	s.ReadTime -= b.ReadTime
	s.Waits -= b.Waits
	s.Wait -= b.Wait
	s.ExpertHits -= b.ExpertHits
	s.ExpertMisses -= b.ExpertMisses
	s.ExpertEvictions -= b.ExpertEvictions
	return s
}

// Overlap is the part of the reading that no step waited for, 0 to 1; 1 when nothing
// was read.
func (s WeightStats) Overlap() float64 {
	if s.ReadTime <= 0 {
		return 1
	}
	return max(0, 1-float64(s.Wait)/float64(s.ReadTime))
}

// stats reads the counts; for any goroutine.
func (w *supply) stats() WeightStats {
	c := &w.reader.count
	s := WeightStats{
		Groups: c.groups.Load(), Reads: c.reads.Load(), ReadBytes: c.bytes.Load(), ReadTime: w.reader.busyTime(),
		Waits: c.waits.Load(), Wait: time.Duration(c.wait.Load()),
	}
	if e := w.experts; e != nil {
		s.ExpertHits, s.ExpertMisses, s.ExpertEvictions = e.hits.Load(), e.misses.Load(), e.evictions.Load()
	}
	return s
}
