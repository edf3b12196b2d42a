package engine

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/plume-run/plume/internal/sample"
)

// every allows ids that divide by a number which the id before decides, and the end
// after a few tokens. It remembers what it was told.
type every struct {
	told []int32
	ends int
}

func (c *every) step() int32 {
	if len(c.told) == 0 {
		return 3
	}
	return 2 + c.told[len(c.told)-1]%3
}

func (c *every) Mask(dst []uint64) {
	clear(dst)
	for id := int32(0); int(id) < 64*len(dst); id += c.step() {
		dst[id/64] |= 1 << (id % 64)
	}
}

func (c *every) CanEnd() bool { return len(c.told) >= c.ends }

func (c *every) Accept(id int32) error {
	if id%c.step() != 0 {
		return errors.New("not allowed")
	}
	c.told = append(c.told, id)
	return nil
}

// A constraint holds for every token, drafts included, and changes nothing about who
// computes; a stop token comes no sooner than it may, and then although the mask lacks it.
func TestConstraint(t *testing.T) {
	e, g := load(t)
	prompt := slices.Concat(g.IDs[:20], g.IDs[:20], g.IDs[:7])
	sch := newScheduler(t, e, SchedulerOptions{Sequences: 2})
	stopped, accepted := 0, 0
	for seed := range uint64(10) {
		request := func() (Request, *every) {
			s, err := sample.New(sample.Params{Temperature: float32(seed) / 9, TopK: 50, Seed: seed})
			if err != nil {
				t.Fatal(err)
			}
			c := &every{ends: 8}
			stop := []int32{119, -1, 1 << 20}
			return Request{Prompt: prompt, MaxTokens: 50, Sampler: s, Stop: stop, Constraint: c}, c
		}
		r, c := request()
		want, res := collect(t, newSession(t, e, SessionOptions{NoDraft: true, Context: 110}), r)
		told := want
		if res.Finish == FinishStop {
			stopped++
			told = want[:len(want)-1]
			if len(told) < 8 {
				t.Errorf("seed %d: stopped after %d tokens", seed, len(told))
			}
		}
		if !slices.Equal(c.told, told) {
			t.Errorf("seed %d: the constraint was told %v of %v", seed, c.told, want)
		}
		r, c = request()
		got, res := collect(t, eager(newSession(t, e, SessionOptions{Context: 110})), r)
		accepted += res.Accepted
		if !slices.Equal(got, want) || !slices.Equal(c.told, told) {
			t.Errorf("seed %d: with drafts %v, told %v, want %v", seed, got, c.told, want)
		}
		r, _ = request()
		got = nil
		if _, err := sch.Generate(t.Context(), r, func(tok Token) bool { got = append(got, tok.ID); return true }); err != nil || !slices.Equal(got, want) {
			t.Errorf("seed %d: a scheduler %v, %v, want %v", seed, got, err, want)
		}
	}
	if stopped == 0 || accepted == 0 {
		t.Errorf("%d of 10 stopped, %d drafts accepted: the test should see both", stopped, accepted)
	}
}

// nothing allows no token and no end.
type nothing struct{ every }

func (nothing) Mask(dst []uint64) { clear(dst) }
func (nothing) CanEnd() bool      { return false }

func TestDeadEnd(t *testing.T) {
	e, g := load(t)
	s := newSession(t, e, SessionOptions{})
	_, err := s.Generate(t.Context(), Request{Prompt: g.IDs[:4], Sampler: greedy(t), Constraint: &nothing{}}, nil)
	if !errors.Is(err, errDeadEnd) {
		t.Errorf("error %v", err)
	}
	if out, _ := collect(t, s, Request{Prompt: g.IDs, MaxTokens: 5}); !slices.Equal(out, g.Greedy[:5]) {
		t.Errorf("afterwards %v, want %v", out, g.Greedy[:5])
	}
}

// Log-probabilities are those of the model, whatever is forbidden or preferred.
func TestLogprobsOfTheModel(t *testing.T) {
	e, g := load(t)
	var rows [][]float32
	_, err := e.Evaluate(t.Context(), g.IDs, EvalOptions{Logits: func(_ int, row []float32) error {
		rows = append(rows, slices.Clone(row))
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	hot, err := sample.New(sample.Params{Temperature: 2, RepetitionPenalty: 1.5, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	last := rows[len(rows)-1]
	var got Token
	_, err = newSession(t, e, SessionOptions{}).Generate(t.Context(),
		Request{Prompt: g.IDs, MaxTokens: 1, Sampler: hot, Logprobs: 4, Constraint: &every{ends: 99}},
		func(tok Token) bool { got = tok; return true })
	if err != nil {
		t.Fatal(err)
	}
	if want := sample.LogProb(last, got.ID); got.ID%3 != 0 || got.Logprobs.Chosen != want {
		t.Errorf("token %d: %v, want %v", got.ID, got.Logprobs.Chosen, want)
	}
	order := make([]int32, len(last))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return int(math.Copysign(1, float64(last[b]-last[a]))) })
	for i, p := range got.Logprobs.Top {
		if p.ID != order[i] || p.LogProb != sample.LogProb(last, p.ID) {
			t.Errorf("place %d: %+v, want %d at %v", i, p, order[i], sample.LogProb(last, order[i]))
		}
	}
}

// What may never come does not, drafts or not.
func TestNever(t *testing.T) {
	e, g := load(t)
	greedy := func(never ...int32) Request {
		s, err := sample.New(sample.Params{})
		if err != nil {
			t.Fatal(err)
		}
		return Request{Prompt: slices.Concat(g.IDs[:20], g.IDs[:20]), MaxTokens: 30, Sampler: s, Never: append(never, -1, 1<<20)}
	}
	free, _ := collect(t, newSession(t, e, SessionOptions{Context: 110}), greedy())
	never := []int32{free[0], free[3]}
	want, _ := collect(t, newSession(t, e, SessionOptions{Context: 110, NoDraft: true}), greedy(never...))
	drafted, _ := collect(t, eager(newSession(t, e, SessionOptions{Context: 110})), greedy(never...))
	if slices.Contains(want, never[0]) || slices.Contains(want, never[1]) || !slices.Equal(want, drafted) {
		t.Errorf("%v was drawn, with drafts %v, although %v never may", want, drafted, never)
	}
}
