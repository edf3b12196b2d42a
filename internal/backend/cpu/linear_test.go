package cpu_test

import (
	"fmt"
	"testing"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/backend/cpu"
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
