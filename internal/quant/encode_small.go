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

var formQ4_0 = scaleForm{lo: -8, hi: 7, steps: []float32{
	-8.9, -8.5, -8.15, -7.8, -7.4, -6.9, 6.9, 7.3, 7.7,
}}

// encodeQ4_0 writes blocks as drawn at decodeQ4_0.
func encodeQ4_0(dst []byte, src []float32) {
	for len(src) >= smallBlock {
		x, b := (*[32]float32)(src), (*[18]byte)(dst)
		d := toScale(formQ4_0.fitScale(x[:]))
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

var formQ5_0 = scaleForm{lo: -16, hi: 15, steps: []float32{
	-17.2, -16.8, -16.4, -16, -15.6, -15.2, -14.8, 14.6, 15, 15.4, 15.8,
}}

// encodeQ5_0 writes blocks as drawn at decodeQ5_0.
func encodeQ5_0(dst []byte, src []float32) {
	for len(src) >= smallBlock {
		x, b := (*[32]float32)(src), (*[22]byte)(dst)
		d := toScale(formQ5_0.fitScale(x[:]))
		binary.LittleEndian.PutUint16(b[:], d)
		inv := inverse(F16ToF32(d))
		var q [32]uint8
		for j, v := range x {
			q[j] = uint8(level(v*inv, -16, 15) + 16)
		}
		putFiveBits((*[20]byte)(b[2:]), &q)
		src, dst = src[32:], dst[22:]
	}
}

// putFiveBits writes qh and qs of levels 0…31.
func putFiveBits(b *[20]byte, q *[32]uint8) {
	var high uint32
	for j, v := range q {
		high |= uint32(v>>4) << j
	}
	binary.LittleEndian.PutUint32(b[:], high)
	for j := range 16 {
		b[4+j] = q[j]&15 | q[16+j]<<4
	}
}

var (
	formQ4_1 = lineForm{top: 15, spreads: wideSpreads, shifts: wideShifts}
	formQ5_1 = lineForm{top: 31, spreads: wideSpreads, shifts: wideShifts}
)

// searchFree chooses the scale d, the minimum m and the levels q of a block.
func (f *lineForm) searchFree(x *[32]float32, q *[32]uint8) (d, m uint16) {
	l := f.fitLine(x[:], true)
	d = toScale(l.D)
	m = toScale(-l.M)
	writeLevels(x[:], q[:], f.top, F16ToF32(d), -F16ToF32(m))
	return d, m
}

// encodeQ4_1 writes blocks as drawn at decodeQ4_1.
func encodeQ4_1(dst []byte, src []float32) {
	var q [32]uint8
	for len(src) >= smallBlock {
		b := (*[20]byte)(dst)
		d, m := formQ4_1.searchFree((*[32]float32)(src), &q)
		binary.LittleEndian.PutUint16(b[:], d)
		binary.LittleEndian.PutUint16(b[2:], m)
		for j := range 16 {
			b[4+j] = q[j] | q[16+j]<<4
		}
		src, dst = src[32:], dst[20:]
	}
}

// encodeQ5_1 writes blocks as drawn at decodeQ5_1.
func encodeQ5_1(dst []byte, src []float32) {
	var q [32]uint8
	for len(src) >= smallBlock {
		b := (*[24]byte)(dst)
		d, m := formQ5_1.searchFree((*[32]float32)(src), &q)
		binary.LittleEndian.PutUint16(b[:], d)
		binary.LittleEndian.PutUint16(b[2:], m)
		putFiveBits((*[20]byte)(b[4:]), &q)
		src, dst = src[32:], dst[24:]
	}
}

// stepsCurve are the levels at which the peak of an IQ4 group may lie.
var stepsCurve = []float32{
	-142, -134, -127, -121, -115, -109, -102, -95, 90, 97, 104, 110, 116, 123,
}

var formIQ4_NL = scaleForm{steps: stepsCurve}

// encodeIQ4_NL writes blocks as drawn at decodeIQ4_NL.
func encodeIQ4_NL(dst []byte, src []float32) {
	for len(src) >= smallBlock {
		x, b := (*[32]float32)(src), (*[18]byte)(dst)
		d := toScale(formIQ4_NL.fitScale(x[:]))
		binary.LittleEndian.PutUint16(b[:], d)
		putCurve((*[16]byte)(b[2:]), x, F16ToF32(d))
		src, dst = src[32:], dst[18:]
	}
}

// putCurve writes the indices into curve4 that are best for a scale.
func putCurve(qs *[16]byte, x *[32]float32, scale float32) {
	inv2 := 2 * inverse(scale)
	for j := range qs {
		qs[j] = nearestIndex[curveAt(x[j], inv2)&511] | nearestIndex[curveAt(x[16+j], inv2)&511]<<4
	}
}

var formQ2_0 = scaleForm{lo: -1, hi: 2, steps: []float32{
	-3, -2.6, -2.3, -2, -1.75, -1.5, 1.5, 1.75, 2, 2.3, 2.6, 3,
}}

// encodeQ2_0 writes blocks as drawn at decodeQ2_0.
func encodeQ2_0(dst []byte, src []float32) {
	for len(src) >= 64 {
		x, b := (*[64]float32)(src), (*[18]byte)(dst)
		d := toScale(formQ2_0.fitScale(x[:]))
		binary.LittleEndian.PutUint16(b[:], d)
		inv := inverse(F16ToF32(d))
		for j := range 16 {
			var v int32
			for k := range 4 {
				v |= (level(x[4*j+k]*inv, -1, 2) + 1) << (2 * k)
			}
			b[2+j] = byte(v)
		}
		src, dst = src[64:], dst[18:]
	}
}
