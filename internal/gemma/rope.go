package gemma

import (
	"math"

	"github.com/plume-run/plume/internal/backend"
)

// ropeTable makes the rotation angles of one layer type, once for all its layers.
type ropeTable struct {
	freq []float32    // angle per position, one per rotated pair
	rope backend.Rope // of the rows that set was last told of
}

// newRopeTable returns the table for head dimension dim of which the first
// pairs of (i, i+dim/2) rotate, by pos·theta^(−2i/dim). Partial ("proportional")
// rotation leaves the later pairs alone; the exponent's denominator stays dim.
// Powers and reciprocals are rounded to float32 where the reference rounds them:
// the angle of position 600 feels the last bit.
func newRopeTable(dim, pairs int, theta float64) *ropeTable {
	t := &ropeTable{freq: make([]float32, pairs)}
	for i := range t.freq {
		power := math.Pow(theta, float64(float32(2*i)/float32(dim)))
		t.freq[i] = 1 / float32(power)
	}
	t.rope.Pairs = pairs
	return t
}

// reserve makes room for the angles of that many rows.
func (t *ropeTable) reserve(rows int) {
	if n := rows * len(t.freq); cap(t.rope.Cos) < n {
		t.rope.Cos, t.rope.Sin = make([]float32, n), make([]float32, n)
	}
}

// set computes cosines and sines for rows at the given positions. Angles are formed
// in float32, as the reference does.
func (t *ropeTable) set(positions []int) {
	n := len(positions) * len(t.freq)
	t.reserve(len(positions))
	t.rope.Cos, t.rope.Sin = t.rope.Cos[:n], t.rope.Sin[:n]
	i := 0
	for _, pos := range positions {
		for _, f := range t.freq {
			sin, cos := math.Sincos(float64(float32(pos) * f))
			t.rope.Cos[i], t.rope.Sin[i] = float32(cos), float32(sin)
			i++
		}
	}
}
