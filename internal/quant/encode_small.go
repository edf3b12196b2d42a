package quant

import "encoding/binary"

// encodeQ8_0 spreads the 255 symmetric levels over ±max|x|. Searching for a
// better scale gains nothing worth having at eight bits; rounding by the scale
// as stored, and not by the one before rounding to binary16, does gain.
func encodeQ8_0(dst []byte, src []float32) {
	for len(src) >= smallBlock {
		x, b := (*[32]float32)(src), (*[34]byte)(dst)
		top := peak(x[:])
		d := F32ToF16(max(top, -top) / 127)
		binary.LittleEndian.PutUint16(b[:], d)
		inv := inverse(F16ToF32(d))
		for j, v := range x {
			b[2+j] = byte(level(v*inv, -127, 127))
		}
		src, dst = src[32:], dst[34:]
	}
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
		d := F32ToF16(fitScale4(x))
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

// minSquare bounds the squares below which a group counts as zero. Its root,
// 1e-15, is far below half of the smallest binary16 scale times any level.
const minSquare = 1e-30

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
