package gemma

import (
	"errors"
	"fmt"

	"github.com/plume-run/plume/internal/backend"
)

// ErrContextFull marks a step that would exceed the length a Cache was made for.
var ErrContextFull = errors.New("context is full")

// Cache holds the keys and values of one sequence. A full layer keeps every
// position; a sliding layer keeps a ring of W positions, position p in slot p mod W;
// a layer that shares keeps nothing. Not safe for concurrent use.
//
// A chunk of several tokens would overwrite ring slots that its own first tokens
// still see, so its fresh keys and values wait beside the ring until the layers
// that read them have run (see step.store and step.commit).
type Cache struct {
	layers []backend.KV // nil for a layer that shares
	window int
	n, max int
	broken error // why a step failed halfway; the rings are unusable then
}

// NewCache makes room for maxTokens positions. K and V take, per position and
// layer, 2·kvHeads·headDim values; sliding layers stop growing at W positions.
func (m *Model) NewCache(maxTokens int) (*Cache, error) {
	if maxTokens < 1 || maxTokens > m.cfg.MaxPositions {
		return nil, fmt.Errorf("make cache: %d tokens, want 1 to %d", maxTokens, m.cfg.MaxPositions)
	}
	c := &Cache{layers: make([]backend.KV, len(m.layers)), window: m.cfg.SlidingWindow, max: maxTokens}
	for i := range m.layers {
		if m.layers[i].donor != i {
			continue
		}
		spec := m.kvSpec(i, maxTokens)
		if m.layers[i].sliding {
			spec.Slots = min(maxTokens, m.cfg.SlidingWindow)
		}
		kv, err := m.back.NewKV(spec)
		if err != nil {
			return nil, fmt.Errorf("make cache: layer %d: %w", i, err)
		}
		c.layers[i] = kv
	}
	return c, nil
}

// kvSpec is the shape of layer i's keys and values.
func (m *Model) kvSpec(i, slots int) backend.KVSpec {
	l := &m.layers[i]
	return backend.KVSpec{Heads: l.kvHeads, HeadDim: l.headDim, Slots: slots, Type: m.kvType}
}

// Len returns the number of positions held.
func (c *Cache) Len() int { return c.n }

// Cap returns the number of positions there is room for.
func (c *Cache) Cap() int { return c.max }

// Bytes returns the memory of all stores.
func (c *Cache) Bytes() int64 {
	var sum int64
	for _, kv := range c.layers {
		if kv != nil {
			sum += kv.Bytes()
		}
	}
	return sum
}

// Reset forgets everything.
func (c *Cache) Reset() { c.n, c.broken = 0, nil }

// Truncate forgets the positions from n on and reports whether it could: a ring
// that has wrapped no longer holds what a query at n would see, unless n is the
// last position or the end.
func (c *Cache) Truncate(n int) bool {
	if n == 0 {
		c.Reset()
		return true
	}
	if c.broken != nil || n < 0 || n > c.n {
		return false
	}
	if ring := min(c.max, c.window); c.n > ring && n < c.n-1 && c.window > 0 {
		return false
	}
	c.n = n
	return true
}

// check reports whether n more positions fit.
func (c *Cache) check(n int) error {
	if c.broken != nil {
		return fmt.Errorf("use cache after a failed step without Reset: %w", c.broken)
	}
	if n > c.max-c.n {
		return fmt.Errorf("%w: %d positions used of %d, %d more asked for", ErrContextFull, c.n, c.max, n)
	}
	return nil
}
