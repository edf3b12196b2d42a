package quant

import "math"

// The three float formats, sign | exponent | fraction bits:
//
//	F32   1 | 8 | 23   exponent bias 127
//	F16   1 | 5 | 10   exponent bias 15, largest finite value 65504
//	BF16  1 | 8 | 7    the upper 16 bits of an F32

// F16ToF32 widens a binary16 value, exactly. Infinities stay infinite; a NaN
// stays a NaN with its sign and payload, made quiet.
func F16ToF32(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exp := uint32(h>>10) & 0x1f
	frac := uint32(h) & 0x3ff
	switch {
	case exp == 0:
		// frac · 2^-24, exact: frac has 10 bits and the result is normal.
		v := float32(frac) * 0x1p-24
		return math.Float32frombits(sign | math.Float32bits(v))
	case exp == 0x1f && frac != 0:
		return math.Float32frombits(sign | 0x7fc00000 | frac<<13)
	case exp == 0x1f:
		return math.Float32frombits(sign | 0x7f800000)
	}
	return math.Float32frombits(sign | (exp+127-15)<<23 | frac<<13)
}

// F32ToF16 rounds to the nearest binary16 value, ties to even. Values beyond
// the range become infinite, tiny ones subnormal or a signed zero, and every
// NaN becomes the quiet NaN of its sign.
func F32ToF16(f float32) uint16 {
	bits := math.Float32bits(f)
	sign := uint16(bits >> 16 & 0x8000)
	bits &= 0x7fffffff
	switch {
	case bits > 0x7f800000:
		return sign | 0x7e00
	case bits >= 0x477ff000: // 65520, halfway from 65504 to 65536, rounds up
		return sign | 0x7c00
	case bits < 0x38800000: // below 2^-14: the result is subnormal or zero
		// Adding 0.5 puts the unit 2^-24 at the last fraction bit, so that the
		// addition does the rounding.
		v := math.Float32frombits(bits) + 0.5
		return sign | uint16(math.Float32bits(v)-0x3f000000)
	}
	// Round at bit 13, then move the bias. A carry out of the fraction raises
	// the exponent, which is the right result.
	bits += 0xfff + bits>>13&1
	return sign | uint16((bits-(127-15)<<23)>>13)
}

// BF16ToF32 widens a bfloat16 value, exactly and with all NaN payloads.
func BF16ToF32(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// F32ToBF16 rounds to the nearest bfloat16 value, ties to even. Values beyond
// the range become infinite; a NaN keeps its sign and upper payload and is
// made quiet.
func F32ToBF16(f float32) uint16 {
	bits := math.Float32bits(f)
	if bits&0x7fffffff > 0x7f800000 {
		return uint16(bits>>16) | 0x40
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}
