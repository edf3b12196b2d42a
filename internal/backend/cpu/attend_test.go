package cpu_test

import (
	"fmt"
	"testing"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/quant"
	"github.com/plume-run/plume/internal/testkit"
)

// TestAttendSameBits: queries get the same bits alone or in a prompt, on any number of threads,
// with their keys in one piece, around the end of a ring or partly in the fresh store.
func TestAttendSameBits(t *testing.T) {
	const keys, first, queries, fresh = 400, 370, 30, 381
	for _, typ := range []quant.Type{quant.F32, quant.F16, quant.I8} {
		for _, a := range []backend.Attention{
			{Heads: 8, KVHeads: 1, HeadDim: 64},
			{Heads: 6, KVHeads: 2, HeadDim: 20, Window: 150},
			{Heads: 3, KVHeads: 3, HeadDim: 40, Window: 7},
			{Heads: 4, KVHeads: 1, HeadDim: 256, Window: 300},
			{Heads: 8, KVHeads: 1, HeadDim: 512},
		} {
			p := newPair(t, 1)
			cols := a.KVHeads * a.HeadDim
			k, v, q := p.tensor(keys, cols), p.tensor(keys, cols), p.tensor(queries, a.Heads*a.HeadDim)
			var want []float32
			for _, threads := range []int{1, 2, 3} {
				c, err := cpu.New(threads)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				store := func(slots, from, to int) backend.KV {
					kv, err := c.NewKV(backend.KVSpec{Heads: a.KVHeads, HeadDim: a.HeadDim, Slots: slots, Type: typ})
					if err != nil {
						t.Fatal(err)
					}
					c.Store(kv, from%slots, k, v, from, to-from)
					return kv
				}
				whole := backend.Span{N: queries, Pos: first, Hist: store(keys+9, 0, keys)}
				parted := backend.Span{N: queries, Pos: first, Hist: store(keys, 0, fresh), Fresh: store(keys, fresh, keys), FreshPos: fresh, FreshSlot: fresh}
				ways := map[string]backend.Span{"whole": whole, "fresh": parted}
				if a.Window > 0 { // slots of keys that nobody sees any more are used again
					ring := store(333, 0, 333)
					c.Store(ring, 0, k, v, 333, keys-333)
					ways["ring"] = backend.Span{N: queries, Pos: first, Hist: ring}
				}
				for way, span := range ways {
					dst := backend.NewTensor(queries, q.Cols)
					c.Attend(dst, q, []backend.Span{span}, a)
					if want == nil {
						want = dst.Data
					}
					name := fmt.Sprintf("%v %v %s on %d threads", typ, a, way, threads)
					testkit.SameBits(t, name, dst.Data, want)
					for i := range queries {
						one := span
						one.Row, one.N, one.Pos = 0, 1, first+i
						alone := backend.NewTensor(1, q.Cols)
						c.Attend(alone, &backend.Tensor{Rows: 1, Cols: q.Cols, Data: q.Row(i)}, []backend.Span{one}, a)
						testkit.SameBits(t, fmt.Sprintf("%s, query %d alone", name, i), alone.Data, want[i*q.Cols:][:q.Cols])
					}
				}
			}
		}
	}
}
