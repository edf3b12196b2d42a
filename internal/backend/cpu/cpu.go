// Package cpu is the backend that answers on the processor: a pool of threads
// and weights packed for the kernels, in the precision of the file.
//
// Work is handed out over output rows, tokens or heads, never over a summed
// axis, so the number of threads does not change a bit of the result. Weights
// live outside the Go heap (see arena.go), so the collector neither scans nor counts
// them. Used by package plume, which wires it to package gemma; a CPU is used by
// one goroutine at a time, except NewSlab, Place, Fill, Packed and Memory.
package cpu

import (
	"fmt"

	"github.com/plume-run/plume/internal/kernel"
)

// CPU implements backend.Backend.
type CPU struct {
	pool    *pool
	scratch []scratch // one per thread

	mul             mulJob
	set             setJob
	floats, rounded activations // the current product's input
	rows            rowJob
	attend          attendJob
	merge           mergeJob
	expert          expertState
	prof            profile

	weights arena
}

// scratch is one thread's working memory; each slice grows to what its job needs.
type scratch struct {
	gate   []float32 // a product that goes through an activation
	up     []float32 // what it is multiplied by, another product
	query  []float32 // attention: padded queries
	scores []float32 // attention: scores of a block of keys
	acc    []float32 // attention: weighted values
	sums   []sums    // attention: the softmax of each query vector
}

// The pool's jobs, in the order in which New names them.
const (
	jobMul = iota
	jobRows
	jobAttend
	jobSet
	jobMerge
)

// New starts a backend with the given number of threads, the caller included.
func New(threads int) (*CPU, error) {
	c := &CPU{}
	if err := c.SetThreads(threads); err != nil {
		return nil, err
	}
	return c, nil
}

// SetThreads goes on with another number of threads, the caller included. It must
// not be called during another operation.
func (c *CPU) SetThreads(threads int) error {
	if threads < 1 || threads > 1024 {
		return fmt.Errorf("start cpu backend: %d threads, want 1 to 1024", threads)
	}
	if c.pool != nil {
		c.pool.close()
	}
	c.scratch = make([]scratch, threads)
	c.pool = newPool(threads, &c.mul, &c.rows, &c.attend, &c.set, &c.merge)
	return nil
}

// Name is "cpu" and the instruction set in use, as in "cpu avx2".
func (*CPU) Name() string { return "cpu " + kernel.Level() }

// Close stops the threads and returns the weights' memory to the system.
func (c *CPU) Close() error {
	c.pool.close()
	return c.weights.release()
}

// grow returns s with length n, reusing its memory when it can.
func grow(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n)
	}
	return s[:n]
}
