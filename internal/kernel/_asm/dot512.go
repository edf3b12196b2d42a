package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func dot512Unit() {
	for _, k := range []kind{f32, f16, bf16} {
		for _, r := range []int{4, 2, 1} {
			for t := 1; t <= 4; t++ {
				dotTile512(k, r, t)
			}
		}
	}
	for _, k := range []kind{f32, f16} {
		for t := 1; t <= 8; t++ {
			m := mix{k: k, T: t, lanes: 16, wide: 2}
			if t <= 4 {
				m.wide = 4
			}
			m.emit(fmt.Sprintf("mix%sx%dAVX512", k.name, t), "AVX-512 F, BW, VL, DQ")
		}
	}
}

// dotTile512 is dotTile with the 16 lanes of a pair in one register.
func dotTile512(k kind, R, T int) {
	name := fmt.Sprintf("dot%sx%dx%dAVX512", k.name, R, T)
	TEXT(name, NOSPLIT, "func(a *byte)")
	Doc(fmt.Sprintf("%s: %d %s rows against %d vectors, see dotArgs. AVX-512 F, BW, VL, DQ.", name, R, k.name, T), "")
	Pragma("noescape")
	a := Load(Param("a"), GP64())
	w0, x0, y := field(a, 0), field(a, 1), field(a, 2)
	rstep, xstep, ahead := field(a, 3), field(a, 6), field(a, 12)
	ADDQ(w0, ahead)
	w, x, n := newRows(R, rstep), newRows(T, xstep), GP64()
	Label("group")
	w.reset(w0)
	x.reset(x0)
	acc := make([]VecVirtual, R*T)
	for i := range acc {
		acc[i] = ZMM()
		VPXORD(acc[i], acc[i], acc[i])
	}
	MOVQ(Mem{Base: a, Disp: 8 * 10}, n)
	TESTQ(n, n)
	JZ(LabelRef("tail"))
	Label("loop")
	if T > 1 { // a single stream of rows the hardware foresees
		prefetchAt(ahead, R*16*k.size, nextHint)
		ADDQ(Mem{Base: a, Disp: 8 * 13}, ahead)
	}
	wv := make([]VecVirtual, R)
	for r := range wv {
		wv[r] = ZMM()
		loadFloat(k, w.at(r, 0), wv[r])
	}
	for t := 0; t < T; t++ {
		xv := ZMM()
		VMOVUPS(x.at(t, 0), xv)
		for r := range wv {
			VFMADD231PS(xv, wv[r], acc[r*T+t])
		}
	}
	w.advance(Mem{Base: a, Disp: 8 * 4})
	x.advance(Imm(64))
	DECQ(n)
	JNZ(LabelRef("loop"))
	Label("tail")
	CMPQ(Mem{Base: a, Disp: 8 * 11}, Imm(0))
	JE(LabelRef("reduce"))
	low := K()
	bits := GP32()
	MOVL(U32(0xff), bits)
	KMOVW(bits, low)
	for r := range wv {
		half := YMM()
		loadFloat(k, w.at(r, 0), half)
		for t := 0; t < T; t++ {
			xv := YMM()
			VMOVUPS(x.at(t, 0), xv)
			VFMADD231PS(xv.AsZ(), half.AsZ(), low, acc[r*T+t]) // the other lanes stay as they are
		}
	}
	Label("reduce")
	yrow, yt := GP64(), GP64()
	MOVQ(Mem{Base: a, Disp: 8 * 7}, yrow)
	MOVQ(y, yt)
	if R*T == 16 {
		storeSixteen(sumSixteen(acc), yt, yrow, Mem{Base: a, Disp: 8 * 8})
	}
	for t := 0; t < T && R*T < 16; t++ {
		q := make([]VecVirtual, R)
		for r := range q {
			q[r] = quarter(acc[r*T+t])
		}
		if R == 4 {
			storeFour(sumFour(q), yt, yrow, t)
		} else {
			storeEach(q, yt, yrow)
		}
		if t < T-1 {
			ADDQ(Mem{Base: a, Disp: 8 * 8}, yt)
		}
	}
	for r := 0; r < R; r++ {
		ADDQ(yrow, y)
	}
	ADDQ(Mem{Base: a, Disp: 8 * 5}, w0)
	DECQ(Mem{Base: a, Disp: 8 * 9})
	JNZ(LabelRef("group"))
	VZEROUPPER()
	RET()
}

// quarter adds lanes l+8 and then l+4.
func quarter(a VecVirtual) VecVirtual {
	h, q := YMM(), XMM()
	VEXTRACTF64X4(U8(1), a, h)
	VADDPS(h, a.AsY(), h)
	VEXTRACTF32X4(U8(1), h, q)
	VADDPS(q, h.AsX(), q)
	return q
}

// sumFour adds lanes l+2 and l+1 of four registers at once.
func sumFour(q []VecVirtual) VecVirtual {
	pair := func(a, b VecVirtual) VecVirtual {
		lo, hi := XMM(), XMM()
		VUNPCKLPD(b, a, lo) // a0 a1 b0 b1
		VUNPCKHPD(b, a, hi) // a2 a3 b2 b3
		VADDPS(hi, lo, lo)
		return lo
	}
	ab, cd := pair(q[0], q[1]), pair(q[2], q[3])
	even, odd := XMM(), XMM()
	VSHUFPS(U8(0x88), cd, ab, even)
	VSHUFPS(U8(0xdd), cd, ab, odd)
	VADDPS(odd, even, even)
	return even
}

// storeFour stores one result per row; rows are mostly neighbours in y.
func storeFour(v VecVirtual, y, yrow GPVirtual, t int) {
	apart, done := fmt.Sprintf("apart%d", t), fmt.Sprintf("stored%d", t)
	CMPQ(yrow, Imm(4))
	JNE(LabelRef(apart))
	VMOVUPS(v, Mem{Base: y})
	JMP(LabelRef(done))
	Label(apart)
	p := GP64()
	MOVQ(y, p)
	for r := 0; r < 4; r++ {
		VEXTRACTPS(U8(uint8(r)), v, Mem{Base: p})
		if r < 3 {
			ADDQ(yrow, p)
		}
	}
	Label(done)
}

func storeEach(q []VecVirtual, y, yrow GPVirtual) {
	p := GP64()
	MOVQ(y, p)
	for r, v := range q {
		u := XMM()
		VUNPCKHPD(v, v, u)
		VADDPS(u, v, v)
		VSHUFPS(U8(1), v, v, u)
		VADDPS(u, v, v)
		VMOVSS(v, Mem{Base: p})
		if r < len(q)-1 {
			ADDQ(yrow, p)
		}
	}
}

// sumSixteen adds lanes l+8, l+4, l+2 and l+1 of sixteen registers at once, which costs half of
// what it does one by one and leaves the next tile's multiply-adds room among the instructions in
// flight. Lane 4·t+r is the sum of register 4·r+t: the four rows of a vector are neighbours.
func sumSixteen(acc []VecVirtual) VecVirtual {
	high, bits := K(), GP32()
	MOVL(U32(0xff00), bits)
	KMOVW(bits, high)
	for i := 0; i < 16; i += 2 {
		a, b, t := acc[i], acc[i+1], ZMM()
		VSHUFF64X2(U8(0x4e), b, a, t) // a8…a15 b0…b7
		VBLENDMPS(b, a, high, a)      // a0…a7 b8…b15
		VADDPS(t, a, a)
	}
	for i := 0; i < 16; i += 4 {
		a, b, t := acc[i], acc[i+2], ZMM()
		VSHUFF64X2(U8(0x88), b, a, t)
		VSHUFF64X2(U8(0xdd), b, a, a)
		VADDPS(t, a, a)
	}
	for i := 0; i < 16; i += 8 {
		a, b, t := acc[i], acc[i+4], ZMM()
		VUNPCKLPD(b, a, t)
		VUNPCKHPD(b, a, a)
		VADDPS(t, a, a)
	}
	a, b, t := acc[0], acc[8], ZMM()
	VSHUFPS(U8(0x88), b, a, t)
	VSHUFPS(U8(0xdd), b, a, a)
	VADDPS(t, a, a)
	return a
}

// storeSixteen stores the sums of four rows and four vectors; y moves to the last vector.
func storeSixteen(v VecVirtual, y, yrow GPVirtual, yvec Mem) {
	for t := 0; t < 4; t++ {
		four := XMM()
		VEXTRACTF32X4(U8(uint8(t)), v, four)
		storeFour(four, y, yrow, t)
		if t < 3 {
			ADDQ(yvec, y)
		}
	}
}
