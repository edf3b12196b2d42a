package quant

import "math"

// The searches of the encoders are built from few passes over a group of
// values, each of which rounds all values to levels and sums up what a least
// squares fit needs. Level sums are kept as integers; they are exact.

// roundMagic, 1.5·2^23, makes a float32 addition round to the nearest integer,
// ties to even: near it the unit in the last place is 1, so that the bits of
// the sum are roundBits plus the integer.
const (
	roundMagic = 3 << 22
	roundBits  = 0x4b400000
)

// level returns the integer nearest to v, ties to even, clamped to lo…hi. It
// is right for every v but NaN: beyond 2^22 the bits no longer are an integer,
// but they still lie on the proper side of both limits.
func level(v float32, lo, hi int32) int32 {
	bits := int32(math.Float32bits(float32(v) + roundMagic)) // v rounded first: no FMA
	return min(max(bits, roundBits+lo), roundBits+hi) - roundBits
}

// inverse returns 1/d, or 0 when d is 0 and all levels stand for 0.
func inverse(d float32) float32 {
	if d == 0 {
		return 0
	}
	return 1 / d
}

// toScale rounds v to binary16, to the largest finite value at most.
func toScale(v float32) uint16 { return F32ToF16(min(max(v, -maxF16), maxF16)) }

// coverScale returns the binary16 scale for a largest value of top ≥ 0 at
// level n. Among the subnormal scales, which are few, it rounds up: it is
// better to leave levels unused than to cut values off or to lose them all.
func coverScale(top, n float32) uint16 {
	h := toScale(top / n)
	if h < 0x400 && F16ToF32(h)*n < top {
		h++
	}
	return h
}

// minSquare bounds the squares below which a group counts as zero. Its root,
// 1e-15, is far below half of the smallest binary16 scale times any level.
const minSquare = 1e-30

// peak returns the value of the largest magnitude in x, with its sign.
func peak(x []float32) float32 {
	var top float32
	var topBits uint32
	for _, v := range x {
		if bits := math.Float32bits(v) & 0x7fffffff; bits > topBits {
			top, topBits = v, bits
		}
	}
	return top
}

// bounds returns the smallest and the largest value of x.
func bounds(x []float32) (lo, hi float32) {
	lo, hi = x[0], x[0]
	for _, v := range x[1:] {
		if v < lo {
			lo = v
		}
		if v > hi {
			hi = v
		}
	}
	return lo, hi
}
