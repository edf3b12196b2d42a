package quant

import "encoding/binary"

// The 32-value formats, and Q2_0 at the end. The former keep value j of the
// block in the low nibble of qs[j] for j < 16 and in the high nibble of qs[j-16] after that; the fifth
// bit of value j, where there is one, is bit j of the little-endian word qh.
// Scales are little-endian binary16; blocks follow each other without padding.

// decodeQ4_0: value = d · (q - 8), q in 0…15.
//
//	byte   0    2                18
//	       +----+----------------+
//	       | d  | qs  16 × 2 × 4 |
//	       +----+----------------+
func decodeQ4_0(dst []float32, src []byte) {
	for len(dst) >= smallBlock {
		y, b := (*[32]float32)(dst), (*[18]byte)(src)
		d := f16At(b[:])
		for j := range 16 {
			q := b[2+j]
			y[j] = d * centred4[q&15]
			y[16+j] = d * centred4[q>>4]
		}
		dst, src = dst[32:], src[18:]
	}
}

// centred4 holds q - 8. A table look-up is cheaper here than subtracting and
// converting to float.
var centred4 = [16]float32{-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7}

// decodeQ4_1: value = d·q + m, q in 0…15.
//
//	byte   0    2    4                20
//	       +----+----+----------------+
//	       | d  | m  | qs  16 × 2 × 4 |
//	       +----+----+----------------+
func decodeQ4_1(dst []float32, src []byte) {
	for len(dst) >= smallBlock {
		y, b := (*[32]float32)(dst), (*[20]byte)(src)
		d, m := f16At(b[:]), f16At(b[2:])
		for j := range 16 {
			q := b[4+j]
			y[j] = float32(d*float32(q&15)) + m
			y[16+j] = float32(d*float32(q>>4)) + m
		}
		dst, src = dst[32:], src[20:]
	}
}

// decodeQ5_0: value = d · (q - 16), q in 0…31.
//
//	byte   0    2           6                22
//	       +----+-----------+----------------+
//	       | d  | qh 32 × 1 | qs  16 × 2 × 4 |
//	       +----+-----------+----------------+
func decodeQ5_0(dst []float32, src []byte) {
	for len(dst) >= smallBlock {
		y, b := (*[32]float32)(dst), (*[22]byte)(src)
		d, qh := f16At(b[:]), binary.LittleEndian.Uint32(b[2:])
		for j := range 16 {
			lo, hi := fiveBits(b[6+j], qh, j)
			y[j] = d * float32(lo-16)
			y[16+j] = d * float32(hi-16)
		}
		dst, src = dst[32:], src[22:]
	}
}

// decodeQ5_1: value = d·q + m, q in 0…31.
//
//	byte   0    2    4           8                24
//	       +----+----+-----------+----------------+
//	       | d  | m  | qh 32 × 1 | qs  16 × 2 × 4 |
//	       +----+----+-----------+----------------+
func decodeQ5_1(dst []float32, src []byte) {
	for len(dst) >= smallBlock {
		y, b := (*[32]float32)(dst), (*[24]byte)(src)
		d, m, qh := f16At(b[:]), f16At(b[2:]), binary.LittleEndian.Uint32(b[4:])
		for j := range 16 {
			lo, hi := fiveBits(b[8+j], qh, j)
			y[j] = float32(d*float32(lo)) + m
			y[16+j] = float32(d*float32(hi)) + m
		}
		dst, src = dst[32:], src[24:]
	}
}

// fiveBits joins the two nibbles of q with bits j and j+16 of qh.
func fiveBits(q byte, qh uint32, j int) (lo, hi int32) {
	lo = int32(q&15) | int32(qh>>j&1)<<4
	hi = int32(q>>4) | int32(qh>>(j+16)&1)<<4
	return lo, hi
}

// decodeQ8_0: value = d · q, q a signed byte.
//
//	byte   0    2                            34
//	       +----+----------------------------+
//	       | d  | qs  32 × int8              |
//	       +----+----------------------------+
func decodeQ8_0(dst []float32, src []byte) {
	for len(dst) >= smallBlock {
		y, b := (*[32]float32)(dst), (*[34]byte)(src)
		d := f16At(b[:])
		for j := range y {
			y[j] = d * float32(int8(b[2+j]))
		}
		dst, src = dst[32:], src[34:]
	}
}

// decodeQ2_0: value = d · (q - 1), q in 0…3, 64 values; value 4j + k is in bits
// 2k, 2k+1 of qs[j].
//
//	byte   0    2                18
//	       +----+----------------+
//	       | d  | qs  16 × 4 × 2 |
//	       +----+----------------+
func decodeQ2_0(dst []float32, src []byte) {
	for len(dst) >= wideBlock {
		y, b := (*[64]float32)(dst), (*[18]byte)(src)
		d := f16At(b[:])
		for j, q := range b[2:] {
			y[4*j] = d * float32(int32(q&3)-1)
			y[4*j+1] = d * float32(int32(q>>2&3)-1)
			y[4*j+2] = d * float32(int32(q>>4&3)-1)
			y[4*j+3] = d * float32(int32(q>>6)-1)
		}
		dst, src = dst[64:], src[18:]
	}
}
