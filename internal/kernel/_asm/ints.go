package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The products of int8 rows with int16 vectors: VPMADDWD on rows widened to 16 bits, with AVX-512
// VPDPWSSD.

func intsUnit() {
	for _, r := range []int{4, 1} {
		for t := 1; t <= 2; t++ {
			dotInts{R: r, T: t}.emit()
		}
	}
	for t := 1; t <= 4; t++ {
		mixInts{T: t}.emit()
	}
	absTop()
	quantInts()
	scaleInts()
}

func ints512Unit() {
	for _, r := range []int{4, 1} {
		for t := 1; t <= 4; t++ {
			dotInts{R: r, T: t, wide: true}.emit()
		}
	}
	for t := 1; t <= 8; t++ {
		mixInts{T: t, wide: true}.emit()
	}
}

// vec is a register of the width in use.
func vec(wide bool) VecVirtual {
	if wide {
		return ZMM()
	}
	return YMM()
}

func level(wide bool) (suffix, needs string) {
	if wide {
		return "VNNI", "AVX-512 F, BW, VL, DQ, VNNI"
	}
	return "AVX2", "AVX2"
}

// dotInts writes one function: R rows against T vectors, groups times.
type dotInts struct {
	R, T int
	wide bool
}

func (d dotInts) emit() {
	suffix, needs := level(d.wide)
	name := fmt.Sprintf("dotInts%dx%d%s", d.R, d.T, suffix)
	TEXT(name, NOSPLIT, "func(a *byte)")
	Doc(fmt.Sprintf("%s: %d int8 rows against %d vectors of int16, see intArgs. %s.", name, d.R, d.T, needs), "")
	Pragma("noescape")
	a := Load(Param("a"), GP64())
	w0, x0, y, ahead := field(a, 0), field(a, 1), field(a, 2), field(a, 11)
	ADDQ(w0, ahead)
	w, x, n := newRows(d.R, field(a, 4)), newRows(d.T, field(a, 6)), GP64()
	Label("group")
	w.reset(w0)
	x.reset(x0)
	acc := make([]VecVirtual, d.R*d.T)
	for i := range acc {
		acc[i] = vec(d.wide)
		if d.wide {
			VPXORD(acc[i], acc[i], acc[i])
		} else {
			VPXOR(acc[i], acc[i], acc[i])
		}
	}
	MOVQ(Mem{Base: a, Disp: 8 * 9}, n)
	cols := 16
	if d.wide {
		cols = 32
	}
	step := func(cols int) {
		prefetchAt(ahead, d.R*cols, PREFETCHT0)
		ADDQ(Mem{Base: a, Disp: 8 * 12}, ahead)
		if cols == 32 {
			ADDQ(Mem{Base: a, Disp: 8 * 12}, ahead)
		}
		d.columns(cols, w, x, acc)
		w.advance(Imm(uint64(cols)))
		x.advance(Imm(uint64(2 * cols)))
		SUBQ(Imm(uint64(cols/16)), n)
	}
	Label("loop")
	CMPQ(n, Imm(uint64(cols/16)))
	JL(LabelRef("narrow"))
	step(cols)
	JMP(LabelRef("loop"))
	Label("narrow")
	if d.wide {
		TESTQ(n, n)
		JZ(LabelRef("tail"))
		step(16)
		Label("tail")
	}
	CMPQ(Mem{Base: a, Disp: 8 * 10}, Imm(0))
	JE(LabelRef("reduce"))
	d.columns(8, w, x, acc)
	Label("reduce")
	scale, yt := field(a, 3), GP64()
	MOVQ(y, yt)
	for t := 0; t < d.T; t++ {
		d.store(acc, t, Mem{Base: scale, Disp: 4 * t}, yt)
		if t < d.T-1 {
			ADDQ(Mem{Base: a, Disp: 8 * 7}, yt)
		}
	}
	ADDQ(Imm(uint64(4*d.R)), y)
	ADDQ(Mem{Base: a, Disp: 8 * 5}, w0)
	DECQ(Mem{Base: a, Disp: 8 * 8})
	JNZ(LabelRef("group"))
	VZEROUPPER()
	RET()
}

// columns adds the products of the next columns: 32, 16 or 8.
func (d dotInts) columns(cols int, w, x rows, acc []VecVirtual) {
	reg := map[int]func() VecVirtual{32: ZMM, 16: YMM, 8: XMM}[cols]
	wv := make([]VecVirtual, d.R)
	for r := range wv {
		wv[r] = reg()
		VPMOVSXBW(w.at(r, 0), wv[r])
	}
	for t := 0; t < d.T; t++ {
		xv := reg()
		if d.wide {
			VMOVDQU32(x.at(t, 0), xv)
		} else {
			VMOVDQU(x.at(t, 0), xv)
		}
		for r := range wv {
			s := acc[r*d.T+t]
			if cols == 32 {
				VPDPWSSD(xv, wv[r], s)
				continue
			}
			p := reg() // its upper lanes are zero
			VPMADDWD(xv, wv[r], p)
			if d.wide {
				VPADDD(p.AsZ(), s, s)
			} else {
				VPADDD(p.AsY(), s, s)
			}
		}
	}
}

// store sums the lanes for vector t and stores a float for every row.
func (d dotInts) store(acc []VecVirtual, t int, scale Mem, y GPVirtual) {
	q := make([]VecVirtual, d.R)
	for r := range q {
		q[r] = XMM()
		s := acc[r*d.T+t]
		if d.wide {
			h := YMM()
			VEXTRACTI64X4(U8(1), s, h)
			VPADDD(h, s.AsY(), h)
			VEXTRACTI32X4(U8(1), h, q[r])
			s = h
		} else {
			VEXTRACTI128(U8(1), s, q[r])
		}
		VPADDD(q[r], s.AsX(), q[r])
	}
	sum, f := XMM(), XMM()
	if d.R == 4 {
		pair := func(a, b VecVirtual) VecVirtual {
			lo, hi := XMM(), XMM()
			VUNPCKLPD(b, a, lo)
			VUNPCKHPD(b, a, hi)
			VPADDD(hi, lo, lo)
			return lo
		}
		ab, cd := pair(q[0], q[1]), pair(q[2], q[3])
		odd := XMM()
		VSHUFPS(U8(0x88), cd, ab, sum)
		VSHUFPS(U8(0xdd), cd, ab, odd)
		VPADDD(odd, sum, sum)
		VCVTDQ2PS(sum, sum)
		VBROADCASTSS(scale, f)
		VMULPS(f, sum, sum)
		VMOVUPS(sum, Mem{Base: y})
		return
	}
	VPSHUFD(U8(0x4e), q[0], sum)
	VPADDD(q[0], sum, sum)
	VPSHUFD(U8(0xb1), sum, f)
	VPADDD(f, sum, sum)
	VCVTDQ2PS(sum, sum)
	VMULSS(scale, sum, sum)
	VMOVSS(sum, Mem{Base: y})
}

// mixInts writes one function: weighted sums of pairs of rows for T vectors, over strips of columns.
type mixInts struct {
	T    int
	wide bool
}

func (m mixInts) emit() {
	suffix, needs := level(m.wide)
	name := fmt.Sprintf("mixInts%d%s", m.T, suffix)
	TEXT(name, NOSPLIT, "func(a *byte)")
	Doc(fmt.Sprintf("%s: weighted sums of int8 rows for %d vectors of int16, see mixArgs. %s.", name, m.T, needs), "")
	Pragma("noescape")
	a := Load(Param("a"), GP64())
	v0, y0, vstep, ahead := field(a, 0), field(a, 2), field(a, 3), field(a, 9)
	ADDQ(v0, ahead)
	p, y := newRows(m.T, field(a, 4)), newRows(m.T, field(a, 5))
	v, n := GP64(), GP64()
	chunks := Mem{Base: a, Disp: 8 * 7}
	strip := func(label string, cols int) {
		y.reset(y0)
		p.reset(Mem{Base: a, Disp: 8})
		MOVQ(v0, v)
		MOVQ(Mem{Base: a, Disp: 8 * 6}, n)
		acc := m.load(y, cols)
		Label(label)
		CMPQ(n, Imm(2))
		JL(LabelRef(label + "Odd"))
		prefetchAt(ahead, 2*cols, PREFETCHT0)
		for range max(1, 2*cols/16) {
			ADDQ(Mem{Base: a, Disp: 8 * 10}, ahead)
		}
		m.pair(p, acc, cols, func(i, off int) Mem {
			if i == 1 {
				return Mem{Base: v, Index: vstep, Scale: 1, Disp: off}
			}
			return Mem{Base: v, Disp: off}
		})
		LEAQ(Mem{Base: v, Index: vstep, Scale: 2}, v)
		p.advance(Imm(4))
		SUBQ(Imm(2), n)
		JMP(LabelRef(label))
		Label(label + "Odd")
		TESTQ(n, n)
		JZ(LabelRef(label + "Store"))
		m.pair(p, acc, cols, func(i, off int) Mem {
			if i == 1 {
				return Mem{} // zeros: the weight beside the last one counts for nothing
			}
			return Mem{Base: v, Disp: off}
		})
		Label(label + "Store")
		m.each(acc, y, func(s VecVirtual, at Mem) { m.move(s, at) })
	}
	strips := func(label string, cols int) {
		Label(label)
		CMPQ(chunks, Imm(uint64(cols/16)))
		JL(LabelRef(label + "Done"))
		strip(label+"Loop", cols)
		ADDQ(Imm(uint64(cols)), v0)
		ADDQ(U32(uint32(4*cols)), y0)
		SUBQ(Imm(uint64(cols/16)), chunks)
		JMP(LabelRef(label))
		Label(label + "Done")
	}
	if m.wide {
		strips("wide", 32)
	}
	strips("narrow", 16)
	CMPQ(Mem{Base: a, Disp: 8 * 8}, Imm(0))
	JE(LabelRef("done"))
	strip("eight", 8)
	Label("done")
	VZEROUPPER()
	RET()
}

func (m mixInts) move(from, to Op) {
	if m.wide {
		VMOVDQU32(from, to)
	} else {
		VMOVDQU(from, to)
	}
}

// load reads the sums of a strip, as many columns to a register as it has lanes.
func (m mixInts) load(y rows, cols int) [][]VecVirtual {
	reg, lanes := YMM, 8
	if m.wide && cols >= 16 {
		reg, lanes = ZMM, 16
	}
	acc := make([][]VecVirtual, m.T)
	for t := range acc {
		for range cols / lanes {
			acc[t] = append(acc[t], reg())
		}
	}
	m.each(acc, y, func(s VecVirtual, at Mem) { m.move(at, s) })
	return acc
}

func (m mixInts) each(acc [][]VecVirtual, y rows, f func(VecVirtual, Mem)) {
	for t := range acc {
		for h, s := range acc[t] {
			f(s, y.at(t, h*int(s.Size())))
		}
	}
}

// pair adds two rows to the sums: their bytes side by side, widened, times pairs of weights.
func (m mixInts) pair(p rows, acc [][]VecVirtual, cols int, row func(i, off int) Mem) {
	var v []VecVirtual
	for off := 0; off < cols; off += 16 {
		v = append(v, m.interleave(cols, off, row)...)
	}
	for t := range acc {
		if m.wide {
			for h, s := range acc[t] {
				VPDPWSSD_BCST(p.at(t, 0), v[h], s)
			}
			continue
		}
		b := YMM()
		VPBROADCASTD(p.at(t, 0), b)
		for h, s := range acc[t] {
			q := YMM()
			VPMADDWD(b, v[h], q)
			VPADDD(q, s, s)
		}
	}
}

// interleave returns the next 16 (or 8) columns of two rows in pairs of int16.
func (m mixInts) interleave(cols, off int, row func(i, off int) Mem) []VecVirtual {
	a, b := XMM(), XMM()
	for i, x := range []VecVirtual{a, b} {
		switch at := row(i, off); {
		case at.Base == nil && m.wide:
			VPXORD(x, x, x)
		case at.Base == nil:
			VPXOR(x, x, x)
		case cols == 8:
			VMOVQ(at, x)
		default:
			m.move(at, x)
		}
	}
	lo, hi := XMM(), XMM()
	VPUNPCKLBW(b, a, lo)
	if cols == 8 {
		w := YMM()
		VPMOVSXBW(lo, w)
		return []VecVirtual{w}
	}
	VPUNPCKHBW(b, a, hi)
	if m.wide {
		both, w := YMM(), ZMM()
		VINSERTI32X4(U8(1), hi, lo.AsY(), both)
		VPMOVSXBW(both, w)
		return []VecVirtual{w}
	}
	w0, w1 := YMM(), YMM()
	VPMOVSXBW(lo, w0)
	VPMOVSXBW(hi, w1)
	return []VecVirtual{w0, w1}
}

func absTop() {
	TEXT("absTopAVX2", NOSPLIT, "func(x *float32, n int) uint32")
	Doc("absTopAVX2: the largest bits of |x[i]|; n a positive multiple of 8. AVX2.", "")
	Pragma("noescape")
	x, n := Load(Param("x"), GP64()).(GPVirtual), Load(Param("n"), GP64()).(GPVirtual)
	top, mask := zero(YMM()), YMM()
	VMOVDQU(constU32("abs", 8, 0x7fffffff), mask)
	Label("loop")
	v := YMM()
	VPAND(Mem{Base: x}, mask, v)
	VPMAXUD(v, top, top)
	ADDQ(Imm(32), x)
	SUBQ(Imm(8), n)
	JG(LabelRef("loop"))
	h, s := XMM(), XMM()
	VEXTRACTI128(U8(1), top, h)
	VPMAXUD(top.AsX(), h, h)
	VPSHUFD(U8(0x4e), h, s)
	VPMAXUD(s, h, h)
	VPSHUFD(U8(0xb1), h, s)
	VPMAXUD(s, h, h)
	r := GP32()
	VMOVD(h, r)
	VZEROUPPER()
	Store(r, ReturnIndex(0))
	RET()
}

func quantInts() {
	TEXT("quantIntsAVX2", NOSPLIT, "func(dst *int16, x *float32, id float32, n int)")
	Doc("quantIntsAVX2: dst[i] = int16(round(x[i]*id)), ties to even, saturating; n a positive multiple of 8. AVX2.", "")
	Pragma("noescape")
	o, x := Load(Param("dst"), GP64()).(GPVirtual), Load(Param("x"), GP64()).(GPVirtual)
	n := Load(Param("n"), GP64()).(GPVirtual)
	p, _ := Param("id").Resolve()
	id := YMM()
	VBROADCASTSS(p.Addr, id)
	Label("loop")
	v, h := YMM(), XMM()
	VMULPS(Mem{Base: x}, id, v)
	VCVTPS2DQ(v, v)
	VEXTRACTI128(U8(1), v, h)
	VPACKSSDW(h, v.AsX(), h)
	VMOVDQU(h, Mem{Base: o})
	ADDQ(Imm(32), x)
	ADDQ(Imm(16), o)
	SUBQ(Imm(8), n)
	JG(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

func scaleInts() {
	TEXT("scaleIntsAVX2", NOSPLIT, "func(dst *float32, src *int32, s float32, n int)")
	Doc("scaleIntsAVX2: dst[i] = float32(src[i])*s; n a positive multiple of 8. AVX2.", "")
	Pragma("noescape")
	o, x := Load(Param("dst"), GP64()).(GPVirtual), Load(Param("src"), GP64()).(GPVirtual)
	n := Load(Param("n"), GP64()).(GPVirtual)
	p, _ := Param("s").Resolve()
	s := YMM()
	VBROADCASTSS(p.Addr, s)
	Label("loop")
	v := YMM()
	VCVTDQ2PS(Mem{Base: x}, v)
	VMULPS(s, v, v)
	VMOVUPS(v, Mem{Base: o})
	ADDQ(Imm(32), x)
	ADDQ(Imm(32), o)
	SUBQ(Imm(8), n)
	JG(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
