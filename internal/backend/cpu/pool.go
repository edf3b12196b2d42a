package cpu

import (
	"sync/atomic"

	"github.com/plume-run/plume/internal/kernel"
)

// job is a piece of work in independent tasks. worker is below the number of
// threads and names the scratch memory that the task may use.
type job interface {
	run(worker, task int)
}

// pool runs jobs on threads−1 goroutines and the caller.
//
// All that a worker must know to take a task is in one word: which job, how many
// tasks, the next one, and the job's turn. Taking a task is a compare-and-swap of
// that word, so a worker that was descheduled for a while can neither take a task of a
// job that is over nor hold up the caller, who waits for tasks and not for workers.
//
// A worker looks for the next job for a while before it parks: an operation of the
// forward pass lasts some 10 µs, and waking a parked goroutine costs as much again. So does
// the caller before it parks to wait for the last task: nobody looks for ever, so that a
// thread that has a task and no processor gets one, whatever the scheduling class.
type pool struct {
	jobs    []job
	workers []parking
	caller  parking
	turns   uint64
	_       [64]byte // state and done change all the time; each has a cache line to itself
	state   atomic.Uint64
	_       [56]byte
	done    atomic.Int64 // finished tasks of the current job
	_       [56]byte
	closed  atomic.Bool
}

// parking is where a goroutine waits that found nothing to do.
type parking struct {
	parked atomic.Bool
	wake   chan struct{}
	_      [48]byte
}

// wait parks until unpark is called, or not at all when ready, asked once the place is taken,
// says that what is waited for has come. It may return early.
func (w *parking) wait(ready func() bool) {
	w.parked.Store(true)
	if ready() && w.parked.CompareAndSwap(true, false) {
		return
	}
	<-w.wake // of whoever took the place back
}

// unpark wakes the goroutine, if it has parked.
func (w *parking) unpark() {
	if w.parked.Load() && w.parked.CompareAndSwap(true, false) {
		w.wake <- struct{}{}
	}
}

// state holds, from the low bits on: next task and number of tasks (20 bits
// each), job (4 bits), turn (20 bits).
const (
	taskBits = 20
	jobShift = 2 * taskBits
	turnBits = jobShift + 4
	maxTasks = 1<<taskBits - 1
)

// How often a goroutine looks before it parks, with a pause of some 30 ns between. Idle
// workers: about 200 µs, longer than what lies between two steps of decoding (2-core Zen 4 VM,
// 2026-11-23). The caller: half of that, some tasks of decoding; where a task takes
// longer, being woken adds little to it.
const (
	idleSpins = 1 << 13
	doneSpins = 1 << 12
)

// newPool starts the workers. do names jobs by their index.
func newPool(threads int, jobs ...job) *pool {
	p := &pool{jobs: jobs, workers: make([]parking, threads-1)}
	p.caller.wake = make(chan struct{}, 1)
	for i := range p.workers {
		p.workers[i].wake = make(chan struct{}, 1)
		go p.work(i)
	}
	return p
}

// do runs tasks 0 … n−1 of a job and returns when all are done.
func (p *pool) do(index, n int) {
	if len(p.workers) == 0 || n <= 1 {
		for i := range n {
			p.jobs[index].run(0, i)
		}
		return
	}
	if n > maxTasks {
		panic("cpu: internal error: too many tasks for one job")
	}
	p.turns++
	p.done.Store(0)
	p.state.Store(p.turns<<turnBits | uint64(index)<<jobShift | uint64(n)<<taskBits)
	p.wake()
	p.drain(0)
	for i := 0; !p.finished(); i++ {
		if i < doneSpins {
			kernel.Pause()
			continue
		}
		p.caller.wait(p.finished)
	}
}

// finished reports whether every task of the current job has been run.
func (p *pool) finished() bool {
	return p.done.Load() == int64(p.state.Load()>>taskBits&maxTasks)
}

// wake calls the workers that have parked.
func (p *pool) wake() {
	for i := range p.workers {
		p.workers[i].unpark()
	}
}

// drain takes tasks of the current job until none is left.
func (p *pool) drain(worker int) {
	for {
		s := p.state.Load()
		task, n := s&maxTasks, s>>taskBits&maxTasks
		if task >= n {
			return
		}
		if p.state.CompareAndSwap(s, s+1) {
			p.jobs[s>>jobShift&15].run(worker, int(task))
			if p.done.Add(1) == int64(n) && worker > 0 {
				p.caller.unpark() // by now it may wait for another job, and then looks again
			}
		}
	}
}

// busy reports whether there is something to take, or the pool is being closed.
func (p *pool) busy() bool {
	s := p.state.Load()
	return s&maxTasks < s>>taskBits&maxTasks || p.closed.Load()
}

func (p *pool) work(i int) {
	w := &p.workers[i]
	for !p.closed.Load() {
		for n := 0; !p.busy(); n++ {
			if n < idleSpins {
				kernel.Pause()
				continue
			}
			n = 0
			w.wait(p.busy)
		}
		p.drain(i + 1)
	}
}

// close ends the workers; no job may be running.
func (p *pool) close() {
	p.closed.Store(true)
	p.wake()
}
