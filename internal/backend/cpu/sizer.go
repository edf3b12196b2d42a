package cpu

import (
	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/kernel"
	"github.com/plume-run/plume/internal/quant"
)

// Sizer implements backend.Sizer for a backend of so many threads.
type Sizer struct{ Threads int }

// MatrixBytes implements backend.Sizer.
func (Sizer) MatrixBytes(t quant.Type, out, in int) int64 {
	return int64(kernel.PackedBytes(t, out, in))
}

// KVBytes implements backend.Sizer.
func (Sizer) KVBytes(s backend.KVSpec) int64 {
	rows := int64(s.Heads) * int64(s.Slots)
	n := 2 * rows * int64(rowBytesOf(s))
	if s.Type == quant.I8 {
		n += 2 * rows * 4 // the scales
	}
	return n
}

// rowBytesOf is the bytes of one key of a store.
func rowBytesOf(s backend.KVSpec) int {
	switch s.Type {
	case quant.I8:
		return pad8(s.HeadDim)
	case quant.F16:
		return 2 * pad8(s.HeadDim)
	}
	return 4 * pad8(s.HeadDim)
}

// ScratchBytes implements backend.Sizer. Buffers grow to the largest job they have
// seen, each on its own, so it is a sum of maxima.
func (z Sizer) ScratchBytes(w backend.Work) int64 {
	var floats, rounded, gated, experts int64
	for _, p := range w.Products {
		l, _ := kernel.LayoutFor(p.Type)
		if n := actsBytes(l, p.Rows, p.In); l.Float() {
			floats = max(floats, n)
		} else {
			rounded = max(rounded, n)
		}
		if p.Gated {
			gated = max(gated, z.gated(p, l, min(p.Rows, spanTokens-1)), z.gated(p, l, p.Rows))
		}
	}
	for _, e := range w.Experts {
		experts = max(experts, 4*int64(e.Rows)*int64(2*e.Hidden+e.FFN))
	}
	var query, scores, acc, results int64
	for _, a := range w.Attention {
		t := z.attend(a)
		query, scores = max(query, t.query), max(scores, t.scores)
		acc, results = max(acc, t.acc), max(results, t.results)
	}
	return floats + rounded + experts + results + int64(z.Threads)*(gated+query+scores+acc)
}

// gated is what gate and up of a tile take.
func (z Sizer) gated(p backend.ProductWork, l kernel.Layout, tokens int) int64 {
	rows := min(p.Out, panelRows*tilePanels(l, p.Out, p.In, tokens, z.Threads))
	return 2 * 4 * int64(min(tokens, gateTokens)) * int64(rows)
}

// actsBytes is what kernel.Acts takes for a product's input.
func actsBytes(l kernel.Layout, rows, cols int) int64 {
	if l.Float() {
		return 4 * int64(rows) * int64((cols+15)&^15)
	}
	stride := cols / 32 * 48
	if stride%4096 == 0 {
		stride += 4 * 48
	}
	return int64(rows) * int64(stride)
}

// attendBytes is the working memory of an Attend: of each thread and, results, of all.
type attendBytes struct{ query, scores, acc, results int64 }

// attend follows attendJob: prompts go through blocks of keys with a pair of
// accumulators per vector, single queries leave a result per block and head.
func (z Sizer) attend(a backend.AttentionWork) attendBytes {
	group, dim := a.Heads/max(1, a.KVHeads), int64(pad8(a.HeadDim))
	if a.Rows == 1 {
		keys := a.Keys
		if a.Window > 0 {
			keys = min(keys, a.Window)
		}
		blocks := int64(keys)/keyBlock + 2 // the window may begin and end inside a block
		vecs := int64(group)
		return attendBytes{
			query: 4 * vecs * dim, scores: 4 * vecs * keyBlock,
			// Splitting a group over threads rounds its parts up.
			results: blocks * int64(a.Heads+a.KVHeads*z.Threads) * (4*dim + 8),
		}
	}
	vecs := int64(min(max(1, taskVecs/group), a.Rows) * group)
	return attendBytes{query: 4 * vecs * dim, scores: 4 * vecs * keyBlock, acc: 2 * vecs * (4*dim + 8)}
}

// ScratchBytes is the working memory held at the moment, the tensors that were lent
// left out; for comparison with Sizer.ScratchBytes.
func (c *CPU) ScratchBytes() int64 {
	n := int64(4*cap(c.attend.acc) + 8*cap(c.attend.sums))
	for i := range c.scratch {
		s := &c.scratch[i]
		n += int64(4*(cap(s.gate)+cap(s.up)+cap(s.query)+cap(s.scores)+cap(s.acc)) + 8*cap(s.sums))
	}
	e := &c.expert
	n += int64(4 * (cap(e.x.Data) + cap(e.act.Data) + cap(e.y.Data)))
	return n + c.floats.bytes + c.rounded.bytes
}
