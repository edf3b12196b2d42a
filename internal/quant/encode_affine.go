package quant

import "encoding/binary"

// The encoders of Q4_K and Q5_K: eight groups of 32 values, each with an
// integer scale s and minimum m of 6 bits, that stand for
//
//	x ≈ D·q - M,   D = d·s,   M = dmin·m,   q in 0…top
//
// The search goes from the inside out and back:
//
//  1. every group on its own: the line (D, M) with the least squared error;
//  2. d and dmin from the largest D and M, as binary16;
//  3. every group again: the integers s and m near its line that leave the
//     least error under these very d and dmin;
//  4. d and dmin fitted to all levels at once, and step 3 again with them. The
//     better one of the two results is stored.
//
// m cannot be negative. A super-block whose groups tend to lie wholly above
// zero is encoded as its negation, with d and dmin negative.

// affineBlock is the working state for one super-block.
type affineBlock struct {
	d, dmin uint16 // binary16
	s, m    [8]int32
	q       [256]uint8
	cost    float32 // Σ(x - decoded)²
}

// encodeQ4_K writes blocks as drawn at decodeQ4_K.
func encodeQ4_K(dst []byte, src []float32) {
	var a affineBlock
	for len(src) >= superBlock {
		b := (*[144]byte)(dst)
		a.search((*[256]float32)(src), 15)
		a.putHeader((*[16]byte)(b[:]))
		for p := range 4 {
			lo, hi := a.q[p*64:][:32], a.q[p*64+32:][:32]
			for i := range 32 {
				b[16+p*32+i] = lo[i] | hi[i]<<4
			}
		}
		src, dst = src[256:], dst[144:]
	}
}

// encodeQ5_K writes blocks as drawn at decodeQ5_K.
func encodeQ5_K(dst []byte, src []float32) {
	var a affineBlock
	for len(src) >= superBlock {
		b := (*[176]byte)(dst)
		a.search((*[256]float32)(src), 31)
		a.putHeader((*[16]byte)(b[:]))
		for i := range 32 {
			var high uint8
			for g := range 8 {
				high |= a.q[g*32+i] >> 4 << g
			}
			b[16+i] = high
		}
		for p := range 4 {
			lo, hi := a.q[p*64:][:32], a.q[p*64+32:][:32]
			for i := range 32 {
				b[48+p*32+i] = lo[i]&15 | hi[i]<<4
			}
		}
		src, dst = src[256:], dst[176:]
	}
}

// putHeader writes d, dmin and the packed scales and minima (see
// unpackScales).
func (a *affineBlock) putHeader(b *[16]byte) {
	binary.LittleEndian.PutUint16(b[0:], a.d)
	binary.LittleEndian.PutUint16(b[2:], a.dmin)
	for j := range 4 {
		b[4+j] = byte(a.s[j] | a.s[j+4]>>4<<6)
		b[8+j] = byte(a.m[j] | a.m[j+4]>>4<<6)
		b[12+j] = byte(a.s[j+4]&15 | a.m[j+4]&15<<4)
	}
}

// search fills a with the best encoding found for x.
func (a *affineBlock) search(x *[256]float32, top int32) {
	var negated [256]float32
	negate := liesAbove(x)
	if negate {
		for i, v := range x {
			negated[i] = -v
		}
		x = &negated
	}
	var lines [8]line
	var maxD, maxM float32
	for g := range lines {
		lines[g] = fitLine((*[32]float32)(x[g*32:]), top)
		maxD, maxM = max(maxD, lines[g].D), max(maxM, lines[g].M)
	}
	a.place(x, top, &lines, coverScale(maxD, 63), coverScale(maxM, 63))

	var b affineBlock
	d, dmin := a.refit(x)
	b.place(x, top, &lines, toScale(d), toScale(dmin))
	if b.cost < a.cost {
		*a = b
	}
	if negate {
		a.d ^= 0x8000
		a.dmin ^= 0x8000
	}
}

// liesAbove reports whether more groups of x lie wholly above zero than wholly
// below it.
func liesAbove(x *[256]float32) bool {
	balance := 0
	for g := range 8 {
		lo, hi := bounds((*[32]float32)(x[g*32:]))
		if lo > 0 {
			balance++
		}
		if hi < 0 {
			balance--
		}
	}
	return balance > 0
}

// place chooses s, m and q of all groups for given d and dmin.
func (a *affineBlock) place(x *[256]float32, top int32, lines *[8]line, d, dmin uint16) {
	a.d, a.dmin, a.cost = d, dmin, 0
	d32, dmin32 := F16ToF32(d), F16ToF32(dmin)
	for g := range 8 {
		xg, qg := (*[32]float32)(x[g*32:]), (*[32]uint8)(a.q[g*32:])
		var cost float32
		a.s[g], a.m[g], cost = placeLine(xg, top, lines[g], d32, dmin32)
		a.cost += cost
		D, M := float32(d32*float32(a.s[g])), float32(dmin32*float32(a.m[g]))
		writeLevels(xg, qg, top, D, M)
	}
}

// refit returns the d and dmin with the least squared error under the s, m and
// q of a. With u = s·q and v = m for every value it solves
//
//	d·Σuu - dmin·Σuv = Σxu
//	d·Σuv - dmin·Σvv = Σxv
//
// Sums of squares of integers below 63·31 over 256 values fit in an int32.
func (a *affineBlock) refit(x *[256]float32) (d, dmin float32) {
	var uu, uv, vv int32
	var xu, xv float64
	for g := range 8 {
		s, m := a.s[g], a.m[g]
		var q1, q2 int32
		var x1, xq float32
		for i := range 32 {
			v, q := x[g*32+i], int32(a.q[g*32+i])
			q1 += q
			q2 += q * q
			x1 += v
			xq += float32(v * float32(q))
		}
		uu += s * s * q2
		uv += s * m * q1
		vv += m * m * 32
		xu += float64(float64(s) * float64(xq))
		xv += float64(float64(m) * float64(x1))
	}
	fu, fv, fuv := float64(uu), float64(vv), float64(uv)
	det := float64(fu*fv) - float64(fuv*fuv)
	d, dmin = F16ToF32(a.d), F16ToF32(a.dmin)
	switch {
	case det > 0:
		d = float32((float64(xu*fv) - float64(xv*fuv)) / det)
		dmin = float32((float64(xu*fuv) - float64(xv*fu)) / det)
	case uu > 0:
		d = float32(xu / fu)
	}
	return d, dmin
}
