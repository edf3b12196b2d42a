package engine

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/plume-run/plume/internal/sample"
)

// eager makes a session draft whenever it can.
func eager(s *Session) *Session {
	s.q.pace.eager()
	return s
}

func (p *pace) eager() {
	p.total, p.right = 1e9, 0.99
	for k := range p.cost {
		p.cost[k] = 1
	}
}

// Drafts must not change an answer, greedy or sampled, nor what the session does
// afterwards.
func TestDraftsChangeNothing(t *testing.T) {
	e, g := load(t)
	prompt := slices.Concat(g.IDs[:20], g.IDs[:20], g.IDs[:7]) // repeats, so there is something to guess
	drafted, accepted := 0, 0
	for seed := range uint64(12) {
		request := func() Request {
			s, err := sample.New(sample.Params{Temperature: float32(seed) / 20, TopK: 20, RepetitionPenalty: 1.05, Seed: seed})
			if err != nil {
				t.Fatal(err)
			}
			return Request{Prompt: prompt, MaxTokens: 60, Sampler: s, Stop: []int32{9}}
		}
		plain := newSession(t, e, SessionOptions{NoDraft: true, Context: 110})
		want, wantRes := collect(t, plain, request())
		s := eager(newSession(t, e, SessionOptions{Context: 110}))
		for range 2 { // the second time from the cache
			got, res := collect(t, s, request())
			if !slices.Equal(got, want) || res.Finish != wantRes.Finish {
				t.Fatalf("seed %d: %v (%d), want %v (%d)", seed, got, res.Finish, want, wantRes.Finish)
			}
			drafted, accepted = drafted+res.Drafted, accepted+res.Accepted
		}
		if wantRes.Drafted != 0 {
			t.Fatalf("seed %d: %d tokens drafted although drafts are off", seed, wantRes.Drafted)
		}
	}
	if drafted == 0 || accepted == 0 || accepted >= drafted {
		t.Errorf("%d tokens drafted, %d accepted: the test should see both kinds", drafted, accepted)
	}
}

// A caller that stops in the middle of a step leaves a session that goes on as if
// the tokens behind had never been computed.
func TestCallerStopsAmongDrafts(t *testing.T) {
	e, g := load(t)
	prompt := slices.Concat(g.IDs[:20], g.IDs[:20], g.IDs[:7])
	greedy := func() *sample.Sampler {
		s, err := sample.New(sample.Params{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	whole, _ := collect(t, newSession(t, e, SessionOptions{NoDraft: true}), Request{Prompt: prompt, MaxTokens: 40, Sampler: greedy()})
	for n := 1; n < 30; n++ {
		s := eager(newSession(t, e, SessionOptions{}))
		var got []int32
		_, err := s.Generate(t.Context(), Request{Prompt: prompt, Sampler: greedy()}, func(tok Token) bool {
			got = append(got, tok.ID)
			return len(got) < n
		})
		if err != nil {
			t.Fatal(err)
		}
		rest, _ := collect(t, s, Request{Prompt: slices.Concat(prompt, got), MaxTokens: 40 - n, Sampler: greedy()})
		if all := slices.Concat(got, rest); !slices.Equal(all, whole) {
			t.Fatalf("stopped after %d: %v, want %v", n, all, whole)
		}
	}
}

func TestLookup(t *testing.T) {
	var l lookup
	seq := []int32{1, 2, 3, 4, 5, 6, 7, 1, 2, 3}
	if got := l.draft(nil, seq, 3); !slices.Equal(got, []int32{4, 5, 6}) {
		t.Errorf("draft %v, want 4 5 6", got)
	}
	if got := l.draft(nil, append(seq, 9), 3); len(got) != 0 {
		t.Errorf("draft %v after tokens that never stood together", got)
	}
	if got := l.draft(nil, []int32{1, 2}, 3); len(got) != 0 {
		t.Errorf("draft %v of a sequence that is too short", got)
	}
	// Whatever the table says, a draft is what stood in the sequence.
	rng := rand.New(rand.NewPCG(1, 2))
	seq = seq[:0]
	for range 30000 {
		seq = append(seq, rng.Int32N(12))
		if d := l.draft(nil, seq, 4); len(d) > 0 {
			gram := slices.Concat(seq[len(seq)-lookupGram:], d)
			found := false
			for at := 0; at+len(gram) <= len(seq) && !found; at++ {
				found = slices.Equal(seq[at:at+len(gram)], gram)
			}
			if !found {
				t.Fatalf("draft %v never followed %v", d, seq[len(seq)-lookupGram:])
			}
		}
	}
}

// Whatever drafts cost and how often they are right, decoding takes at most 2 %
// longer than without them over an answer of some length, and a text that repeats
// itself goes about as fast as the best fixed number of drafts would.
func TestPaceBoundsTheLoss(t *testing.T) {
	for _, perDraft := range []float64{0.02, 0.2, 0.6, 1} {
		for _, right := range []float64{0, 0.1, 0.5, 0.95} {
			rng := rand.New(rand.NewPCG(3, 4))
			var p pace
			var spent, tokens float64
			for tokens < 5000 {
				k := p.choose(MaxDraft)
				hits := 0
				for hits < k && rng.Float64() < right {
					hits++
				}
				cost := 1 + perDraft*float64(k)
				p.observe(k, hits, time.Duration(cost*float64(time.Millisecond)))
				spent, tokens = spent+cost, tokens+float64(1+hits)
				if tokens >= 60 && spent > tokens*1.021 {
					t.Fatalf("draft cost %g, right %g: %.1f steps of time for %.0f tokens", perDraft, right, spent, tokens)
				}
			}
			best := math.Inf(1) // time per token of the best fixed number of drafts
			for k := range MaxDraft + 1 {
				yield, all := 1.0, 1.0
				for range k {
					all *= right
					yield += all
				}
				best = min(best, (1+perDraft*float64(k))/yield)
			}
			if got := spent / tokens; got > best*1.15+0.02 {
				t.Errorf("draft cost %g, right %g: %.3f per token, best %.3f", perDraft, right, got, best)
			}
		}
	}
}
