package gemma

import (
	"context"
)

// stream is the groups that are read for every step, always in the same order, and the
// slabs that they take turns in. Reuse is cyclic, for which keeping some groups for good
// and reading the others, as Residency does, is better than any choice by recent use.
//
// The slabs that the step is not computing with hold, or are being filled with, the
// groups that it comes to next; after its last one, the first of the next step.
type stream struct {
	reader *reader
	cycle  []*group
	slabs  []slab
	steps  int // begun so far
	n      int // groups of the cycle that this step uses
	next   int // the one it comes to next
	used   *slab
}

// slab is memory that groups are read into.
type slab struct {
	index int
	holds *group // or will, when fetch has ended; nil: nothing
	begun int    // in which step it was
	fetch fetch
}

// init takes memory for the slabs and lays out every group in each of them.
func (s *stream) init(r *reader, a *arrangement) error {
	s.reader, s.cycle = r, a.cycle
	s.slabs = make([]slab, a.slabs)
	mem, err := r.back.NewSlab(int64(a.slabs) * a.slabBytes)
	if err != nil {
		return err
	}
	for i := range s.slabs {
		s.slabs[i].index = i
		for _, g := range s.cycle {
			views, err := layOut(r.back, mem, int64(i)*a.slabBytes, g.loads)
			if err != nil {
				return err
			}
			g.views = append(g.views, views)
		}
	}
	return nil
}

// begin starts a step that ends with layer last, with the output matrix when last is −1.
func (s *stream) begin(last int) {
	s.steps++
	s.n, s.next = len(s.cycle), 0
	if last >= 0 {
		s.n = 0
		for s.n < len(s.cycle) && s.cycle[s.n].layer >= 0 && s.cycle[s.n].layer <= last {
			s.n++
		}
	}
	s.advance()
}

// upcoming returns the group that the step uses d groups after the next one.
func (s *stream) upcoming(d int) *group {
	if i := s.next + d; i < s.n {
		return s.cycle[i]
	} else if i -= s.n; i < len(s.cycle) {
		return s.cycle[i] // of the next step
	}
	return s.cycle[0]
}

// holder returns the slab that has g or is being filled with it.
func (s *stream) holder(g *group) *slab {
	for i := range s.slabs {
		if s.slabs[i].holds == g {
			return &s.slabs[i]
		}
	}
	return nil
}

// advance starts reading what comes next, as far as there are slabs for it.
func (s *stream) advance() {
	ahead := len(s.slabs)
	if s.used != nil {
		ahead--
	}
	for d := range ahead {
		g := s.upcoming(d)
		if s.holder(g) != nil {
			continue
		}
		b := s.spare(ahead)
		if b == nil {
			return // still being filled for a step that was given up
		}
		rank := g.rank
		if s.next+d >= s.n {
			rank += rankOfNextStep
		}
		s.read(b, g, rank)
	}
}

// read starts filling b with g.
func (s *stream) read(b *slab, g *group, rank int) {
	b.holds, b.begun = g, s.steps
	b.fetch.loads, b.fetch.into, b.fetch.rank = g.loads, g.views[b.index], rank
	s.reader.begin(&b.fetch)
}

// rankOfNextStep is added to the rank of what only the next step needs.
const rankOfNextStep = 1 << 20

// spare returns a slab that holds nothing of what comes next and is not being filled.
func (s *stream) spare(ahead int) *slab {
	for i := range s.slabs {
		b := &s.slabs[i]
		if b == s.used || s.soon(b.holds, ahead) {
			continue
		}
		b.holds = nil
		if s.reader.giveUp(&b.fetch) {
			return b
		}
	}
	return nil
}

// soon reports whether g is among the next groups.
func (s *stream) soon(g *group, ahead int) bool {
	for d := range ahead {
		if s.upcoming(d) == g {
			return true
		}
	}
	return false
}

// use waits for g, which must be the next group.
func (s *stream) use(ctx context.Context, g *group) error {
	if s.upcoming(0) != g || s.next >= s.n {
		panic("gemma: internal error: weights used out of order")
	}
	for s.holder(g) == nil { // slabs are being filled for a step that was given up
		if err := s.drain(ctx); err != nil {
			return err
		}
		s.advance()
	}
	b := s.holder(g)
	err := s.reader.wait(ctx, &b.fetch)
	if err != nil && b.begun != s.steps && !s.reader.running(&b.fetch) {
		s.read(b, g, g.rank) // what went wrong in an earlier step may go well now
		err = s.reader.wait(ctx, &b.fetch)
	}
	if err != nil {
		if !s.reader.running(&b.fetch) {
			b.holds = nil // the next step tries again
		}
		return err
	}
	s.used = b
	s.next++
	for i := range g.loads {
		*g.loads[i].dst = g.views[b.index][i]
	}
	s.advance()
	return nil
}

// drain waits until a slab that is being filled for nobody is free.
func (s *stream) drain(ctx context.Context) error {
	for i := range s.slabs {
		if b := &s.slabs[i]; b != s.used && b.holds == nil {
			return s.reader.waitEnd(ctx, &b.fetch)
		}
	}
	panic("gemma: internal error: no slab for weights that are used next")
}

// done ends the use of a group.
func (s *stream) done() {
	s.used = nil
	s.advance()
}

// end ends the step.
func (s *stream) end() {
	s.used = nil
}
