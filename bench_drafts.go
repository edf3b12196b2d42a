package plume

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/plume-run/plume/internal/engine"
)

// BenchDrafts is an answer that is known in advance, so that drafts are right as often as
// they are in that text, whatever the model would have said.
type BenchDrafts struct {
	Prompt []int32 // at least one token
	Answer []int32 // at least two
}

// Drafts decodes d.Answer in two sessions, one that tries drafts and one that does not, in
// turn every few tokens, so that both meet the same machine. The runs' times are from the
// first token to the last; nothing but tokens, steps, times and drafts is counted in them.
func (b *Bench) Drafts(ctx context.Context, d BenchDrafts) (with, without BenchRun, err error) {
	if len(d.Prompt) < 1 || len(d.Answer) < 2 {
		return with, without, requestError{fmt.Errorf("measure drafts: %d tokens after %d, want at least 2 after 1", len(d.Answer), len(d.Prompt))}
	}
	var arms [2]*draftArm
	for i := range arms {
		s, err := b.m.eng.NewSession(engine.SessionOptions{Context: len(d.Prompt) + len(d.Answer), NoDraft: i == 1})
		if err != nil {
			return with, without, requestError{err}
		}
		defer s.Close()
		arms[i] = b.draftArm(ctx, s, d)
		defer arms[i].stop()
		if err := arms[i].step(1); err != nil { // the prompt
			return with, without, err
		}
		arms[i].run.Time = 0
	}
	const turn = 4 // tokens
	for at := 1; at < len(d.Answer); at += turn {
		first := at / turn % 2 // who comes second finds rows of the table that the other has read
		for _, arm := range []*draftArm{arms[first], arms[1-first]} {
			if err := arm.step(min(turn, len(d.Answer)-at)); err != nil {
				return with, without, err
			}
		}
	}
	return arms[0].done(), arms[1].done(), nil
}

// draftArm is one of the sessions that are measured in turn.
type draftArm struct {
	run  BenchRun
	next func() (engine.Token, bool)
	stop func()
	res  engine.Result
	err  error
}

func (b *Bench) draftArm(ctx context.Context, s *engine.Session, d BenchDrafts) *draftArm {
	a := &draftArm{run: BenchRun{Context: len(d.Prompt), Tokens: len(d.Answer) - 1}}
	a.next, a.stop = iter.Pull(func(yield func(engine.Token) bool) {
		a.res, a.err = s.Generate(ctx, engine.Request{
			Prompt: d.Prompt, MaxTokens: len(d.Answer), Sampler: b.pick.Clone(), Constraint: &recital{ids: d.Answer},
		}, yield)
	})
	return a
}

// step goes on by n tokens.
func (a *draftArm) step(n int) error {
	begin := time.Now()
	for range n {
		if _, ok := a.next(); !ok {
			if a.err == nil {
				a.err = errors.New("measure drafts: ended early")
			}
			return a.err
		}
	}
	a.run.Time += time.Since(begin)
	return nil
}

// done lets the generation end and returns what it took.
func (a *draftArm) done() BenchRun {
	a.next()
	a.run.Drafted, a.run.Accepted = a.res.Drafted, a.res.Accepted
	a.run.Steps = a.run.Tokens - a.run.Accepted
	return a.run
}

// recital allows the tokens of one text, one after the other.
type recital struct {
	ids []int32
	at  int
}

func (r *recital) Mask(dst []uint64) {
	clear(dst)
	id := r.ids[r.at]
	dst[id/64] |= 1 << (id % 64)
}

func (r *recital) CanEnd() bool { return false }

func (r *recital) Accept(int32) error {
	r.at++
	return nil
}
