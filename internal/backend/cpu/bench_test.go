package cpu_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/quant"
)

// BenchmarkAttend is the attention of a decode step at position 4096 with E2B's layers: 7 full
// ones of head size 512 and 28 with windows of 512, 8 query heads to a K/V head. Every layer has
// keys and values of its own, more than the caches hold, as weights would push them out.
//
//	go test -run - -bench Attend -benchtime 200x ./internal/backend/cpu
func BenchmarkAttend(b *testing.B) {
	const heads, pos, window = 8, 4095, 512
	for _, typ := range []quant.Type{quant.F16, quant.I8} {
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("%v/threads=%d", typ, threads), func(b *testing.B) {
				c, err := cpu.New(threads)
				if err != nil {
					b.Fatal(err)
				}
				defer c.Close()
				r := rand.New(rand.NewPCG(1, 1))
				random := func(rows, cols int) *backend.Tensor {
					x := backend.NewTensor(rows, cols)
					for i := range x.Data {
						x.Data[i] = r.Float32() - 0.5
					}
					return x
				}
				type layer struct {
					span []backend.Span
					a    backend.Attention
				}
				var layers []layer
				for i := range 35 {
					a := backend.Attention{Heads: heads, KVHeads: 1, HeadDim: 256, Window: window}
					slots := window
					if i%5 == 4 {
						a.HeadDim, a.Window, slots = 512, 0, pos+1
					}
					kv, err := c.NewKV(backend.KVSpec{Heads: 1, HeadDim: a.HeadDim, Slots: slots, Type: typ})
					if err != nil {
						b.Fatal(err)
					}
					c.Store(kv, 0, random(slots, a.HeadDim), random(slots, a.HeadDim), 0, slots)
					layers = append(layers, layer{[]backend.Span{{N: 1, Pos: pos, Hist: kv}}, a})
				}
				q, dst := random(1, heads*512), backend.NewTensor(1, heads*512)
				var took []time.Duration
				for b.Loop() {
					begin := time.Now()
					for i := range layers {
						l := &layers[i]
						q.Cols, dst.Cols = heads*l.a.HeadDim, heads*l.a.HeadDim
						c.Attend(dst, q, l.span, l.a)
					}
					took = append(took, time.Since(begin))
				}
				slices.Sort(took)
				b.ReportMetric(took[len(took)/10].Seconds()*1e3, "ms-p10")
				b.ReportMetric(took[len(took)/2].Seconds()*1e3, "ms-median")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// BenchmarkAttendContext is one decode step's attention of one layer against the context, keys and values
// from memory, as weights would push them out: of a full layer it grows with the context, of a window
// with the window alone.
//
//	go test -run - -bench AttendContext -benchtime 200x ./internal/backend/cpu
func BenchmarkAttendContext(b *testing.B) {
	for _, window := range []int{0, 512} {
		for _, dim := range []int{256, 512} {
			for _, context := range []int{1 << 10, 4 << 10, 16 << 10} {
				b.Run(fmt.Sprintf("window=%d/dim=%d/context=%d", window, dim, context), func(b *testing.B) {
					attendContext(b, backend.Attention{Heads: 8, KVHeads: 1, HeadDim: dim, Window: window}, context)
				})
			}
		}
	}
}

// attendContext reports the median time of Attend, each on other keys and values than the last.
func attendContext(b *testing.B, a backend.Attention, context int) {
	c, err := cpu.New(2)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	slots := context
	if a.Window > 0 {
		slots = a.Window
	}
	stores := make([]backend.KV, 2+128<<20/(4*slots*a.HeadDim))
	x := backend.NewTensor(slots, a.HeadDim)
	for i := range x.Data {
		x.Data[i] = float32(i%17)/17 - 0.5
	}
	for i := range stores {
		if stores[i], err = c.NewKV(backend.KVSpec{Heads: 1, HeadDim: a.HeadDim, Slots: slots, Type: quant.F16}); err != nil {
			b.Fatal(err)
		}
		c.Store(stores[i], 0, x, x, 0, slots)
	}
	q, dst := backend.NewTensor(1, a.Heads*a.HeadDim), backend.NewTensor(1, a.Heads*a.HeadDim)
	copy(q.Data, x.Data)
	span := []backend.Span{{N: 1, Pos: context - 1}}
	var took []time.Duration
	for n := 0; b.Loop(); n++ {
		span[0].Hist = stores[n%len(stores)]
		begin := time.Now()
		c.Attend(dst, q, span, a)
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds()*1e6, "µs-median")
	b.ReportMetric(0, "ns/op")
}
