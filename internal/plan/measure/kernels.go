package measure

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/plan/forecast"
	"github.com/plume-run/plume/internal/quant"
)

// Sizes of what is measured on.
const (
	inputs     = 2048     // columns of a matrix
	outputs    = 4096     // and its rows
	streamed   = 96 << 20 // bytes of weights to go through: more than the caches of a core's share
	manyRows   = 128      // rows of a prompt's product
	keys       = 2048     // positions that attention sees
	queryHeads = 8        // of one K/V head, as in E2B
	headDim    = 512
	long       = 120 * time.Millisecond // of each measurement, at least
)

// rowShare turns the rate of a norm alone into that of all that activations go through
// beside products (norms, rounding to int8, GELU, residuals), counted by what products
// read and write: measured on E2B's prompts, 2026-11-23.
const rowShare = 0.6

// stepTime is what a step takes beside its operations (sampling from 262,144 logits, laying
// out the batch), in microseconds: measured on two machines, 2026-11-23.
const stepTime = 250

// Kernels fills in the rates of b's operations, for weights of the given types.
func Kernels(b backend.Backend, types []quant.Type, m *forecast.Machine) error {
	m.Vector, m.Matrix = map[string]float64{}, map[string]float64{}
	for _, t := range types {
		vector, matrix, err := products(b, t)
		if err != nil {
			return fmt.Errorf("measure products with %s: %w", t, err)
		}
		name := strings.ToLower(t.String())
		m.Vector[name], m.Matrix[name] = vector, matrix
	}
	for _, rates := range []map[string]float64{m.Vector, m.Matrix} {
		least := 0.0
		for _, x := range rates {
			if least == 0 || x < least {
				least = x
			}
		}
		rates["other"] = least
	}
	var err error
	if m.AttendOne, err = attention(b, 1); err != nil {
		return fmt.Errorf("measure attention: %w", err)
	}
	if m.AttendMany, err = attention(b, 64); err != nil {
		return fmt.Errorf("measure attention: %w", err)
	}
	m.Rows = rows(b)
	m.Call, err = call(b)
	m.Step = stepTime
	return err
}

// products measures y = W·x with one row (10⁹ bytes of weights per second) and with many
// (10⁹ multiply-adds per second).
func products(b backend.Backend, t quant.Type) (vector, matrix float64, err error) {
	spec, raw, err := weights(t, outputs, inputs)
	if err != nil {
		return 0, 0, err
	}
	var ws []backend.Matrix
	var held int64
	for held < streamed {
		w, err := backend.NewMatrix(b, spec, raw)
		if err != nil {
			return 0, 0, err
		}
		ws, held = append(ws, w), held+w.Bytes()
	}
	one, y := activations(1, inputs), backend.NewTensor(1, outputs)
	p := make([]backend.Product, 1)
	next := 0
	perCall := timed(func() {
		p[0] = backend.Product{Dst: y, W: ws[next%len(ws)]}
		b.Linear(one, p)
		next++
	})
	vector = float64(ws[0].Bytes()) / float64(perCall.Nanoseconds())
	many, out := activations(manyRows, inputs), backend.NewTensor(manyRows, outputs)
	p[0] = backend.Product{Dst: out, W: ws[0]}
	perCall = timed(func() { b.Linear(many, p) })
	return vector, manyRows * outputs * inputs / float64(perCall.Nanoseconds()), nil
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

// attention measures queries of one sequence at the end of its keys, in 10⁹ multiply-adds
// per second.
func attention(b backend.Backend, queries int) (float64, error) {
	kv, err := b.NewKV(backend.KVSpec{Heads: 1, HeadDim: headDim, Slots: keys, Type: quant.F16})
	if err != nil {
		return 0, err
	}
	fill := activations(keys, headDim)
	b.Store(kv, 0, fill, fill, 0, keys)
	q, dst := activations(queries, queryHeads*headDim), backend.NewTensor(queries, queryHeads*headDim)
	for i := range q.Data {
		q.Data[i] /= headDim // scores are not scaled
	}
	spans := []backend.Span{{N: queries, Pos: keys - queries, Hist: kv}}
	a := backend.Attention{Heads: queryHeads, KVHeads: 1, HeadDim: headDim}
	per := timed(func() { b.Attend(dst, q, spans, a) })
	seen := float64(queries)*keys - float64(queries*(queries-1)/2)
	return 2 * seen * queryHeads * headDim / float64(per.Nanoseconds()), nil
}

// rows measures a norm and scales it, in 10⁹ activations per second.
func rows(b backend.Backend) float64 {
	x, y, w := activations(64, inputs), backend.NewTensor(64, inputs), normal(inputs)
	per := timed(func() { b.Norm(y, x, w, 1e-6) })
	return rowShare * 2 * 64 * inputs / float64(per.Nanoseconds())
}

// call measures an operation that has next to nothing to do, in microseconds.
func call(b backend.Backend) (float64, error) {
	spec, raw, err := weights(quant.F32, 64, 64)
	if err != nil {
		return 0, err
	}
	w, err := backend.NewMatrix(b, spec, raw)
	if err != nil {
		return 0, fmt.Errorf("measure calls: %w", err)
	}
	x, p := activations(1, 64), []backend.Product{{Dst: backend.NewTensor(1, 64), W: w}}
	return float64(timed(func() { b.Linear(x, p) }).Nanoseconds()) / 1000, nil
}

// timed is how long f takes: the least mean of a few runs, since nothing makes a run faster
// than the machine is.
func timed(f func()) time.Duration {
	f()
	best := time.Duration(0)
	for range 3 {
		n, begin := 0, time.Now()
		for n == 0 || time.Since(begin) < long/3 {
			f()
			n++
		}
		if per := time.Since(begin) / time.Duration(n); best == 0 || per < best {
			best = per
		}
	}
	return max(best, 1)
}
