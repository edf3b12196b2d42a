package quant

import "encoding/binary"

// The super-blocks with signed scales: Q6_K, Q3_K and IQ4_XS.

var formQ6_K = superForm{
	scaleForm: scaleForm{lo: -32, hi: 31, steps: []float32{
		-34, -33.5, -33, -32.5, -32, -31.5, -31, -30.5, -30, 30, 30.5, 31, 31.5, 32,
	}},
	group: 16, sLo: -128, sHi: 127, reach: 3, covers: []float32{127},
}

// encodeQ6_K writes blocks as drawn at decodeQ6_K.
func encodeQ6_K(dst []byte, src []float32) {
	var q [256]uint8
	for len(src) >= superBlock {
		x, b := (*[256]float32)(src), (*[210]byte)(dst)
		best := formQ6_K.search(x)
		formQ6_K.levels(x, &best, &q)
		for half := range 2 {
			q, ql, qh := q[half*128:][:128], b[half*64:][:64], b[128+half*32:][:32]
			for i := range 32 {
				q0, q1, q2, q3 := q[i], q[32+i], q[64+i], q[96+i]
				ql[i] = q0&15 | q2<<4
				ql[32+i] = q1&15 | q3<<4
				qh[i] = q0>>4 | q1>>4<<2 | q2>>4<<4 | q3>>4<<6
			}
		}
		for g, v := range best.s {
			b[192+g] = byte(v)
		}
		binary.LittleEndian.PutUint16(b[208:], best.d)
		src, dst = src[256:], dst[210:]
	}
}

var formQ3_K = superForm{
	scaleForm: scaleForm{lo: -4, hi: 3, steps: []float32{
		-4.9, -4.6, -4.3, -4, -3.7, -3.4, -3.1, -2.8, 2.5, 2.8, 3.1, 3.4, 3.7, 4,
	}},
	group: 16, sLo: -32, sHi: 31, reach: 3, covers: []float32{-32, 31},
}

// encodeQ3_K writes blocks as drawn at decodeQ3_K.
func encodeQ3_K(dst []byte, src []float32) {
	var q [256]uint8
	for len(src) >= superBlock {
		x, b := (*[256]float32)(src), (*[110]byte)(dst)
		best := formQ3_K.search(x)
		formQ3_K.levels(x, &best, &q)
		clear(b[:32])
		for i, v := range q {
			b[i%32] |= v >> 2 << (i / 32)
		}
		for half := range 2 {
			q, qs := q[half*128:][:128], b[32+half*32:][:32]
			for i := range 32 {
				qs[i] = q[i]&3 | q[32+i]&3<<2 | q[64+i]&3<<4 | q[96+i]&3<<6
			}
		}
		packed := b[96:108]
		clear(packed)
		for g, v := range best.s {
			v += 32
			packed[g%8] |= byte(v & 15 << (g / 8 * 4))
			packed[8+g%4] |= byte(v >> 4 << (g / 4 * 2))
		}
		binary.LittleEndian.PutUint16(b[108:], best.d)
		src, dst = src[256:], dst[110:]
	}
}

var formIQ4_XS = superForm{
	scaleForm: scaleForm{steps: stepsCurve},
	group:     32, sLo: -32, sHi: 31, reach: 2, covers: []float32{-32, 31},
}

// encodeIQ4_XS writes blocks as drawn at decodeIQ4_XS.
func encodeIQ4_XS(dst []byte, src []float32) {
	for len(src) >= superBlock {
		x, b := (*[256]float32)(src), (*[136]byte)(dst)
		best := formIQ4_XS.search(x)
		binary.LittleEndian.PutUint16(b[:], best.d)
		var high uint16
		clear(b[4:8])
		d := F16ToF32(best.d)
		for g := range 8 {
			s := best.s[g]
			v := uint16(s + 32)
			b[4+g/2] |= byte(v & 15 << (g % 2 * 4))
			high |= v >> 4 << (2 * g)
			putCurve((*[16]byte)(b[8+g*16:]), (*[32]float32)(x[g*32:]), d*float32(s))
		}
		binary.LittleEndian.PutUint16(b[2:], high)
		src, dst = src[256:], dst[136:]
	}
}
