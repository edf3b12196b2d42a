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
	inputs     = 2048      // columns of a matrix that stands for all of its type
	outputs    = 4096      // and its rows
	tinyOut    = 64        // rows of a matrix that takes next to no time
	setBytes   = 16 << 20  // of matrices of one shape
	sweepBytes = 128 << 20 // of all matrices at least: more than the caches hold
	packBytes  = 1 << 20   // of stored weights that are laid out at once
	stores     = 4         // keys and values of each shape that take turns
	mostKeys   = 2048      // positions that attention without a window sees
	manyKeys   = 1024      // and a prompt's queries
	queries    = 32        // of a prompt
	headDim    = 256       // of the heads that are normed
	eps        = 1e-6      // of norms
	fewPasses  = 5         // however long they take
)

// fewRows are the numbers of rows that products are measured for beside one and many.
var fewRows = []int{4, 8, 16}

// stepTime is what a step takes beside its operations (sampling from 262,144 logits, laying
// out the batch), in microseconds: measured on two machines, 2026-11-23.
const stepTime = 250

// Work is what is measured: weight types, matrices of certain shapes, and shapes of attention
// with keys and values of one type. A shape's window, where it has one, is the keys that are seen.
type Work struct {
	Types     []quant.Type
	Bytes     map[quant.Type]float64 // how much there is of each type; nil: of all alike
	Matrices  []backend.MatrixSpec
	Attention []backend.Attention
	KVType    quant.Type
}

// Meter measures a backend's kernels as decoding and prompts meet them: in turn, so that
// what one of them needs is no longer in the caches when its turn comes again, as a step's
// other weights drive it out. It holds some 16 MB for each shape of matrix, 128 MB at least,
// and keys and values, until the backend is closed.
type Meter struct {
	b      backend.Backend
	gauges []*gauge
	fill   []func(m *forecast.Machine)
	start  *gauge   // of operations with next to nothing to do
	vector []*gauge // of products with one row

	packs []packSet // by type, for Streaming
	order [turns]int
}

// gauge is one thing that is measured in each pass: the nanoseconds that a unit takes.
type gauge struct {
	key   string // of a product
	run   func() (units float64)
	times []float64
}

// rate is the units per nanosecond of the middle of all passes.
func (g *gauge) rate() float64 { return 1 / quantile(g.times, 0.5) }

// net is rate without what an operation takes to start, of which there are so many in a unit:
// a forecast counts that for itself. No more than three quarters are taken off.
func (g *gauge) net(perUnit, start float64) float64 {
	per := quantile(g.times, 0.5)
	return 1 / max(per-perUnit*start, per/4)
}

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
	t := &Meter{b: b}
	if err := t.addStart(w.Types[0]); err != nil {
		return nil, fmt.Errorf("measure the start of an operation: %w", err)
	}
	sets := w.sets()
	for i := range sets {
		if err := sets[i].make(b, max(setBytes, sweepBytes/len(sets))); err != nil {
			return nil, fmt.Errorf("measure products with %s: %w", sets[i].spec.Type, err)
		}
	}
	// With one row first, then with more of them: in between all other weights pass.
	for _, rows := range append([]int{1}, fewRows...) {
		for i := range sets {
			t.addVector(&sets[i], rows)
			if rows > 1 || i >= len(w.Types) {
				continue
			}
			t.addPack(&sets[i])
			if err := t.addPlaces(&sets[i]); err != nil {
				return nil, fmt.Errorf("measure streaming of %s: %w", sets[i].spec.Type, err)
			}
		}
		if rows > 1 {
			continue
		}
		for _, a := range w.Attention {
			if err := t.addAttention(w.KVType, a); err != nil {
				return nil, fmt.Errorf("measure attention: %w", err)
			}
		}
	}
	for i := range sets {
		t.addMatrix(&sets[i])
	}
	t.order = takeTurns(w.bytes())
	return t, errors.Join(
		t.addRows(1, func(m *forecast.Machine, rate float64) { m.RowsOne = rate }),
		t.addRows(64, func(m *forecast.Machine, rate float64) { m.Rows = rate }))
}

// bytes is how much there is of each of Types.
func (w *Work) bytes() []float64 {
	list := make([]float64, len(w.Types))
	for i, typ := range w.Types {
		list[i] = w.Bytes[typ]
		if w.Bytes == nil {
			list[i] = 1
		}
	}
	return list
}

// sets lists the kinds of matrices that w asks for, the types' first.
func (w *Work) sets() []matrixSet {
	var list []matrixSet
	for _, typ := range w.Types {
		list = append(list, matrixSet{key: forecast.TypeKey(typ), spec: backend.MatrixSpec{Type: typ, Out: outputs, In: inputs}})
	}
	for _, spec := range w.Matrices {
		spec.Out = min(spec.Out, forecast.MostOut)
		s := matrixSet{key: forecast.MatrixKey(spec), spec: spec}
		if !slices.ContainsFunc(list, func(o matrixSet) bool { return o.key == s.key }) {
			list = append(list, s)
		}
	}
	return list
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
	m.Pack, m.Few, m.Step = map[string]float64{}, nil, stepTime
	for _, rows := range fewRows {
		m.Few = append(m.Few, forecast.FewRows{Rows: rows, Rate: map[string]float64{}})
	}
	for _, fill := range t.fill {
		fill(m)
	}
	all := []map[string]float64{m.Vector, m.Matrix, m.AttendOne, m.AttendMany, m.Pack}
	for i := range m.Few {
		all = append(all, m.Few[i].Rate)
	}
	for _, rates := range all {
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

// matrixSet is matrices of one kind.
type matrixSet struct {
	key  string
	spec backend.MatrixSpec
	ws   []backend.Matrix
	held float64 // bytes of all

	raw     []byte // the first rows as they are stored, some packBytes
	rawRows int
}

// make fills so many bytes, one matrix behind the other as a model's are.
func (s *matrixSet) make(b backend.Backend, total int) error {
	raw, err := weights(s.spec)
	if err != nil {
		return err
	}
	each := b.MatrixBytes(s.spec.Type, s.spec.Out, s.spec.In)
	if each == 0 {
		return fmt.Errorf("%s cannot multiply them", b.Name())
	}
	each = (each + backend.SlabAlign - 1) / backend.SlabAlign * backend.SlabAlign
	row := len(raw) / s.spec.Out
	s.rawRows = min(s.spec.Out, max(1, packBytes/row/backend.FillRows)*backend.FillRows)
	s.raw = slices.Clone(raw[:s.rawRows*row])
	n := (int64(total) + each - 1) / each
	slab, err := b.NewSlab(n * each)
	if err != nil {
		return err
	}
	for i := range n {
		w, err := b.Place(slab, i*each, s.spec)
		if err == nil {
			err = b.Fill(w, 0, raw)
		}
		if err != nil {
			return err
		}
		s.ws, s.held = append(s.ws, w), s.held+float64(w.Bytes())
	}
	return nil
}

// sweep returns a run over all matrices of a set with so many rows each, in bytes.
func (t *Meter) sweep(s *matrixSet, rows int) func() float64 {
	x, y := activations(rows, s.spec.In), backend.NewTensor(rows, s.spec.Out)
	p := make([]backend.Product, 1)
	return func() float64 {
		for _, w := range s.ws {
			p[0] = backend.Product{Dst: y, W: w}
			t.b.Linear(x, p)
		}
		return s.held
	}
}

// addStart measures what an operation takes on a matrix that takes next to nothing, and was
// not in the caches; what its bytes take at the rate of large matrices is taken off.
func (t *Meter) addStart(typ quant.Type) error {
	s := matrixSet{spec: backend.MatrixSpec{Type: typ, Out: tinyOut, In: inputs}}
	if err := s.make(t.b, setBytes); err != nil {
		return err
	}
	key := forecast.TypeKey(typ)
	t.start = t.add(t.sweep(&s, 1), nil)
	t.fill = append(t.fill, func(m *forecast.Machine) {
		each := s.held / float64(len(s.ws))
		per := each * quantile(t.start.times, 0.5)
		m.Call = max(0, per-each*quantile(t.vectorOf(key).times, 0.5)) / 1000
	})
	return nil
}

// vectorOf is the gauge of products of a type with one row.
func (t *Meter) vectorOf(key string) *gauge {
	for _, g := range t.vector {
		if g.key == key {
			return g
		}
	}
	panic("measure: internal error: " + key + " is not measured")
}

// addVector measures y = W·x with few rows, in 10⁹ bytes of weights per second.
func (t *Meter) addVector(s *matrixSet, rows int) {
	perByte := float64(len(s.ws)) / s.held
	g := t.add(t.sweep(s, rows), nil)
	g.key = s.key
	if rows == 1 {
		t.vector = append(t.vector, g)
	}
	t.fill = append(t.fill, func(m *forecast.Machine) {
		rates := m.Vector
		for _, f := range m.Few {
			if f.Rows == rows {
				rates = f.Rate
			}
		}
		rates[s.key] = g.net(perByte, 1000*m.Call)
	})
}

// addPack measures laying out stored rows, in 10⁹ bytes per second of one thread: those of
// one matrix after the other, so that what is written is not in the caches.
func (t *Meter) addPack(s *matrixSet) {
	next := 0
	t.add(func() float64 {
		next = (next + 1) % len(s.ws)
		if err := t.b.Fill(s.ws[next], 0, s.raw); err != nil { // it could before
			panic("measure: internal error: " + err.Error())
		}
		return float64(len(s.raw))
	}, func(m *forecast.Machine, rate float64) { m.Pack[s.key] = rate })
}

// addMatrix measures y = W·x with many rows, in 10⁹ multiply-adds per second.
func (t *Meter) addMatrix(s *matrixSet) {
	x, y := activations(forecast.ManyRows, s.spec.In), backend.NewTensor(forecast.ManyRows, s.spec.Out)
	p := []backend.Product{{Dst: y, W: s.ws[0]}}
	t.add(func() float64 {
		t.b.Linear(x, p)
		return float64(forecast.ManyRows) * float64(s.spec.Out) * float64(s.spec.In)
	}, func(m *forecast.Machine, rate float64) { m.Matrix[s.key] = rate })
}

// weights is a matrix of normal numbers, one block of rows again and again.
func weights(m backend.MatrixSpec) (raw []byte, err error) {
	const distinct = 16
	n, err := m.Type.Bytes(int64(m.In))
	if err != nil {
		return nil, err
	}
	row, some := make([]byte, n), []byte{}
	for range distinct {
		if err := quant.Encode(m.Type, row, normal(m.In)); err != nil {
			return nil, err
		}
		some = append(some, row...)
	}
	return bytes.Repeat(some, (m.Out+distinct-1)/distinct)[:int(n)*m.Out], nil
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
func (t *Meter) addAttention(typ quant.Type, a backend.Attention) error {
	b := t.b
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
	macs := 2 * float64(keys*a.Heads*a.HeadDim)
	single := t.add(func() float64 {
		for _, kv := range kvs {
			spans[0] = backend.Span{N: 1, Pos: keys - 1, Hist: kv}
			b.Attend(one, first, spans, a)
		}
		return stores * macs
	}, nil)
	t.fill = append(t.fill, func(m *forecast.Machine) { m.AttendOne[key] = single.net(1/macs, 1000*m.Call) })
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

// addRows measures, in 10⁹ activations per second, what they go through beside products in
// a layer of width inputs: norms before and after, residuals, turned heads, GELU. They are
// counted as package gemma does, by what the layer's products read and write. GELU comes
// inside of a product, so that product alone, a narrow one, is measured and taken off.
func (t *Meter) addRows(rows int, fill func(m *forecast.Machine, rate float64)) error {
	const ffn, narrow, again = 4 * inputs, 32, 8 // again: activations are in the caches, unlike weights
	b := t.b
	s := matrixSet{spec: backend.MatrixSpec{Type: quant.Q8_0, Out: ffn, In: narrow}}
	if err := s.make(b, 2*int(b.MatrixBytes(quant.Q8_0, ffn, narrow))); err != nil {
		return fmt.Errorf("measure norms: %w", err)
	}
	ws := s.ws
	x, y, w := activations(rows, inputs), activations(rows, inputs), normal(inputs)
	thin, wide := activations(rows, narrow), [2]*backend.Tensor{backend.NewTensor(rows, ffn), backend.NewTensor(rows, ffn)}
	rope := &backend.Rope{Pairs: headDim / 2, Cos: normal(rows * headDim / 2), Sin: normal(rows * headDim / 2)}
	all := t.add(func() float64 {
		for range again {
			b.Norm(y, x, w, eps)
			b.HeadNorm(y, headDim, w[:headDim], eps, rope)
			b.AddNorm(x, y, w, eps, 1)
			b.Norm(y, x, w, eps)
			b.GeGLU(wide[0], thin, ws[0], ws[1], 0)
			b.AddNorm(x, y, w, eps, 1)
		}
		return again
	}, nil)
	products := []backend.Product{{Dst: wide[0], W: ws[0]}, {Dst: wide[1], W: ws[1]}}
	product := t.add(func() float64 {
		for range again {
			b.Linear(thin, products)
		}
		return again
	}, nil)
	// Queries, keys and values, the output, gate and up, down: what a layer's products read and write.
	elems := float64(rows * (4*2*inputs + 2*(inputs+ffn) + (ffn + inputs)))
	t.fill = append(t.fill, func(m *forecast.Machine) {
		fill(m, elems/max(1, 1/all.rate()-1/product.rate()))
	})
	return nil
}
