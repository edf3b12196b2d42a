package cpu

import (
	"runtime"
	"sync/atomic"
	"testing"
)

// countJob counts how often each task is run.
type countJob struct{ runs []atomic.Int32 }

func (j *countJob) run(_, task int) { j.runs[task].Add(1) }

// TestPoolRunsEveryTaskOnce with as many processors as threads, with fewer, and with one.
func TestPoolRunsEveryTaskOnce(t *testing.T) {
	for _, procs := range []int{runtime.GOMAXPROCS(0), 2, 1} {
		old := runtime.GOMAXPROCS(procs)
		j := &countJob{runs: make([]atomic.Int32, 64)}
		p := newPool(5, j)
		const rounds = 2000
		want := make([]int32, len(j.runs))
		for round := range rounds {
			n := round % (len(want) + 1)
			p.do(0, n)
			for task := range want[:n] {
				want[task]++
			}
			for task, w := range want {
				if got := j.runs[task].Load(); got != w {
					t.Fatalf("%d processors, round %d of %d tasks: task %d ran %d times, want %d", procs, round, n, task, got, w)
				}
			}
		}
		p.close()
		runtime.GOMAXPROCS(old)
	}
}

// lateJob has one task for each of two threads. The worker's ends when the caller has
// parked, and never if it does not.
type lateJob struct {
	pool    *pool
	started atomic.Int32
}

func (j *lateJob) run(worker, _ int) {
	j.started.Add(1)
	for j.started.Load() < 2 {
		runtime.Gosched() // or the caller might run both
	}
	for worker > 0 && !j.pool.caller.parked.Load() {
		runtime.Gosched()
	}
}

// TestPoolCallerParks: a caller that spins for ever keeps the processor from the thread it waits for.
func TestPoolCallerParks(t *testing.T) {
	j := &lateJob{}
	j.pool = newPool(2, j)
	defer j.pool.close()
	for range 20 {
		j.started.Store(0)
		j.pool.do(0, 2)
		if j.pool.caller.parked.Load() {
			t.Fatal("the caller is parked after its job")
		}
	}
}

// TestPoolAllocatesNothing: waiting included.
func TestPoolAllocatesNothing(t *testing.T) {
	j := &lateJob{}
	j.pool = newPool(2, j)
	defer j.pool.close()
	if n := testing.AllocsPerRun(20, func() {
		j.started.Store(0)
		j.pool.do(0, 2)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
