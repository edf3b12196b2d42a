package kernel

// Packing of the formats with super-blocks of 256 columns: eight blocks of 32. The functions
// place row r of a panel. The bytes of a checkpoint's super-block are drawn in package
// quant.

const (
	lowNibbles = 0x0f0f0f0f
	lowPairs   = 0x03030303
	lowBits    = 0x01010101
)

// minScales6 unpacks the twelve bytes of 6-bit scales and minima of Q4_K and Q5_K.
func minScales6(b *[12]byte, s, m *[8]uint8) {
	for j := 0; j < 4; j++ {
		s[j] = b[j] & 63
		m[j] = b[j+4] & 63
		s[j+4] = b[j+8]&15 | b[j]>>6<<4
		m[j+4] = b[j+8]>>4 | b[j+4]>>6<<4
	}
}

// evenOdd gives a pair of blocks, stored as 32 bytes with the first block in the low nibbles,
// nibbles in our order: columns 4i+j low and 16+4i+j high.
func evenOdd(qs *[32]byte, even, odd *[256]byte, r int) {
	for i := 0; i < 4; i++ {
		lo, hi := le.Uint32(qs[4*i:]), le.Uint32(qs[16+4*i:])
		at := 64*i + 4*r
		le.PutUint32(even[at:], lo&lowNibbles|hi&lowNibbles<<4)
		le.PutUint32(odd[at:], lo>>4&lowNibbles|hi&^lowNibbles)
	}
}

func packQ4K(dst, row []byte, r int) {
	const size = 64 + 8*288
	var s, m [8]uint8
	for len(row) >= 144 && len(dst) >= size {
		o, b := (*[size]byte)(dst), (*[144]byte)(row)
		blocks := o[64:]
		le.PutUint16(o[2*r:], le.Uint16(b[:]))
		le.PutUint16(o[32+2*r:], le.Uint16(b[2:]))
		minScales6((*[12]byte)(b[4:]), &s, &m)
		for p := 0; p < 4; p++ {
			even, odd := (*[288]byte)(blocks[2*p*288:]), (*[288]byte)(blocks[(2*p+1)*288:])
			even[r], even[16+r] = s[2*p], m[2*p]
			odd[r], odd[16+r] = s[2*p+1], m[2*p+1]
			evenOdd((*[32]byte)(b[16+32*p:]), (*[256]byte)(even[32:]), (*[256]byte)(odd[32:]), r)
		}
		dst, row = dst[size:], row[144:]
	}
}

func packQ5K(dst, row []byte, r int) {
	const size = 64 + 8*352
	var s, m [8]uint8
	for len(row) >= 176 && len(dst) >= size {
		o, b := (*[size]byte)(dst), (*[176]byte)(row)
		blocks := o[64:]
		le.PutUint16(o[2*r:], le.Uint16(b[:]))
		le.PutUint16(o[32+2*r:], le.Uint16(b[2:]))
		minScales6((*[12]byte)(b[4:]), &s, &m)
		var h [8]uint32
		fifthBits((*[32]byte)(b[16:]), &h)
		for p := 0; p < 4; p++ {
			even, odd := (*[352]byte)(blocks[2*p*352:]), (*[352]byte)(blocks[(2*p+1)*352:])
			even[r], even[16+r] = s[2*p], m[2*p]
			odd[r], odd[16+r] = s[2*p+1], m[2*p+1]
			le.PutUint32(even[32+4*r:], h[2*p])
			le.PutUint32(odd[32+4*r:], h[2*p+1])
			evenOdd((*[32]byte)(b[48+32*p:]), (*[256]byte)(even[96:]), (*[256]byte)(odd[96:]), r)
		}
		dst, row = dst[size:], row[176:]
	}
}

// fifthBits turns bit b of byte 4g+j (block b, column 4g+j) into bit g of byte j of h[b].
func fifthBits(qh *[32]byte, h *[8]uint32) {
	for g := 0; g < 8; g++ {
		v := le.Uint32(qh[4*g:])
		for b := range h {
			h[b] |= v >> b & lowBits << g
		}
	}
}

func packQ6K(dst, row []byte, r int) {
	const size = 32 + 8*416
	for len(row) >= 210 && len(dst) >= size {
		o, b := (*[size]byte)(dst), (*[210]byte)(row)
		le.PutUint16(o[2*r:], le.Uint16(b[208:]))
		for part := 0; part < 2; part++ { // 128 columns each
			out := o[32+part*4*416:]
			ql, qh := (*[64]byte)(b[64*part:]), (*[32]byte)(b[128+32*part:])
			for k := 0; k < 2; k++ { // blocks k (low nibbles) and k+2 (high) share 32 bytes
				lo, hi := (*[416]byte)(out[416*k:]), (*[416]byte)(out[416*(k+2):])
				evenOdd((*[32]byte)(ql[32*k:]), (*[256]byte)(lo[160:]), (*[256]byte)(hi[160:]), r)
			}
			for k := 0; k < 4; k++ {
				blk := (*[416]byte)(out[416*k:])
				blk[2*r], blk[2*r+1] = b[192+8*part+2*k], b[192+8*part+2*k+1]
				h0, h1 := upperBits(qh, 2*k)
				le.PutUint32(blk[32+4*r:], h0)
				le.PutUint32(blk[96+4*r:], h1)
			}
		}
		dst, row = dst[size:], row[210:]
	}
}

// upperBits gathers bits shift, shift+1 of the 32 bytes: byte j of the results has columns
// 4g+j for g = 0…3 and 4…7.
func upperBits(qh *[32]byte, shift int) (h0, h1 uint32) {
	for g := 0; g < 4; g++ {
		h0 |= le.Uint32(qh[4*g:]) >> shift & lowPairs << (2 * g)
		h1 |= le.Uint32(qh[16+4*g:]) >> shift & lowPairs << (2 * g)
	}
	return h0, h1
}

func packQ2K(dst, row []byte, r int) {
	const size = 64 + 8*160
	for len(row) >= 84 && len(dst) >= size {
		o, b := (*[size]byte)(dst), (*[84]byte)(row)
		le.PutUint16(o[2*r:], le.Uint16(b[80:]))
		le.PutUint16(o[32+2*r:], le.Uint16(b[82:]))
		for k := 0; k < 8; k++ {
			blk := (*[160]byte)(o[64+160*k:])
			blk[2*r], blk[2*r+1] = b[2*k], b[2*k+1]
			p0, p1 := upperBits((*[32]byte)(b[16+32*(k/4):]), 2*(k%4))
			le.PutUint32(blk[32+4*r:], p0)
			le.PutUint32(blk[96+4*r:], p1)
		}
		dst, row = dst[size:], row[84:]
	}
}

func packQ3K(dst, row []byte, r int) {
	const size = 32 + 8*224
	for len(row) >= 110 && len(dst) >= size {
		o, b := (*[size]byte)(dst), (*[110]byte)(row)
		le.PutUint16(o[2*r:], le.Uint16(b[108:]))
		var h [8]uint32
		fifthBits((*[32]byte)(b[:]), &h)
		for k := 0; k < 8; k++ {
			blk := (*[224]byte)(o[32+224*k:])
			for c := 0; c < 2; c++ {
				g := 2*k + c
				s := b[96+g%8]>>(g/8*4)&15 | b[104+g%4]>>(g/4*2)&3<<4
				blk[2*r+c] = s - 32
			}
			le.PutUint32(blk[32+4*r:], h[k])
			p0, p1 := upperBits((*[32]byte)(b[32+32*(k/4):]), 2*(k%4))
			le.PutUint32(blk[96+4*r:], p0)
			le.PutUint32(blk[160+4*r:], p1)
		}
		dst, row = dst[size:], row[110:]
	}
}

func packIQ4XS(dst, row []byte, r int) {
	const size = 32 + 8*288
	for len(row) >= 136 && len(dst) >= size {
		o, b := (*[size]byte)(dst), (*[136]byte)(row)
		le.PutUint16(o[2*r:], le.Uint16(b[:]))
		upper := le.Uint16(b[2:])
		for k := 0; k < 8; k++ {
			blk, q := (*[288]byte)(o[32+288*k:]), b[8+16*k:][:16]
			s := int16(b[4+k/2]>>(k%2*4)&15) | int16(upper>>(2*k)&3)<<4
			le.PutUint16(blk[2*r:], uint16(s-32))
			putNibbles((*[256]byte)(blk[32:]), r, le.Uint32(q), le.Uint32(q[4:]), le.Uint32(q[8:]), le.Uint32(q[12:]))
		}
		dst, row = dst[size:], row[136:]
	}
}
