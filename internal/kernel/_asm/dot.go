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
	i8   = kind{"I8", 1}
)

// loadFloat reads 8 elements as floats.
func loadFloat(k kind, m Mem, v VecVirtual) {
	switch k {
	case f32:
		VMOVUPS(m, v)
	case f16:
		VCVTPH2PS(m, v)
	case bf16:
		VPMOVZXWD(m, v)
		VPSLLD(U8(16), v, v)
	case i8:
		VPMOVSXBD(m, v)
		VCVTDQ2PS(v, v)
	}
}

func dotUnit() {
	for _, k := range []kind{f32, f16, bf16, i8} {
		dotTile(k, 4, 1)
		for _, s := range [][2]int{{2, 3}, {2, 2}, {2, 1}, {1, 3}, {1, 2}, {1, 1}} {
			dotTile(k, s[0], s[1])
		}
	}
	for _, k := range []kind{f32, f16, i8} {
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
	xstep := field(a, 6)
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
	MOVQ(Mem{Base: a, Disp: 8 * 10}, n)
	TESTQ(n, n)
	JZ(LabelRef("tail"))
	Label("loop")
	if R == 4 {
		PREFETCHNTA(Mem{Base: w.base[0], Disp: 2048})
		if k.size > 1 {
			PREFETCHNTA(Mem{Base: w.base[0], Disp: 2048 + 64})
		}
		if k.size == 4 {
			PREFETCHNTA(Mem{Base: w.base[0], Disp: 2048 + 128})
			PREFETCHNTA(Mem{Base: w.base[0], Disp: 2048 + 192})
		}
	}
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
	yp := GP64()
	MOVQ(y, yp)
	ystep := GP64()
	for r := 0; r < R; r++ {
		yt := GP64()
		MOVQ(yp, yt)
		for t := 0; t < T; t++ {
			s := reduce(acc[r*T+t])
			VMOVSS(s, Mem{Base: yt})
			if t < T-1 {
				ADDQ(Mem{Base: a, Disp: 8 * 8}, yt)
			}
		}
		MOVQ(Mem{Base: a, Disp: 8 * 7}, ystep)
		ADDQ(ystep, yp)
	}
	MOVQ(yp, y)
	ADDQ(gstep, w0)
	DECQ(Mem{Base: a, Disp: 8 * 9})
	JNZ(LabelRef("group"))
	VZEROUPPER()
	RET()
}

// reduce adds 16 lanes in the order l+8, l+4, l+2, l+1.
func reduce(a [2]VecVirtual) VecVirtual {
	VADDPS(a[1], a[0], a[0])
	t, u := XMM(), XMM()
	VEXTRACTF128(U8(1), a[0], t)
	VADDPS(t, a[0].AsX(), t)
	VMOVHLPS(t, t, u)
	VADDPS(u, t, t)
	VMOVSHDUP(t, u)
	VADDSS(u, t, t)
	return t
}

// mixTile: y[t][c] = fma(p[t][i], v[i][c], y[t][c]) for i = 0, 1, …; 16 columns at a time, the last 8 alone when asked.
func mixTile(k kind, T int) {
	name := fmt.Sprintf("mix%sx%dAVX2", k.name, T)
	TEXT(name, NOSPLIT, "func(a *byte)")
	Doc(fmt.Sprintf("%s: weighted sums of %s rows for %d vectors, see mixArgs. AVX2, FMA, F16C.", name, k.name, T), "")
	Pragma("noescape")
	a := Load(Param("a"), GP64())
	v0, p0, y0 := field(a, 0), field(a, 1), field(a, 2)
	vstep, pstep, ystep := field(a, 3), field(a, 4), field(a, 5)
	p, y := newRows(T, pstep), newRows(T, ystep)
	v, n := GP64(), GP64()
	part := func(label string, halves int) {
		y.reset(y0)
		p.reset(p0)
		MOVQ(v0, v)
		MOVQ(Mem{Base: a, Disp: 8 * 6}, n)
		acc := make([][]VecVirtual, T)
		for t := range acc {
			acc[t] = make([]VecVirtual, halves)
			for h := range acc[t] {
				acc[t][h] = YMM()
				VMOVUPS(y.at(t, 32*h), acc[t][h])
			}
		}
		Label(label)
		vv := make([]VecVirtual, halves)
		for h := range vv {
			vv[h] = YMM()
			loadFloat(k, Mem{Base: v, Disp: 8 * h * k.size}, vv[h])
		}
		for t := range acc {
			s := YMM()
			VBROADCASTSS(p.at(t, 0), s)
			for h := range vv {
				VFMADD231PS(s, vv[h], acc[t][h])
			}
		}
		ADDQ(vstep, v)
		p.advance(Imm(4))
		DECQ(n)
		JNZ(LabelRef(label))
		for t := range acc {
			for h := range vv {
				VMOVUPS(acc[t][h], y.at(t, 32*h))
			}
		}
	}
	CMPQ(Mem{Base: a, Disp: 8 * 7}, Imm(0))
	JE(LabelRef("tail"))
	Label("chunk")
	part("loop16", 2)
	ADDQ(Imm(uint64(16*k.size)), v0)
	ADDQ(Imm(64), y0)
	DECQ(Mem{Base: a, Disp: 8 * 7})
	JNZ(LabelRef("chunk"))
	Label("tail")
	CMPQ(Mem{Base: a, Disp: 8 * 8}, Imm(0))
	JE(LabelRef("done"))
	part("loop8", 1)
	Label("done")
	VZEROUPPER()
	RET()
}
