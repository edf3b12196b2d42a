package cpu_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/backend/ref"
	"github.com/plume-run/plume/internal/quant"
	"github.com/plume-run/plume/internal/testkit"
)

// pair runs an operation on both backends and compares what it leaves in dst.
type pair struct {
	t   *testing.T
	rng *rand.Rand
	ref *ref.Ref
	cpu *cpu.CPU
}

func newPair(t *testing.T, threads int) *pair {
	t.Helper()
	c, err := cpu.New(threads)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &pair{t, rand.New(rand.NewPCG(1, uint64(threads))), ref.New(), c}
}

// tensor draws values of about unit size.
func (p *pair) tensor(rows, cols int) *backend.Tensor {
	x := backend.NewTensor(rows, cols)
	for i := range x.Data {
		x.Data[i] = float32(p.rng.NormFloat64())
	}
	return x
}

// grid draws values that rounding to int8 per 32 keeps as they are, so that
// products with quantised weights can be compared tightly.
func (p *pair) grid(rows, cols int) *backend.Tensor {
	x := backend.NewTensor(rows, cols)
	for i := range x.Data {
		x.Data[i] = float32(p.rng.IntN(255)-127) / 128
		if i%cols%32 == 0 {
			x.Data[i] = 127. / 128
		}
	}
	return x
}

func clone(x *backend.Tensor) *backend.Tensor {
	return &backend.Tensor{Rows: x.Rows, Cols: x.Cols, Data: append([]float32(nil), x.Data...)}
}

// both runs op on each backend with its own copy of x and compares the copies.
func (p *pair) both(what string, x *backend.Tensor, tol float64, op func(b backend.Backend, x *backend.Tensor)) {
	p.t.Helper()
	want, got := clone(x), clone(x)
	op(p.ref, want)
	op(p.cpu, got)
	testkit.Within(p.t, what, got.Data, want.Data, tol)
}

// weight encodes random values [out, in] and loads them on both backends.
func (p *pair) weight(typ quant.Type, out, in int) map[backend.Backend]backend.Matrix {
	p.t.Helper()
	x := p.tensor(out, in)
	n, err := typ.Bytes(int64(out * in))
	if err != nil {
		p.t.Fatal(err)
	}
	raw := make([]byte, n)
	if err := quant.Encode(typ, raw, x.Data); err != nil {
		p.t.Fatal(err)
	}
	m := map[backend.Backend]backend.Matrix{}
	for _, b := range []backend.Backend{p.ref, p.cpu} {
		m[b] = p.load(b, backend.MatrixSpec{Type: typ, Out: out, In: in}, raw)
	}
	return m
}

// load places a matrix behind something else and fills it in pieces, the last one first.
func (p *pair) load(b backend.Backend, spec backend.MatrixSpec, raw []byte) backend.Matrix {
	p.t.Helper()
	s, err := b.NewSlab(backend.SlabAlign + b.MatrixBytes(spec.Type, spec.Out, spec.In))
	if err != nil {
		p.t.Fatal(err)
	}
	m, err := b.Place(s, backend.SlabAlign, spec)
	if err != nil {
		p.t.Fatal(err)
	}
	rowBytes := len(raw) / spec.Out
	for row := (spec.Out - 1) / backend.FillRows * backend.FillRows; row >= 0; row -= backend.FillRows {
		to := min(row+backend.FillRows, spec.Out)
		if err := b.Fill(m, row, raw[row*rowBytes:to*rowBytes]); err != nil {
			p.t.Fatal(err)
		}
	}
	return m
}

func TestProductsOfEveryTypeAndShape(t *testing.T) {
	p := newPair(t, 2)
	for _, typ := range []quant.Type{quant.F32, quant.F16, quant.BF16, quant.Q8_0, quant.Q4_0, quant.Q4_K, quant.Q5_K, quant.Q6_K} {
		for _, in := range []int{7, 30, 32, 256, 768} {
			if in%typ.BlockLen() != 0 {
				continue
			}
			for _, out := range []int{9, 130} {
				for _, rows := range []int{1, 7} {
					w, up := p.weight(typ, out, in), p.weight(typ, out, in)
					x, by := p.grid(rows, in), p.tensor(rows, out+3)
					tol := 1e-5 * float64(in)
					name := fmt.Sprintf("%s [%d, %d] · %d rows", typ, out, in, rows)
					p.both("Linear "+name, backend.NewTensor(rows, out), tol, func(b backend.Backend, dst *backend.Tensor) {
						b.Linear(x, []backend.Product{{Dst: dst, W: w[b]}, {Dst: backend.NewTensor(rows, out), W: up[b]}})
					})
					p.both("GeGLU "+name, backend.NewTensor(rows, out), 30*tol, func(b backend.Backend, dst *backend.Tensor) {
						b.GeGLU(dst, x, w[b], up[b], 0)
					})
					p.both("GeGLU into columns "+name, p.tensor(rows, out+5), 30*tol, func(b backend.Backend, dst *backend.Tensor) {
						b.GeGLU(dst, x, w[b], up[b], 3)
					})
					p.both("GateMul "+name, backend.NewTensor(rows, out), 5*tol, func(b backend.Backend, dst *backend.Tensor) {
						b.GateMul(dst, x, w[b], by, 3)
					})
					p.both("Embed "+name, backend.NewTensor(2, in), 1e-5, func(b backend.Backend, dst *backend.Tensor) {
						b.Embed(dst, w[b], []int32{int32(out - 1), 0}, 1.5)
					})
				}
			}
		}
	}
}

func TestRowOperations(t *testing.T) {
	p := newPair(t, 3)
	for _, rows := range []int{1, 3, 9} {
		for _, cols := range []int{8, 30, 192} {
			x, y, w := p.tensor(rows, cols), p.tensor(rows, cols), p.tensor(1, cols).Data
			name := fmt.Sprintf(" [%d, %d]", rows, cols)
			p.both("Norm"+name, backend.NewTensor(rows, cols), 1e-5, func(b backend.Backend, dst *backend.Tensor) { b.Norm(dst, x, w, 1e-6) })
			p.both("AddNorm"+name, x, 1e-5, func(b backend.Backend, dst *backend.Tensor) { b.AddNorm(dst, clone(y), w, 1e-6, 0.7) })
			p.both("Add"+name, x, 0, func(b backend.Backend, dst *backend.Tensor) { b.Add(dst, y) })
			p.both("Softcap"+name, x, 1e-5, func(b backend.Backend, dst *backend.Tensor) { b.Softcap(dst, 2) })
			p.both("Gather"+name, backend.NewTensor(2, cols), 0, func(b backend.Backend, dst *backend.Tensor) { b.Gather(dst, x, []int{rows - 1, 0}) })
			dim := cols / 2
			p.both("MixPLE"+name, x, 1e-5, func(b backend.Backend, dst *backend.Tensor) { b.MixPLE(dst, y, w[:dim], 1e-6, 0.3, 4) })
			rope := &backend.Rope{Pairs: dim / 4}
			for range rows * rope.Pairs {
				sin, cos := math.Sincos(p.rng.Float64() * 100)
				rope.Sin, rope.Cos = append(rope.Sin, float32(sin)), append(rope.Cos, float32(cos))
			}
			p.both("HeadNorm"+name, x, 1e-5, func(b backend.Backend, dst *backend.Tensor) { b.HeadNorm(dst, dim, w[:dim], 1e-6, rope) })
			p.both("HeadNorm without weight"+name, x, 1e-5, func(b backend.Backend, dst *backend.Tensor) { b.HeadNorm(dst, dim, nil, 1e-6, nil) })
		}
	}
}

func TestAddExpert(t *testing.T) {
	p := newPair(t, 2)
	const hidden, ffn, rows = 40, 24, 11
	gate, up, down := p.weight(quant.BF16, ffn, hidden), p.weight(quant.BF16, ffn, hidden), p.weight(quant.BF16, hidden, ffn)
	x := p.tensor(rows, hidden)
	for _, chosen := range [][]int{{7}, {0, 3, 10}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}} {
		p.both(fmt.Sprint("AddExpert ", chosen), p.tensor(rows, hidden), 0.05, func(b backend.Backend, dst *backend.Tensor) {
			b.AddExpert(dst, x, chosen, p.weights(len(chosen)), backend.Expert{Gate: gate[b], Up: up[b], Down: down[b]})
		})
	}
}

// weights returns n numbers of a fixed sequence.
func (p *pair) weights(n int) []float32 {
	w := make([]float32, n)
	for i := range w {
		w[i] = 1 / float32(i+2)
	}
	return w
}

// Columns beside a product's stay as they are.
func TestProductsIntoColumns(t *testing.T) {
	p := newPair(t, 2)
	w, x := p.weight(quant.Q8_0, 20, 64), p.grid(3, 64)
	p.both("Linear into columns", p.tensor(3, 30), 1e-3, func(b backend.Backend, dst *backend.Tensor) {
		before := clone(dst)
		b.Linear(x, []backend.Product{{Dst: dst, W: w[b], Col: 7}})
		for i := range dst.Rows {
			testkit.SameBits(t, "left of the product", dst.Row(i)[:7], before.Row(i)[:7])
			testkit.SameBits(t, "right of the product", dst.Row(i)[27:], before.Row(i)[27:])
		}
	})
}

// kvPair is one store on each backend.
type kvPair map[backend.Backend]backend.KV

func (p *pair) kv(spec backend.KVSpec) kvPair {
	p.t.Helper()
	out := kvPair{}
	for _, b := range []backend.Backend{p.ref, p.cpu} {
		kv, err := b.NewKV(spec)
		if err != nil {
			p.t.Fatal(err)
		}
		out[b] = kv
	}
	return out
}

// A sequence grows by chunks through a ring; every chunk's attention must agree,
// with keys on both sides of the ring's end and in the fresh store.
func TestAttentionThroughARing(t *testing.T) {
	for _, threads := range []int{1, 2} {
		p := newPair(t, threads)
		for _, typ := range []quant.Type{quant.F32, quant.F16, quant.I8} {
			tol := map[quant.Type]float64{quant.F32: 2e-5, quant.F16: 0.03, quant.I8: 0.3}[typ]
			for _, a := range []backend.Attention{
				{Heads: 4, KVHeads: 1, HeadDim: 16, Window: 20},
				{Heads: 6, KVHeads: 3, HeadDim: 20, Window: 150},
				{Heads: 9, KVHeads: 1, HeadDim: 64},
			} {
				name := fmt.Sprintf("%v %s, %d threads", a, typ, threads)
				p.attention(name, a, typ, tol)
			}
		}
	}
}

func (p *pair) attention(name string, a backend.Attention, typ quant.Type, tol float64) {
	p.t.Helper()
	slots := a.Window
	if slots == 0 {
		slots = 400
	}
	spec := backend.KVSpec{Heads: a.KVHeads, HeadDim: a.HeadDim, Slots: slots, Type: typ}
	hist := p.kv(spec)
	spec.Slots = 128
	fresh := p.kv(spec)
	pos := 0
	for _, n := range []int{1, 30, 1, 1, 65, 100, 7, 1} {
		k, v := p.tensor(n, a.KVHeads*a.HeadDim), p.tensor(n, a.KVHeads*a.HeadDim)
		q := p.tensor(n, a.Heads*a.HeadDim)
		for i := range q.Data {
			q.Data[i] *= 0.3 // scores of moderate size
		}
		p.both(fmt.Sprintf("Attend %s, %d at %d", name, n, pos), backend.NewTensor(n, q.Cols), tol, func(b backend.Backend, dst *backend.Tensor) {
			span := backend.Span{N: n, Pos: pos, Hist: hist[b], FreshPos: pos}
			if n == 1 || a.Window == 0 {
				b.Store(hist[b], pos%slots, k, v, 0, n)
			} else {
				b.Store(fresh[b], 5, k, v, 0, n)
				span.Fresh, span.FreshSlot = fresh[b], 5
			}
			b.Attend(dst, q, []backend.Span{span}, a)
			if span.Fresh != nil {
				m := min(n, slots)
				b.CopyKV(hist[b], (pos+n-m)%slots, fresh[b], 5+n-m, m)
			}
		})
		pos += n
	}
}

func TestLoadRefusesWhatItCannotHold(t *testing.T) {
	c, err := cpu.New(1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := c.NewSlab(1 << 12)
	if err != nil {
		t.Fatal(err)
	}
	for name, spec := range map[string]backend.MatrixSpec{
		"an undecodable type": {Type: quant.I32, Out: 1, In: 1},
		"broken blocks":       {Type: quant.Q4_0, Out: 1, In: 31},
		"no rows":             {Type: quant.F32, Out: 0, In: 8},
		"too much":            {Type: quant.F32, Out: math.MaxInt32, In: math.MaxInt32},
	} {
		if _, err := c.Place(s, 0, spec); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := c.NewSlab(math.MaxInt64); err == nil {
		t.Error("all of the address space was allocated")
	}
	if _, err := c.NewKV(backend.KVSpec{Heads: 1, HeadDim: 8, Slots: 1, Type: quant.Q4_0}); err == nil {
		t.Error("a Q4_0 K/V store was made")
	}
	if _, err := cpu.New(0); err == nil {
		t.Error("a backend without threads started")
	}
}

// Hammer: jobs of all sizes follow each other with and without pauses, so that
// workers are met spinning, parked, and lying down.
func TestHammerPool(t *testing.T) {
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			c, err := cpu.New(4)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			x, y := backend.NewTensor(64, 8), backend.NewTensor(64, 8)
			for i := range y.Data {
				y.Data[i] = 1
			}
			const rounds = 3000
			for i := range rounds {
				c.Add(x, y)
				if i%500 == 0 {
					time.Sleep(2 * time.Millisecond) // long enough to park
				}
			}
			for i, v := range x.Data {
				if v != rounds {
					t.Errorf("value %d is %g after %d additions", i, v, rounds)
					return
				}
			}
		})
	}
	wg.Wait()
}
