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
	case Q4_0:
		encodeQ4_0(dst, src)
	case Q4_1:
		encodeQ4_1(dst, src)
	case Q5_0:
		encodeQ5_0(dst, src)
	case Q5_1:
		encodeQ5_1(dst, src)
	case Q2_0:
		encodeQ2_0(dst, src)
	case IQ4_NL:
		encodeIQ4_NL(dst, src)
	case Q2_K:
		encodeQ2_K(dst, src)
	case Q3_K:
		encodeQ3_K(dst, src)
	case Q4_K:
		encodeQ4_K(dst, src)
	case Q5_K:
		encodeQ5_K(dst, src)
	case Q6_K:
		encodeQ6_K(dst, src)
	case IQ4_XS:
		encodeIQ4_XS(dst, src)
	default:
		panic("quant: internal error: no encoder for " + t.String())
	}
	return nil
}

// maxF16 is the largest finite binary16 value.
const maxF16 = 65504

// encodeLimit returns the magnitude up to which t can hold values of either
// sign. The quantised formats end where their binary16 scales do.
func encodeLimit(t Type) float32 {
	switch t {
	case F16:
		return 65519.996 // the last value that rounds to maxF16
	case BF16:
		return math.Float32frombits(0x7f7f7fff) // the last that rounds to a finite one
	case Q8_0:
		return 127 * maxF16
	case Q4_1, Q5_1:
		return maxF16 // by the minimum
	case Q2_0:
		return maxF16 // one side ends at level -1
	case Q4_0:
		return 7 * maxF16
	case Q5_0:
		return 15 * maxF16
	case IQ4_NL:
		return 113 * maxF16
	case Q2_K:
		return 15 * maxF16 // by the minimum, as below
	case Q4_K, Q5_K:
		return 63 * maxF16
	case Q3_K:
		return 31 * 3 * maxF16
	case IQ4_XS:
		return 31 * 113 * maxF16
	case Q6_K:
		return 127 * 31 * maxF16
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
