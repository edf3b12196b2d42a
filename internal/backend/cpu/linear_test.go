package cpu_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/kernel"
	"github.com/plume-run/plume/internal/quant"
	"github.com/plume-run/plume/internal/testkit"
)

// A long prompt is cut over tokens as well as rows, in other places for other numbers of
// threads. Each of its rows must be what it would be alone.
func TestPromptsCutOverTokens(t *testing.T) {
	const tokens, in, out = 387, 64, 300
	for _, typ := range []quant.Type{quant.Q4_0, quant.BF16} {
		p := newPair(t, 1)
		w, up := p.weight(typ, out, in), p.weight(typ, out, in)
		x, by := p.tensor(tokens, in), p.tensor(tokens, out+3)
		ops := []func(c *cpu.CPU, dst, x, by *backend.Tensor){
			func(c *cpu.CPU, dst, x, _ *backend.Tensor) {
				c.Linear(x, []backend.Product{{Dst: dst, W: w[p.cpu], Col: 2}})
			},
			func(c *cpu.CPU, dst, x, _ *backend.Tensor) { c.GeGLU(dst, x, w[p.cpu], up[p.cpu], 2) },
			func(c *cpu.CPU, dst, x, by *backend.Tensor) {
				to := backend.NewTensor(x.Rows, out)
				c.GateMul(to, x, w[p.cpu], by, 3)
				for i := range to.Rows {
					copy(dst.Row(i)[2:], to.Row(i))
				}
			},
		}
		for i, op := range ops {
			want := p.tensor(tokens, out+4)
			got := clone(want)
			for r := range tokens {
				op(p.cpu, rowOf(want, r), rowOf(x, r), rowOf(by, r))
			}
			for _, threads := range []int{1, 2, 3, 5} {
				c, err := cpu.New(threads)
				if err != nil {
					t.Fatal(err)
				}
				y := clone(got)
				op(c, y, x, by)
				testkit.SameBits(t, fmt.Sprintf("%v, operation %d, %d threads", typ, i, threads), y.Data, want.Data)
				c.Close()
			}
		}
	}
}

// rowOf is row i as a tensor of its own, in the same memory.
func rowOf(x *backend.Tensor, i int) *backend.Tensor {
	return &backend.Tensor{Rows: 1, Cols: x.Cols, Data: x.Row(i)}
}

// BenchmarkPrompt is a prompt's products in E2B's shapes, 256 tokens, two threads, beside the
// int8 peak of the same thread measured before each:
//
//	go test -run - -bench Prompt -benchtime 60x ./internal/backend/cpu
func BenchmarkPrompt(b *testing.B) {
	const tokens, threads = 256, 2
	c, err := cpu.New(threads)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	for _, typ := range []quant.Type{quant.Q4_0, quant.Q8_0, quant.Q4_K, quant.Q5_K, quant.Q6_K} {
		for _, s := range []struct {
			name    string
			out, in int
			gated   bool
		}{{"GeGLU", 6144, 1536, true}, {"down", 1536, 6144, false}, {"o", 1536, 2048, false}, {"ple", 1536, 256, false}} {
			b.Run(fmt.Sprintf("%v/%s", typ, s.name), func(b *testing.B) {
				var w []backend.Matrix
				for range max(2, 64<<20/(s.out*s.in)) { // more than the caches hold
					w = append(w, patterned(b, c, backend.MatrixSpec{Type: typ, Out: s.out, In: s.in}))
				}
				x, y := backend.NewTensor(tokens, s.in), backend.NewTensor(tokens, s.out)
				for i := range x.Data {
					x.Data[i] = float32(i%17) - 8
				}
				var shares []float64
				for k := range b.N {
					begin := time.Now()
					peak := float64(kernel.PeakInt8()+kernel.PeakInt8()) / time.Since(begin).Seconds()
					c.StartProfile()
					if s.gated {
						c.GeGLU(y, x, w[2*k%len(w)], w[(2*k+1)%len(w)], 0)
					} else {
						c.Linear(x, []backend.Product{{Dst: y, W: w[k%len(w)]}})
					}
					u := c.StopProfile().Of[cpu.ClassProducts]
					shares = append(shares, float64(u.MACs)/u.Time.Seconds()/(threads*peak))
				}
				slices.Sort(shares)
				b.ReportMetric(shares[len(shares)/2], "of-peak-median")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// patterned is a matrix of some finite values.
func patterned(b *testing.B, c *cpu.CPU, spec backend.MatrixSpec) backend.Matrix {
	s, err := c.NewSlab(backend.SlabAlign + c.MatrixBytes(spec.Type, spec.Out, spec.In))
	if err != nil {
		b.Fatal(err)
	}
	w, err := c.Place(s, 0, spec)
	if err != nil {
		b.Fatal(err)
	}
	data := c.Memory(w)
	for i := range data {
		data[i] = byte(i*167>>3) % 0x38
	}
	return w
}
