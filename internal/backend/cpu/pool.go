package cpu

import (
	"runtime"
	"sync/atomic"
)

// job is a piece of work in n independent tasks. worker is below the number of
// threads and names the scratch memory that the task may use.
type job interface {
	run(worker, task int)
}

// pool runs jobs on threads−1 goroutines and the caller. A worker looks for the
// next job for a while before it parks: an operation of the forward pass lasts
// some 10 µs, and waking a parked goroutine costs as much again.
type pool struct {
	threads int
	job     job
	n       int64
	_       [64]byte // the counters below change all the time; keep them off the line above
	next    atomic.Int64
	_       [56]byte
	pending atomic.Int64 // workers that have not finished the current job
	_       [56]byte
	turn    atomic.Uint64 // number of the current job; +1 starts it
	_       [56]byte
	closed  atomic.Bool
	workers []parking
}

// parking is where a worker waits that found nothing to do.
type parking struct {
	parked atomic.Bool
	wake   chan struct{}
	_      [48]byte
}

// spins is how often an idle worker looks before it parks: about 50 µs.
const spins = 1 << 15

func newPool(threads int) *pool {
	p := &pool{threads: threads, workers: make([]parking, threads-1)}
	for i := range p.workers {
		p.workers[i].wake = make(chan struct{}, 1)
		go p.work(i)
	}
	return p
}

// do runs tasks 0 … n−1 of j and returns when all are done.
func (p *pool) do(j job, n int) {
	if p.threads == 1 || n == 1 {
		for i := range n {
			j.run(0, i)
		}
		return
	}
	p.job, p.n = j, int64(n)
	p.next.Store(0)
	p.start()
	p.drain(0)
	for i := 0; p.pending.Load() != 0; i++ {
		if i > spins {
			runtime.Gosched()
		}
	}
	p.job = nil
}

// start publishes the current job and wakes the workers that have parked.
func (p *pool) start() {
	p.pending.Store(int64(len(p.workers)))
	p.turn.Add(1)
	for i := range p.workers {
		if w := &p.workers[i]; w.parked.CompareAndSwap(true, false) {
			w.wake <- struct{}{}
		}
	}
}

// drain takes tasks until none is left.
func (p *pool) drain(worker int) {
	for {
		task := p.next.Add(1) - 1
		if task >= p.n {
			return
		}
		p.job.run(worker, int(task))
	}
}

func (p *pool) work(i int) {
	w := &p.workers[i]
	for seen := uint64(0); ; seen++ {
		for n := 0; p.turn.Load() == seen; n++ {
			if n < spins {
				continue
			}
			w.parked.Store(true)
			if p.turn.Load() != seen && w.parked.CompareAndSwap(true, false) {
				break // the job came while we lay down
			}
			<-w.wake
		}
		if p.closed.Load() {
			return
		}
		p.drain(i + 1)
		p.pending.Add(-1)
	}
}

func (p *pool) close() {
	if !p.closed.Swap(true) {
		p.start()
	}
}
