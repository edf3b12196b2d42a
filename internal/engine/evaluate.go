package engine

import (
	"context"
	"fmt"

	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/sample"
)

// EvalOptions say what Evaluate hands out beside the mean. The zero value
// asks for nothing more.
type EvalOptions struct {
	Chunk  int // tokens per step; 0: a default that bounds the logits' memory
	Greedy int // tokens to continue with, the most likely one each time, past stop tokens
	// Logits gets row i of the logits, [V] f32, in order of i. It must not keep it.
	Logits func(i int, logits []float32) error
	// Hidden gets hidden.index of token i, [H] f32: index 0 is the scaled
	// embedding, L the output after the final norm. It must not keep it.
	Hidden func(index, i int, hidden []float32) error
}

// Evaluation is what a sequence is worth under the model.
type Evaluation struct {
	MeanNLL float64 // mean of −log p(ids[i] | ids[:i]) over i ≥ 1, nats; 0 when there is one token
	Scored  int     // tokens in that mean
	Greedy  []int32 // the continuation, as many as were asked for
}

// Evaluate computes every position of ids in a cache of its own. Chunk, and
// whatever else runs on the engine, change no bit of the result.
func (e *Engine) Evaluate(ctx context.Context, ids []int32, o EvalOptions) (Evaluation, error) {
	if err := e.closed(); err != nil {
		return Evaluation{}, err
	}
	if err := e.checkIDs(ids); err != nil {
		return Evaluation{}, err
	}
	if o.Chunk < 0 || o.Greedy < 0 {
		return Evaluation{}, fmt.Errorf("read options: chunk %d, greedy %d, want 0 or more", o.Chunk, o.Greedy)
	}
	if o.Chunk == 0 {
		o.Chunk = DefaultEvalChunk
	}
	total := len(ids) + max(0, o.Greedy-1)
	if limit := e.cfg.MaxPositions; limit > 0 && total > limit {
		return Evaluation{}, fmt.Errorf("evaluate %d tokens in a context of %d: %w", total, limit, ErrContextFull)
	}
	cache, err := e.model.NewCache(total, 0)
	if err != nil {
		return Evaluation{}, fmt.Errorf("allocate kv cache of %d tokens: %w", total, err)
	}
	greedy, err := sample.New(sample.Params{})
	if err != nil {
		return Evaluation{}, err
	}
	run := evaluation{e: e, o: o, cache: cache, ids: ids, sampler: greedy}
	if err := run.score(ctx); err != nil {
		return Evaluation{}, err
	}
	out := Evaluation{Scored: len(ids) - 1}
	if out.Scored > 0 {
		out.MeanNLL = run.nll / float64(out.Scored)
	}
	out.Greedy, err = run.greedy(ctx)
	return out, err
}

// evaluation is the state of one Evaluate.
type evaluation struct {
	e     *Engine
	o     EvalOptions
	cache *gemma.Cache
	ids   []int32
	nll   float64

	sampler *sample.Sampler
	next    int32 // most likely token after the last one computed
}

func (v *evaluation) score(ctx context.Context) error {
	for at := 0; at < len(v.ids); {
		end := min(at+v.o.Chunk, len(v.ids))
		if err := v.chunk(ctx, at, end); err != nil {
			return fmt.Errorf("compute tokens %d to %d: %w", at, end, err)
		}
		at = end
	}
	return nil
}

func (v *evaluation) chunk(ctx context.Context, at, end int) error {
	b := gemma.Batch{Parts: []gemma.Part{{Cache: v.cache, IDs: v.ids[at:end], Want: gemma.WantAll}}}
	var hiddenErr error
	if v.o.Hidden != nil {
		b.Hidden = func(index, rows int, x []float32) {
			n := len(x) / rows
			for i := 0; i < rows && hiddenErr == nil; i++ {
				hiddenErr = v.o.Hidden(index, at+i, x[i*n:(i+1)*n])
			}
		}
	}
	return v.e.forward(ctx, &b, func(logits []float32, rows int, _ error) error {
		if hiddenErr != nil {
			return hiddenErr
		}
		n := len(logits) / rows
		for i := range rows {
			if err := v.row(at+i, logits[i*n:(i+1)*n]); err != nil {
				return err
			}
		}
		return nil
	})
}

// row takes the logits [V] f32 of token i.
func (v *evaluation) row(i int, logits []float32) error {
	if v.o.Logits != nil {
		if err := v.o.Logits(i, logits); err != nil {
			return err
		}
	}
	if i+1 < len(v.ids) {
		v.nll -= sample.LogProb(logits, v.ids[i+1])
		return nil
	}
	if v.o.Greedy == 0 {
		return nil
	}
	return v.choose(logits)
}

func (v *evaluation) greedy(ctx context.Context) ([]int32, error) {
	var out []int32
	for len(out) < v.o.Greedy {
		out = append(out, v.next)
		if len(out) == v.o.Greedy {
			break
		}
		b := gemma.Batch{Parts: []gemma.Part{{Cache: v.cache, IDs: out[len(out)-1:], Want: gemma.WantLast}}}
		err := v.e.forward(ctx, &b, func(logits []float32, rows int, _ error) error {
			return v.choose(logits)
		})
		if err != nil {
			return nil, fmt.Errorf("continue at token %d: %w", len(v.ids)+len(out)-1, err)
		}
	}
	return out, nil
}

// choose makes next the most likely token that the model may produce.
func (v *evaluation) choose(logits []float32) error {
	v.e.suppress(logits)
	if v.next = v.sampler.Sample(logits, nil); v.next < 0 {
		return errNoChoice
	}
	return nil
}
