package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// kind is the element type of the rows (weights, K or V).
type kind struct {
	name string
	size int
}

var (
	f32  = kind{"F32", 4}
	f16  = kind{"F16", 2}
	bf16 = kind{"BF16", 2}
)

// loadFloat reads as many elements as v has lanes as floats.
func loadFloat(k kind, m Mem, v VecVirtual) {
	switch k {
	case f32:
		VMOVUPS(m, v)
	case f16:
		VCVTPH2PS(m, v)
	case bf16:
		VPMOVZXWD(m, v)
		VPSLLD(U8(16), v, v)
	}
}

func dotUnit() {
	for _, k := range []kind{f32, f16, bf16} {
		dotTile(k, 4, 1)
		for _, s := range [][2]int{{2, 3}, {2, 2}, {2, 1}, {1, 3}, {1, 2}, {1, 1}} {
			dotTile(k, s[0], s[1])
		}
	}
	for _, k := range []kind{f32, f16} {
		for t := 1; t <= 6; t++ {
			mixTile(k, t)
		}
	}
}

// dotTile: R rows against T vectors, groups times; two accumulators of 8 lanes for each pair.
func dotTile(k kind, R, T int) {
	name := fmt.Sprintf("dot%sx%dx%dAVX2", k.name, R, T)
	TEXT(name, NOSPLIT, "func(a *byte)")
	Doc(fmt.Sprintf("%s: %d %s rows against %d vectors, see dotArgs. AVX2, FMA, F16C.", name, R, k.name, T), "")
	Pragma("noescape")
	a := Load(Param("a"), GP64())
	w0, x0, y := field(a, 0), field(a, 1), field(a, 2)
	rstep, cstep, gstep := field(a, 3), field(a, 4), field(a, 5)
	xstep, ahead := field(a, 6), field(a, 12)
	ADDQ(w0, ahead)
	w, x, n := newRows(R, rstep), newRows(T, xstep), GP64()
	Label("group")
	w.reset(w0)
	x.reset(x0)
	acc := make([][2]VecVirtual, R*T)
	for i := range acc {
		acc[i] = [2]VecVirtual{zero(YMM()), zero(YMM())}
	}
	half := func(h int) {
		wv := make([]VecVirtual, R)
		for r := range wv {
			wv[r] = YMM()
			loadFloat(k, w.at(r, 8*h*k.size), wv[r])
		}
		for t := 0; t < T; t++ {
			if R == 1 || T == 1 && R <= 2 {
				for r := 0; r < R; r++ {
					VFMADD231PS(x.at(t, 32*h), wv[r], acc[r*T+t][h])
				}
				continue
			}
			xv := YMM()
			VMOVUPS(x.at(t, 32*h), xv)
			for r := 0; r < R; r++ {
				VFMADD231PS(xv, wv[r], acc[r*T+t][h])
			}
		}
	}
	hint := nextHint
	if R == 4 {
		hint = PREFETCHNTA
	}
	MOVQ(Mem{Base: a, Disp: 8 * 10}, n)
	TESTQ(n, n)
	JZ(LabelRef("tail"))
	Label("loop")
	prefetchAt(ahead, R*16*k.size, hint)
	ADDQ(Mem{Base: a, Disp: 8 * 13}, ahead)
	half(0)
	half(1)
	w.advance(cstep)
	x.advance(Imm(64))
	DECQ(n)
	JNZ(LabelRef("loop"))
	Label("tail")
	CMPQ(Mem{Base: a, Disp: 8 * 11}, Imm(0))
	JE(LabelRef("reduce"))
	half(0)
	Label("reduce")
	store(acc, R, y, Mem{Base: a, Disp: 8 * 7}, Mem{Base: a, Disp: 8 * 8})
	for r := 0; r < R; r++ {
		ADDQ(Mem{Base: a, Disp: 8 * 7}, y)
	}
	ADDQ(gstep, w0)
	DECQ(Mem{Base: a, Disp: 8 * 9})
	JNZ(LabelRef("group"))
	VZEROUPPER()
	RET()
}

// nextHint asks for keys, which are scored in passes over rows that fill the first-level cache: for the
// second-level one.
var nextHint = PREFETCHT1

// prefetchAt asks for the lines of n bytes at p.
func prefetchAt(p GPVirtual, n int, hint func(Op)) {
	for o := 0; o < n; o += 64 {
		hint(Mem{Base: p, Disp: o})
	}
}

// store adds the 16 lanes of each pair in the order l+8, l+4, l+2, l+1 and stores the sums of four
// rows, or of one or two rows and at most three vectors.
func store(acc [][2]VecVirtual, R int, y GPVirtual, yrow, yvec Mem) {
	T := len(acc) / R
	var v [8]VecVirtual
	for i, a := range acc {
		VADDPS(a[1], a[0], a[0])
		v[2*(i/T)+[]int{0, 4, 1}[i%T]] = a[0]
	}
	sums := sumEight(v)
	yt, p := GP64(), GP64()
	MOVQ(y, yt)
	for t := 0; t < T; t++ {
		x, lane := sums.AsX(), 2*t
		if t == 2 {
			x, lane = XMM(), 0
			VEXTRACTF128(U8(1), sums, x)
		}
		MOVQ(yt, p)
		for r := 0; r < R; r++ {
			VEXTRACTPS(U8(uint8(lane+r)), x, Mem{Base: p})
			if r < R-1 {
				ADDQ(yrow, p)
			}
		}
		if t < T-1 {
			ADDQ(yvec, yt)
		}
	}
}

// sumEight adds the eight lanes of up to eight registers, v[0] and others that are not nil, in the order l+4, l+2,
// l+1, at once: it leaves the next tile's multiply-adds room among the instructions in flight.
// Lane l of the low half is the sum of v[2·l], of the high half of v[2·l+1].
func sumEight(v [8]VecVirtual) VecVirtual {
	for i := 0; i < 8; i += 2 {
		a, b, t := v[i], v[i+1], YMM()
		switch {
		case a == nil:
		case b == nil:
			VEXTRACTF128(U8(1), a, t.AsX())
			VADDPS(t.AsX(), a.AsX(), a.AsX())
		default:
			VPERM2F128(U8(0x21), b, a, t) // a4…a7 b0…b3
			VBLENDPS(U8(0xf0), b, a, a)   // a0…a3 b4…b7
			VADDPS(t, a, a)
		}
	}
	for i := 0; i < 8; i += 4 {
		a, b, t := v[i], v[i+2], YMM()
		if a == nil {
			continue
		}
		if b == nil {
			b = a
		}
		VUNPCKLPD(b, a, t)
		VUNPCKHPD(b, a, a)
		VADDPS(t, a, a)
	}
	a, b, t := v[0], v[4], YMM()
	if b == nil {
		b = a
	}
	VSHUFPS(U8(0x88), b, a, t)
	VSHUFPS(U8(0xdd), b, a, a)
	VADDPS(t, a, a)
	return a
}

// mixTile: y[t][c] = fma(p[t][i], v[i][c], y[t][c]) for i = 0, 1, …, over a strip of columns at a
// time: as wide as gives the sums of few vectors enough independent chains, then 16 columns, the
// last 8 alone when asked.
func mixTile(k kind, T int) {
	m := mix{k: k, T: T, lanes: 8, wide: 1}
	switch T {
	case 1:
		m.wide = 4
	case 2:
		m.wide = 2
	}
	m.emit(fmt.Sprintf("mix%sx%dAVX2", k.name, T), "AVX2, FMA, F16C")
}

// mix writes one function of mixTile.
type mix struct {
	k     kind
	T     int
	lanes int // of a register: 8 or 16
	wide  int // 16 columns in the first strips

	a                   Register
	v0, y0, v, n, ahead GPVirtual
	p, y                rows
}

func (m *mix) emit(name, needs string) {
	TEXT(name, NOSPLIT, "func(a *byte)")
	Doc(fmt.Sprintf("%s: weighted sums of %s rows for %d vectors, see mixArgs. %s.", name, m.k.name, m.T, needs), "")
	Pragma("noescape")
	m.a = Load(Param("a"), GP64())
	m.v0, m.y0, m.ahead = field(m.a, 0), field(m.a, 2), field(m.a, 9)
	m.p, m.y = newRows(m.T, field(m.a, 4)), newRows(m.T, field(m.a, 5))
	m.v, m.n = GP64(), GP64()
	ADDQ(m.v0, m.ahead)
	if m.wide > 1 {
		m.strips("wide", m.wide)
	}
	m.strips("narrow", 1)
	CMPQ(Mem{Base: m.a, Disp: 8 * 8}, Imm(0))
	JE(LabelRef("done"))
	m.strip("loop8", 8, 1)
	Label("done")
	VZEROUPPER()
	RET()
}

// strips does as many strips of 16·wide columns as there are.
func (m *mix) strips(name string, wide int) {
	chunks := Mem{Base: m.a, Disp: 8 * 7}
	Label(name)
	CMPQ(chunks, Imm(uint64(wide)))
	JL(LabelRef(name + "Done"))
	m.strip(name+"Loop", 16*wide, wide)
	ADDQ(U32(uint32(16*wide*m.k.size)), m.v0)
	ADDQ(U32(uint32(64*wide)), m.y0)
	SUBQ(U32(uint32(wide)), chunks)
	JMP(LabelRef(name))
	Label(name + "Done")
}

// strip sums all rows for cols columns. It asks for the rows to come as it goes.
func (m *mix) strip(loop string, cols, wide int) {
	lanes := min(m.lanes, cols)
	reg := YMM
	if lanes == 16 {
		reg = ZMM
	}
	m.y.reset(m.y0)
	m.p.reset(Mem{Base: m.a, Disp: 8})
	MOVQ(m.v0, m.v)
	MOVQ(Mem{Base: m.a, Disp: 8 * 6}, m.n)
	acc := make([][]VecVirtual, m.T)
	none := zero(XMM()) // and so is all of the register
	for t := range acc {
		acc[t] = make([]VecVirtual, cols/lanes)
		for h := range acc[t] {
			acc[t][h] = reg()
			if lanes == 16 {
				VMOVAPS(none.AsZ(), acc[t][h])
			} else {
				VMOVAPS(none.AsY(), acc[t][h])
			}
		}
	}
	CMPQ(Mem{Base: m.a, Disp: 8 * 11}, Imm(0))
	JNE(LabelRef(loop))
	for t := range acc {
		for h := range acc[t] {
			VMOVUPS(m.y.at(t, 4*lanes*h), acc[t][h])
		}
	}
	Label(loop)
	prefetchAt(m.ahead, cols*m.k.size, PREFETCHT0)
	for range wide {
		ADDQ(Mem{Base: m.a, Disp: 8 * 10}, m.ahead)
	}
	m.row(acc, lanes, reg)
	ADDQ(Mem{Base: m.a, Disp: 8 * 3}, m.v)
	m.p.advance(Imm(4))
	DECQ(m.n)
	JNZ(LabelRef(loop))
	for t := range acc {
		for h := range acc[t] {
			VMOVUPS(acc[t][h], m.y.at(t, 4*lanes*h))
		}
	}
}

// row adds one row of a strip.
func (m *mix) row(acc [][]VecVirtual, lanes int, reg func() VecVirtual) {
	if lanes == 16 || m.T == 1 { // the values one after the other
		s := make([]VecVirtual, m.T)
		for t := range s {
			s[t] = reg()
			VBROADCASTSS(m.p.at(t, 0), s[t])
		}
		for h := range acc[0] {
			v := reg()
			loadFloat(m.k, Mem{Base: m.v, Disp: lanes * h * m.k.size}, v)
			for t := range acc {
				VFMADD231PS(s[t], v, acc[t][h])
			}
		}
		return
	}
	v := make([]VecVirtual, len(acc[0]))
	for h := range v {
		v[h] = reg()
		loadFloat(m.k, Mem{Base: m.v, Disp: lanes * h * m.k.size}, v[h])
	}
	for t := range acc {
		s := reg()
		VBROADCASTSS(m.p.at(t, 0), s)
		for h := range v {
			VFMADD231PS(s, v[h], acc[t][h])
		}
	}
}
