package engine

import (
	"fmt"
	"slices"
	"time"

	"github.com/plume-run/plume/internal/gemma"
)

// sequence is one text, its KV cache, and the answer that is being computed for it.
// It does not run steps: next says what it wants of the next one, take draws from
// the logits that came of it. Whoever runs the step (a Session alone, a Scheduler
// for many at once) decides what else is in it; that changes no bit of the answer.
type sequence struct {
	e       *Engine
	cache   *gemma.Cache
	context int     // most positions in the cache
	ids     []int32 // prompt and answer; the first cache.Len() of them are in the cache

	req   *Request // nil while nothing is computed
	res   Result
	begun time.Time
	first time.Time // when the first token was drawn
	at    int       // cache.Len() before the last step
	cut   int       // a step of the prompt must end here, so that what is held then can be kept; 0: none

	weights  gemma.WeightStats // when the answer began
	prompted int64             // bytes of weights that the prompt's steps have read since then

	lookup lookup
	pace   pace
	trial  []int32  // the tokens of a decode step: the last of ids and drafts
	drawn  []Token  // what the last step yielded
	mask   []uint64 // what the constraint allows
}

// newSequence allocates the KV cache of a sequence of up to context positions of
// which the last slack can be forgotten again at any time.
func (e *Engine) newSequence(context, slack int) (*sequence, error) {
	cache, err := e.model.NewCache(context, slack)
	if err != nil {
		return nil, fmt.Errorf("allocate kv cache of %d tokens: %w", context, err)
	}
	return &sequence{e: e, cache: cache, context: context}, nil
}

// start begins the answer to r. What the cache holds of r's prompt is kept.
func (q *sequence) start(r *Request) {
	q.begun = time.Now()
	q.req, q.drawn, q.cut = r, q.drawn[:0], 0
	q.res = Result{Prompt: len(r.Prompt), Finish: FinishError}
	q.weights, q.prompted = q.e.model.WeightStats(), 0
	n := q.shared(r.Prompt)
	if !q.cache.Truncate(n) {
		panic("engine: internal error: a cache has lost what it was said to hold")
	}
	q.res.Reused = n
	q.ids = append(q.ids[:n], r.Prompt[n:]...)
}

// shared returns how many tokens of prompt the cache can be cut back to. The last
// prompt token is always computed, since its logits are wanted. Sliding rings forget
// what they overwrite, so a cache may not be able to go back.
func (q *sequence) shared(prompt []int32) int {
	have := q.cache.Len()
	n := common(q.ids[:have], prompt[:len(prompt)-1])
	if !q.cache.Reaches(have, n) {
		return 0
	}
	return n
}

// common returns the length of the longest common beginning.
func common(a, b []int32) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// remaining is how many tokens of the prompt are not in the cache yet.
func (q *sequence) remaining() int { return q.res.Prompt - q.cache.Len() }

// prefilling reports whether the prompt is not in the cache yet.
func (q *sequence) prefilling() bool { return q.remaining() > 0 }

// next is the sequence's part of a step: up to chunk tokens of the prompt, or the
// last token with up to drafts more on trial.
func (q *sequence) next(chunk, drafts int) gemma.Part {
	q.at, q.drawn = q.cache.Len(), q.drawn[:0]
	if !q.prefilling() {
		return q.nextToken(drafts)
	}
	end := min(q.at+chunk, q.res.Prompt)
	if q.at < q.cut {
		end = min(end, q.cut)
	}
	p := gemma.Part{Cache: q.cache, IDs: q.ids[q.at:end], Want: gemma.WantNone}
	if q.at+len(p.IDs) == q.res.Prompt {
		p.Want, q.trial = gemma.WantLast, q.trial[:0]
	}
	return p
}

// take draws tokens from the logits [rows, V] of a step and ends the answer, by
// setting res.Finish, where it is complete.
func (q *sequence) take(logits []float32, rows int) error {
	if rows == 0 {
		return nil
	}
	if q.res.Generated == 0 {
		q.res.Prefill = time.Since(q.begun)
	}
	if err := q.draw(logits, rows); err != nil {
		return err
	}
	if q.res.Generated == 0 {
		q.first = time.Now()
		q.res.First = q.first.Sub(q.begun)
	}
	q.res.Generated += len(q.drawn)
	q.uncache(len(q.ids) - 1)
	switch {
	case slices.Contains(q.req.Stop, q.drawn[len(q.drawn)-1].ID):
		q.end(FinishStop)
	case q.req.MaxTokens > 0 && q.res.Generated >= q.req.MaxTokens:
		q.end(FinishLength)
	case len(q.ids) > q.context:
		q.end(FinishContext)
	}
	return nil
}

// count adds what the last step, of which the sequence was that part, has taken from the
// per-layer table, and what reading weights has cost since the start.
func (q *sequence) count(part int) {
	q.res.Weights = q.e.model.WeightStats().Sub(q.weights)
	if q.at < q.res.Prompt {
		q.prompted = q.res.Weights.ReadBytes
	}
	q.res.Decoded = q.res.Weights.ReadBytes - q.prompted
	if c := q.e.model.PLECounts(part); c.Rows > 0 {
		q.res.PLE.Add(c)
		q.res.PLEWaits.Add(c.Wait)
	}
}

// expect tells the model which token comes next, so that its row of the per-layer table
// is on its way before anybody has asked for the step. Whoever has run the step calls it.
func (q *sequence) expect() {
	if !q.ended() && len(q.drawn) > 0 {
		q.e.model.Expect(q.drawn[len(q.drawn)-1].ID)
	}
}

// end closes the books of the answer.
func (q *sequence) end(f Finish) {
	q.res.Finish = f
	if !q.first.IsZero() {
		q.res.Decode = time.Since(q.first)
	}
	q.req, q.first = nil, time.Time{}
}

// ended reports whether there is no answer to compute.
func (q *sequence) ended() bool { return q.req == nil }

// fail ends the answer because of err, which struck in the last step, and returns
// err with the place. A step that failed halfway leaves a cache that cannot go on;
// one that was refused leaves it as it was.
func (q *sequence) fail(err error) error {
	prompt := q.prefilling()
	if n := q.cache.Len(); q.cache.Truncate(n) {
		q.ids = q.ids[:n]
	} else {
		q.clear()
	}
	q.end(FinishError)
	if prompt {
		return fmt.Errorf("compute prompt from token %d: %w", q.at, err)
	}
	return fmt.Errorf("compute token %d: %w", q.at, err)
}

// forget takes back the last n tokens of the sequence.
func (q *sequence) forget(n int) {
	q.ids = q.ids[:len(q.ids)-n]
	q.res.Generated -= n
	q.uncache(len(q.ids) - 1)
}

// uncache makes the cache forget what lies behind its first n positions.
func (q *sequence) uncache(n int) {
	if q.cache.Len() > n && !q.cache.Truncate(n) {
		panic("engine: internal error: a cache kept tokens that were on trial")
	}
}

func (q *sequence) clear() {
	q.cache.Reset()
	q.ids = q.ids[:0]
}
