package main

import (
	"encoding/binary"
	"fmt"
	"math"
)

func armMulUnit() {
	armBegin()
	for _, f := range formats {
		for t := 1; t <= f.maxTokensDot(); t++ {
			(&armTile{f: f, T: t, dot: true}).emit()
			if t <= f.maxTokensNEON() {
				(&armTile{f: f, T: t}).emit()
			}
		}
	}
	armEnd()
}

// maxTokensNEON is the widest tile without SDOT: a row's sum takes two registers.
func (f format) maxTokensNEON() int { return 2 }

// maxTokensDot is the widest tile with SDOT; scales for half blocks need a second sum.
func (f format) maxTokensDot() int {
	if f.halves {
		return 2
	}
	return 4
}

// armTile writes one function: half panels of 8 rows against T tokens, panels times. Rows 0…3 and
// 4…7 are the two quads of every quantity. With dot, SDOT sums four products into a lane;
// without, products are widened pairwise and a row has two lanes until the block ends.
//
// R0 args, R1 block, R15 and R16 its weights and factors of this half, R2 head, R3 y, R4 super-blocks left, R5 blocks left, R6… tokens,
// R12 panels, R19 and up scratch. Vectors: 0…7 float sums, 8…23 integer sums, then
// activations, weights, temporaries; see the methods.
type armTile struct {
	f   format
	T   int
	dot bool
}

func (k *armTile) x(t int) string      { return fmt.Sprintf("R%d", 6+t) }
func (k *armTile) acc(t, quad int) int { return 2*t + quad }

func (k *armTile) emit() {
	small := 1
	if k.f.kScale {
		small = 0
	}
	suffix := "NEON"
	if k.dot {
		suffix = "Dot"
	}
	name := fmt.Sprintf("mul%sx%d%s", k.f.name, k.T, suffix)
	needs := "NEON."
	if k.dot {
		needs = "NEON, ASIMDDP."
	}
	armFunc(name, "(a *byte)", 8, fmt.Sprintf("half panels of %s rows against %d tokens, see mulArgs and MatMul. %s", k.f.name, k.T, needs))
	op("MOVD a+0(FP), R0")
	op("MOVD (R0), R1")
	op("MOVD 16(R0), R3")
	op("MOVD 40(R0), R12")
	op("MOVD 56(R0), R13")
	if k.f.table {
		b := curve4(0)
		for d := 0; d < 2; d++ {
			op("MOVD $0x%016x, R20", binary.LittleEndian.Uint64(b[8*d:]))
			word(0x4e081c00|uint32(d)<<20|20<<5|vTable, "ins v%d.d[%d], x20", vTable, d)
		}
	}
	label("panel")
	op("MOVD R1, R14")
	for i := 0; i < 2*k.T; i++ {
		zeroV(i)
	}
	op("MOVD 8(R0), R6")
	op("MOVD 24(R0), R19")
	for t := 1; t < k.T; t++ {
		op("ADD R19, %s, %s", k.x(t-1), k.x(t))
	}
	op("MOVD 48(R0), R4")
	label("super")
	op("MOVD 72(R0), R19") // 0 or 8: a field's half is that times its bytes a row further on
	if k.f.super > 1 {
		op("ADD R19<<1, R1, R2")
		op("ADD $%d, R1, R1", k.f.head)
		op("MOVD $%d, R5", k.f.super)
		label("block")
	}
	op("MOVD 72(R0), R19")
	op("ADD R19<<2, R1, R15")
	op("ADD R19<<%d, R1, R16", small)
	op("ADD R13, R1, R20")
	for o := 0; o < k.f.block; o += 64 {
		op("PRFM %d(R20), PLDL1STRM", o)
	}
	k.body()
	for t := 0; t < k.T; t++ {
		op("ADD $48, %s, %s", k.x(t), k.x(t))
	}
	op("ADD $%d, R1, R1", k.f.block)
	if k.f.super > 1 {
		op("SUBS $1, R5, R5")
		op("BNE block")
	}
	op("SUBS $1, R4, R4")
	op("BNE super")
	op("MOVD R3, R20")
	op("MOVD 32(R0), R19")
	for t := 0; t < k.T; t++ {
		stq(k.acc(t, 0), "R20", 0)
		stq(k.acc(t, 1), "R20", 16)
		if t < k.T-1 {
			op("ADD R19, R20, R20")
		}
	}
	op("ADD $64, R3, R3")
	op("MOVD 64(R0), R19")
	op("ADD R19, R14, R1")
	op("SUBS $1, R12, R12")
	op("BNE panel")
	op("RET")
}

// Registers of the integer part. sum(t, quad) is the finished int32x4. Without dot a quad's
// sum is spread over two registers, the second 8 higher. Six-bit formats keep the first
// half's scaled total in total(t, quad).
func (k *armTile) sum(t, quad int) int   { return 8 + 2*t + quad }
func (k *armTile) total(t, quad int) int { return 20 + 2*t + quad }

const (
	vW    = 24 // to 27: weights
	vTmp  = 28 // to 30: temporaries
	vMask = 31

	vTable = 27 // curve4, in formats without a minimum
)

func (k *armTile) clear() {
	for t := 0; t < k.T; t++ {
		for q := 0; q < 2; q++ {
			zeroV(k.sum(t, q))
			if !k.dot {
				zeroV(k.sum(t, q) + 8)
			}
		}
	}
}

// dots adds group g of the weights in registers w, w+1 (quads) to all sums.
func (k *armTile) dots(w, g int) {
	for t := 0; t < k.T; t++ {
		if k.dot {
			op("FMOVS %d(%s), F%d", 4*g, k.x(t), vTmp)
			sdotLane(k.sum(t, 0), w, vTmp, 0)
			sdotLane(k.sum(t, 1), w+1, vTmp, 0)
			continue
		}
		op("FMOVS %d(%s), F%d", 4*g, k.x(t), vTmp)
		dup4s(vTmp, vTmp, 0)
		for q := 0; q < 2; q++ {
			smull(vTmp+1, w+q, vTmp)
			smull2(vTmp+2, w+q, vTmp)
			sadalp(k.sum(t, q), vTmp+1)
			sadalp(k.sum(t, q)+8, vTmp+2)
		}
	}
}

// gather joins the two registers of every sum where there are two.
func (k *armTile) gather() {
	for t := 0; t < k.T && !k.dot; t++ {
		for q := 0; q < 2; q++ {
			addp4s(k.sum(t, q), k.sum(t, q), k.sum(t, q)+8)
		}
	}
}

func (k *armTile) body() {
	k.clear()
	if k.f.bits == 8 {
		for g := 0; g < 8; g++ {
			ldq(vW, "R15", k.f.nibs+64*g)
			ldq(vW+1, "R15", k.f.nibs+64*g+16)
			k.dots(vW, g)
		}
		k.gather()
		k.finish()
		return
	}
	movi(vMask, 15)
	if k.f.twos() {
		movi(vMask, 3)
	}
	for half := 0; half < 2; half++ {
		for i := 0; i < 4; i++ {
			for q := 0; q < 2; q++ {
				k.lowest(half, i, q)
				k.upper(half, i, q)
				if k.f.table {
					three(0x4e000000, "tbl.16b", vW+q, vTable, vW+q)
				}
			}
			k.dots(vW, 4*half+i)
		}
		if k.f.halves {
			k.scaleHalf(half)
		}
	}
	if !k.f.halves {
		k.gather()
	}
	k.finish()
}

// lowest loads the four or two lowest bits of the weights of group 4*half+i.
func (k *armTile) lowest(half, i, q int) {
	if k.f.twos() {
		ldq(vW+q, "R15", k.f.nibs+64*half+16*q)
		if i > 0 {
			ushr16b(vW+q, vW+q, 2*i)
		}
		and(vW+q, vW+q, vMask)
		return
	}
	ldq(vW+q, "R15", k.f.nibs+64*i+16*q)
	if half == 0 {
		and(vW+q, vW+q, vMask)
	} else {
		ushr16b(vW+q, vW+q, 4)
	}
}

// upper adds the third, the fifth, or fifth and sixth, bits to the weights of group 4*half+i.
func (k *armTile) upper(half, i, q int) {
	shift := func(left int) {
		switch {
		case left > 0:
			shl16b(vTmp, vTmp, left)
		case left < 0:
			ushr16b(vTmp, vTmp, -left)
		}
	}
	switch k.f.bits {
	case 3:
		ldq(vTmp, "R15", k.f.high+16*q)
		shift(2 - 4*half - i)
		movi(vTmp+1, 4)
	case 5:
		ldq(vTmp, "R15", k.f.high+16*q)
		shift(4 - 4*half - i)
		movi(vTmp+1, 0x10)
	case 6:
		ldq(vTmp, "R15", k.f.high+64*half+16*q)
		shift(4 - 2*i)
		movi(vTmp+1, 0x30)
	default:
		return
	}
	and(vTmp, vTmp, vTmp+1)
	orr(vW+q, vW+q, vTmp)
}

// loadPairs loads what every row has for its two halves of the columns, by turns: rows 0…3 in
// vW+1, 4…7 in vW, as int32 the value of one half. Q2_K has scales in the low nibbles, which
// shift 0 takes, and minima in the high ones.
func (k *armTile) loadPairs(half, shift int) {
	ldq(vW, "R16", 0) // bytes s[r][c]
	if k.f.halfMin {
		if shift == 0 {
			shl16b(vW, vW, 4)
		}
		ushr16b(vW, vW, 4)
	}
	sxtl8(vW+1, vW) // rows 0…3: s0 s1 pairs of int16
	word(0x4f08a400|uint32(vW)<<5|uint32(vW), "sxtl2.8h v%d, v%d", vW, vW)
	for _, v := range []int{vW + 1, vW} { // even int16 are half 0, odd half 1
		if half == 0 {
			shl4s(v, v, 16)
		}
		sshr4s(v, v, 16)
	}
}

// scaleHalf multiplies the sums of 16 columns, less their offset, by the rows' scales:
// total = s·(Σwx + n·c2) with c2 = -8·Σx and an offset of 8·n.
func (k *armTile) scaleHalf(half int) {
	k.gather()
	k.loadPairs(half, 0)
	for t := 0; t < k.T; t++ {
		if k.f.bits != 2 {
			op("MOVH %d(%s), R20", actC2+2*half, k.x(t))
			if k.f.bits == 6 {
				op("LSL $2, R20, R20")
			} else {
				op("ASR $1, R20, R20")
			}
			word(0x4e040c00|20<<5|uint32(vTmp), "dup.4s v%d, w20", vTmp)
		}
		for q, v := range []int{vW + 1, vW} {
			if k.f.bits != 2 {
				add4s(k.sum(t, q), k.sum(t, q), vTmp)
			}
			if half == 0 {
				mul4s(k.total(t, q), k.sum(t, q), v)
				zeroV(k.sum(t, q))
				if !k.dot {
					zeroV(k.sum(t, q) + 8)
				}
			} else {
				mla4s(k.total(t, q), k.sum(t, q), v)
				mov(k.sum(t, q), k.total(t, q))
			}
		}
	}
}

// widenU8 turns 8 bytes at off into float32 in d, d+1.
func widenU8(d, off int) {
	ldd(d+1, "R16", off)
	uxtl8(d+1, d+1)
	uxtl4(d, d+1)
	uxtl4h(d+1, d+1)
	scvtf(d, d)
	scvtf(d+1, d+1)
}

// widenF16 turns 8 half floats into float32 in d, d+1.
func widenF16(d int, reg string, off int) {
	ldq(d+1, reg, off)
	fcvtl(d, d+1)
	fcvtl2(d+1, d+1)
}

// finish adds the block's float terms. Scales in vW, vW+1; minima in vW+2, vW+3.
func (k *armTile) finish() {
	switch {
	case k.f.kScale:
		widenU8(vW, 0)
		widenF16(vTmp, "R2", 0)
		fmul(vW, vW, vTmp)
		fmul(vW+1, vW+1, vTmp+1)
		widenU8(vW+2, 16)
		widenF16(vTmp, "R2", 32)
		fmul(vW+2, vW+2, vTmp)
		fmul(vW+3, vW+3, vTmp+1)
	case k.f.wScale:
		ldq(vW+1, "R16", 0)
		sxtl4(vW, vW+1)
		sxtl4h(vW+1, vW+1)
		scvtf(vW, vW)
		scvtf(vW+1, vW+1)
		widenF16(vTmp, "R2", 0)
		fmul(vW, vW, vTmp)
		fmul(vW+1, vW+1, vTmp+1)
	case k.f.f16Min:
		widenF16(vW, "R16", 0)
		widenF16(vW+2, "R16", 32)
	case k.f.super > 1:
		widenF16(vW, "R2", 0)
	default:
		widenF16(vW, "R16", 0)
	}
	for t := 0; t < k.T; t++ {
		if k.f.offset() {
			ld1r(vTmp, k.x(t), actC)
			add4s(k.sum(t, 0), k.sum(t, 0), vTmp)
			add4s(k.sum(t, 1), k.sum(t, 1), vTmp)
		}
		ld1r(vTmp, k.x(t), actD)
		for q := 0; q < 2; q++ {
			fmul(vTmp+1, vW+q, vTmp)
			scvtf(k.sum(t, q), k.sum(t, q))
			fmla(k.acc(t, q), k.sum(t, q), vTmp+1)
		}
		if k.f.hasMin() {
			ld1r(vTmp, k.x(t), actE)
			fmls(k.acc(t, 0), vW+2, vTmp)
			fmls(k.acc(t, 1), vW+3, vTmp)
		}
	}
	if k.f.halfMin {
		k.takeHalfMins()
	}
}

// takeHalfMins adds (dmin/8)·d of the activations times Σ m·(-8·Σx) over the halves of the columns.
func (k *armTile) takeHalfMins() {
	for half := 0; half < 2; half++ {
		k.loadPairs(half, 4)
		for t := 0; t < k.T; t++ {
			op("MOVH %d(%s), R20", actC2+2*half, k.x(t))
			word(0x4e040c00|20<<5|uint32(vTmp), "dup.4s v%d, w20", vTmp)
			for q, v := range []int{vW + 1, vW} {
				if half == 0 {
					mul4s(k.total(t, q), vTmp, v)
				} else {
					mla4s(k.total(t, q), vTmp, v)
				}
			}
		}
	}
	widenF16(vW, "R2", 32)
	constV(vTmp, math.Float32bits(0.125))
	fmul(vW, vW, vTmp)
	fmul(vW+1, vW+1, vTmp)
	for t := 0; t < k.T; t++ {
		ld1r(vTmp, k.x(t), actD)
		for q := 0; q < 2; q++ {
			fmul(vTmp+1, vW+q, vTmp)
			scvtf(k.total(t, q), k.total(t, q))
			fmla(k.acc(t, q), k.total(t, q), vTmp+1)
		}
	}
}
