package quant

import "encoding/binary"

// The 256-value formats with quantised scales. A super-block is cut into
// groups of 16 or 32 values; each group has a small integer scale (and, in
// some formats, minimum) that multiplies the binary16 scale d (and dmin) of
// the whole super-block.

// decodeQ2_K: value = (d·s)·q - (dmin·m), q in 0…3, groups of 16;
// scales[g] holds s in its low and m in its high nibble.
//
// The values come in two halves of 128; byte i of a half's 32 bytes of qs has
// in bits 2k, 2k+1 the value 32k + i of the half.
//
//	byte   0             16                    80   82     84
//	       +-------------+---------------------+----+------+
//	       | scales 16×8 | qs  64 × 4 × 2 bits | d  | dmin |
//	       +-------------+---------------------+----+------+
func decodeQ2_K(dst []float32, src []byte) {
	for len(dst) >= superBlock {
		y, b := (*[256]float32)(dst), (*[84]byte)(src)
		d, dmin := f16At(b[80:]), f16At(b[82:])
		for g := range 16 {
			scale := d * float32(b[g]&15)
			low := float32(dmin * float32(b[g]>>4))
			qs := b[16+g/8*32+g%2*16:][:16]
			shift := g / 2 % 4 * 2
			out := y[g*16:][:16]
			for i := range out {
				out[i] = float32(scale*float32(qs[i]>>shift&3)) - low
			}
		}
		dst, src = dst[256:], src[84:]
	}
}

// decodeQ3_K: value = (d·(s - 32)) · q, q in -4…3, groups of 16.
//
// qs is laid out as in Q2_K and gives the two low bits of q + 4; its third bit
// is in hmask: bit k of hmask[i] belongs to value 32k + i of the super-block.
// The 6-bit s of group g is split: its low nibble is nibble g/8 of
// scales[g%8], its high two bits are bits 2·(g/4) of scales[8 + g%4].
//
//	byte   0             32                    96          108  110
//	       +-------------+---------------------+-----------+----+
//	       | hmask 256×1 | qs  64 × 4 × 2 bits | scales 12 | d  |
//	       +-------------+---------------------+-----------+----+
func decodeQ3_K(dst []float32, src []byte) {
	for len(dst) >= superBlock {
		y, b := (*[256]float32)(dst), (*[110]byte)(src)
		d := f16At(b[108:])
		for g := range 16 {
			s := b[96+g%8]>>(g/8*4)&15 | b[104+g%4]>>(g/4*2)&3<<4
			scale := d * float32(int32(s)-32)
			qs := b[32+g/8*32+g%2*16:][:16]
			hmask := b[g%2*16:][:16]
			shift := g / 2 % 4 * 2
			out := y[g*16:][:16]
			for i := range out {
				q := int32(qs[i]>>shift&3) | int32(hmask[i]>>(g/2)&1)<<2
				out[i] = scale * float32(q-4)
			}
		}
		dst, src = dst[256:], src[110:]
	}
}

// Q4_K and Q5_K share twelve bytes of 6-bit scales s and minima m for their
// eight groups of 32, bit 7 first:
//
//	byte j = 0…3    s[j+4] bits 5,4 | s[j]
//	byte j = 4…7    m[j]   bits 5,4 | m[j-4]
//	byte j = 8…11   m[j-4] bits 3…0 | s[j-4] bits 3…0
func unpackScales(packed *[12]byte, s, m *[8]uint8) {
	for j := range 4 {
		s[j] = packed[j] & 63
		m[j] = packed[j+4] & 63
		s[j+4] = packed[j+8]&15 | packed[j]>>6<<4
		m[j+4] = packed[j+8]>>4 | packed[j+4]>>6<<4
	}
}

// decodeQ4_K: value = (d·s)·q - (dmin·m), q in 0…15, groups of 32. Each 32
// bytes of qs hold two groups, the first in the low nibbles.
//
//	byte   0    2      4                  16                  144
//	       +----+------+------------------+-------------------+
//	       | d  | dmin | s, m  8 × 2 × 6  | qs  128 × 2 × 4   |
//	       +----+------+------------------+-------------------+
func decodeQ4_K(dst []float32, src []byte) {
	var s, m [8]uint8
	for len(dst) >= superBlock {
		y, b := (*[256]float32)(dst), (*[144]byte)(src)
		d, dmin := f16At(b[:]), f16At(b[2:])
		unpackScales((*[12]byte)(b[4:16]), &s, &m)
		for p := range 4 {
			s0, m0 := float32(d*float32(s[2*p])), float32(dmin*float32(m[2*p]))
			s1, m1 := float32(d*float32(s[2*p+1])), float32(dmin*float32(m[2*p+1]))
			qs := b[16+p*32:][:32]
			lo, hi := y[p*64:][:32], y[p*64+32:][:32]
			for i, q := range qs {
				lo[i] = float32(s0*float32(q&15)) - m0
				hi[i] = float32(s1*float32(q>>4)) - m1
			}
		}
		dst, src = dst[256:], src[144:]
	}
}

// decodeQ5_K: value = (d·s)·q - (dmin·m), q in 0…31, groups of 32. The low
// four bits are as in Q4_K; bit g of qh[i] is the fifth bit of value i of
// group g.
//
//	byte   0    2      4                  16          48                176
//	       +----+------+------------------+-----------+-----------------+
//	       | d  | dmin | s, m  8 × 2 × 6  | qh 32 × 8 | qs  128 × 2 × 4 |
//	       +----+------+------------------+-----------+-----------------+
func decodeQ5_K(dst []float32, src []byte) {
	var s, m [8]uint8
	for len(dst) >= superBlock {
		y, b := (*[256]float32)(dst), (*[176]byte)(src)
		d, dmin := f16At(b[:]), f16At(b[2:])
		unpackScales((*[12]byte)(b[4:16]), &s, &m)
		qh := b[16:48]
		for p := range 4 {
			s0, m0 := float32(d*float32(s[2*p])), float32(dmin*float32(m[2*p]))
			s1, m1 := float32(d*float32(s[2*p+1])), float32(dmin*float32(m[2*p+1]))
			qs := b[48+p*32:][:32]
			lo, hi := y[p*64:][:32], y[p*64+32:][:32]
			for i, q := range qs {
				h := qh[i] >> (2 * p)
				lo[i] = float32(s0*float32(q&15|h&1<<4)) - m0
				hi[i] = float32(s1*float32(q>>4|h>>1&1<<4)) - m1
			}
		}
		dst, src = dst[256:], src[176:]
	}
}

// decodeQ6_K: value = (d·s) · (q - 32), q in 0…63, s a signed byte, groups of
// 16.
//
// Each half of 128 values has 64 bytes of ql and 32 of qh. Value 32k + i of a
// half (i < 32) has its low four bits in ql[i + 32·(k%2)], low nibble for
// k < 2 and high after that, and its high two bits in bits 2k, 2k+1 of qh[i].
//
//	byte   0                 128               192           208  210
//	       +-----------------+-----------------+-------------+----+
//	       | ql  128 × 2 × 4 | qh   64 × 4 × 2 | s 16 × int8 | d  |
//	       +-----------------+-----------------+-------------+----+
func decodeQ6_K(dst []float32, src []byte) {
	for len(dst) >= superBlock {
		y, b := (*[256]float32)(dst), (*[210]byte)(src)
		d := f16At(b[208:])
		for g := range 16 {
			half, k, part := g/8, g/2%4, g%2*16
			scale := d * float32(int8(b[192+g]))
			ql := b[half*64+k%2*32+part:][:16]
			qh := b[128+half*32+part:][:16]
			loShift, hiShift := k/2*4, k*2
			out := y[g*16:][:16]
			for i := range out {
				q := int32(ql[i]>>loShift&15) | int32(qh[i]>>hiShift&3)<<4
				out[i] = scale * float32(q-32)
			}
		}
		dst, src = dst[256:], src[210:]
	}
}

// curve4 is what the 4-bit indices of IQ4_NL and IQ4_XS stand for: steps that
// grow with the distance from zero.
var curve4 = [16]float32{
	-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
}

// decodeIQ4_NL: value = d · curve4[q]; the layout is that of Q4_0.
func decodeIQ4_NL(dst []float32, src []byte) {
	for len(dst) >= smallBlock {
		y, b := (*[32]float32)(dst), (*[18]byte)(src)
		decodeCurve((*[32]float32)(y), f16At(b[:]), (*[16]byte)(b[2:]))
		dst, src = dst[32:], src[18:]
	}
}

// decodeIQ4_XS: value = (d·(s - 32)) · curve4[q], groups of 32, each with its
// 16 bytes of qs laid out as in Q4_0. The 6-bit s of group g has its low
// nibble in nibble g%2 of sl[g/2] and its high two bits in bits 2g, 2g+1 of
// the little-endian word sh.
//
//	byte   0    2    4         8                 136
//	       +----+----+---------+-----------------+
//	       | d  | sh | sl 8×4  | qs  128 × 2 × 4 |
//	       +----+----+---------+-----------------+
func decodeIQ4_XS(dst []float32, src []byte) {
	for len(dst) >= superBlock {
		y, b := (*[256]float32)(dst), (*[136]byte)(src)
		d, sh := f16At(b[:]), binary.LittleEndian.Uint16(b[2:])
		for g := range 8 {
			s := int32(b[4+g/2]>>(g%2*4)&15) | int32(sh>>(2*g)&3)<<4
			decodeCurve((*[32]float32)(y[g*32:]), d*float32(s-32), (*[16]byte)(b[8+g*16:]))
		}
		dst, src = dst[256:], src[136:]
	}
}

// decodeCurve writes scale · curve4[q] for 32 values packed as in Q4_0.
func decodeCurve(dst *[32]float32, scale float32, qs *[16]byte) {
	for j, q := range qs {
		dst[j] = scale * curve4[q&15]
		dst[16+j] = scale * curve4[q>>4]
	}
}
