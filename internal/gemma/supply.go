package gemma

import (
	"context"
	"fmt"
	"time"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/quant"
)

// supply hands a step its weights, group by group in the order of use: those that stay,
// those that are read for every step, and the experts that fit.
//
// A step says begin, then use before each group and stream.use before each block of it
// that does not stay, and end. Only these calls decide what is read next, all on the
// goroutine of Forward.
type supply struct {
	reader  *reader
	plan    *arrangement
	groups  *groups
	stream  stream
	experts *expertCache // nil when all experts stay
	input   *inputRows   // nil when the output matrix is always there
	head    *weight      // the output matrix
	single  []int        // input rows of the step that are read one by one
}

// newSupply takes memory for the weights by the plan a, and reads nothing. early is
// whether steps may begin before everything that stays is there.
func newSupply(r *reader, gs *groups, a *arrangement, head *weight, early bool) (*supply, error) {
	w := &supply{reader: r, plan: a, groups: gs, head: head}
	if r.lasts = a.rereads() || a.slots > 0; r.lasts {
		r.watch = newWatch(r.cat)
	}
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
	if a.slots > 0 {
		var err error
		w.experts, err = newExpertCache(r, gs.experts, a)
		return w, err
	}
	return w, nil
}

// keep takes memory for what stays, all in one slab.
func (w *supply) keep() error {
	b := w.reader.back
	s, err := b.NewSlab(w.plan.keptBytes(sizeOn(b)))
	if err != nil {
		return err
	}
	var off int64
	for _, k := range w.plan.kept {
		f := &fetch{rank: k.group.rank, loads: k.loads}
		if f.into, err = layOut(b, s, off, k.loads); err != nil {
			return err
		}
		for i, m := range f.into {
			if dst := k.loads[i].dst; dst != nil {
				dst.kept = append(dst.kept, part{m, k.loads[i].row})
			}
		}
		k.group.kept = f
		off += placedBytes(k.loads, sizeOn(b))
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

// load starts reading what stays, but not yet the last groups, which take at least holdBack
// bytes: memory that nobody has touched belongs to nobody.
func (w *supply) load(holdBack int64) {
	kept := w.plan.kept
	for held := int64(0); held < holdBack && len(kept) > 0; kept = kept[:len(kept)-1] {
		held += placedBytes(kept[len(kept)-1].loads, sizeOn(w.reader.back))
	}
	for _, k := range kept {
		w.reader.ensure(k.group.kept)
	}
}

// ready waits for everything that stays.
func (w *supply) ready(ctx context.Context) error {
	for _, k := range w.plan.kept {
		w.reader.ensure(k.group.kept)
		if err := w.reader.wait(ctx, k.group.kept); err != nil {
			return err
		}
	}
	return nil
}

// begin starts a step. One without logits ends with the last keys and values.
func (w *supply) begin(logits bool) {
	w.stream.begin(logits)
	if w.experts != nil {
		w.experts.step()
	}
}

// embed sets x to rows ids of the output matrix, times scale, whether it is there or not.
func (w *supply) embed(x *backend.Tensor, ids []int32, scale float32) error {
	kept := w.groups.head.kept
	there := kept != nil && (w.input == nil || kept.complete.Load())
	if there && len(w.head.blocks) == 0 {
		w.reader.back.Embed(x, w.head.kept[0].matrix, ids, scale)
		return nil
	}
	w.single = w.single[:0]
	for i, id := range ids {
		if p := w.head.at(int(id)); there && p != nil {
			w.input.one(x, i, p.matrix, id-int32(p.row), scale)
		} else {
			w.single = append(w.single, i)
		}
	}
	return w.input.embed(x, w.single, ids, scale)
}

// use makes sure that what stays of g is there.
func (w *supply) use(ctx context.Context, g *group) error {
	if g.kept == nil || g.kept.complete.Load() {
		return nil
	}
	w.reader.ensure(g.kept)
	return w.reader.wait(ctx, g.kept)
}

// expert returns expert e of a layer whose experts stay, after use.
func (w *supply) expert(layer int, e int32) backend.Expert {
	m := w.groups.experts[layer].kept.into[expertMatrices*e:]
	return backend.Expert{Gate: m[0], Up: m[1], Down: m[2]}
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
	Resident  int64         // now: memory for matrices, those that stay, ring and slots
	Groups    int64         // layers, experts and blocks of rows that were read whole
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
