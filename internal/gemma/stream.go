package gemma

import (
	"context"
	"slices"

	"github.com/plume-run/plume/internal/backend"
)

// stream is the blocks that are read for every step, always in the same order, and the
// ring that they are read into. Reuse is cyclic, for which keeping some blocks for good
// and reading the others, as Residency does, is better than any choice by recent use.
//
// The ring has what the step computes with and, as far as there is room, what it comes to
// next; after its last block, the first ones of the next step, which is taken to be of
// the same kind.
type stream struct {
	reader *reader
	whole  []*block // for steps that give logits
	part   []*block // for those that do not
	steps  int      // begun so far

	cycle []*block // of this step
	next  int      // the one it comes to next
	used  *block   // the one it computes with
	there []*block // whose places are not free
}

// init takes memory for the ring and lays out every block in it.
func (s *stream) init(r *reader, a *arrangement) error {
	s.reader = r
	ring, err := r.back.NewSlab(a.ringBytes)
	if err != nil {
		return err
	}
	for _, p := range a.cycle {
		b := p.block
		if b.matrices, err = layOut(r.back, ring, p.off, b.loads); err != nil {
			return err
		}
		b.off = p.off
		b.fetch.loads, b.fetch.into = b.loads, b.matrices
		w := b.unit.loads[0].dst
		w.blocks = append(w.blocks, b)
		s.whole = append(s.whole, b)
		if !b.unit.late {
			s.part = append(s.part, b)
		}
	}
	return nil
}

// begin starts a step.
func (s *stream) begin(logits bool) {
	s.steps++
	s.next, s.cycle = 0, s.part
	if logits {
		s.cycle = s.whole
	}
	s.advance()
}

// upcoming returns the block that is used d blocks after the next one.
func (s *stream) upcoming(d int) *block { return s.cycle[(s.next+d)%len(s.cycle)] }

// soon reports whether b is among the next n blocks.
func (s *stream) soon(b *block, n int) bool {
	for d := range n {
		if s.upcoming(d) == b {
			return true
		}
	}
	return false
}

// advance starts reading what comes next, as far as there is room.
func (s *stream) advance() {
	for d := range s.cycle {
		b := s.upcoming(d)
		if b.held {
			continue
		}
		if !s.makeRoom(b, d) {
			return
		}
		rank := b.unit.group.rank
		if s.next+d >= len(s.cycle) {
			rank += rankOfNextStep
		}
		s.read(b, rank)
	}
}

// rankOfNextStep is added to the rank of what only the next step needs.
const rankOfNextStep = 1 << 20

// makeRoom frees the place of b, which is used d blocks after the next one, unless
// something is there that is used before, or that is still being read for a step that was
// given up.
func (s *stream) makeRoom(b *block, d int) bool {
	free := true
	for i := len(s.there) - 1; i >= 0; i-- {
		o := s.there[i]
		switch {
		case o.off >= b.off+b.bytes || b.off >= o.off+o.bytes:
		case o == s.used || s.soon(o, d):
			free = false
		default:
			o.held = false
			if s.reader.giveUp(&o.fetch) {
				s.there = slices.Delete(s.there, i, i+1)
			} else {
				free = false
			}
		}
	}
	return free
}

// read starts reading b into its place.
func (s *stream) read(b *block, rank int) {
	if !b.held {
		b.held, s.there = true, append(s.there, b)
	}
	b.begun, b.fetch.rank = s.steps, rank
	s.reader.begin(&b.fetch)
}

// use waits for b, which must be the next block, and returns its matrices, until done.
func (s *stream) use(ctx context.Context, b *block) ([]backend.Matrix, error) {
	if s.next >= len(s.cycle) || s.cycle[s.next] != b {
		panic("gemma: internal error: weights used out of order")
	}
	for !b.held {
		if err := s.drain(ctx, b); err != nil {
			return nil, err
		}
		s.advance()
	}
	err := s.reader.wait(ctx, &b.fetch)
	if err != nil && b.begun != s.steps && !s.reader.running(&b.fetch) {
		s.read(b, b.unit.group.rank) // what went wrong in an earlier step may go well now
		err = s.reader.wait(ctx, &b.fetch)
	}
	if err != nil {
		if !s.reader.running(&b.fetch) {
			b.held = false // the next step tries again
		}
		return nil, err
	}
	s.used = b
	s.next++
	return b.matrices, nil
}

// drain waits until nothing is read any more into the place of b.
func (s *stream) drain(ctx context.Context, b *block) error {
	for _, o := range s.there {
		if o.off < b.off+b.bytes && b.off < o.off+o.bytes && s.reader.running(&o.fetch) {
			return s.reader.waitEnd(ctx, &o.fetch)
		}
	}
	return nil
}

// done ends the use of a block.
func (s *stream) done() {
	s.used = nil
	s.advance()
}

// end ends the step, wherever it has come to.
func (s *stream) end() { s.used = nil }
