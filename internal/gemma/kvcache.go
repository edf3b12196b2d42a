package gemma

import (
	"errors"
	"fmt"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/quant"
)

// ErrContextFull marks a step that would exceed the length a Cache was made for.
var ErrContextFull = errors.New("context is full")

// Cache holds the keys and values of one sequence. A full layer keeps every
// position; a sliding layer keeps a ring of W+slack positions, position p in slot
// p mod (W+slack); a layer that shares keeps nothing. Not safe for concurrent use.
//
// A chunk of more than slack+1 tokens would overwrite ring slots that its own
// first tokens still see, so its fresh keys and values wait beside the ring until
// the layers that read them have run (see step.store and step.commit).
type Cache struct {
	back    backend.Backend
	layers  []backend.KV // nil for a layer that shares
	sliding []bool       // of the layers
	window  int
	slack   int // positions that a ring holds beyond the window
	n, max  int
	broken  error // why a step failed halfway; the rings are unusable then
}

// NewCache makes room for maxTokens positions. K and V take, per position and
// layer, 2·kvHeads·headDim values; sliding layers stop growing at W+slack
// positions. slack is how many of the last positions Truncate can always forget:
// 0, or the number of tokens that are evaluated on trial.
func (m *Model) NewCache(maxTokens, slack int) (*Cache, error) {
	if maxTokens < 1 || maxTokens > m.cfg.MaxPositions || slack < 0 {
		return nil, fmt.Errorf("make cache: %d tokens with %d on trial, want 1 to %d", maxTokens, slack, m.cfg.MaxPositions)
	}
	c := &Cache{back: m.back, sliding: m.cfg.Sliding, layers: make([]backend.KV, len(m.layers)), window: m.cfg.SlidingWindow, slack: slack, max: maxTokens}
	for i, spec := range m.cfg.cacheSpecs(maxTokens, slack, m.kvType) {
		if spec.Slots == 0 {
			continue
		}
		kv, err := m.back.NewKV(spec)
		if err != nil {
			return nil, fmt.Errorf("make cache: layer %d: %w", i, err)
		}
		c.layers[i] = kv
	}
	return c, nil
}

// cacheSpecs lists the stores of a cache, by layer; a layer that shares has no slots.
func (c *Config) cacheSpecs(maxTokens, slack int, typ quant.Type) []backend.KVSpec {
	specs := make([]backend.KVSpec, c.NumLayers)
	for i := range specs {
		switch {
		case c.Donor(i) != i:
		case c.Sliding[i]:
			specs[i] = c.kvSpec(i, min(maxTokens, c.SlidingWindow+slack), typ)
		default:
			specs[i] = c.kvSpec(i, maxTokens, typ)
		}
	}
	return specs
}

// kvSpec is the shape of layer i's keys and values.
func (c *Config) kvSpec(i, slots int, typ quant.Type) backend.KVSpec {
	return backend.KVSpec{Heads: c.LayerKVHeads(i), HeadDim: c.LayerHeadDim(i), Slots: slots, Type: typ}
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
// that has wrapped no longer holds what a query at n would see, unless n is among
// the last slack+1 positions or the end.
func (c *Cache) Truncate(n int) bool {
	if n == 0 {
		c.Reset()
		return true
	}
	if c.broken != nil || !c.Reaches(c.n, n) {
		return false
	}
	c.n = n
	return true
}

// Reaches reports whether a cache like this one that holds have positions could go
// back to n of them.
func (c *Cache) Reaches(have, n int) bool {
	if n < 0 || n > have {
		return false
	}
	return n == 0 || have <= c.window+c.slack || n >= have-c.slack-1
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
