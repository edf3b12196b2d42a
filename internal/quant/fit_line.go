package quant

import "math"

// A line stands for the levels D·q - M of one group, D ≥ 0 and M ≥ 0.
type line struct{ D, M float32 }

// The candidates for the first levels of a group. A spread is how many steps
// wider than the levels there are the group's range is taken to be: below 0
// the outermost levels stay free, above 0 the outermost values are cut off. A
// shift moves the cut from one end to the other, in steps. The two grids were
// chosen on N(0,1) and Student-t values, where ones with thirty times as many
// points gain less than 1 %.
var (
	spreads = [...]float32{-0.5, -0.1, 0.3, 0.7, 1.1, 1.5}
	shifts  = [...]float32{-0.4, -0.2, 0, 0.2, 0.4}
)

// fitLine returns the line with the least Σ(x - D·q + M)² among candidates.
// For given levels q that is the regression line of x on q; it leaves
// Σx² - gain, with the gain that sums.solve returns.
func fitLine(x *[32]float32, top int32) line {
	lo, hi := bounds(x)
	lo = min(lo, 0)
	width := hi - lo
	best, bestGain := line{0, -lo}, float32(-1)
	if width*width < minSquare {
		return best
	}
	var sumX float32
	for _, v := range x {
		sumX += v
	}
	for _, spread := range spreads {
		inv := (float32(top) + spread) / width
		centre := float32(-lo*inv) - float32(spread*0.5)
		for _, shift := range shifts {
			l, gain := sumLevels(x, top, inv, centre+shift).solve(sumX)
			if gain > bestGain {
				best, bestGain = l, gain
			}
		}
	}
	if best.D > 0 {
		inv := 1 / best.D
		if l, gain := sumLevels(x, top, inv, float32(best.M*inv)).solve(sumX); gain > bestGain {
			best = l
		}
	}
	return best
}

// sums holds Σq, Σq² and Σxq over a group of 32.
type sums struct {
	q, qq int32
	xq    float32
}

// sumLevels rounds x·inv + off to levels in 0…top and sums up.
func sumLevels(x *[32]float32, top int32, inv, off float32) sums {
	var xq0, xq1, xq2, xq3 float32
	var sum, squares int32
	for i := 0; i <= 28; i += 4 {
		q0 := level(float32(x[i]*inv)+off, 0, top)
		q1 := level(float32(x[i+1]*inv)+off, 0, top)
		q2 := level(float32(x[i+2]*inv)+off, 0, top)
		q3 := level(float32(x[i+3]*inv)+off, 0, top)
		xq0 += float32(x[i] * float32(q0))
		xq1 += float32(x[i+1] * float32(q1))
		xq2 += float32(x[i+2] * float32(q2))
		xq3 += float32(x[i+3] * float32(q3))
		sum += q0 + q1 + q2 + q3
		squares += q0*q0 + q1*q1 + q2*q2 + q3*q3
	}
	return sums{sum, squares, (xq0 + xq1) + (xq2 + xq3)}
}

// solve returns the regression line, with M kept from becoming negative, and
// by how much it lowers the error from Σx².
func (t sums) solve(sumX float32) (l line, gain float32) {
	q, qq := float32(t.q), float32(t.qq)
	det := float32(32*t.qq - t.q*t.q)
	if det > 0 {
		cov := float32(32*t.xq) - float32(sumX*q)
		l.D = cov / det
		l.M = (float32(l.D*q) - sumX) * (1. / 32)
		if l.M >= 0 {
			return l, (float32(cov*l.D) + float32(sumX*sumX)) * (1. / 32)
		}
	}
	if t.qq == 0 {
		return line{}, 0
	}
	l = line{D: t.xq / qq}
	return l, t.xq * l.D
}

// placeLine returns the integers s and m in 0…63 for which the levels
// (d·s)·q - dmin·m are closest to x, among those next to the line l, and the
// squared error they leave.
func placeLine(x *[32]float32, top int32, l line, d, dmin float32) (s, m int32, cost float32) {
	s0 := level(l.D*inverse(d), 0, 63)
	m0 := level(l.M*inverse(dmin), 0, 63)
	cost = math.MaxFloat32
	for si := max(s0-1, 0); si <= min(s0+1, 63); si++ {
		for mi := max(m0-1, 0); mi <= min(m0+1, 63); mi++ {
			c := lineCost(x, top, float32(d*float32(si)), float32(dmin*float32(mi)))
			if c < cost {
				s, m, cost = si, mi, c
			}
		}
	}
	return s, m, cost
}

// lineCost returns Σ(x - D·q + M)² for the best levels q.
func lineCost(x *[32]float32, top int32, D, M float32) float32 {
	var c0, c1, c2, c3 float32
	inv := inverse(D)
	off := float32(M * inv)
	for i := 0; i <= 28; i += 4 {
		e0 := (x[i] + M) - float32(D*float32(level(float32(x[i]*inv)+off, 0, top)))
		e1 := (x[i+1] + M) - float32(D*float32(level(float32(x[i+1]*inv)+off, 0, top)))
		e2 := (x[i+2] + M) - float32(D*float32(level(float32(x[i+2]*inv)+off, 0, top)))
		e3 := (x[i+3] + M) - float32(D*float32(level(float32(x[i+3]*inv)+off, 0, top)))
		c0 += float32(e0 * e0)
		c1 += float32(e1 * e1)
		c2 += float32(e2 * e2)
		c3 += float32(e3 * e3)
	}
	return (c0 + c1) + (c2 + c3)
}

// writeLevels stores the levels q that lineCost assumes.
func writeLevels(x *[32]float32, q *[32]uint8, top int32, D, M float32) {
	inv := inverse(D)
	off := float32(M * inv)
	for i, v := range x {
		q[i] = uint8(level(float32(v*inv)+off, 0, top))
	}
}
