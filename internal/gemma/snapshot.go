package gemma

import (
	"fmt"

	"github.com/plume-run/plume/internal/backend"
)

// What a cache holds can be copied out and put back later, also into another cache
// of the same model, length and slack. A full layer's keys and values at a position
// depend on the tokens up to it alone, so pieces of them serve every sequence that
// begins with these tokens. A ring is what it is only at one length of the sequence:
// it is copied whole, for that length and what Reaches allows.

// Piece is a copy of keys and values: of all full layers at a run of positions, or
// of all rings. It belongs to whoever made it and is never changed by a cache.
type Piece struct {
	kv    []backend.KV // by layer; nil: nothing of that layer
	slots []int        // copied slots, by layer
	from  int          // the first position, of full layers
}

// Bytes returns the memory of the piece.
func (p *Piece) Bytes() int64 {
	var sum int64
	for _, kv := range p.kv {
		if kv != nil {
			sum += kv.Bytes()
		}
	}
	return sum
}

// Memory returns the bytes of the piece, in an order and in lengths that follow from its
// shape; they are the piece's own. It returns false when the device does not show them.
func (p *Piece) Memory() ([][]byte, bool) {
	var all [][]byte
	for _, kv := range p.kv {
		if kv == nil {
			continue
		}
		m, ok := kv.(interface{ Memory() [][]byte })
		if !ok {
			return nil, false
		}
		all = append(all, m.Memory()...)
	}
	return all, true
}

// CopyFull copies the full layers' positions [from, from+n), n at least 1.
func (c *Cache) CopyFull(from, n int) (*Piece, error) {
	if c.broken != nil || from < 0 || n < 1 || from+n > c.n {
		panic("gemma: internal error: copy of positions that a cache does not hold")
	}
	p, err := c.NewPiece(from, n, false)
	if err == nil {
		p.take(c)
	}
	return p, err
}

// CopyRings copies the rings as they are now.
func (c *Cache) CopyRings() (*Piece, error) {
	if c.broken != nil || c.n == 0 {
		panic("gemma: internal error: copy of the rings of an empty cache")
	}
	p, err := c.NewPiece(0, c.n, true)
	if err == nil {
		p.take(c)
	}
	return p, err
}

// NewPiece makes an empty piece like CopyFull(from, n), or like CopyRings of a cache of n
// positions, to be filled through Memory.
func (c *Cache) NewPiece(from, n int, rings bool) (*Piece, error) {
	p := &Piece{kv: make([]backend.KV, len(c.layers)), slots: make([]int, len(c.layers)), from: from}
	for i, kv := range c.layers {
		if kv == nil || c.sliding[i] != rings {
			continue
		}
		spec := kv.Spec()
		spec.Slots, spec.Copy = min(n, spec.Slots), true
		store, err := c.back.NewKV(spec)
		if err != nil {
			return nil, fmt.Errorf("copy keys and values: layer %d: %w", i, err)
		}
		p.kv[i], p.slots[i] = store, spec.Slots
	}
	return p, nil
}

// take fills the piece from c. Rings have from 0, so they are copied slot by slot.
func (p *Piece) take(c *Cache) {
	for i, kv := range p.kv {
		if kv != nil {
			c.back.CopyKV(kv, 0, c.layers[i], p.from, p.slots[i])
		}
	}
}

// Restore makes c hold n positions again: full layers from pieces that follow each
// other from position 0 to n or beyond, rings from a copy that was made at n. What c
// held before is lost.
func (c *Cache) Restore(n int, full []*Piece, rings *Piece) {
	if n > c.max {
		panic("gemma: internal error: restore more than a cache has room for")
	}
	c.Reset()
	for _, p := range full {
		c.put(p, n)
	}
	c.put(rings, n)
	c.n = n
}

// put copies a piece to where it was taken, positions from n on left out.
func (c *Cache) put(p *Piece, n int) {
	for i, kv := range p.kv {
		if kv != nil {
			c.back.CopyKV(c.layers[i], p.from, kv, 0, min(p.slots[i], n-p.from))
		}
	}
}

// PieceBytes returns the memory of a copy of the full layers at n positions and of
// one of the rings of a sequence of n positions.
func (c *Cache) PieceBytes(n int) (full, rings int64) {
	for i, kv := range c.layers {
		if kv == nil {
			continue
		}
		spec := kv.Spec()
		each := kv.Bytes() / int64(spec.Slots) // slots are alike and nothing is beside them
		if c.sliding[i] {
			rings += each * int64(min(n, spec.Slots))
		} else {
			full += each * int64(n)
		}
	}
	return full, rings
}
