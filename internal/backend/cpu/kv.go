package cpu

import (
	"fmt"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/kernel"
	"github.com/plume-run/plume/internal/quant"
)

// store holds K and V, each [head, slot, dim] as float32, float16 or int8, where dim
// is headDim padded with zeros to a multiple of 8. The slots of a head follow each
// other, so attention reads one stream per head. An int8 row has a scale beside it.
type store struct {
	spec           backend.KVSpec
	kind           kernel.Kind
	rowBytes       int // of one key
	k, v           []byte
	kScale, vScale []float32 // [head, slot], int8 only
}

func (s *store) Spec() backend.KVSpec { return s.spec }
func (s *store) Bytes() int64 {
	return int64(len(s.k)+len(s.v)) + 4*int64(len(s.kScale)+len(s.vScale))
}

// NewKV implements backend.Backend.
func (*CPU) NewKV(spec backend.KVSpec) (backend.KV, error) {
	s := &store{spec: spec}
	switch spec.Type {
	case quant.F32:
		s.kind = kernel.F32
	case quant.F16:
		s.kind = kernel.F16
	case quant.I8:
		s.kind = kernel.I8
		s.kScale, s.vScale = make([]float32, spec.Heads*spec.Slots), make([]float32, spec.Heads*spec.Slots)
	default:
		return nil, fmt.Errorf("make K/V store: type %s, want F32, F16 or I8", spec.Type)
	}
	s.rowBytes = rowBytesOf(spec)
	n := spec.Heads * spec.Slots * s.rowBytes
	mem := make([]byte, 2*n)
	if !spec.Copy { // whose memory becomes the heap's again
		hugePages(mem)
	}
	s.k, s.v = mem[:n:n], mem[n:]
	return s, nil
}

// index returns the number of a head's slot in the store.
func (s *store) index(head, slot int) int { return head*s.spec.Slots + slot }

// rows returns the bytes of n rows of x, K or V, from row number i on.
func (s *store) rows(x []byte, i, n int) []byte {
	return x[i*s.rowBytes : (i+n)*s.rowBytes]
}

// Store implements backend.Backend.
func (c *CPU) Store(kv backend.KV, slot int, k, v *backend.Tensor, row, n int) {
	begin := c.prof.begin()
	defer c.prof.end(ClassAttend, begin)
	s := kv.(*store)
	for i := range n {
		for h := range s.spec.Heads {
			at, from, to := s.index(h, (slot+i)%s.spec.Slots), h*s.spec.HeadDim, (h+1)*s.spec.HeadDim
			s.put(s.k, s.kScale, at, k.Row(row + i)[from:to])
			s.put(s.v, s.vScale, at, v.Row(row + i)[from:to])
		}
	}
}

// put writes one key or value [headDim] to row at of dst; the padding stays zero.
func (s *store) put(dst []byte, scale []float32, at int, x []float32) {
	row := s.rows(dst, at, 1)
	switch s.kind {
	case kernel.F32:
		copy(floatsOf(row), x)
	case kernel.F16:
		kernel.F32ToF16(halvesOf(row)[:len(x)], x)
	default:
		scale[at] = kernel.QuantizeRow(int8sOf(row)[:len(x)], x)
	}
}

// CopyKV implements backend.Backend.
func (c *CPU) CopyKV(dst backend.KV, slot int, src backend.KV, row, n int) {
	begin := c.prof.begin()
	defer c.prof.end(ClassAttend, begin)
	d, s := dst.(*store), src.(*store)
	for n > 0 {
		to := slot % d.spec.Slots
		run := min(n, d.spec.Slots-to)
		for h := range d.spec.Heads {
			at, from := d.index(h, to), s.index(h, row)
			copy(d.rows(d.k, at, run), s.rows(s.k, from, run))
			copy(d.rows(d.v, at, run), s.rows(s.v, from, run))
			if d.kind == kernel.I8 {
				copy(d.kScale[at:at+run], s.kScale[from:])
				copy(d.vScale[at:at+run], s.vScale[from:])
			}
		}
		slot, row, n = slot+run, row+run, n-run
	}
}

// pad8 rounds up to a multiple of 8, as the kernels want their columns.
func pad8(n int) int { return (n + 7) &^ 7 }
