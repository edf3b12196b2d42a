package engine

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/plume-run/plume/internal/sample"
)

// Constraint decides which tokens may come next. It belongs to one generation and is
// called from one goroutine at a time.
type Constraint interface {
	// Mask sets bit i%64 of dst[i/64] for every id i that may come next and clears
	// the others. What it says of stop tokens does not count, see CanEnd.
	Mask(dst []uint64)
	// CanEnd reports whether the text so far is complete: a stop token may come.
	CanEnd() bool
	// Accept is told the id that has come, unless it was a stop token.
	Accept(id int32) error
}

// Token is one token of an answer.
type Token struct {
	ID       int32
	Logprobs *Logprobs // when the request asked for them
}

// Logprobs are natural logs of probabilities under the model's own distribution:
// before penalties, temperature, constraints and filters.
type Logprobs struct {
	Chosen float64            // of the token drawn
	Top    []sample.TokenProb // of the most likely ones, best first
}

var (
	// errNoChoice is what damaged weights come to: every logit is NaN or -Inf.
	errNoChoice = errors.New("sample: the logits leave no token to choose; are the weights damaged?")
	errDeadEnd  = errors.New("sample: the constraint on the answer leaves no token to choose")
)

// choose draws a token from logits [V] f32, which it may change, and appends it to
// the sequence.
func (q *sequence) choose(logits []float32) (Token, error) {
	var t Token
	var norm sample.Norm
	if n := q.req.Logprobs; n > 0 {
		norm = sample.Normalise(logits)
		t.Logprobs = &Logprobs{Top: sample.Top(logits, n, norm)}
	}
	q.e.suppress(logits)
	for _, id := range q.req.Never {
		if id >= 0 && int(id) < len(logits) {
			logits[id] = float32(math.Inf(-1))
		}
	}
	if q.req.Constraint != nil {
		q.constrain(logits)
	}
	t.ID = q.req.Sampler.Sample(logits, q.ids)
	if t.ID < 0 && q.req.Constraint != nil {
		return t, errDeadEnd
	} else if t.ID < 0 {
		return t, errNoChoice
	}
	if t.Logprobs != nil {
		t.Logprobs.Chosen = norm.LogProb(logits[t.ID])
	}
	if c := q.req.Constraint; c != nil && !slices.Contains(q.req.Stop, t.ID) {
		if err := c.Accept(t.ID); err != nil {
			return t, fmt.Errorf("sample token %d: %w", t.ID, err)
		}
	}
	q.ids = append(q.ids, t.ID)
	return t, nil
}

// constrain makes what the constraint does not allow impossible.
func (q *sequence) constrain(logits []float32) {
	c := q.req.Constraint
	if words := (len(logits) + 63) / 64; len(q.mask) != words {
		q.mask = make([]uint64, words)
	}
	c.Mask(q.mask)
	canEnd := c.CanEnd()
	for _, id := range q.req.Stop {
		if id < 0 || int(id) >= len(logits) {
			continue
		}
		q.mask[id/64] &^= 1 << (id % 64)
		if canEnd {
			q.mask[id/64] |= 1 << (id % 64)
		}
	}
	forbid(logits, q.mask)
}

// forbid makes the ids whose bit in mask is not set impossible.
func forbid(logits []float32, mask []uint64) {
	never := float32(math.Inf(-1))
	for w, allowed := range mask {
		row := logits[w*64 : min(w*64+64, len(logits))]
		if allowed == 0 {
			for i := range row {
				row[i] = never
			}
			continue
		}
		for no := ^allowed; no != 0; no &= no - 1 {
			if i := bits.TrailingZeros64(no); i < len(row) {
				row[i] = never
			}
		}
	}
}
