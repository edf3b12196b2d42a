package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/plume-run/plume/internal/quant"
)

// Benchmarks name their best of a few runs beside the machine's limits of the same run:
//
//	go test -run - -bench 'Limits|MatVec|MatMul' ./internal/kernel
//
// MatVec reads different weights every time (more than the caches hold); GB/s is to be
// compared with Limits/read. GMAC/s of MatMul is to be compared with Limits/int8.

func BenchmarkLimits(b *testing.B) {
	buf := make([]byte, 256<<20)
	for i := 0; i < len(buf); i += 4096 {
		buf[i] = 1
	}
	b.Run("read", func(b *testing.B) {
		b.SetBytes(int64(len(buf)))
		for b.Loop() {
			StreamRead(buf)
		}
	})
	b.Run("int8", func(b *testing.B) { benchPeak(b, PeakInt8) })
	b.Run("f32", func(b *testing.B) { benchPeak(b, PeakF32) })
}

func benchPeak(b *testing.B, f func() int) {
	n := 0
	for b.Loop() {
		n += f()
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds()/1e9, "GMAC/s")
}

var benchTypes = []quant.Type{quant.Q4_0, quant.Q8_0, quant.Q4_K, quant.Q5_K, quant.Q6_K, quant.Q4_1, quant.Q5_1, quant.BF16, quant.F32}

func benchMatrix(b *testing.B, typ quant.Type, rows, cols int) *Matrix {
	r := rand.New(rand.NewPCG(1, 1))
	return packed(b, typ, weights(r, typ, rows, cols, -1), rows, cols)
}

func BenchmarkMatVec(b *testing.B) {
	for _, typ := range benchTypes {
		for _, cols := range []int{1536, 12288} {
			b.Run(fmt.Sprintf("%v/%d", typ, cols), func(b *testing.B) {
				perRow, _ := typ.Bytes(int64(cols))
				rows := 128 << 20 / int(perRow) &^ 7
				src := benchMatrix(b, typ, 256, cols)
				m := &Matrix{Layout: src.Layout, Rows: rows, Cols: cols}
				for len(m.Data) < m.Bytes() {
					m.Data = append(m.Data, src.Data...)
				}
				r := rand.New(rand.NewPCG(1, 1))
				a := activations(r, m.Layout, 1, cols)
				y := make([]float32, rows)
				b.SetBytes(int64(m.Bytes()))
				b.ResetTimer()
				for b.Loop() {
					MatMul(y, rows, m, 0, Panels(rows), a, 0, 1)
				}
				b.ReportMetric(float64(b.N)*float64(rows*cols)/b.Elapsed().Seconds()/1e9, "GMAC/s")
			})
		}
	}
}

func BenchmarkMatMul(b *testing.B) {
	const rows, tokens = 256, 120
	for _, typ := range benchTypes {
		for _, cols := range []int{1536, 12288} {
			b.Run(fmt.Sprintf("%v/%d", typ, cols), func(b *testing.B) {
				m := benchMatrix(b, typ, rows, cols)
				r := rand.New(rand.NewPCG(1, 1))
				a := activations(r, m.Layout, tokens, cols)
				y := make([]float32, tokens*rows)
				b.ResetTimer()
				for b.Loop() {
					MatMul(y, rows, m, 0, Panels(rows), a, 0, tokens)
				}
				b.ReportMetric(float64(b.N)*float64(rows*cols*tokens)/b.Elapsed().Seconds()/1e9, "GMAC/s")
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
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				if err := PackRows(typ, dst, src, rows, cols); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVec(b *testing.B) {
	const n = 1536
	r := rand.New(rand.NewPCG(1, 1))
	x, y, w := values(r, n, false), values(r, n, false), values(r, n, false)
	z := make([]float32, n)
	for name, f := range map[string]func(){
		"RMSNorm": func() { RMSNorm(z, x, w, 1e-6) },
		"GeGLU":   func() { copy(z, x); GeGLU(z, y) },
		"ExpSum":  func() { copy(z, x); ExpSum(z, 3) },
		"SoftCap": func() { copy(z, x); SoftCap(z, 30) },
		"Add":     func() { Add(z, x) },
		"Dot":     func() { Dot(x, y) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(4 * n)
			for b.Loop() {
				f()
			}
		})
	}
	var a Acts
	a.Reset(LayoutQ4_0, 1, n)
	b.Run("Quantize", func(b *testing.B) {
		for b.Loop() {
			a.Set(0, x)
		}
	})
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
			b.Run(fmt.Sprintf("Dots/%v/%d", k, dim), func(b *testing.B) {
				b.SetBytes(int64(pos * dim * k.Size()))
				for b.Loop() {
					Dots(y, 1, pos, rows, q)
				}
				b.ReportMetric(float64(b.N)*heads*pos*float64(dim)/b.Elapsed().Seconds()/1e9, "GMAC/s")
			})
			b.Run(fmt.Sprintf("Mix/%v/%d", k, dim), func(b *testing.B) {
				b.SetBytes(int64(pos * dim * k.Size()))
				for b.Loop() {
					Mix(out, p, rows)
				}
				b.ReportMetric(float64(b.N)*heads*pos*float64(dim)/b.Elapsed().Seconds()/1e9, "GMAC/s")
			})
		}
	}
}
