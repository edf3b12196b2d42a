package fleet

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func load(rate float64) Load {
	return Load{Rate: rate, Prompt: Lengths{100, 250}, Answer: Lengths{50, 120}, Requests: 4000, Seed: 1}
}

// one is a replica that answers one request at a time, a token in 10 ms.
func one() Replica {
	return Replica{Sequences: 1, Context: 4096, Chunk: 4096, Step: func(Work) time.Duration {
		return 10 * time.Millisecond
	}}
}

func TestLengthsHaveTheirMoments(t *testing.T) {
	l := Lengths{Mean: 400, P95: 1000}
	r := rand.New(rand.NewPCG(1, 2))
	var sum float64
	above := 0
	const n = 200_000
	for range n {
		x := l.draw(r)
		sum += float64(x)
		if x > 1000 {
			above++
		}
	}
	if mean := sum / n; math.Abs(mean/400-1) > 0.01 {
		t.Errorf("mean %.1f", mean)
	}
	if share := float64(above) / n; math.Abs(share-0.05) > 0.003 {
		t.Errorf("%.3f are above the 95th percentile", share)
	}
}

// With one sequence at a time this is the queue M/G/1: the mean wait is
// λ·E[S²] / (2·(1 − ρ)), by Pollaczek and Khinchine.
func TestOneAtATimeIsTheQueueOfTheBooks(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer Lengths
	}{
		{"answers alike", Lengths{20, 20}},
		{"answers that differ", Lengths{20, 48}},
	} {
		l := load(1)
		l.Requests, l.Answer = 100_000, c.answer // 20 steps on average, the first of which is the prompt's: S = 0.5 s
		r := one()
		r.Step = func(Work) time.Duration { return 25 * time.Millisecond }
		res, err := Simulate(l, r, 1)
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(res.Busy-0.5) > 0.01 {
			t.Errorf("%s: busy %.3f, want λ·S = 0.5", c.name, res.Busy)
		}
		// Lognormal lengths: E[S²] = E[S]²·exp(σ²). The first token comes a step after the wait.
		sigma := c.answer.sigma()
		wait := 1 * 0.25 * math.Exp(sigma*sigma) / (2 * (1 - 0.5))
		if got := res.FirstMean - 0.025; math.Abs(got/wait-1) > 0.05 {
			t.Errorf("%s: waits %.4f s on average, want %.4f", c.name, got, wait)
		}
		if math.Abs(res.TokenP99-0.025) > 1e-9 || math.Abs(res.GapP99/0.025-1) > 0.01 {
			t.Errorf("%s: tokens come %.4f s apart, 99 of 100 within %.4f s, want 0.025", c.name, res.TokenP99, res.GapP99)
		}
	}
}

// Every token of a prompt is computed once, and every one of an answer comes once: with the end
// of its prompt, or decoded.
func TestEveryTokenIsCounted(t *testing.T) {
	l := load(20)
	l.Prompt, l.Answer = Lengths{300, 300}, Lengths{50, 50}
	var sum Work
	r := Replica{Sequences: 8, Context: 4096, Chunk: 256, BusyChunk: 32, Step: func(w Work) time.Duration {
		if w.Decoding > 8 || w.Prompt+w.Decoding > 256 || w.Decoding > 0 && w.Prompt > 32 || w.Decoding+w.Prompt == 0 {
			t.Fatalf("a step of %+v", w)
		}
		sum.Decoding, sum.Prompt, sum.Ending = sum.Decoding+w.Decoding, sum.Prompt+w.Prompt, sum.Ending+w.Ending
		return time.Duration(2+w.Decoding+w.Prompt/4) * time.Millisecond
	}}
	res, err := Simulate(l, r, 2)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Work{l.Requests * 49, l.Requests * 300, l.Requests}); sum != want {
		t.Errorf("computed %+v, want %+v", sum, want)
	}
	if math.Abs(res.Prompts/res.Tokens-6) > 1e-9 || res.Busy > 1+1e-9 || res.Sequences > 8 {
		t.Errorf("%+v", res)
	}
	again, err := Simulate(l, r, 2)
	if err != nil || again != res {
		t.Errorf("the same seed gives %+v, then %+v (%v)", res, again, err)
	}
}

// Users who wait for their answers: alone, one computes a share of the time; many who do not
// think are always all there.
func TestUsersWhoWait(t *testing.T) {
	l := Load{Users: 1, Think: 1.5, Prompt: Lengths{100, 100}, Answer: Lengths{50, 50}, Requests: 10_000, Seed: 1}
	alone, err := Simulate(l, one(), 1)
	if err != nil {
		t.Fatal(err)
	}
	// A turn is 0.5 s of computing and 1.5 of thinking.
	if math.Abs(alone.Busy/0.25-1) > 0.02 || math.Abs(alone.Tokens/25-1) > 0.02 || math.Abs(alone.FirstP99-0.01) > 1e-9 {
		t.Errorf("%+v", alone)
	}
	l.Users, l.Think = 4, 0
	busy, err := Simulate(l, one(), 1)
	if err != nil {
		t.Fatal(err)
	}
	// Three others are before each, 0.5 s each.
	if math.Abs(busy.Busy-1) > 1e-9 || math.Abs(busy.FirstP50-1.51) > 1e-6 || math.Abs(busy.FirstP99-1.51) > 1e-6 || math.Abs(busy.Tokens-100) > 0.1 {
		t.Errorf("%+v", busy)
	}
	if !(Target{FirstP99: 2}).Met(l, one(), busy) || (Target{FirstP99: 1}).Met(l, one(), busy) {
		t.Error("users who wait are served well or not, however busy replicas are")
	}
}

// Whoever comes while others are taken in is part of their step; what taking in costs, those who
// decode wait for too.
func TestComingTogether(t *testing.T) {
	l := Load{Users: 4, Prompt: Lengths{100, 100}, Answer: Lengths{50, 50}, Requests: 4, Seed: 1}
	var steps []Work
	r := Replica{Sequences: 8, Context: 4096, Chunk: 1024, BusyChunk: 32, Step: func(w Work) time.Duration {
		steps = append(steps, w)
		return 10 * time.Millisecond
	}}
	for _, c := range []struct {
		name  string
		admit time.Duration
		rate  float64
		first Work
	}{
		{"all at the same moment", 0, 0, Work{Prompt: 400, Ending: 4}},
		{"all at the same moment, taken in one by one", time.Millisecond, 0, Work{Prompt: 400, Ending: 4}},
		{"a second apart", time.Millisecond, 1, Work{Prompt: 100, Ending: 1}},
		{"a second apart, taken in slowly", time.Minute, 1, Work{Prompt: 400, Ending: 4}},
	} {
		if l.Rate = c.rate; c.rate > 0 {
			l.Users = 0
		}
		steps, r.Admit = nil, c.admit
		res, err := Simulate(l, r, 1)
		if err != nil || steps[0] != c.first {
			t.Errorf("%s: a first step of %+v, want %+v (%v)", c.name, steps[0], c.first, err)
		}
		if want := (4*c.admit + 10*time.Millisecond).Seconds(); c.rate == 0 && math.Abs(res.FirstP99-want) > 1e-9 {
			t.Errorf("%s: first tokens after %g s, want %g", c.name, res.FirstP99, want)
		}
	}
	// One at a time, all the time: everybody else decodes meanwhile.
	l, r.Admit = Load{Rate: 20, Prompt: Lengths{10, 10}, Answer: Lengths{50, 50}, Requests: 500, Seed: 1}, 5*time.Millisecond
	res, err := Simulate(l, r, 1)
	if err != nil || res.GapP99 < 0.0149 || res.Busy > 1 {
		t.Errorf("tokens come %g s apart where requests are taken in between: %+v (%v)", res.GapP99, res, err)
	}
}

func TestBurstsHaveTheirVariance(t *testing.T) {
	for _, burst := range []float64{0, 1, 4, 25} {
		l, r := Load{Rate: 5, Burst: burst}, rand.New(rand.NewPCG(1, 1))
		var sum, squares float64
		const n = 500_000
		for range n {
			x := l.gap(r)
			sum, squares = sum+x, squares+x*x
		}
		mean := sum / n
		if c := (squares/n - mean*mean) / (mean * mean); math.Abs(mean*5-1) > 0.03 || math.Abs(c/max(burst, 1)-1) > 0.05 {
			t.Errorf("burst %g: mean %.4f s, squared variation %.2f", burst, mean, c)
		}
	}
	calm, bursts := load(1), load(1)
	bursts.Burst = 9
	a, errA := Simulate(calm, one(), 1)
	b, errB := Simulate(bursts, one(), 1)
	if errA != nil || errB != nil || b.FirstP99 < 1.5*a.FirstP99 {
		t.Errorf("bursts make 99 of 100 wait %.2f s, independent arrivals %.2f (%v, %v)", b.FirstP99, a.FirstP99, errA, errB)
	}
}

func TestSizeFindsTheSmallest(t *testing.T) {
	l, r, target := load(10), one(), Target{FirstP99: 2}
	res, found, err := Size(l, r, target, 64)
	if err != nil || !found {
		t.Fatal(found, err)
	}
	// λ·S = 10 · 0.5 s: five replicas would be busy all the time.
	if res.Replicas < 6 || res.Replicas > 12 || res.FirstP99 > 2 {
		t.Errorf("%+v", res)
	}
	fewer, err := Simulate(l, r, res.Replicas-1)
	if err != nil || target.Met(l, r, fewer) {
		t.Errorf("one replica less does it too: %+v (%v)", fewer, err)
	}
	if res, found, err := Size(l, r, target, 3); err != nil || found || res.Replicas != 3 {
		t.Errorf("three replicas: %+v, %v, %v", res, found, err)
	}
}

// Where every request has a replica of its own and is too slow, more replicas are not tried.
func TestSizeGivesUp(t *testing.T) {
	l := load(1)
	l.Requests = 200
	res, found, err := Size(l, one(), Target{TokenP99: 0.005}, 1<<16)
	if err != nil || found || res.Most != 1 || res.Replicas > 16 {
		t.Errorf("%+v, %v, %v", res, found, err)
	}
}

func TestBatchesHelp(t *testing.T) {
	l, target := load(10), Target{FirstP99: 2}
	alone, _, err := Size(l, one(), target, 64)
	if err != nil {
		t.Fatal(err)
	}
	r := one()
	r.Sequences = 8
	r.Step = func(w Work) time.Duration {
		return 10*time.Millisecond + time.Duration(w.Decoding)*500*time.Microsecond
	}
	together, _, err := Size(l, r, target, 64)
	// Of λ = 10 requests of 50 steps of 14 ms and less, eight at once: one replica is enough, though
	// it always computes.
	if err != nil || together.Replicas >= alone.Replicas || together.Replicas != 1 || together.Busy < 0.97 {
		t.Errorf("%+v with batches, %d without (%v)", together, alone.Replicas, err)
	}
}

func TestBadLoads(t *testing.T) {
	for _, l := range []Load{
		{}, {Rate: math.NaN()}, {Rate: 1, Requests: 1, Prompt: Lengths{10, 5}, Answer: Lengths{10, 20}},
		{Rate: 1, Requests: 1, Prompt: Lengths{10, 20}, Answer: Lengths{10, 1000}},
		{Rate: 1, Users: 1, Requests: 1, Prompt: Lengths{10, 20}, Answer: Lengths{10, 20}},
		{Users: -1, Requests: 1, Prompt: Lengths{10, 20}, Answer: Lengths{10, 20}},
		{Think: 1, Requests: 1, Prompt: Lengths{10, 20}, Answer: Lengths{10, 20}},
		{Users: 1, Think: math.Inf(1), Requests: 1, Prompt: Lengths{10, 20}, Answer: Lengths{10, 20}},
		{Rate: 1, Burst: 0.5, Requests: 1, Prompt: Lengths{10, 20}, Answer: Lengths{10, 20}},
	} {
		if _, err := Simulate(l, one(), 1); err == nil {
			t.Errorf("simulated %+v", l)
		}
	}
	slow := one()
	slow.Admit = -1
	if _, err := Simulate(load(1), slow, 1); err == nil {
		t.Error("simulated requests that are taken in before they come")
	}
	if _, err := Simulate(load(1), Replica{}, 1); err == nil {
		t.Error("simulated a replica without room")
	}
	if _, err := Simulate(load(1), one(), 0); err == nil {
		t.Error("simulated no replicas")
	}
}
