//go:build !race

package plume

import (
	"context"
	"runtime"
	"testing"
)

// What tells the race detector of assembly's memory allocates, hence the build tag.

// Decoding allocates nothing, here and in a session, once the cache of the
// per-layer table has its rows.
func TestBenchAllocations(t *testing.T) {
	m, err := OpenDemo(Options{Threads: 2, PLECacheBytes: 8 << 10}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	b := newBench(t, m)
	var run, greedy BenchRun
	for range 3 { // the first ones start readers and fill buffers
		runtime.GC()
		if run, err = b.Decode(context.Background(), BenchDecode{Context: 16, Tokens: 50}); err != nil {
			t.Fatal(err)
		}
		if greedy, err = b.Greedy(context.Background(), 16, 51); err != nil {
			t.Fatal(err)
		}
	}
	// A few of the whole process may fall into the time: signals, the collector. An
	// answer has a dozen of its own at its start and end, whatever its length.
	if run.Mallocs > 10 || greedy.Mallocs > 25 {
		t.Errorf("%d allocations in %d steps, %d in %d of a session", run.Mallocs, run.Steps, greedy.Mallocs, greedy.Steps)
	}
}
