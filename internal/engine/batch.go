package engine

import (
	"cmp"
	"slices"
	"sync"

	"github.com/plume-run/plume/internal/gemma"
)

// batch is one step of a scheduler: part i of the gemma.Batch is member i's.
type batch struct {
	gemma.Batch
	members []*slot
	prompts []*slot // those of which the step takes prompt tokens, for compose
	alone   bool    // nobody but the one member has a request
}

// compose chooses what the next step computes, and reports whether that is anything.
// A slot whose reader has fallen behind stays out until there is room again.
func (b *batch) compose(slots []*slot, o *SchedulerOptions) bool {
	b.Parts, b.members, b.prompts = b.Parts[:0], b.members[:0], b.prompts[:0]
	busy := 0
	for _, q := range slots {
		switch {
		case q.job == nil:
			continue
		case q.prefilling():
			b.prompts = append(b.prompts, q)
		case q.job.room() > 0:
			b.members = append(b.members, q)
		}
		busy++
	}
	b.alone = busy == 1
	for _, q := range b.members {
		drafts := 0
		if b.alone && !o.NoDraft {
			drafts = min(MaxDraft, q.job.room()-1)
		}
		b.Parts = append(b.Parts, q.next(1, drafts))
	}
	b.addPrompts(o)
	return len(b.members) > 0
}

// addPrompts shares the step's prompt tokens out evenly; what a short prompt does not
// need goes to the longer ones.
func (b *batch) addPrompts(o *SchedulerOptions) {
	left := max(1, o.Chunk-len(b.members))
	if len(b.members) > 0 {
		left = min(left, o.BusyChunk)
	}
	slices.SortStableFunc(b.prompts, func(p, q *slot) int { return cmp.Compare(p.remaining(), q.remaining()) })
	for i, q := range b.prompts {
		if left == 0 {
			break
		}
		p := q.next(max(1, left/(len(b.prompts)-i)), 0)
		left -= len(p.IDs)
		b.Parts, b.members = append(b.Parts, p), append(b.members, q)
	}
}

// take lets every member draw from its rows of the logits [rows, V], all at once:
// filtering a row of 262,144 takes a good part of a millisecond. A member that has failed
// gets the error instead; the others are as good as without it.
func (b *batch) take(logits []float32, rows int, failed error) {
	v, at := len(logits)/max(1, rows), 0
	var wg sync.WaitGroup
	for i, q := range b.members {
		n := wanted(&b.Parts[i])
		if q.err = gemma.PartErr(failed, i); q.err != nil {
			at += n
			continue
		}
		mine := logits[at*v : (at+n)*v]
		at += n
		if n == rows {
			q.err = q.take(mine, n)
		} else if n > 0 {
			wg.Go(func() { q.err = q.take(mine, n) })
		}
	}
	wg.Wait()
}

// wanted is the number of rows of logits that come of a part.
func wanted(p *gemma.Part) int {
	switch p.Want {
	case gemma.WantNone:
		return 0
	case gemma.WantLast:
		return 1
	}
	return len(p.IDs)
}
