package ref

import (
	"math"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/quant"
)

// store holds K and V [slot, heads·headDim] f32, whatever type was asked for.
type store struct {
	spec backend.KVSpec
	k, v []float32
}

func (s *store) Spec() backend.KVSpec { return s.spec }
func (s *store) Bytes() int64         { return int64(len(s.k)+len(s.v)) * 4 }

// NewKV makes a float32 store; spec.Type is ignored, since ref never rounds.
func (*Ref) NewKV(spec backend.KVSpec) (backend.KV, error) {
	spec.Type = quant.F32
	n := spec.Slots * spec.Heads * spec.HeadDim
	return &store{spec, make([]float32, n), make([]float32, n)}, nil
}

// Store implements backend.Backend.
func (*Ref) Store(kv backend.KV, slot int, k, v *backend.Tensor, row, n int) {
	s := kv.(*store)
	for i := range n {
		at := (slot + i) % s.spec.Slots * k.Cols
		copy(s.k[at:], k.Row(row+i))
		copy(s.v[at:], v.Row(row+i))
	}
}

// CopyKV implements backend.Backend.
func (*Ref) CopyKV(dst backend.KV, slot int, src backend.KV, row, n int) {
	d, s := dst.(*store), src.(*store)
	width := d.spec.Heads * d.spec.HeadDim
	for i := range n {
		from, to := (row+i)*width, (slot+i)%d.spec.Slots*width
		copy(d.k[to:to+width], s.k[from:])
		copy(d.v[to:to+width], s.v[from:])
	}
}

// Attend implements backend.Backend.
func (*Ref) Attend(dst, q *backend.Tensor, spans []backend.Span, a backend.Attention) {
	group := a.Heads / a.KVHeads
	for _, s := range spans {
		for i := range s.N {
			for h := range a.Heads {
				query := q.Row(s.Row + i)[h*a.HeadDim : (h+1)*a.HeadDim]
				out := dst.Row(s.Row + i)[h*a.HeadDim : (h+1)*a.HeadDim]
				attendOne(out, query, s, s.Pos+i, h/group, a)
			}
		}
	}
}

// attendOne computes one head of one query at position pos.
func attendOne(out, query []float32, s backend.Span, pos, kvHead int, a backend.Attention) {
	first := 0
	if a.Window > 0 {
		first = max(0, pos-a.Window+1)
	}
	p := make([]float64, pos-first+1)
	top := math.Inf(-1)
	for j := range p {
		k, _ := keyValue(s, first+j, kvHead, a.HeadDim)
		p[j] = dot(query, k)
		top = max(top, p[j])
	}
	var sum float64
	for j := range p {
		p[j] = math.Exp(p[j] - top)
		sum += p[j]
	}
	acc := make([]float64, a.HeadDim)
	for j := range p {
		_, v := keyValue(s, first+j, kvHead, a.HeadDim)
		for d := range acc {
			acc[d] += p[j] / sum * float64(v[d])
		}
	}
	for d := range acc {
		out[d] = float32(acc[d])
	}
}

// keyValue returns the key and the value of position pos for one K/V head.
func keyValue(s backend.Span, pos, head, dim int) (k, v []float32) {
	kv, slot := s.Hist, 0
	if s.Fresh != nil && pos >= s.FreshPos {
		kv, slot = s.Fresh, s.FreshSlot+pos-s.FreshPos
	} else {
		slot = pos % kv.Spec().Slots
	}
	st := kv.(*store)
	at := (slot*st.spec.Heads + head) * dim
	return st.k[at : at+dim], st.v[at : at+dim]
}
