package quant

import "encoding/binary"

// The encoder of Q6_K: sixteen groups of 16 values, x ≈ (d·s)·q with q in
// -32…31 and s a signed byte.
//
//  1. every group on its own: the scale with the least squared error;
//  2. d from the largest of them, as binary16;
//  3. every group again: the integer s near its scale that leaves the least
//     error under this very d;
//  4. d fitted to all levels at once, and kept if it lowers the error.

// encodeQ6_K writes blocks as drawn at decodeQ6_K.
func encodeQ6_K(dst []byte, src []float32) {
	var q [256]uint8
	var s [16]int32
	for len(src) >= superBlock {
		b := (*[210]byte)(dst)
		d := searchQ6((*[256]float32)(src), &s, &q)
		for half := range 2 {
			q, ql, qh := q[half*128:][:128], b[half*64:][:64], b[128+half*32:][:32]
			for i := range 32 {
				q0, q1, q2, q3 := q[i], q[32+i], q[64+i], q[96+i]
				ql[i] = q0&15 | q2<<4
				ql[32+i] = q1&15 | q3<<4
				qh[i] = q0>>4 | q1>>4<<2 | q2>>4<<4 | q3>>4<<6
			}
		}
		for g, v := range s {
			b[192+g] = byte(v)
		}
		binary.LittleEndian.PutUint16(b[208:], d)
		src, dst = src[256:], dst[210:]
	}
}

// searchQ6 chooses d (returned as binary16), the group scales s and the levels
// q, stored with 32 added.
func searchQ6(x *[256]float32, s *[16]int32, q *[256]uint8) uint16 {
	var scales [16]float32
	var top float32
	for g := range scales {
		scales[g] = fitScale6((*[16]float32)(x[g*16:]))
		top = max(top, scales[g], -scales[g])
	}
	d := coverScale(top, 127)
	cost := placeScales6(x, &scales, F16ToF32(d), s)

	var s2 [16]int32
	d2 := toScale(refit6(x, F16ToF32(d), s))
	if placeScales6(x, &scales, F16ToF32(d2), &s2) < cost {
		d, *s = d2, s2
	}
	for i, v := range x {
		scale := F16ToF32(d) * float32(s[i/16])
		q[i] = uint8(level(v*inverse(scale), -32, 31) + 32)
	}
	return d
}

// steps6 are the candidates for the inverse scale of a Q6_K group, in units of
// 1/peak, as steps4 for Q4_0.
var steps6 = [...]float32{
	-34, -33.5, -33, -32.5, -32, -31.5, -31, -30.5, -30, 30, 30.5, 31, 31.5, 32,
}

// fitScale6 returns the best scale found for a group.
func fitScale6(x *[16]float32) float32 {
	top := peak(x[:])
	if top*top < minSquare {
		return 0
	}
	var scale, gain float32
	for _, step := range steps6 {
		xq, qq := fitSums6(x, step/top)
		if g := xq * xq / qq; g > gain {
			scale, gain = xq/qq, g
		}
	}
	return scale
}

// fitSums6 rounds x·inv to levels q in -32…31 and returns Σxq and Σq².
func fitSums6(x *[16]float32, inv float32) (xq, qq float32) {
	var xq0, xq1 float32
	var sum int32
	for i := 0; i <= 14; i += 2 {
		q0 := level(x[i]*inv, -32, 31)
		q1 := level(x[i+1]*inv, -32, 31)
		xq0 += float32(x[i] * float32(q0))
		xq1 += float32(x[i+1] * float32(q1))
		sum += q0*q0 + q1*q1
	}
	return xq0 + xq1, float32(sum)
}

// placeScales6 chooses the integer scales of all groups for a given d and
// returns the squared error they leave.
func placeScales6(x *[256]float32, scales *[16]float32, d float32, s *[16]int32) float32 {
	var total float32
	inv := inverse(d)
	for g := range s {
		xg := (*[16]float32)(x[g*16:])
		s0 := level(scales[g]*inv, -128, 127)
		s[g] = s0
		best := scaleCost6(xg, d*float32(s0))
		for si := max(s0-3, -128); si <= min(s0+3, 127); si++ {
			if c := scaleCost6(xg, d*float32(si)); c < best {
				s[g], best = si, c
			}
		}
		total += best
	}
	return total
}

// scaleCost6 returns Σ(x - scale·q)² for the best levels q.
func scaleCost6(x *[16]float32, scale float32) float32 {
	var c0, c1 float32
	inv := inverse(scale)
	for i := 0; i <= 14; i += 2 {
		e0 := x[i] - float32(scale*float32(level(x[i]*inv, -32, 31)))
		e1 := x[i+1] - float32(scale*float32(level(x[i+1]*inv, -32, 31)))
		c0 += float32(e0 * e0)
		c1 += float32(e1 * e1)
	}
	return c0 + c1
}

// refit6 returns the d that, for the levels that d and s give, leaves the
// least squared error: Σx·(s·q) / Σ(s·q)².
func refit6(x *[256]float32, d float32, s *[16]int32) float32 {
	var xu, uu float64
	for g, sc := range s {
		xq, qq := fitSums6((*[16]float32)(x[g*16:]), inverse(d*float32(sc)))
		xu += float64(float64(xq) * float64(sc))
		uu += float64(float64(qq) * float64(sc*sc))
	}
	if uu == 0 {
		return d
	}
	return float32(xu / uu)
}
