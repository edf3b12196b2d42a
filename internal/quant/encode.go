package quant

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Encode turns the values in src into blocks of type t. len(src) must be a
// whole number of blocks and len(dst) exactly the bytes they take; otherwise,
// and for a type that is not [Type.Encodable], Encode fails. It also fails
// when a value is infinite or NaN, or too large for the format; the error
// names the first such index. Nothing is written in case of an error. dst and
// src must not overlap.
//
// The quantised formats are encoded for the least sum of squared errors that a
// bounded search finds; equal input gives equal bytes on every machine.
func Encode(t Type, dst []byte, src []float32) error {
	if !t.Encodable() {
		return fmt.Errorf("encode %s: format not supported", t)
	}
	if err := checkLengths(t, len(src), len(dst)); err != nil {
		return fmt.Errorf("encode %s: %w", t, err)
	}
	if err := checkRange(src, encodeLimit(t)); err != nil {
		return fmt.Errorf("encode %s: %w", t, err)
	}
	switch t {
	case F32:
		encodeF32(dst, src)
	case F16:
		encodeF16(dst, src)
	case BF16:
		encodeBF16(dst, src)
	case Q8_0:
		encodeQ8_0(dst, src)
	default:
		panic("quant: internal error: no encoder for " + t.String())
	}
	return nil
}

// maxF16 is the largest finite binary16 value.
const maxF16 = 65504

// encodeLimit returns the largest magnitude that t can hold in any block. The
// quantised formats end where a binary16 scale does.
func encodeLimit(t Type) float32 {
	switch t {
	case F16:
		return math.Nextafter32(65520, 0) // rounds to 65504
	case BF16:
		return math.Float32frombits(0x7f7f7fff) // rounds to 0x7f7f
	case Q8_0:
		return 127 * maxF16
	}
	return math.MaxFloat32
}

// checkRange fails at the first value that is not finite or beyond ±limit.
func checkRange(src []float32, limit float32) error {
	// The order of magnitudes is that of their bits, and infinities and NaNs
	// come after all finite values.
	limitBits := math.Float32bits(limit)
	for i, v := range src {
		if math.Float32bits(v)&0x7fffffff <= limitBits {
			continue
		}
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return fmt.Errorf("value %d is %v", i, v)
		}
		return fmt.Errorf("value %d is %v, beyond ±%v", i, v, limit)
	}
	return nil
}

func encodeF32(dst []byte, src []float32) {
	for i, v := range src {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
	}
}

func encodeF16(dst []byte, src []float32) {
	for i, v := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], F32ToF16(v))
	}
}

func encodeBF16(dst []byte, src []float32) {
	for i, v := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], F32ToBF16(v))
	}
}

// roundMagic, 1.5·2^23, makes float32 addition round to the nearest integer,
// ties to even: the sum's unit in the last place is 1 for |x| < 2^22, and the
// integer can be read from its low bits.
const roundMagic = 3 << 22

// round returns the integer nearest to x, ties to even, for |x| < 2^22. It is
// one addition and no conversion.
func round(x float32) int32 {
	return int32(math.Float32bits(x+roundMagic)) - 0x4b400000
}

// encodeQ8_0 spreads the 255 levels over ±max|x|. Searching the scale gains
// nothing worth having at eight bits.
func encodeQ8_0(dst []byte, src []float32) {
	for len(src) >= smallBlock {
		x, b := (*[32]float32)(src), (*[34]byte)(dst)
		d := F32ToF16(maxAbs(x[:]) / 127)
		binary.LittleEndian.PutUint16(b[:], d)
		inv := inverse(F16ToF32(d))
		for j, v := range x {
			b[2+j] = byte(max(-127, min(127, round(v*inv))))
		}
		src, dst = src[32:], dst[34:]
	}
}

// inverse returns 1/d, or 0 when d is 0 (all levels are then equal).
func inverse(d float32) float32 {
	if d == 0 {
		return 0
	}
	return 1 / d
}

// maxAbs returns the largest magnitude in x.
func maxAbs(x []float32) float32 {
	var top uint32
	for _, v := range x {
		top = max(top, math.Float32bits(v)&0x7fffffff)
	}
	return math.Float32frombits(top)
}
