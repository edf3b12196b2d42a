package gemma

import (
	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/quant"
)

// The tensors of a step, for tables of sizes.
const (
	bufX = iota
	bufH
	bufSwap
	bufQ
	bufK
	bufV
	bufA
	bufY
	bufAct
	bufY2
	bufRouter
	bufLogits
	bufEarly
	bufLate
	bufTok
	bufH0
	buffers
)

// stepFloats is how many float32 each tensor of a step holds at most.
type stepFloats [buffers]int

// tensors returns the step's tensors in the same order.
func (s *step) tensors() [buffers]*backend.Tensor {
	return [buffers]*backend.Tensor{
		&s.x, &s.h, &s.swap, &s.q, &s.k, &s.v, &s.a, &s.y, &s.act, &s.y2, &s.router,
		&s.logits, &s.ple.early, &s.ple.late, &s.ple.tok, &s.ple.h0,
	}
}

// stepFloats sizes the tensors of a step over rows tokens of which wanted get
// logits. Before the last layer that owns keys and values all rows are computed,
// from its queries on only the wanted ones (see Forward).
func (c *Config) stepFloats(rows, wanted int) stepFloats {
	var n stepFloats
	grow := func(i, rows, cols int) { n[i] = max(n[i], rows*cols) }
	hidden, lastOwner := c.HiddenSize, c.FirstShared()-1
	grow(bufX, rows, hidden)
	grow(bufH, rows, hidden)
	if 0 < wanted && wanted < rows {
		grow(bufSwap, rows, hidden) // the three take turns
	}
	for i := range c.NumLayers {
		if i <= lastOwner {
			kv := c.LayerKVHeads(i) * c.LayerHeadDim(i)
			grow(bufK, rows, kv)
			grow(bufV, rows, kv)
		}
		r := c.layerRows(i, rows, wanted)
		grow(bufQ, r, c.NumHeads*c.LayerHeadDim(i))
		grow(bufA, r, c.NumHeads*c.LayerHeadDim(i))
		grow(bufY, r, hidden)
		grow(bufAct, r, max(c.IntermediateSize[i], c.PLESize))
		if c.NumExperts > 0 {
			grow(bufY2, r, hidden)
			grow(bufRouter, r, c.NumExperts)
		}
	}
	grow(bufLogits, wanted, c.VocabSize)
	if c.PLESize > 0 {
		split := lastOwner * c.PLESize
		grow(bufEarly, rows, split)
		grow(bufLate, wanted, c.RowValues()-split)
		grow(bufTok, rows, split)
		grow(bufTok, wanted, c.RowValues()-split)
		grow(bufH0, wanted, hidden)
	}
	return n
}

// layerRows is the number of rows that layer i computes, its keys and values aside.
func (c *Config) layerRows(i, rows, wanted int) int {
	if i >= c.FirstShared()-1 {
		return wanted
	}
	return rows
}

// Reserve makes room for steps of rows tokens of which wanted get logits, so that
// they allocate nothing later. Steps beyond that still work.
func (m *Model) Reserve(rows, wanted int) {
	n := m.cfg.stepFloats(rows, wanted)
	for i, t := range m.step.tensors() {
		if cap(t.Data) < n[i] {
			t.Data = make([]float32, 0, n[i])
			t.Rows, t.Cols = 0, 0
		}
	}
	m.ropeSliding.reserve(rows)
	m.ropeFull.reserve(rows)
}

// StepBytes is the memory of a step by purpose.
type StepBytes struct {
	Activations int64 // tensors and angles, the logits left out
	Logits      int64
	Fresh       int64 // keys and values waiting beside the rings
	Books       int64 // ids, positions, routing, a decoded row
	Scratch     int64 // the device's own
}

// Sum is all of it.
func (b StepBytes) Sum() int64 { return b.Activations + b.Logits + b.Fresh + b.Books + b.Scratch }

// StepBytes is what the model's tensors hold now: after Reserve and steps within it
// what Weights.StepBytes says. Books and the device's scratch are not counted.
func (m *Model) StepBytes() StepBytes {
	var b StepBytes
	for i, t := range m.step.tensors() {
		if i == bufLogits {
			b.Logits += 4 * int64(cap(t.Data))
		} else {
			b.Activations += 4 * int64(cap(t.Data))
		}
	}
	for _, r := range []*ropeTable{m.ropeSliding, m.ropeFull} {
		b.Activations += 4 * int64(cap(r.rope.Cos)+cap(r.rope.Sin))
	}
	for _, kv := range m.step.fresh {
		if kv != nil {
			b.Fresh += kv.Bytes()
		}
	}
	return b
}

// StepShape says which steps a StepBytes is for: Rows tokens of which Wanted get
// logits, in a cache of Context positions with Slack on trial and elements of KVType.
type StepShape struct {
	Rows, Wanted   int
	Context, Slack int
	KVType         quant.Type
}

// StepBytes returns what steps of all these shapes take on the device that z
// describes: buffers are shared by steps and as large as the largest asks for.
func (w *Weights) StepBytes(z backend.Sizer, shapes ...StepShape) StepBytes {
	var b StepBytes
	var floats stepFloats
	var fresh [2]int64
	var work backend.Work
	rows := 0
	for _, s := range shapes {
		rows = max(rows, s.Rows)
		for i, n := range w.cfg.stepFloats(s.Rows, s.Wanted) {
			floats[i] = max(floats[i], n)
		}
		for which, layer := range w.cfg.freshLayers() {
			if layer >= 0 && s.Rows > 1+s.Slack {
				fresh[which] = max(fresh[which], z.KVBytes(w.cfg.kvSpec(layer, freshSlots(s.Rows), s.KVType)))
			}
		}
		w.addWork(&work, s)
	}
	for i, n := range floats {
		if i == bufLogits {
			b.Logits = 4 * int64(n)
		} else {
			b.Activations += 4 * int64(n)
		}
	}
	b.Activations += 8 * int64(rows) * int64(w.cfg.HeadDim/2+w.cfg.RotaryPairs())
	b.Fresh = fresh[0] + fresh[1]
	b.Books = int64(rows)*int64(bookBytes+20*w.cfg.TopKExperts) + 28*int64(w.cfg.NumExperts) + 4*int64(w.cfg.RowValues())
	b.Scratch = z.ScratchBytes(work)
	return b
}

// bookBytes is what a token takes in lists of ids and positions; each expert that it goes
// to takes 20 more, each that there is 28.
const bookBytes = 4 + 8 + 8 + 4

// addWork lists what the step asks of the device.
func (w *Weights) addWork(out *backend.Work, s StepShape) {
	c := w.cfg
	for _, p := range w.products {
		rows := s.Rows
		switch {
		case p.layer >= 0 && p.key != KeyK && p.key != KeyV:
			rows = c.layerRows(p.layer, s.Rows, s.Wanted)
		case p.key == KeyEmbed || p.late:
			rows = s.Wanted
		}
		if rows > 0 {
			// A gate's tiles and those of what it is multiplied by are cut by the gate's type, which
			// may differ: all are listed, for the largest.
			gated := p.key == KeyGate || p.key == KeyUp || p.key == KeyPLEGate || p.key == KeyExpertsGateUp
			out.Products = append(out.Products, backend.ProductWork{
				Rows: rows, Out: p.out, In: p.in, Type: p.typ, Gated: gated,
			})
		}
	}
	for i := range c.NumLayers {
		rows := c.layerRows(i, s.Rows, s.Wanted)
		if rows == 0 {
			continue
		}
		out.Attention = append(out.Attention, backend.AttentionWork{Attention: c.attention(i), Rows: rows, Keys: s.Context})
		if c.NumExperts > 0 {
			out.Experts = append(out.Experts, backend.ExpertsWork{Rows: rows, Hidden: c.HiddenSize, FFN: c.ExpertSize})
		}
	}
}

// SessionShapes lists a session's steps: prompts in chunks, and decode steps of one
// token and up to draft tokens on trial.
func SessionShapes(chunk, draft, context int, typ quant.Type) []StepShape {
	shape := func(rows, wanted int) StepShape {
		return StepShape{Rows: rows, Wanted: wanted, Context: context, Slack: draft, KVType: typ}
	}
	return []StepShape{shape(chunk, 0), shape(chunk, 1), shape(1, 1), shape(1+draft, 1+draft)}
}
