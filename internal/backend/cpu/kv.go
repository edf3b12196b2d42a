package cpu

import (
	"fmt"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/kernel"
	"github.com/plume-run/plume/internal/quant"
)

// store holds K and V, each [head, slot, dim] as float32 or float16, where dim is
// headDim padded with zeros to a multiple of 8. The slots of a head follow each
// other, so attention reads one stream per head.
type store struct {
	spec     backend.KVSpec
	kind     kernel.Kind
	rowBytes int // of one key
	k, v     []byte
}

func (s *store) Spec() backend.KVSpec { return s.spec }
func (s *store) Bytes() int64         { return int64(len(s.k) + len(s.v)) }

// NewKV implements backend.Backend.
func (*CPU) NewKV(spec backend.KVSpec) (backend.KV, error) {
	s := &store{spec: spec}
	switch spec.Type {
	case quant.F32:
		s.kind = kernel.F32
	case quant.F16:
		s.kind = kernel.F16
	default:
		return nil, fmt.Errorf("make K/V store: type %s, want F16 or F32", spec.Type)
	}
	s.rowBytes = pad8(spec.HeadDim) * s.kind.Size()
	n := spec.Heads * spec.Slots * s.rowBytes
	s.k, s.v = make([]byte, n), make([]byte, n)
	return s, nil
}

// at returns the byte at which a slot of a head begins.
func (s *store) at(head, slot int) int { return (head*s.spec.Slots + slot) * s.rowBytes }

// Store implements backend.Backend.
func (*CPU) Store(kv backend.KV, slot int, k, v *backend.Tensor, row, n int) {
	s := kv.(*store)
	for i := range n {
		for h := range s.spec.Heads {
			at, from, to := s.at(h, (slot+i)%s.spec.Slots), h*s.spec.HeadDim, (h+1)*s.spec.HeadDim
			s.put(s.k[at:at+s.rowBytes], k.Row(row + i)[from:to])
			s.put(s.v[at:at+s.rowBytes], v.Row(row + i)[from:to])
		}
	}
}

// put writes one key or value [headDim]; the padding stays zero.
func (s *store) put(dst []byte, x []float32) {
	if s.kind == kernel.F32 {
		copy(floatsOf(dst), x)
	} else {
		kernel.F32ToF16(halvesOf(dst)[:len(x)], x)
	}
}

// CopyKV implements backend.Backend.
func (*CPU) CopyKV(dst backend.KV, slot int, src backend.KV, row, n int) {
	d, s := dst.(*store), src.(*store)
	for n > 0 {
		to := slot % d.spec.Slots
		run := min(n, d.spec.Slots-to)
		for h := range d.spec.Heads {
			at, from := d.at(h, to), s.at(h, row)
			copy(d.k[at:at+run*d.rowBytes], s.k[from:])
			copy(d.v[at:at+run*d.rowBytes], s.v[from:])
		}
		slot, row, n = slot+run, row+run, n-run
	}
}

// pad8 rounds up to a multiple of 8, as the kernels want their columns.
func pad8(n int) int { return (n + 7) &^ 7 }
