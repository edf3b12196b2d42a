package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/plume-run/plume/internal/quant"
)

// The benchmarks of matrix products report the best of many short samples (0.1 to 2 ms), which
// a busy machine disturbs least, beside the machine's limits taken the same way:
//
//	go test -run - -bench 'Limits|MatVec|MatMul' -benchtime 300x ./internal/kernel
//
// MatVec reads different weights every time (more than the caches hold): compare its GB/s
// with Limits/read, and GMAC/s of MatMul with Limits/int8.

// best runs f b.N times and reports bytes and multiply-adds per second of the fastest run.
func best(b *testing.B, bytes, macs int, f func()) {
	fastest := time.Hour
	for range b.N {
		start := time.Now()
		f()
		fastest = min(fastest, time.Since(start))
	}
	if bytes > 0 {
		b.ReportMetric(float64(bytes)/fastest.Seconds()/1e9, "GB/s")
	}
	if macs > 0 {
		b.ReportMetric(float64(macs)/fastest.Seconds()/1e9, "GMAC/s")
	}
	b.ReportMetric(0, "ns/op")
}

const benchBytes = 512 << 20 // beyond the caches

func BenchmarkLimits(b *testing.B) {
	buf := make([]byte, benchBytes)
	for i := 0; i < len(buf); i += 4096 {
		buf[i] = 1
	}
	b.Run("read", func(b *testing.B) {
		at, n := 0, 4<<20
		best(b, n, 0, func() {
			StreamRead(buf[at : at+n])
			at = (at + n) % len(buf)
		})
	})
	b.Run("int8", func(b *testing.B) { best(b, 0, PeakInt8(), func() { PeakInt8() }) })
	b.Run("f32", func(b *testing.B) { best(b, 0, PeakF32(), func() { PeakF32() }) })
}

var benchTypes = []quant.Type{quant.Q4_0, quant.Q8_0, quant.Q2_K, quant.Q3_K, quant.Q4_K, quant.Q5_K, quant.Q6_K, quant.Q4_1, quant.Q5_1, quant.IQ4_NL, quant.IQ4_XS, quant.BF16, quant.F32}

func benchMatrix(b *testing.B, typ quant.Type, rows, cols int) *Matrix {
	r := rand.New(rand.NewPCG(1, 1))
	return packed(b, typ, weights(r, typ, rows, cols, -1), rows, cols)
}

func BenchmarkMatVec(b *testing.B) {
	data := make([]byte, benchBytes)
	for _, typ := range benchTypes {
		for _, cols := range []int{1536, 12288} {
			b.Run(fmt.Sprintf("%v/%d", typ, cols), func(b *testing.B) {
				src := benchMatrix(b, typ, 64, cols)
				n := len(src.Data)
				for o := 0; o+n <= len(data); o += n {
					copy(data[o:], src.Data)
				}
				panel := src.Layout.PanelBytes(cols)
				m := &Matrix{Layout: src.Layout, Rows: len(data) / panel * PanelRows, Cols: cols, Data: data}
				a := activations(rand.New(rand.NewPCG(1, 1)), m.Layout, 1, cols)
				y := make([]float32, m.Rows)
				step, p := 4<<20/panel, 0
				b.ResetTimer()
				best(b, step*panel, step*PanelRows*cols, func() {
					MatMul(y, m.Rows, m, p, p+step, a, 0, 1)
					if p += step; (p+step)*PanelRows > m.Rows {
						p = 0
					}
				})
			})
		}
	}
}

// BenchmarkMatVecHot is MatVec with weights that stay in the second-level cache: arithmetic alone.
func BenchmarkMatVecHot(b *testing.B) {
	for _, typ := range benchTypes {
		for _, cols := range []int{1536, 12288} {
			b.Run(fmt.Sprintf("%v/%d", typ, cols), func(b *testing.B) {
				rows := max(PanelRows, 64*1536/cols)
				m := benchMatrix(b, typ, rows, cols)
				a := activations(rand.New(rand.NewPCG(1, 1)), m.Layout, 1, cols)
				y := make([]float32, rows)
				best(b, m.Bytes(), rows*cols, func() { MatMul(y, rows, m, 0, Panels(rows), a, 0, 1) })
			})
		}
	}
}

func BenchmarkPrefetch(b *testing.B) {
	old := prefetchAhead
	defer func() { prefetchAhead = old }()
	for _, ahead := range []int{0, 1 << 10, 2 << 10, 3 << 10, 4 << 10, 6 << 10, 8 << 10, 16 << 10} {
		prefetchAhead = ahead
		b.Run(fmt.Sprint(ahead), BenchmarkMatVec)
	}
}

func BenchmarkMatMul(b *testing.B) {
	const rows, tokens = 64, 120
	for _, typ := range benchTypes {
		for _, cols := range []int{1536, 12288} {
			b.Run(fmt.Sprintf("%v/%d", typ, cols), func(b *testing.B) {
				m := benchMatrix(b, typ, rows, cols)
				a := activations(rand.New(rand.NewPCG(1, 1)), m.Layout, tokens, cols)
				y := make([]float32, tokens*rows)
				n := min(tokens, 120*1536*2/cols)
				best(b, 0, rows*cols*n, func() {
					MatMul(y, rows, m, 0, Panels(rows), a, 0, n)
				})
			})
		}
	}
}

func BenchmarkPack(b *testing.B) {
	for _, typ := range weightTypes {
		b.Run(typ.String(), func(b *testing.B) {
			const rows, cols = 256, 1536
			src := weights(rand.New(rand.NewPCG(1, 1)), typ, rows, cols, -1)
			dst := make([]byte, PackedBytes(typ, rows, cols))
			best(b, len(src), 0, func() {
				if err := PackRows(typ, dst, src, rows, cols); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

func BenchmarkVec(b *testing.B) {
	const n = 1536
	r := rand.New(rand.NewPCG(1, 1))
	x, y, w := values(r, n, false), values(r, n, false), values(r, n, false)
	z := make([]float32, n)
	var a Acts
	a.Reset(LayoutQ4_0, 1, n)
	for _, op := range []struct {
		name string
		f    func()
	}{
		{"RMSNorm", func() { RMSNorm(z, x, w, 1e-6) }},
		{"GeGLU", func() { copy(z, x); GeGLU(z, y) }},
		{"ExpSum", func() { copy(z, x); ExpSum(z, 3) }},
		{"SoftCap", func() { copy(z, x); SoftCap(z, 30) }},
		{"Add", func() { Add(z, x) }},
		{"Dot", func() { Dot(x, y) }},
		{"Quantize", func() { a.Set(0, x) }},
	} {
		b.Run(op.name, func(b *testing.B) { best(b, 4*n, 0, op.f) })
	}
}

// BenchmarkAttention is one position of 8 query heads over 64 positions of one KV head.
func BenchmarkAttention(b *testing.B) {
	const heads, pos = 8, 64
	for _, k := range []Kind{F32, F16, I8} {
		for _, dim := range []int{256, 512} {
			r := rand.New(rand.NewPCG(1, 1))
			rows := rowsOf(r, k, pos, dim, 0)
			q := Vecs{Data: values(r, heads*dim, false), N: heads, Stride: dim}
			p := Vecs{Data: values(r, heads*pos, false), N: heads, Stride: pos}
			y := make([]float32, heads*pos)
			out := Vecs{Data: make([]float32, heads*dim), N: heads, Stride: dim}
			dots, mix := func() { Dots(y, 1, pos, rows, q) }, func() { Mix(out, p, rows, false) }
			if k == I8 {
				iq, ip, sums := intsOf(r, heads, dim, 1<<14), intsOf(r, heads, pos, 1<<14), make([]int32, heads*dim)
				dots, mix = func() { DotInts(y, pos, rows, iq) }, func() { MixInts(sums, dim, ip, rows) }
			}
			b.Run(fmt.Sprintf("Dots/%v/%d", k, dim), func(b *testing.B) { best(b, pos*dim*k.Size(), heads*pos*dim, dots) })
			b.Run(fmt.Sprintf("Mix/%v/%d", k, dim), func(b *testing.B) { best(b, pos*dim*k.Size(), heads*pos*dim, mix) })
		}
	}
}
