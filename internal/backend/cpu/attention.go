package cpu

import (
	"fmt"
	"math"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/quant"
)

// store holds K and V, each [head, slot, headDim], as float32 or as float16.
type store struct {
	spec   backend.KVSpec
	k, v   []float32
	hk, hv []uint16
}

func (s *store) Spec() backend.KVSpec { return s.spec }
func (s *store) Bytes() int64 {
	return int64(len(s.k)+len(s.v))*4 + int64(len(s.hk)+len(s.hv))*2
}

// NewKV implements backend.Backend.
func (*CPU) NewKV(spec backend.KVSpec) (backend.KV, error) {
	n := spec.Heads * spec.Slots * spec.HeadDim
	switch spec.Type {
	case quant.F32:
		return &store{spec: spec, k: make([]float32, n), v: make([]float32, n)}, nil
	case quant.F16:
		return &store{spec: spec, hk: make([]uint16, n), hv: make([]uint16, n)}, nil
	}
	return nil, fmt.Errorf("make K/V store: type %s, want F16 or F32", spec.Type)
}

// Store implements backend.Backend.
func (*CPU) Store(kv backend.KV, slot int, k, v *backend.Tensor, row, n int) {
	s := kv.(*store)
	for i := range n {
		for h := range s.spec.Heads {
			at := (h*s.spec.Slots + (slot+i)%s.spec.Slots) * s.spec.HeadDim
			from := h * s.spec.HeadDim
			s.put(at, k.Row(row + i)[from:from+s.spec.HeadDim], v.Row(row + i)[from:from+s.spec.HeadDim])
		}
	}
}

// put stores one key and one value [headDim] at element at.
func (s *store) put(at int, k, v []float32) {
	if s.spec.Type == quant.F32 {
		copy(s.k[at:], k)
		copy(s.v[at:], v)
		return
	}
	for i := range k {
		s.hk[at+i] = quant.F32ToF16(k[i])
		s.hv[at+i] = quant.F32ToF16(v[i])
	}
}

// CopyKV implements backend.Backend.
func (*CPU) CopyKV(dst backend.KV, slot int, src backend.KV, row, n int) {
	d, s := dst.(*store), src.(*store)
	dim := d.spec.HeadDim
	for i := range n {
		for h := range d.spec.Heads {
			to := (h*d.spec.Slots + (slot+i)%d.spec.Slots) * dim
			from := (h*s.spec.Slots + row + i) * dim
			if d.spec.Type == quant.F32 {
				copy(d.k[to:to+dim], s.k[from:])
				copy(d.v[to:to+dim], s.v[from:])
			} else {
				copy(d.hk[to:to+dim], s.hk[from:])
				copy(d.hv[to:to+dim], s.hv[from:])
			}
		}
	}
}

// key returns key number at of the store in float32, using buf if it must convert.
func (s *store) key(at int, buf []float32) []float32 {
	if s.spec.Type == quant.F32 {
		return s.k[at : at+s.spec.HeadDim]
	}
	return widen(buf, s.hk[at:at+s.spec.HeadDim])
}

// value is key for values.
func (s *store) value(at int, buf []float32) []float32 {
	if s.spec.Type == quant.F32 {
		return s.v[at : at+s.spec.HeadDim]
	}
	return widen(buf, s.hv[at:at+s.spec.HeadDim])
}

func widen(dst []float32, src []uint16) []float32 {
	for i, v := range src {
		dst[i] = quant.F16ToF32(v)
	}
	return dst
}

// keyBlock is how many keys share one step of the online softmax.
const keyBlock = 64

// attendJob is Attend; a task is one query row and one K/V head.
type attendJob struct {
	c      *CPU
	dst, q *backend.Tensor
	spans  []backend.Span
	a      backend.Attention
}

// Attend implements backend.Backend.
func (c *CPU) Attend(dst, q *backend.Tensor, spans []backend.Span, a backend.Attention) {
	c.attend = attendJob{c, dst, q, spans, a}
	n := 0
	for _, s := range spans {
		n += s.N
	}
	c.pool.do(&c.attend, n*a.KVHeads)
}

func (j *attendJob) run(worker, task int) {
	row, head := task/j.a.KVHeads, task%j.a.KVHeads
	i := 0
	for row >= j.spans[i].N {
		row -= j.spans[i].N
		i++
	}
	j.query(&j.c.scratch[worker], &j.spans[i], row, head)
}

// query computes the output of the query heads that share one K/V head, for
// query i of the span. The keys are taken in blocks that start at the first
// visible position, with the running maximum and sum of an online softmax, so the
// order depends on the position alone.
func (j *attendJob) query(s *scratch, span *backend.Span, i, head int) {
	d, group := j.a.HeadDim, j.a.Heads/j.a.KVHeads
	pos, first := span.Pos+i, 0
	if j.a.Window > 0 {
		first = max(0, pos-j.a.Window+1)
	}
	at := head * group * d
	q := j.q.Row(span.Row + i)[at : at+group*d]
	out := j.dst.Row(span.Row + i)[at : at+group*d]
	clear(out)
	s.key = grow(s.key, d)
	s.scores = grow(s.scores, group*keyBlock)
	s.acc = grow(s.acc, 2*group)
	top, sum := s.acc[:group], s.acc[group:]
	for g := range group {
		top[g], sum[g] = float32(math.Inf(-1)), 0
	}
	for ; first <= pos; first += keyBlock {
		n := min(keyBlock, pos-first+1)
		for k := range n {
			key, at := slot(span, first+k, head)
			row := key.key(at, s.key)
			for g := range group {
				s.scores[g*keyBlock+k] = dot(row, q[g*d:(g+1)*d])
			}
		}
		for g := range group {
			rescale(s.scores[g*keyBlock:g*keyBlock+n], &top[g], &sum[g], out[g*d:(g+1)*d])
		}
		for k := range n {
			val, at := slot(span, first+k, head)
			row := val.value(at, s.key)
			for g := range group {
				axpy(out[g*d:(g+1)*d], s.scores[g*keyBlock+k], row)
			}
		}
	}
	for g := range group {
		inv := 1 / sum[g]
		for k := range d {
			out[g*d+k] *= inv
		}
	}
}

// slot returns the store and the element at which position pos of a K/V head lies.
func slot(span *backend.Span, pos, head int) (*store, int) {
	if span.Fresh != nil && pos >= span.FreshPos {
		s := span.Fresh.(*store)
		return s, (head*s.spec.Slots + span.FreshSlot + pos - span.FreshPos) * s.spec.HeadDim
	}
	s := span.Hist.(*store)
	return s, (head*s.spec.Slots + pos%s.spec.Slots) * s.spec.HeadDim
}

// rescale turns scores into weights exp(score − top) after raising top to their
// maximum, and scales what was summed before to the new top.
func rescale(scores []float32, top, sum *float32, out []float32) {
	high := *top
	for _, v := range scores {
		high = max(high, v)
	}
	if high > *top {
		f := float32(math.Exp(float64(*top - high)))
		*top, *sum = high, *sum*f
		for i := range out {
			out[i] *= f
		}
	}
	for i, v := range scores {
		e := float32(math.Exp(float64(v - high)))
		scores[i] = e
		*sum += e
	}
}

// axpy adds a·x to y.
func axpy(y []float32, a float32, x []float32) {
	x = x[:len(y)]
	for i := range y {
		y[i] += float32(a * x[i])
	}
}
