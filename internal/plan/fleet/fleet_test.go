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
	return Replica{Sequences: 1, Context: 4096, Chunk: 4096, Step: func(n, prompt int) time.Duration {
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
	l := load(1)
	l.Requests = 60_000
	l.Answer = Lengths{50, 50} // always 50 steps, the first of which is the prompt's: S = 0.5 s
	res, err := Simulate(l, one(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(res.Busy-0.5) > 0.02 {
		t.Errorf("busy %.3f, want λ·S = 0.5", res.Busy)
	}
	// S = 0.5 constant, λ = 1: the median wait is 0 for half of them, and the mean wait 0.25.
	if res.FirstP50 > 0.3 || res.FirstP99 < 1 || res.FirstP99 > 3.2 {
		t.Errorf("first token after %.2f s (p50), %.2f s (p99)", res.FirstP50, res.FirstP99)
	}
	if math.Abs(res.TokenP99-0.01) > 1e-9 {
		t.Errorf("tokens come %.4f s apart, want 0.01", res.TokenP99)
	}
}

func TestEveryTokenIsCounted(t *testing.T) {
	l := load(20)
	r := one()
	r.Sequences = 8
	res, err := Simulate(l, r, 2)
	if err != nil {
		t.Fatal(err)
	}
	if res.Tokens <= 0 || res.Busy <= 0 || res.Busy > 1+1e-9 || res.Sequences > 8 {
		t.Errorf("%+v", res)
	}
	again, err := Simulate(l, r, 2)
	if err != nil || again != res {
		t.Errorf("the same seed gives %+v, then %+v (%v)", res, again, err)
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
	if err != nil || target.met(fewer) {
		t.Errorf("one replica less does it too: %+v (%v)", fewer, err)
	}
	if res, found, err := Size(l, r, target, 3); err != nil || found || res.Replicas != 3 {
		t.Errorf("three replicas: %+v, %v, %v", res, found, err)
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
	r.Step = func(n, prompt int) time.Duration { return 10*time.Millisecond + time.Duration(n)*500*time.Microsecond }
	together, _, err := Size(l, r, target, 64)
	if err != nil || together.Replicas >= alone.Replicas {
		t.Errorf("%d replicas with batches, %d without (%v)", together.Replicas, alone.Replicas, err)
	}
}

func TestBadLoads(t *testing.T) {
	for _, l := range []Load{
		{}, {Rate: math.NaN()}, {Rate: 1, Requests: 1, Prompt: Lengths{10, 5}, Answer: Lengths{10, 20}},
		{Rate: 1, Requests: 1, Prompt: Lengths{10, 20}, Answer: Lengths{10, 1000}},
	} {
		if _, err := Simulate(l, one(), 1); err == nil {
			t.Errorf("simulated %+v", l)
		}
	}
	if _, err := Simulate(load(1), Replica{}, 1); err == nil {
		t.Error("simulated a replica without room")
	}
	if _, err := Simulate(load(1), one(), 0); err == nil {
		t.Error("simulated no replicas")
	}
}
