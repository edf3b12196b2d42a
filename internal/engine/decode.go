package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/plume-run/plume/internal/gemma"
)

// decode hands out id, the first token, and every token after it.
func (s *Session) decode(ctx context.Context, r *Request, id int32, res *Result, yield func(int32) bool) (Finish, error) {
	s.drawn = append(s.drawn[:0], id)
	for {
		for i, id := range s.drawn {
			res.Generated++
			if !yield(id) {
				s.forget(len(s.drawn) - 1 - i)
				return FinishCaller, nil
			}
			if slices.Contains(r.Stop, id) {
				return FinishStop, nil
			}
		}
		if r.MaxTokens > 0 && res.Generated >= r.MaxTokens {
			return FinishLength, nil
		}
		if len(s.seq) > s.opt.Context {
			return FinishContext, nil
		}
		at := len(s.seq) - 1 // a failed step cuts the sequence
		if err := s.decodeStep(ctx, r, res); err != nil {
			return FinishError, fmt.Errorf("compute token %d: %w", at, err)
		}
	}
}

// decodeStep computes the last token of the sequence and, on trial, what may
// follow it, and leaves in s.drawn the tokens that the sampler draws: one, and one
// more for every draft that it draws too. The result is what single steps give:
// logits do not depend on what is computed beside them, and the sampler draws once
// for each token in the same order.
func (s *Session) decodeStep(ctx context.Context, r *Request, res *Result) error {
	s.trial = append(s.trial[:0], s.seq[len(s.seq)-1])
	if room := s.room(r, res); room > 0 {
		s.trial = s.lookup.draft(s.trial, s.seq, room)
		s.trial = s.trial[:1+s.pace.choose(len(s.trial)-1)]
	}
	if s.draw == nil {
		s.draw = s.drawRows
	}
	s.drawn, s.r = s.drawn[:0], r
	begin := time.Now()
	if err := s.step(ctx, s.trial, gemma.WantAll, s.draw); err != nil {
		return err
	}
	k := len(s.trial) - 1
	res.Drafted, res.Accepted = res.Drafted+k, res.Accepted+len(s.drawn)-1
	s.pace.observe(k, len(s.drawn)-1, time.Since(begin))
	s.uncache(len(s.seq) - 1)
	return nil
}

// room is how many tokens may be evaluated on trial: the answer's end and the
// context's leave it.
func (s *Session) room(r *Request, res *Result) int {
	if s.opt.NoDraft {
		return 0
	}
	room := min(MaxDraft, s.opt.Context-len(s.seq))
	if r.MaxTokens > 0 {
		room = min(room, r.MaxTokens-res.Generated-1)
	}
	return room
}

// drawRows samples from the rows [rows, V] of a decode step until a draft is not
// drawn or the generation ends.
func (s *Session) drawRows(logits []float32, rows int) error {
	v := len(logits) / rows
	for i := range rows {
		id, err := s.sample(s.r, logits[i*v:(i+1)*v])
		if err != nil {
			return err
		}
		s.drawn = append(s.drawn, id)
		if i+1 == rows || id != s.trial[i+1] || slices.Contains(s.r.Stop, id) {
			return nil
		}
	}
	return nil
}

// forget takes back the last n tokens of the sequence.
func (s *Session) forget(n int) {
	s.seq = s.seq[:len(s.seq)-n]
	s.uncache(len(s.seq) - 1)
}

// uncache makes the cache forget what lies behind its first n positions.
func (s *Session) uncache(n int) {
	if s.cache.Len() > n && !s.cache.Truncate(n) {
		panic("engine: internal error: a cache kept tokens that were on trial")
	}
}
