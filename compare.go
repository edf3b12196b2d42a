package plume

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
)

// Comparison is how far a model's predictions lie from those of a reference.
type Comparison struct {
	Evaluation
	// ReferenceNLL is the reference's MeanNLL.
	ReferenceNLL float64
	// KL is the mean over the scored tokens of Σ p·ln(p/q), in nats: p is the
	// reference's distribution of the next token and q the model's, at
	// temperature 1 and over the whole vocabulary. KLError is the standard error
	// of that mean, KLMax the largest term.
	KL, KLError, KLMax float64
	// Agreement is the share of scored tokens where the most likely token of
	// both is the same.
	Agreement float64
}

// Compare scores ids, as [Model.Perplexity] does and in the same windows, with m
// and with ref, which must have the same vocabulary and be another Model. The
// two compute in step, so that no more than a chunk's logits of each are kept.
func (m *Model) Compare(ctx context.Context, ref *Model, ids []int32, o PerplexityOptions) (Comparison, error) {
	switch {
	case m == ref:
		return Comparison{}, requestError{errors.New("compare models: both are the same")}
	case m.cfg.VocabSize != ref.cfg.VocabSize:
		return Comparison{}, requestError{fmt.Errorf("compare models: vocabulary %d, reference %d", m.cfg.VocabSize, ref.cfg.VocabSize)}
	}
	windows, err := m.windows(ids, o)
	if err != nil {
		return Comparison{}, err
	}
	var out Comparison
	var sum comparison
	for at, window := range windows {
		if err := sum.window(ctx, m, ref, window, o.Chunk); err != nil {
			return out, fmt.Errorf("compare tokens from %d: %w", at, err)
		}
		out = sum.result()
		if o.Progress != nil {
			o.Progress(out.Scored, len(ids))
		}
	}
	return out, nil
}

// windows cuts ids into the pieces that are scored, each with BOS in front; the
// index is that of a piece's first id. A piece is valid until the next one.
func (m *Model) windows(ids []int32, o PerplexityOptions) (iter.Seq2[int, []int32], error) {
	size := o.Window
	switch {
	case size == 0:
		size = 512
	case size < 2:
		return nil, requestError{fmt.Errorf("cut windows: %d tokens, want at least 2", size)}
	}
	if len(ids) == 0 {
		return nil, requestError{errors.New("cut windows: no tokens")}
	}
	if m.cfg.BOS < 0 {
		return nil, unsupportedError{errors.New("cut windows: the model names no BOS token")}
	}
	return func(yield func(int, []int32) bool) {
		window := []int32{m.cfg.BOS}
		for at, end := 0, size-1; at < len(ids); at, end = end, end+size {
			window = append(window[:1], ids[at:min(end, len(ids))]...)
			if !yield(at, window) {
				return
			}
		}
	}, nil
}

// comparison sums over windows.
type comparison struct {
	n, same      int
	nll, refNLL  float64
	kl, klSquare float64
	klMax        float64
}

// errEnded stops a model whose reference has stopped.
var errEnded = errors.New("the reference has ended early")

// window runs both models over one window.
func (c *comparison) window(ctx context.Context, m, ref *Model, ids []int32, chunk int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rows := make(chan []float32)
	var refErr error
	go func() {
		defer close(rows)
		refErr = ref.sendLogits(ctx, rows, ids, chunk)
	}()
	_, err := m.Evaluate(ctx, ids, EvalOptions{Chunk: chunk, Logits: func(i int, logits []float32) error {
		want, ok := <-rows
		if !ok {
			return errEnded
		}
		if i+1 < len(ids) {
			c.row(logits, want, int(ids[i+1]))
		}
		return nil
	}})
	cancel()
	for range rows { // refErr may be read when they have ended
	}
	if errors.Is(err, errEnded) && refErr != nil {
		return fmt.Errorf("reference: %w", refErr)
	}
	return err
}

// sendLogits evaluates ids and sends every row of logits. A row is the
// receiver's until it has received the next one.
func (m *Model) sendLogits(ctx context.Context, rows chan<- []float32, ids []int32, chunk int) error {
	var buf [2][]float32
	_, err := m.Evaluate(ctx, ids, EvalOptions{Chunk: chunk, Logits: func(i int, logits []float32) error {
		b := &buf[i%2]
		*b = append((*b)[:0], logits...)
		select {
		case rows <- *b:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}})
	return err
}

// row takes the logits [V] of the model and of the reference at one position,
// and the token that follows. With q = exp(x)/X and p = exp(r)/R,
//
//	Σ p·ln(p/q) = Σ exp(r)·(r - x) / R - ln R + ln X
func (c *comparison) row(logits, ref []float32, next int) {
	best, refBest := maxIndex(logits), maxIndex(ref)
	top, refTop := float64(logits[best]), float64(ref[refBest])
	var z, refZ, diff float64
	for i, r := range ref {
		z += math.Exp(float64(logits[i]) - top)
		if e := math.Exp(float64(r) - refTop); e > 0 {
			refZ += e
			diff += e * (float64(r) - float64(logits[i]))
		}
	}
	logZ, logRefZ := top+math.Log(z), refTop+math.Log(refZ)
	kl := max(0, diff/refZ-logRefZ+logZ) // rounding may take it below
	c.n++
	if best == refBest {
		c.same++
	}
	c.nll += logZ - float64(logits[next])
	c.refNLL += logRefZ - float64(ref[next])
	c.kl += kl
	c.klSquare += kl * kl
	c.klMax = max(c.klMax, kl)
}

func maxIndex(x []float32) int {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return best
}

func (c *comparison) result() Comparison {
	n := float64(c.n)
	mean := c.kl / n
	return Comparison{
		Evaluation:   Evaluation{MeanNLL: c.nll / n, Scored: c.n},
		ReferenceNLL: c.refNLL / n,
		KL:           mean,
		KLError:      math.Sqrt(max(0, c.klSquare/n-mean*mean) / n),
		KLMax:        c.klMax,
		Agreement:    float64(c.same) / n,
	}
}
