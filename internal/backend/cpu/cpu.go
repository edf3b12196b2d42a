// Package cpu is the backend that answers on the processor: a pool of threads
// and weights kept in the quantised form of the file.
//
// Work is handed out over output rows, tokens or heads, never over a summed
// axis, so the number of threads does not change a bit of the result. Weights
// live outside the Go heap (see alloc.go), so the collector neither scans nor counts
// them. Used by package plume, which wires it to package gemma; a CPU is used by
// one goroutine at a time, except Load.
package cpu

import (
	"fmt"
	"math"
	"sync"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/quant"
)

// CPU implements backend.Backend.
type CPU struct {
	pool    *pool
	scratch []scratch // one per thread

	mul    mulJob
	rows   rowJob
	attend attendJob
	expert expertState

	mu   sync.Mutex // guards mems, since Load is called concurrently
	mems [][]byte
}

// scratch is one thread's working memory; each slice grows to what its job needs.
type scratch struct {
	weights []float32 // decoded weight rows
	scores  []float32 // attention scores of a block of keys
	acc     []float32 // attention sums
	key     []float32 // one decoded key or value
}

// New starts a backend with the given number of threads, the caller included.
func New(threads int) (*CPU, error) {
	if threads < 1 || threads > 1024 {
		return nil, fmt.Errorf("start cpu backend: %d threads, want 1 to 1024", threads)
	}
	return &CPU{pool: newPool(threads), scratch: make([]scratch, threads)}, nil
}

// Name is "cpu".
func (*CPU) Name() string { return "cpu" }

// Close stops the threads and returns the weights' memory to the system.
func (c *CPU) Close() error {
	c.pool.close()
	var first error
	for _, m := range c.mems {
		if err := release(m); err != nil && first == nil {
			first = err
		}
	}
	c.mems = nil
	return first
}

// matrix is w [out, in] in the file's own blocks, rows one after the other.
type matrix struct {
	typ      quant.Type
	out, in  int
	rowBytes int
	data     []byte
}

func (m *matrix) Shape() (out, in int) { return m.out, m.in }
func (m *matrix) Bytes() int64         { return int64(len(m.data)) }

// row returns the stored bytes of row i.
func (m *matrix) row(i int) []byte { return m.data[i*m.rowBytes : (i+1)*m.rowBytes] }

// Load reads the weight into memory outside the Go heap.
func (c *CPU) Load(src backend.Source) (backend.Matrix, error) {
	if !src.Type.Decodable() {
		return nil, fmt.Errorf("load %s: type %s cannot be decoded", src.Name, src.Type)
	}
	rowBytes, err := src.Type.Bytes(int64(src.In))
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", src.Name, err)
	}
	if src.Out < 0 || rowBytes > math.MaxInt/int64(max(src.Out, 1)) {
		return nil, fmt.Errorf("load %s: %d rows of %d bytes do not fit in memory", src.Name, src.Out, rowBytes)
	}
	data, err := c.memory(int(rowBytes) * src.Out)
	if err == nil {
		_, err = src.R.ReadAt(data, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", src.Name, err)
	}
	return &matrix{src.Type, src.Out, src.In, int(rowBytes), data}, nil
}

// memory returns n zeroed bytes that live until Close. Small pieces come from the
// Go heap: a mapping of their own would waste most of a page and a kernel object.
func (c *CPU) memory(n int) ([]byte, error) {
	if n < 1<<16 {
		return make([]byte, n), nil
	}
	mem, err := allocate(n)
	if err != nil {
		return nil, fmt.Errorf("allocate %d bytes: %w", n, err)
	}
	c.mu.Lock()
	c.mems = append(c.mems, mem)
	c.mu.Unlock()
	return mem, nil
}

// grow returns s with length n, reusing its memory when it can.
func grow(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n)
	}
	return s[:n]
}
