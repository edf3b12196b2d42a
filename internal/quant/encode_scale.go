package quant

import "math"

// The encoders of the formats without minima are searches for one scale per
// group: x ≈ scale·q, where q is an integer of a range that contains zero, or
// an entry of curve4.
//
// For given levels q the best scale is Σxq / Σq², and it lowers the error from
// Σx² by (Σxq)² / Σq². Candidates are compared by that gain.

// scaleForm is what the search needs to know of a format.
type scaleForm struct {
	lo, hi int32 // levels; 0 and 0 stand for curve4
	// steps are the candidates for the inverse scale of a group in units of
	// 1/peak: the level at which the peak would lie. A negative one puts a
	// positive peak at the end of the range that reaches further.
	steps []float32
}

// fitScale returns the best scale found for a group of 4n values.
func (f *scaleForm) fitScale(x []float32) float32 {
	top := peak(x)
	if top*top < minSquare {
		return 0
	}
	var scale, gain float32
	for _, step := range f.steps {
		xq, qq := f.sums(x, step/top)
		if g := xq * xq / qq; g > gain {
			scale, gain = xq/qq, g
		}
	}
	xq, qq := f.sums(x, 1/scale)
	if xq*xq/qq > gain {
		scale = xq / qq
	}
	return scale
}

// sums rounds x·inv to levels q and returns Σxq and Σq².
func (f *scaleForm) sums(x []float32, inv float32) (xq, qq float32) {
	if f.lo == f.hi {
		return curveSums(x, inv)
	}
	return levelSums(x, inv, f.lo, f.hi)
}

// cost returns Σ(x - scale·q)² for the best levels q.
func (f *scaleForm) cost(x []float32, scale float32) float32 {
	if f.lo == f.hi {
		return curveCost(x, scale)
	}
	return levelCost(x, scale, f.lo, f.hi)
}

func levelSums(x []float32, inv float32, lo, hi int32) (xq, qq float32) {
	var xq0, xq1, xq2, xq3 float32
	var sum int32
	for ; len(x) >= 4; x = x[4:] {
		q0, q1 := level(x[0]*inv, lo, hi), level(x[1]*inv, lo, hi)
		q2, q3 := level(x[2]*inv, lo, hi), level(x[3]*inv, lo, hi)
		xq0 += float32(x[0] * float32(q0))
		xq1 += float32(x[1] * float32(q1))
		xq2 += float32(x[2] * float32(q2))
		xq3 += float32(x[3] * float32(q3))
		sum += q0*q0 + q1*q1 + q2*q2 + q3*q3
	}
	return (xq0 + xq1) + (xq2 + xq3), float32(sum)
}

func levelCost(x []float32, scale float32, lo, hi int32) float32 {
	var c0, c1, c2, c3 float32
	inv := inverse(scale)
	for ; len(x) >= 4; x = x[4:] {
		e0 := x[0] - float32(scale*float32(level(x[0]*inv, lo, hi)))
		e1 := x[1] - float32(scale*float32(level(x[1]*inv, lo, hi)))
		e2 := x[2] - float32(scale*float32(level(x[2]*inv, lo, hi)))
		e3 := x[3] - float32(scale*float32(level(x[3]*inv, lo, hi)))
		c0 += float32(e0 * e0)
		c1 += float32(e1 * e1)
		c2 += float32(e2 * e2)
		c3 += float32(e3 * e3)
	}
	return (c0 + c1) + (c2 + c3)
}

// The entry of curve4 nearest to y follows from ⌊2y⌋, because all points
// halfway between two entries are multiples of a half. nearestIndex and
// nearestLevel are indexed by that plus 256.
var nearestIndex, nearestLevel = nearestTables()

func nearestTables() (index [512]uint8, lvl [512]int8) {
	for k := range index {
		y4 := 2*k - 511 // four times the middle of the interval
		best := math.MaxInt
		for i, c := range curve4 {
			if d := y4 - 4*int(c); d*d < best {
				index[k], lvl[k], best = uint8(i), int8(c), d*d
			}
		}
	}
	return index, lvl
}

// curveAt returns the index into the two tables for x/scale, inv2 = 2/scale.
func curveAt(x, inv2 float32) int32 {
	return level(float32(x*inv2)-0.5, -256, 255) + 256
}

func curveSums(x []float32, inv float32) (xq, qq float32) {
	var xq0, xq1 float32
	var sum int32
	inv2 := 2 * inv
	for ; len(x) >= 2; x = x[2:] {
		q0 := int32(nearestLevel[curveAt(x[0], inv2)&511])
		q1 := int32(nearestLevel[curveAt(x[1], inv2)&511])
		xq0 += float32(x[0] * float32(q0))
		xq1 += float32(x[1] * float32(q1))
		sum += q0*q0 + q1*q1
	}
	return xq0 + xq1, float32(sum)
}

func curveCost(x []float32, scale float32) float32 {
	var c0, c1 float32
	inv2 := 2 * inverse(scale)
	for ; len(x) >= 2; x = x[2:] {
		e0 := x[0] - float32(scale*float32(nearestLevel[curveAt(x[0], inv2)&511]))
		e1 := x[1] - float32(scale*float32(nearestLevel[curveAt(x[1], inv2)&511]))
		c0 += float32(e0 * e0)
		c1 += float32(e1 * e1)
	}
	return c0 + c1
}
