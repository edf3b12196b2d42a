//go:build !race

package plume

import (
	"context"
	"runtime"
	"testing"
)

// What tells the race detector of assembly's memory allocates, hence the build tag.

// Decoding allocates nothing, here and in a session, once the cache of the
// per-layer table has its rows; nor with several sequences, nor with experts.
func TestBenchAllocations(t *testing.T) {
	m, err := OpenDemo(Options{Threads: 2, PLECacheBytes: 8 << 10}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	b := newBench(t, m)
	// The first rounds start readers and fill buffers. And the counts are of the whole process:
	// on a busy machine timers, signals and the collector allocate meanwhile, now and then. What a
	// step allocates it allocates in every round, so one round within the bounds shows that it does not.
	const rounds = 20
	var run, greedy BenchRun
	for range rounds {
		runtime.GC()
		if run, err = b.Decode(context.Background(), BenchDecode{Context: 16, Tokens: 50}); err != nil {
			t.Fatal(err)
		}
		if greedy, err = b.Greedy(context.Background(), 16, 51); err != nil {
			t.Fatal(err)
		}
		// An answer has a dozen of its own at its start and end, whatever its length.
		if run.Mallocs < 5 && greedy.Mallocs <= 25 {
			decodesWithoutAllocations(t, "four sequences", b, 4)
			decodesWithoutAllocations(t, "experts", newBench(t, openGolden(t, "moe-tiny", Options{Threads: 2})), 1)
			return
		}
	}
	t.Errorf("in each of %d rounds, at last %d allocations in %d steps, %d in %d of a session", rounds, run.Mallocs, run.Steps, greedy.Mallocs, greedy.Steps)
}

// decodesWithoutAllocations looks for a round of 50 steps with less than one for every ten.
func decodesWithoutAllocations(t *testing.T, name string, b *Bench, batch int) {
	t.Helper()
	var run BenchRun
	for range 20 {
		runtime.GC()
		var err error
		if run, err = b.Decode(context.Background(), BenchDecode{Context: 8, Tokens: 50, Batch: batch}); err != nil {
			t.Fatal(err)
		}
		if run.Mallocs < 5 {
			return
		}
	}
	t.Errorf("%s: in each of 20 rounds, at last %d allocations in %d steps", name, run.Mallocs, run.Steps)
}
