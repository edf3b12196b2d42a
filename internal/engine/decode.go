package engine

import (
	"slices"
	"time"

	"github.com/plume-run/plume/internal/gemma"
)

// nextToken asks for the last token of the sequence and, on trial, what may follow
// it. The result is what single steps give: logits do not depend on what is computed
// beside them, and the sampler draws once for each token in the same order.
func (q *sequence) nextToken(drafts int) gemma.Part {
	q.trial = append(q.trial[:0], q.ids[len(q.ids)-1])
	if room := q.room(drafts); room > 0 {
		q.trial = q.lookup.draft(q.trial, q.ids, room)
		q.trial = q.trial[:1+q.pace.choose(len(q.trial)-1)]
	}
	return gemma.Part{Cache: q.cache, IDs: q.trial, Want: gemma.WantAll}
}

// room is how many of n tokens may be evaluated on trial: the answer's end and the
// context's leave it.
func (q *sequence) room(n int) int {
	n = min(n, MaxDraft, q.context-len(q.ids))
	if q.req.MaxTokens > 0 {
		n = min(n, q.req.MaxTokens-q.res.Generated-1)
	}
	return n
}

// draw samples from the rows [rows, V] of a step until a draft is not drawn or the
// generation ends.
func (q *sequence) draw(logits []float32, rows int) error {
	v := len(logits) / rows
	for i := range rows {
		t, err := q.choose(logits[i*v : (i+1)*v])
		if err != nil {
			return err
		}
		q.drawn = append(q.drawn, t)
		if i+1 == rows || t.ID != q.trial[i+1] || slices.Contains(q.req.Stop, t.ID) {
			break
		}
	}
	if k := len(q.trial) - 1; k > 0 {
		q.res.Drafted, q.res.Accepted = q.res.Drafted+k, q.res.Accepted+len(q.drawn)-1
	}
	return nil
}

// observe tells the pace what the last step has cost, if it was a decode step of this
// sequence alone.
func (q *sequence) observe(took time.Duration) {
	if len(q.trial) > 0 && len(q.drawn) > 0 {
		q.pace.observe(len(q.trial)-1, len(q.drawn)-1, took)
	}
}
