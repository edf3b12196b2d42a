package measure

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/plan/forecast"
	"github.com/plume-run/plume/internal/quant"
)

// Sizes of what is measured on.
const (
	inputs     = 2048      // columns of a matrix
	outputs    = 4096      // and its rows
	sweepBytes = 128 << 20 // of weights of each type, all gone through before any comes again: more than the caches
	manyRows   = 128       // rows of a prompt's product
	stores     = 4         // keys and values of each shape that take turns
	mostKeys   = 2048      // positions that attention without a window sees
	manyKeys   = 1024      // and a prompt's queries
	queries    = 32        // of a prompt
	headDim    = 256       // of the heads that are normed
	eps        = 1e-6      // of norms
	tinyCalls  = 20        // operations with next to nothing to do
	fewPasses  = 5         // however long they take
)

// stepTime is what a step takes beside its operations (sampling from 262,144 logits, laying
// out the batch), in microseconds: measured on two machines, 2026-11-23.
const stepTime = 250

// Work is what is measured: weight types, and shapes of attention with keys and values of
// one type. A shape's window, where it has one, is the keys that are seen.
type Work struct {
	Types     []quant.Type
	Attention []backend.Attention
	KVType    quant.Type
}

// Meter measures a backend's kernels as decoding and prompts meet them: in turn, so that
// what one of them needs is no longer in the caches when its turn comes again, as a step's
// other weights drive it out. It holds about 140 MB for each type, and keys and values,
// until the backend is closed.
type Meter struct {
	gauges []*gauge
	fill   []func(m *forecast.Machine)
	vector []*gauge // of products with one row
}

// gauge is one thing that is measured in each pass: the nanoseconds that a unit takes.
type gauge struct {
	run   func() (units float64)
	times []float64
}

// rate is the units per nanosecond of the middle of all passes.
func (g *gauge) rate() float64 { return 1 / quantile(g.times, 0.5) }

// quantile is where the share q of x is below. x must not be empty; it is sorted.
func quantile(x []float64, q float64) float64 {
	slices.Sort(x)
	at := q * float64(len(x)-1)
	i := int(at)
	if i+1 == len(x) {
		return x[i]
	}
	return x[i] + (at-float64(i))*(x[i+1]-x[i])
}

// NewMeter makes what w is measured on.
func NewMeter(b backend.Backend, w Work) (*Meter, error) {
	if len(w.Types) == 0 || len(w.Attention) == 0 {
		return nil, errors.New("measure kernels: no types of weights, or no shapes of attention")
	}
	t := &Meter{}
	// Attention comes between products of different types: others' weights pass before it.
	for i := range max(len(w.Types), len(w.Attention)) {
		if i < len(w.Types) {
			if err := t.addProducts(b, w.Types[i]); err != nil {
				return nil, fmt.Errorf("measure products with %s: %w", w.Types[i], err)
			}
		}
		if i < len(w.Attention) {
			if err := t.addAttention(b, w.KVType, w.Attention[i]); err != nil {
				return nil, fmt.Errorf("measure attention: %w", err)
			}
		}
	}
	return t, errors.Join(t.addRows(b), t.addCall(b))
}

// add adds a gauge, and where its rate goes if it is of use alone.
func (t *Meter) add(run func() float64, fill func(m *forecast.Machine, rate float64)) *gauge {
	g := &gauge{run: run}
	t.gauges = append(t.gauges, g)
	if fill != nil {
		t.fill = append(t.fill, func(m *forecast.Machine) { fill(m, g.rate()) })
	}
	return g
}

// Measure fills in the rates of m: the middle of what passes over so much time gave, and
// how far the rates of products with one row were spread.
func (t *Meter) Measure(d time.Duration, m *forecast.Machine) {
	for _, g := range t.gauges {
		g.times = g.times[:0]
	}
	t.pass(false) // what has not been touched for a while costs more than it ever will in a step
	for n, begin := 0, time.Now(); n < fewPasses || time.Since(begin) < d; n++ {
		t.pass(true)
	}
	m.Vector, m.Matrix = map[string]float64{}, map[string]float64{}
	m.AttendOne, m.AttendMany = map[string]float64{}, map[string]float64{}
	m.Step = stepTime
	for _, fill := range t.fill {
		fill(m)
	}
	for _, rates := range []map[string]float64{m.Vector, m.Matrix, m.AttendOne, m.AttendMany} {
		least := 0.0
		for _, x := range rates {
			if least == 0 || x < least {
				least = x
			}
		}
		rates["other"] = least
	}
	m.Low, m.High = t.spread()
}

// pass measures everything once.
func (t *Meter) pass(keep bool) {
	for _, g := range t.gauges {
		begin := time.Now()
		units := g.run()
		if d := time.Since(begin).Nanoseconds(); keep {
			g.times = append(g.times, float64(max(1, d))/units)
		}
	}
}

// spread is the 10th and the 90th percentile of the rates of products with one row, as
// shares of their middle, all types taken together.
func (t *Meter) spread() (low, high float64) {
	var shares []float64
	for _, g := range t.vector {
		middle := quantile(g.times, 0.5)
		for _, x := range g.times {
			shares = append(shares, middle/x)
		}
	}
	return quantile(shares, 0.1), quantile(shares, 0.9)
}

// addProducts measures y = W·x with one row (10⁹ bytes of weights per second) and with many
// (10⁹ multiply-adds per second).
func (t *Meter) addProducts(b backend.Backend, typ quant.Type) error {
	ws, err := matrices(b, typ)
	if err != nil {
		return err
	}
	one, y := activations(1, inputs), backend.NewTensor(1, outputs)
	many, out := activations(manyRows, inputs), backend.NewTensor(manyRows, outputs)
	p := make([]backend.Product, 1)
	var held int64
	for _, w := range ws {
		held += w.Bytes()
	}
	name := forecast.TypeKey(typ)
	t.vector = append(t.vector, t.add(func() float64 {
		for _, w := range ws {
			p[0] = backend.Product{Dst: y, W: w}
			b.Linear(one, p)
		}
		return float64(held)
	}, func(m *forecast.Machine, rate float64) { m.Vector[name] = rate }))
	t.add(func() float64 {
		p[0] = backend.Product{Dst: out, W: ws[0]}
		b.Linear(many, p)
		return manyRows * outputs * inputs
	}, func(m *forecast.Machine, rate float64) { m.Matrix[name] = rate })
	return nil
}

// matrices are weights of a type, sweepBytes of them, one behind the other as a model's are.
func matrices(b backend.Backend, typ quant.Type) ([]backend.Matrix, error) {
	spec, raw, err := weights(typ, outputs, inputs)
	if err != nil {
		return nil, err
	}
	each := b.MatrixBytes(typ, outputs, inputs)
	if each == 0 {
		return nil, fmt.Errorf("%s cannot be multiplied", b.Name())
	}
	each = (each + backend.SlabAlign - 1) / backend.SlabAlign * backend.SlabAlign
	n := (sweepBytes + each - 1) / each
	slab, err := b.NewSlab(n * each)
	if err != nil {
		return nil, err
	}
	var ws []backend.Matrix
	for i := range n {
		w, err := b.Place(slab, i*each, spec)
		if err == nil {
			err = b.Fill(w, 0, raw)
		}
		if err != nil {
			return nil, err
		}
		ws = append(ws, w)
	}
	return ws, nil
}

// weights is a matrix of normal numbers, one block of rows again and again.
func weights(t quant.Type, out, in int) (spec backend.MatrixSpec, raw []byte, err error) {
	const distinct = 16
	n, err := t.Bytes(int64(in))
	if err != nil {
		return spec, nil, err
	}
	row, all := make([]byte, n), []byte{}
	for range distinct {
		if err := quant.Encode(t, row, normal(in)); err != nil {
			return spec, nil, err
		}
		all = append(all, row...)
	}
	return backend.MatrixSpec{Type: t, Out: out, In: in}, bytes.Repeat(all, out/distinct), nil
}

func normal(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rand.NormFloat64())
	}
	return x
}

func activations(rows, cols int) *backend.Tensor {
	return &backend.Tensor{Rows: rows, Cols: cols, Data: normal(rows * cols)}
}

// addAttention measures single queries, each at the end of keys of its own, and a prompt's
// queries, in 10⁹ multiply-adds per second.
func (t *Meter) addAttention(b backend.Backend, typ quant.Type, a backend.Attention) error {
	keys := mostKeys
	if a.Window > 0 {
		keys = min(keys, a.Window)
	}
	var kvs []backend.KV
	fill := activations(max(keys, manyKeys), a.KVHeads*a.HeadDim)
	for range stores {
		kv, err := b.NewKV(backend.KVSpec{Heads: a.KVHeads, HeadDim: a.HeadDim, Slots: fill.Rows, Type: typ})
		if err != nil {
			return err
		}
		b.Store(kv, 0, fill, fill, 0, fill.Rows)
		kvs = append(kvs, kv)
	}
	q, dst := activations(queries, a.Heads*a.HeadDim), backend.NewTensor(queries, a.Heads*a.HeadDim)
	for i := range q.Data {
		q.Data[i] /= float32(a.HeadDim) // scores are not scaled
	}
	first, one := &backend.Tensor{Rows: 1, Cols: q.Cols, Data: q.Row(0)}, backend.NewTensor(1, q.Cols)
	spans, key := make([]backend.Span, 1), forecast.AttentionKey(typ, a)
	t.add(func() float64 {
		for _, kv := range kvs {
			spans[0] = backend.Span{N: 1, Pos: keys - 1, Hist: kv}
			b.Attend(one, first, spans, a)
		}
		return 2 * float64(stores*keys*a.Heads*a.HeadDim)
	}, func(m *forecast.Machine, rate float64) { m.AttendOne[key] = rate })
	t.add(func() float64 {
		spans[0] = backend.Span{N: queries, Pos: manyKeys - queries, Hist: kvs[0]}
		b.Attend(dst, q, spans, a)
		return 2 * float64(seen(a, manyKeys-queries, queries)*a.Heads*a.HeadDim)
	}, func(m *forecast.Machine, rate float64) { m.AttendMany[key] = rate })
	return nil
}

// seen is how many keys n queries from position pos on see together.
func seen(a backend.Attention, pos, n int) (sum int) {
	for p := pos; p < pos+n; p++ {
		keys := p + 1
		if a.Window > 0 {
			keys = min(keys, a.Window)
		}
		sum += keys
	}
	return sum
}

// addCall measures an operation that has next to nothing to do, in microseconds.
func (t *Meter) addCall(b backend.Backend) error {
	spec, raw, err := weights(quant.F32, 64, 64)
	if err != nil {
		return err
	}
	w, err := backend.NewMatrix(b, spec, raw)
	if err != nil {
		return fmt.Errorf("measure calls: %w", err)
	}
	x, p := activations(1, 64), []backend.Product{{Dst: backend.NewTensor(1, 64), W: w}}
	t.add(func() float64 {
		for range tinyCalls {
			b.Linear(x, p)
		}
		return tinyCalls
	}, func(m *forecast.Machine, rate float64) { m.Call = 1 / rate / 1000 })
	return nil
}

// addRows measures, in 10⁹ activations per second, what they go through beside products in
// a layer of width inputs: norms before and after, residuals, turned heads, GELU. They are
// counted as package gemma does, by what the layer's products read and write. GELU comes
// inside of a product, so that product alone, a narrow one, is measured and taken off.
func (t *Meter) addRows(b backend.Backend) error {
	const rows, ffn, narrow = 64, 4 * inputs, 32
	spec, raw, err := weights(quant.F32, ffn, narrow)
	if err != nil {
		return err
	}
	var ws [2]backend.Matrix
	for i := range ws {
		if ws[i], err = backend.NewMatrix(b, spec, raw); err != nil {
			return fmt.Errorf("measure norms: %w", err)
		}
	}
	x, y, w := activations(rows, inputs), activations(rows, inputs), normal(inputs)
	thin, wide := activations(rows, narrow), [2]*backend.Tensor{backend.NewTensor(rows, ffn), backend.NewTensor(rows, ffn)}
	rope := &backend.Rope{Pairs: headDim / 2, Cos: normal(rows * headDim / 2), Sin: normal(rows * headDim / 2)}
	all := t.add(func() float64 {
		b.Norm(y, x, w, eps)
		b.HeadNorm(y, headDim, w[:headDim], eps, rope)
		b.AddNorm(x, y, w, eps, 1)
		b.Norm(y, x, w, eps)
		b.GeGLU(wide[0], thin, ws[0], ws[1], 0)
		b.AddNorm(x, y, w, eps, 1)
		return 1
	}, nil)
	products := []backend.Product{{Dst: wide[0], W: ws[0]}, {Dst: wide[1], W: ws[1]}}
	product := t.add(func() float64 {
		b.Linear(thin, products)
		return 1
	}, nil)
	// Queries, keys and values, the output, gate and up, down: what a layer's products read and write.
	const elems = rows * (4*2*inputs + 2*(inputs+ffn) + (ffn + inputs))
	t.fill = append(t.fill, func(m *forecast.Machine) {
		m.Rows = elems / max(1, 1/all.rate()-1/product.rate())
	})
	return nil
}
