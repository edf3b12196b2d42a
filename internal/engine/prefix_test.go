package engine

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// someIDs returns n ids of a text named by seed.
func someIDs(seed, n int) []int32 {
	rng := rand.New(rand.NewPCG(uint64(seed), 11))
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = 10 + rng.Int32N(300)
	}
	return ids
}

// ask runs a request of a scheduler to its end.
func ask(t *testing.T, s *Scheduler, r Request) ([]int32, Result) {
	t.Helper()
	r.Sampler = greedy(t)
	var out []int32
	res, err := s.Generate(t.Context(), r, func(tok Token) bool { out = append(out, tok.ID); return true })
	if err != nil {
		t.Fatal(err)
	}
	checkPrefixes(t, s)
	return out, res
}

// checkPrefixes looks over an idle scheduler's tree: its books agree with what is
// there, and no branch is dead. Of one that writes its file meanwhile, nothing can be said.
func checkPrefixes(t *testing.T, s *Scheduler) {
	t.Helper()
	if s.known == nil || s.opt.PrefixPause < savePause {
		return
	}
	for s.Stats().Running > 0 {
	}
	checkTree(t, s.known)
}

func checkTree(t *testing.T, p *prefixes) {
	t.Helper()
	var bytes int64
	marks := 0
	var visit func(at *node)
	visit = func(at *node) {
		if at != &p.root {
			bytes += at.full.Bytes() + 4*blockTokens + bookBytes
			if len(at.kids)+len(at.marks) == 0 {
				t.Error("a block that leads nowhere")
			}
		}
		for _, m := range at.marks {
			marks++
			bytes += m.rings.Bytes() + 4*int64(len(m.tail)) + bookBytes
			if m.full != nil {
				bytes += m.full.Bytes()
			}
		}
		for _, kid := range at.kids {
			visit(kid)
		}
	}
	visit(&p.root)
	st := p.stats
	if st.Bytes != bytes || st.Entries != marks || p.recent.Len() != marks || bytes > st.Capacity {
		t.Errorf("%d bytes in %d entries (%d in the list), the books say %+v", bytes, marks, p.recent.Len(), st)
	}
}

// Conversations that go on, part, and come back are answered as if nothing had been
// remembered, and only what is new is computed.
func TestPrefixes(t *testing.T) {
	e, _ := load(t)
	fresh := func(prompt []int32) []int32 {
		out, _ := collect(t, newSession(t, e, SessionOptions{Context: 600}), Request{Prompt: prompt, MaxTokens: 30})
		return out
	}
	for _, sequences := range []int{1, 3} {
		s := newScheduler(t, e, SchedulerOptions{Sequences: sequences, Queue: 9, Context: 600, Chunk: 50, BusyChunk: 20, PrefixBytes: 1 << 30})
		turn := func(name string, prompt []int32, reused int) []int32 {
			t.Helper()
			out, res := ask(t, s, Request{Prompt: prompt, MaxTokens: 30})
			if !slices.Equal(out, fresh(prompt)) {
				t.Errorf("%s: got %v, want %v", name, out, fresh(prompt))
			}
			if res.Reused != reused {
				t.Errorf("%d sequences, %s: %d tokens of %d reused, want %d", sequences, name, res.Reused, len(prompt), reused)
			}
			return slices.Concat(prompt, out)
		}
		system := someIDs(1, 150)
		first := turn("first", slices.Concat(system, someIDs(2, 60)), 0)
		turn("goes on", slices.Concat(first, someIDs(3, 30)), 239) // the last token was drawn, not computed
		turn("the same prompt again", first[:210], 209)
		turn("parts after the system prompt", slices.Concat(system, someIDs(4, 40)), 0)
		turn("parts there again", slices.Concat(system, someIDs(5, 40)), 150)
		turn("something else", someIDs(6, 300), 0)
		turn("something else again", someIDs(7, 100), 0)
		turn("the first goes on otherwise", slices.Concat(first, someIDs(8, 20)), 239)
		turn("the answer is told without its thought", slices.Concat(first[:210], first[213:], someIDs(9, 20)), 210)
		turn("a few tokens less than a prompt", slices.Concat(first[:204], someIDs(10, 20)), 204)
		turn("the system prompt alone", system[:140], 0)
		turn("too little to remember", system[:10], 0)
	}
}

// What a short prompt has computed can be cut anywhere.
func TestPrefixesBeforeTheRingTurns(t *testing.T) {
	e, _ := load(t)
	s := newScheduler(t, e, SchedulerOptions{Sequences: 1, Context: 100, PrefixBytes: 1 << 30})
	text := someIDs(1, 22) // the ring has 16 + 7 slots
	ask(t, s, Request{Prompt: text, MaxTokens: 1})
	ask(t, s, Request{Prompt: someIDs(2, 40), MaxTokens: 1})
	if _, res := ask(t, s, Request{Prompt: slices.Concat(text[:17], someIDs(3, 9)), MaxTokens: 1}); res.Reused != 17 {
		t.Errorf("%d tokens reused, want 17", res.Reused)
	}
}

// Budgets are kept, by forgetting what has not been used for longest; what is larger
// than the budget is not remembered at all.
func TestPrefixBudget(t *testing.T) {
	e, _ := load(t)
	q, err := e.newSequence(600, MaxDraft)
	if err != nil {
		t.Fatal(err)
	}
	room := 3*cost(q.cache, 0, 210) + 100
	s := newScheduler(t, e, SchedulerOptions{Sequences: 1, Context: 600, Chunk: 64, BusyChunk: 64, PrefixBytes: room})
	reused := func(text int) int {
		_, res := ask(t, s, Request{Prompt: someIDs(text, 210), MaxTokens: 1})
		return res.Reused
	}
	for i, want := range []struct{ text, reused int }{
		{1, 0}, {2, 0}, {3, 0}, {1, 209}, {4, 0}, // 2 has gone
		{3, 209}, {1, 209}, {2, 0}, // 4 has gone
		{4, 0}, {2, 209}, {1, 209},
	} {
		if got := reused(want.text); got != want.reused {
			t.Errorf("request %d: %d tokens of text %d reused, want %d", i, got, want.text, want.reused)
		}
	}
	if st := s.Stats().Prefix; st.Entries != 3 || st.Evicted == 0 || st.Hits == 0 || st.Bytes > room {
		t.Errorf("afterwards %+v", st)
	}
	s = newScheduler(t, e, SchedulerOptions{Sequences: 1, Context: 600, PrefixBytes: cost(q.cache, 0, 100)})
	ask(t, s, Request{Prompt: someIDs(1, 100), MaxTokens: 1})
	ask(t, s, Request{Prompt: someIDs(2, 101), MaxTokens: 1})
	if st := s.Stats().Prefix; st.Evicted != 0 || st.Entries != 1 {
		t.Errorf("a text larger than the budget: %+v", st)
	}

	// Random conversations against little memory: checkPrefixes looks over each.
	s = newScheduler(t, e, SchedulerOptions{Sequences: 2, Context: 600, Chunk: 64, BusyChunk: 64, PrefixBytes: room / 2})
	rng := rand.New(rand.NewPCG(5, 6))
	for range 40 {
		prompt := slices.Concat(someIDs(rng.IntN(2), 30*(1+rng.IntN(3))), someIDs(rng.IntN(3), 40*rng.IntN(4)), someIDs(rng.IntN(4), 10))
		got, _ := ask(t, s, Request{Prompt: prompt, MaxTokens: 2})
		want, _ := collect(t, newSession(t, e, SessionOptions{Context: 600}), Request{Prompt: prompt, MaxTokens: 2})
		if !slices.Equal(got, want) {
			t.Fatalf("%v: got %v, want %v", prompt, got, want)
		}
	}
}
