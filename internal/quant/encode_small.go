package quant

import (
	"encoding/binary"
	"math"
)

// steps8 are the candidates for the level of a Q8_0 block's peak. Fewer steps
// make each one coarser by under two percent, but they fall differently on the
// 32 values, and the luckiest choice wins about five percent of the error.
var steps8 = [...]float32{127, 127.4, 126.5, 126, 125}

// encodeQ8_0 tries the scales of steps8, as rounded to binary16, and keeps the
// one that leaves the least Σ(x - d·q)².
//
// Levels end at ±127; -128 would be legal but some products of two such bytes
// then overflow the 16-bit sums of kernels.
func encodeQ8_0(dst []byte, src []float32) {
	for len(src) >= smallBlock {
		x, b := (*[32]float32)(src), (*[34]byte)(dst)
		top := peak(x[:])
		top = max(top, -top)
		var best uint16
		cost := float32(math.MaxFloat32)
		for _, step := range steps8 {
			d := coverScale(top, step)
			if c := scaleCost8(x, F16ToF32(d)); c < cost {
				best, cost = d, c
			}
		}
		binary.LittleEndian.PutUint16(b[:], best)
		inv := inverse(F16ToF32(best))
		for j, v := range x {
			b[2+j] = byte(level(v*inv, -127, 127))
		}
		src, dst = src[32:], dst[34:]
	}
}

// scaleCost8 returns Σ(x - scale·q)² for the best levels q.
func scaleCost8(x *[32]float32, scale float32) float32 {
	var c0, c1 float32
	inv := inverse(scale)
	for i := 0; i <= 30; i += 2 {
		e0 := x[i] - float32(scale*float32(level(x[i]*inv, -127, 127)))
		e1 := x[i+1] - float32(scale*float32(level(x[i+1]*inv, -127, 127)))
		c0 += float32(e0 * e0)
		c1 += float32(e1 * e1)
	}
	return c0 + c1
}

// steps4 are the candidates for the inverse scale of a Q4_0 block, in units of
// 1/peak: the level at which the peak would lie. A negative scale puts a
// positive peak at the end of the range that reaches to -8.
var steps4 = [...]float32{-8.9, -8.5, -8.15, -7.8, -7.4, -6.9, 6.9, 7.3, 7.7}

// encodeQ4_0 looks for the scale d that leaves the least Σ(x - d·q)².
//
// For given levels q the best scale is Σxq / Σq², and it lowers the error from
// Σx² by (Σxq)² / Σq². The candidates of steps4 are compared by that, and the
// fitted scale of the best one rounds the values again.
func encodeQ4_0(dst []byte, src []float32) {
	for len(src) >= smallBlock {
		x, b := (*[32]float32)(src), (*[18]byte)(dst)
		d := toScale(fitScale4(x))
		binary.LittleEndian.PutUint16(b[:], d)
		inv := inverse(F16ToF32(d))
		for j := range 16 {
			lo := level(x[j]*inv, -8, 7) + 8
			hi := level(x[16+j]*inv, -8, 7) + 8
			b[2+j] = byte(lo | hi<<4)
		}
		src, dst = src[32:], dst[18:]
	}
}

// fitScale4 returns the best scale found for a Q4_0 block.
func fitScale4(x *[32]float32) float32 {
	top := peak(x[:])
	if top*top < minSquare {
		return 0
	}
	var scale, gain float32
	for _, step := range steps4 {
		xq, qq := fitSums4(x, step/top)
		if g := xq * xq / qq; g > gain {
			scale, gain = xq/qq, g
		}
	}
	xq, qq := fitSums4(x, 1/scale)
	if xq*xq/qq > gain {
		scale = xq / qq
	}
	return scale
}

// fitSums4 rounds x·inv to levels q in -8…7 and returns Σxq and Σq².
func fitSums4(x *[32]float32, inv float32) (xq, qq float32) {
	var xq0, xq1, xq2, xq3 float32
	var sum int32
	for i := 0; i <= 28; i += 4 {
		q0 := level(x[i]*inv, -8, 7)
		q1 := level(x[i+1]*inv, -8, 7)
		q2 := level(x[i+2]*inv, -8, 7)
		q3 := level(x[i+3]*inv, -8, 7)
		xq0 += float32(x[i] * float32(q0))
		xq1 += float32(x[i+1] * float32(q1))
		xq2 += float32(x[i+2] * float32(q2))
		xq3 += float32(x[i+3] * float32(q3))
		sum += q0*q0 + q1*q1 + q2*q2 + q3*q3
	}
	return (xq0 + xq1) + (xq2 + xq3), float32(sum)
}
