package quant

import "math"

// A line stands for the levels D·q - M of one group, D ≥ 0 and M ≥ 0.
type line struct{ D, M float32 }

// lineForm is what the search needs to know of a format.
//
// The candidates for the first levels of a group are spreads × shifts. A spread
// is how many steps wider than the levels there are the group's range is taken
// to be: below 0 the outermost levels stay free, above 0 the outermost values
// are cut off. A shift moves the cut from one end to the other, in steps.
type lineForm struct {
	top             int32 // levels are 0…top
	spreads, shifts []float32

	group    int   // values of a group of a super-block
	topScale int32 // its integers s and m are 0…topScale
}

// fitLine returns the line with the least Σ(x - D·q + M)² among candidates, for
// a group of 4n values. For given levels q that is the regression line of x on
// q; it leaves Σx² - gain, with the gain that sums.solve returns. Without free,
// M must not be negative.
func (f *lineForm) fitLine(x []float32, free bool) line {
	lo, hi := bounds(x)
	if !free {
		lo = min(lo, 0)
	}
	width := hi - lo
	best, bestGain := line{0, -lo}, float32(-1)
	if width*width < minSquare {
		return best
	}
	var sumX float32
	for _, v := range x {
		sumX += v
	}
	for _, spread := range f.spreads {
		inv := (float32(f.top) + spread) / width
		centre := float32(-lo*inv) - float32(spread*0.5)
		for _, shift := range f.shifts {
			l, gain := sumLevels(x, f.top, inv, centre+shift).solve(sumX, free)
			if gain > bestGain {
				best, bestGain = l, gain
			}
		}
	}
	if best.D > 0 {
		inv := 1 / best.D
		l, gain := sumLevels(x, f.top, inv, float32(best.M*inv)).solve(sumX, free)
		if gain > bestGain {
			best = l
		}
	}
	return best
}

// sums holds Σq, Σq² and Σxq over a group of n.
type sums struct {
	n, q, qq int32
	xq       float32
}

// sumLevels rounds x·inv + off to levels in 0…top and sums up.
func sumLevels(x []float32, top int32, inv, off float32) sums {
	var xq0, xq1, xq2, xq3 float32
	var sum, squares int32
	n := int32(len(x))
	for ; len(x) >= 4; x = x[4:] {
		q0 := level(float32(x[0]*inv)+off, 0, top)
		q1 := level(float32(x[1]*inv)+off, 0, top)
		q2 := level(float32(x[2]*inv)+off, 0, top)
		q3 := level(float32(x[3]*inv)+off, 0, top)
		xq0 += float32(x[0] * float32(q0))
		xq1 += float32(x[1] * float32(q1))
		xq2 += float32(x[2] * float32(q2))
		xq3 += float32(x[3] * float32(q3))
		sum += q0 + q1 + q2 + q3
		squares += q0*q0 + q1*q1 + q2*q2 + q3*q3
	}
	return sums{n, sum, squares, (xq0 + xq1) + (xq2 + xq3)}
}

// solve returns the regression line and by how much it lowers the error from
// Σx². Without free, M is kept from becoming negative.
func (t sums) solve(sumX float32, free bool) (l line, gain float32) {
	q, qq := float32(t.q), float32(t.qq)
	n := float32(t.n)
	det := float32(t.n*t.qq - t.q*t.q)
	if det > 0 {
		cov := float32(n*t.xq) - float32(sumX*q)
		l.D = cov / det
		l.M = (float32(l.D*q) - sumX) / n
		if l.M >= 0 || free {
			return l, (float32(cov*l.D) + float32(sumX*sumX)) / n
		}
	}
	if t.qq == 0 {
		return line{}, 0
	}
	l = line{D: t.xq / qq}
	return l, t.xq * l.D
}

// placeLine returns the integers s and m for which the levels (d·s)·q - dmin·m
// are closest to x, among those next to the line l, and the squared error they
// leave.
func (f *lineForm) placeLine(x []float32, l line, d, dmin float32) (s, m int32, cost float32) {
	s0 := level(l.D*inverse(d), 0, f.topScale)
	m0 := level(l.M*inverse(dmin), 0, f.topScale)
	cost = math.MaxFloat32
	for si := max(s0-1, 0); si <= min(s0+1, f.topScale); si++ {
		for mi := max(m0-1, 0); mi <= min(m0+1, f.topScale); mi++ {
			c := lineCost(x, f.top, float32(d*float32(si)), float32(dmin*float32(mi)))
			if c < cost {
				s, m, cost = si, mi, c
			}
		}
	}
	return s, m, cost
}

// lineCost returns Σ(x - D·q + M)² for the best levels q.
func lineCost(x []float32, top int32, D, M float32) float32 {
	var c0, c1, c2, c3 float32
	inv := inverse(D)
	off := float32(M * inv)
	for ; len(x) >= 4; x = x[4:] {
		e0 := (x[0] + M) - float32(D*float32(level(float32(x[0]*inv)+off, 0, top)))
		e1 := (x[1] + M) - float32(D*float32(level(float32(x[1]*inv)+off, 0, top)))
		e2 := (x[2] + M) - float32(D*float32(level(float32(x[2]*inv)+off, 0, top)))
		e3 := (x[3] + M) - float32(D*float32(level(float32(x[3]*inv)+off, 0, top)))
		c0 += float32(e0 * e0)
		c1 += float32(e1 * e1)
		c2 += float32(e2 * e2)
		c3 += float32(e3 * e3)
	}
	return (c0 + c1) + (c2 + c3)
}

// writeLevels stores the levels q that lineCost assumes.
func writeLevels(x []float32, q []uint8, top int32, D, M float32) {
	inv := inverse(D)
	off := float32(M * inv)
	for i, v := range x {
		q[i] = uint8(level(float32(v*inv)+off, 0, top))
	}
}
