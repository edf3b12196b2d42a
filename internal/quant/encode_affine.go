package quant

import "encoding/binary"

// The encoders of Q2_K, Q4_K and Q5_K: groups of 16 or 32 values, each with an
// integer scale s and minimum m of 4 or 6 bits, that stand for
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

// The grids of the formats with minima. They were chosen on N(0,1) and
// Student-t values, where ones with thirty times as many points gain less than
// 1 %.
var (
	wideSpreads = []float32{-0.5, -0.1, 0.3, 0.7, 1.1, 1.5}
	wideShifts  = []float32{-0.4, -0.2, 0, 0.2, 0.4}
)

// affineBlock is the working state for one super-block.
type affineBlock struct {
	d, dmin uint16 // binary16
	s, m    [16]int32
	q       [256]uint8
	cost    float32 // Σ(x - decoded)²
}

var formQ4_K = lineForm{
	top: 15, group: 32, topScale: 63,
	spreads: wideSpreads, shifts: wideShifts,
}

// encodeQ4_K writes blocks as drawn at decodeQ4_K.
func encodeQ4_K(dst []byte, src []float32) {
	var a affineBlock
	for len(src) >= superBlock {
		b := (*[144]byte)(dst)
		formQ4_K.search((*[256]float32)(src), &a)
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

var formQ5_K = lineForm{
	top: 31, group: 32, topScale: 63,
	spreads: wideSpreads, shifts: wideShifts,
}

// encodeQ5_K writes blocks as drawn at decodeQ5_K.
func encodeQ5_K(dst []byte, src []float32) {
	var a affineBlock
	for len(src) >= superBlock {
		b := (*[176]byte)(dst)
		formQ5_K.search((*[256]float32)(src), &a)
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

var formQ2_K = lineForm{
	top: 3, group: 16, topScale: 15,
	spreads: []float32{-0.3, 0, 0.3, 0.6, 0.9}, shifts: []float32{-0.5, -0.25, 0, 0.25, 0.5},
}

// encodeQ2_K writes blocks as drawn at decodeQ2_K.
func encodeQ2_K(dst []byte, src []float32) {
	var a affineBlock
	for len(src) >= superBlock {
		b := (*[84]byte)(dst)
		formQ2_K.search((*[256]float32)(src), &a)
		for g := range 16 {
			b[g] = byte(a.s[g] | a.m[g]<<4)
		}
		for half := range 2 {
			q, qs := a.q[half*128:][:128], b[16+half*32:][:32]
			for i := range 32 {
				qs[i] = q[i] | q[32+i]<<2 | q[64+i]<<4 | q[96+i]<<6
			}
		}
		binary.LittleEndian.PutUint16(b[80:], a.d)
		binary.LittleEndian.PutUint16(b[82:], a.dmin)
		src, dst = src[256:], dst[84:]
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
func (f *lineForm) search(x *[256]float32, a *affineBlock) {
	var negated [256]float32
	negate := f.liesAbove(x)
	if negate {
		for i, v := range x {
			negated[i] = -v
		}
		x = &negated
	}
	var lines [16]line
	var maxD, maxM float32
	for g := range superBlock / f.group {
		lines[g] = f.fitLine(x[g*f.group:][:f.group], false)
		maxD, maxM = max(maxD, lines[g].D), max(maxM, lines[g].M)
	}
	top := float32(f.topScale)
	f.place(x, a, &lines, coverScale(maxD, top), coverScale(maxM, top))
	var b affineBlock
	d, dmin := f.refit(x, a)
	f.place(x, &b, &lines, toScale(d), toScale(dmin))
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
func (f *lineForm) liesAbove(x *[256]float32) bool {
	balance := 0
	for g := range superBlock / f.group {
		lo, hi := bounds(x[g*f.group:][:f.group])
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
func (f *lineForm) place(x *[256]float32, a *affineBlock, lines *[16]line, d, dmin uint16) {
	a.d, a.dmin, a.cost = d, dmin, 0
	d32, dmin32 := F16ToF32(d), F16ToF32(dmin)
	for g := range superBlock / f.group {
		xg, qg := x[g*f.group:][:f.group], a.q[g*f.group:][:f.group]
		var cost float32
		a.s[g], a.m[g], cost = f.placeLine(xg, lines[g], d32, dmin32)
		a.cost += cost
		D, M := float32(d32*float32(a.s[g])), float32(dmin32*float32(a.m[g]))
		writeLevels(xg, qg, f.top, D, M)
	}
}

// refit returns the d and dmin with the least squared error under the s, m and
// q of a. With u = s·q and v = m for every value it solves
//
//	d·Σuu - dmin·Σuv = Σxu
//	d·Σuv - dmin·Σvv = Σxv
//
// Sums of squares of integers below 63·31 over 256 values fit in an int32.
func (f *lineForm) refit(x *[256]float32, a *affineBlock) (d, dmin float32) {
	var uu, uv, vv int32
	var xu, xv float64
	for g := range superBlock / f.group {
		s, m := a.s[g], a.m[g]
		var q1, q2 int32
		var x1, xq float32
		qg := a.q[g*f.group:][:f.group]
		for i, v := range x[g*f.group:][:f.group] {
			q := int32(qg[i])
			q1 += q
			q2 += q * q
			x1 += v
			xq += float32(v * float32(q))
		}
		uu += s * s * q2
		uv += s * m * q1
		vv += m * m * int32(f.group)
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
