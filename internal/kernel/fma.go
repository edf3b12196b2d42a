package kernel

import "math"

// fma32 is a*b+c rounded once, the operation that every SIMD variant uses; the generic
// version computes it from float64 so that all variants give the same bits.
//
// The product of two float32 is exact in float64. The sum s is rounded to 53 bits, and
// rounding s again to 24 bits goes wrong only where s lies exactly halfway between two
// float32 (its last 29 bits are 1000…0) or where the result is subnormal; there the
// sum is first rounded to odd, which makes the second rounding right.
func fma32(a, b, c float32) float32 {
	p := float64(a) * float64(b)
	s := p + float64(c)
	bits := math.Float64bits(s)
	if bits&(1<<29-1) != 1<<28 && bits>>52&0x7ff > 1023-126 {
		return float32(s)
	}
	return float32(roundOdd(p, float64(c), s))
}

// roundOdd is p+c rounded to odd, given s = p+c rounded to nearest.
func roundOdd(p, c, s float64) float64 {
	t := s - p
	e := (p - (s - t)) + (c - t) // exactly p+c-s, or NaN
	bits := math.Float64bits(s)
	if bits&1 == 1 || !(e > 0 || e < 0) {
		return s
	}
	if (e > 0) == (s > 0) {
		bits++
	} else {
		bits--
	}
	return math.Float64frombits(bits)
}
