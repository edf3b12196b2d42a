package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func vecUnit() {
	mapUnary("scaleAVX2", "dst[i] *= s", func(v, s VecVirtual) { VMULPS(s, v, v) })
	mapBinary("addAVX2", "dst[i] += x[i]", func(v VecVirtual, x Mem) { VADDPS(x, v, v) })
	mapBinary("mulAVX2", "dst[i] *= x[i]", func(v VecVirtual, x Mem) { VMULPS(x, v, v) })
	mapBinary("gegluAVX2", "dst[i] = gelu_tanh(dst[i]) * x[i]", geglu)
	mapUnary("softcapAVX2", "dst[i] = s * tanh(dst[i]/s)", softcap)
	axpy()
	scaleMul()
	rope()
	expSum()
	maxVec()
	quantize()
	convert()
	readSum()
	peaks()
	pause()
	fetch()
}

func fetch() {
	TEXT("fetch", NOSPLIT, "func(p *byte, n int)")
	Doc("fetch asks for the cache lines of n > 0 bytes at p.", "")
	Pragma("noescape")
	p, n := Load(Param("p"), GP64()), Load(Param("n"), GP64())
	Label("loop")
	PREFETCHT0(Mem{Base: p})
	ADDQ(Imm(64), p)
	SUBQ(Imm(64), n)
	JG(LabelRef("loop"))
	RET()
}

func pause() {
	TEXT("pause", NOSPLIT, "func()")
	Doc("pause is one PAUSE.", "")
	PAUSE()
	RET()
}

// loop runs body for i = 0, 8, … below n and advances the pointers by 32 bytes.
func loop(n GPVirtual, body func(), step ...GPVirtual) {
	Label("loop")
	body()
	for _, p := range step {
		ADDQ(Imm(32), p)
	}
	SUBQ(Imm(8), n)
	JG(LabelRef("loop"))
}

func mapUnary(name, doc string, op func(v, s VecVirtual)) {
	TEXT(name, NOSPLIT, "func(dst *float32, s float32, n int)")
	Doc(name+": "+doc+" for i < n; n a positive multiple of 8. AVX2, FMA.", "")
	Pragma("noescape")
	d := Load(Param("dst"), GP64()).(GPVirtual)
	n := Load(Param("n"), GP64()).(GPVirtual)
	p, _ := Param("s").Resolve()
	s := YMM()
	VBROADCASTSS(p.Addr, s)
	loop(n, func() {
		v := YMM()
		VMOVUPS(Mem{Base: d}, v)
		op(v, s)
		VMOVUPS(v, Mem{Base: d})
	}, d)
	VZEROUPPER()
	RET()
}

func mapBinary(name, doc string, op func(v VecVirtual, x Mem)) {
	TEXT(name, NOSPLIT, "func(dst, x *float32, n int)")
	Doc(name+": "+doc+" for i < n; n a positive multiple of 8. AVX2, FMA.", "")
	Pragma("noescape")
	d := Load(Param("dst"), GP64()).(GPVirtual)
	x := Load(Param("x"), GP64()).(GPVirtual)
	n := Load(Param("n"), GP64()).(GPVirtual)
	loop(n, func() {
		v := YMM()
		VMOVUPS(Mem{Base: d}, v)
		op(v, Mem{Base: x})
		VMOVUPS(v, Mem{Base: d})
	}, d, x)
	VZEROUPPER()
	RET()
}

func axpy() {
	TEXT("axpyAVX2", NOSPLIT, "func(dst, x *float32, s float32, n int)")
	Doc("axpyAVX2: dst[i] = fma(s, x[i], dst[i]) for i < n; n a positive multiple of 8. AVX2, FMA.", "")
	Pragma("noescape")
	d := Load(Param("dst"), GP64()).(GPVirtual)
	x := Load(Param("x"), GP64()).(GPVirtual)
	n := Load(Param("n"), GP64()).(GPVirtual)
	p, _ := Param("s").Resolve()
	s := YMM()
	VBROADCASTSS(p.Addr, s)
	loop(n, func() {
		v := YMM()
		VMOVUPS(Mem{Base: d}, v)
		VFMADD231PS(Mem{Base: x}, s, v)
		VMOVUPS(v, Mem{Base: d})
	}, d, x)
	VZEROUPPER()
	RET()
}

func scaleMul() {
	TEXT("scaleMulAVX2", NOSPLIT, "func(dst, x, w *float32, s float32, n int)")
	Doc("scaleMulAVX2: dst[i] = (x[i]*s)*w[i] for i < n; n a positive multiple of 8. AVX2.", "")
	Pragma("noescape")
	d := Load(Param("dst"), GP64()).(GPVirtual)
	x := Load(Param("x"), GP64()).(GPVirtual)
	w := Load(Param("w"), GP64()).(GPVirtual)
	n := Load(Param("n"), GP64()).(GPVirtual)
	p, _ := Param("s").Resolve()
	s := YMM()
	VBROADCASTSS(p.Addr, s)
	loop(n, func() {
		v := YMM()
		VMULPS(Mem{Base: x}, s, v)
		VMULPS(Mem{Base: w}, v, v)
		VMOVUPS(v, Mem{Base: d})
	}, d, x, w)
	VZEROUPPER()
	RET()
}

func rope() {
	TEXT("ropeAVX2", NOSPLIT, "func(lo, hi, cos, sin *float32, n int)")
	Doc("ropeAVX2: (lo, hi) = (fma(lo, cos, -(hi*sin)), fma(hi, cos, lo*sin)), element by element;",
		"n a positive multiple of 8. AVX2, FMA.")
	Pragma("noescape")
	l := Load(Param("lo"), GP64()).(GPVirtual)
	h := Load(Param("hi"), GP64()).(GPVirtual)
	c := Load(Param("cos"), GP64()).(GPVirtual)
	s := Load(Param("sin"), GP64()).(GPVirtual)
	n := Load(Param("n"), GP64()).(GPVirtual)
	loop(n, func() {
		a, b, cv, sv, t, u := YMM(), YMM(), YMM(), YMM(), YMM(), YMM()
		VMOVUPS(Mem{Base: l}, a)
		VMOVUPS(Mem{Base: h}, b)
		VMOVUPS(Mem{Base: c}, cv)
		VMOVUPS(Mem{Base: s}, sv)
		VMULPS(sv, b, t)
		VMULPS(sv, a, u)
		VFMSUB231PS(cv, a, t)
		VFMADD231PS(cv, b, u)
		VMOVUPS(t, Mem{Base: l})
		VMOVUPS(u, Mem{Base: h})
	}, l, h, c, s)
	VZEROUPPER()
	RET()
}

// exp replaces v by e^v: 2^n * p(r) with v = n ln2 + r; see exp32 in vec_generic.go, which is the same line by line.
func exp(v VecVirtual) {
	under := YMM()
	VCMPPS(U8(0x15), constF32("expmin", -87.3), v, under) // not v < expmin: true for NaN
	n, r, p := YMM(), YMM(), YMM()
	VMOVUPS(constF32("expmax", 88.3), p)
	VMINPS(v, p, v) // in this order a NaN stays
	VMULPS(constF32("log2e", 1.44269504088896341), v, n)
	VROUNDPS(U8(0), n, n)
	VMOVAPS(v, r)
	VFNMADD231PS(constF32("ln2hi", 0.693359375), n, r)
	VFNMADD231PS(constF32("ln2lo", -2.12194440e-4), n, r)
	VMOVUPS(constF32("e0", 1.9875691500e-4), p)
	VFMADD213PS(constF32("e1", 1.3981999507e-3), r, p)
	VFMADD213PS(constF32("e2", 8.3334519073e-3), r, p)
	VFMADD213PS(constF32("e3", 4.1665795894e-2), r, p)
	VFMADD213PS(constF32("e4", 1.6666665459e-1), r, p)
	VFMADD213PS(constF32("e5", 5.0000001201e-1), r, p)
	r2 := YMM()
	VMULPS(r, r, r2)
	VFMADD213PS(r, r2, p)
	VADDPS(constF32("one", 1), p, p)
	VCVTPS2DQ(n, n)
	VPADDD(constU32("bias", 8, 127), n, n)
	VPSLLD(U8(23), n, n)
	VMULPS(n, p, v)
	VANDPS(under, v, v)
}

const sqrt2overPi = 0.7978845608028654

// geglu: gelu_tanh(g) = g / (1 + e^(-2*sqrt(2/pi)*(g + 0.044715 g^3))).
func geglu(g VecVirtual, x Mem) {
	t, c := YMM(), YMM()
	VMULPS(g, g, t)
	VMOVUPS(constF32("gelu3", -2*sqrt2overPi*0.044715), c)
	VFMADD213PS(constF32("gelu1", -2*sqrt2overPi), t, c)
	VMULPS(g, c, c)
	exp(c)
	VADDPS(constF32("one", 1), c, c)
	VMULPS(x, g, g)
	VDIVPS(c, g, g)
}

// softcap: s*tanh(v/s) = s*(e-1)/(e+1) with e = e^(2v/s).
func softcap(v, s VecVirtual) {
	e, m := YMM(), YMM()
	VDIVPS(s, v, e)
	VADDPS(e, e, e)
	VMOVUPS(constF32("capmax", 40), m)
	VMINPS(e, m, e)
	exp(e)
	VSUBPS(constF32("one", 1), e, m)
	VADDPS(constF32("one", 1), e, e)
	VDIVPS(e, m, m)
	VMULPS(s, m, v)
}

func expSum() {
	TEXT("expSumAVX2", NOSPLIT, "func(x *float32, sub float32, n int, lanes *float32)")
	Doc("expSumAVX2: x[i] = e^(x[i]-sub) for i < n, and lanes[i%8] += the new x[i], in order of i;",
		"n a positive multiple of 8. AVX2, FMA.")
	Pragma("noescape")
	x := Load(Param("x"), GP64()).(GPVirtual)
	n := Load(Param("n"), GP64()).(GPVirtual)
	l := Load(Param("lanes"), GP64()).(GPVirtual)
	p, _ := Param("sub").Resolve()
	s, acc := YMM(), YMM()
	VBROADCASTSS(p.Addr, s)
	VMOVUPS(Mem{Base: l}, acc)
	loop(n, func() {
		v := YMM()
		VMOVUPS(Mem{Base: x}, v)
		VSUBPS(s, v, v)
		exp(v)
		VADDPS(v, acc, acc)
		VMOVUPS(v, Mem{Base: x})
	}, x)
	VMOVUPS(acc, Mem{Base: l})
	VZEROUPPER()
	RET()
}

func maxVec() {
	TEXT("maxAVX2", NOSPLIT, "func(x *float32, n int, lanes *float32)")
	Doc("maxAVX2: lanes[i%8] = max(lanes[i%8], x[i]) for i < n; n a positive multiple of 8. AVX.", "")
	Pragma("noescape")
	x := Load(Param("x"), GP64()).(GPVirtual)
	n := Load(Param("n"), GP64()).(GPVirtual)
	l := Load(Param("lanes"), GP64()).(GPVirtual)
	acc := YMM()
	VMOVUPS(Mem{Base: l}, acc)
	loop(n, func() { VMAXPS(Mem{Base: x}, acc, acc) }, x)
	VMOVUPS(acc, Mem{Base: l})
	VZEROUPPER()
	RET()
}

// absMax leaves the largest |v| of 32 values in every lane of the result. It compares the
// bits as integers, so that a NaN wins.
func absMax(v []VecVirtual) VecVirtual {
	m, t := YMM(), YMM()
	abs := constU32("abs", 8, 0x7fffffff)
	VANDPS(abs, v[0], m)
	for _, u := range v[1:] {
		VANDPS(abs, u, t)
		VPMAXSD(t, m, m)
	}
	VPERM2F128(U8(1), m, m, t)
	VPMAXSD(t, m, m)
	VPERMILPS(U8(0x4e), m, t)
	VPMAXSD(t, m, m)
	VPERMILPS(U8(0xb1), m, t)
	VPMAXSD(t, m, m)
	return m
}

// toInt8 multiplies the 32 values by id, rounds to nearest even and returns them as bytes in order.
func toInt8(v []VecVirtual, id VecVirtual) VecVirtual {
	for _, u := range v {
		VMULPS(id, u, u)
		VCVTPS2DQ(u, u)
	}
	VPACKSSDW(v[1], v[0], v[0])
	VPACKSSDW(v[3], v[2], v[2])
	VPACKSSWB(v[2], v[0], v[0])
	p := YMM()
	VMOVDQU(constBytes("packperm", []byte{0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 6, 0, 0, 0, 3, 0, 0, 0, 7, 0, 0, 0}), p)
	VPERMD(v[0], p, v[0])
	return v[0]
}

func load32(x GPVirtual) []VecVirtual {
	v := make([]VecVirtual, 4)
	for i := range v {
		v[i] = YMM()
		VMOVUPS(Mem{Base: x, Disp: 32 * i}, v[i])
	}
	return v
}

// inverse sets m = 127/m, or a huge finite number's worth where m is almost 0 (then d and every q are 0 or tiny).
func inverse(m VecVirtual) VecVirtual {
	c := YMM()
	VMAXPS(constF32("tiny", 1e-30), m, m)
	VMOVUPS(constF32("c127", 127), c)
	VDIVPS(m, c, m)
	return m
}

func quantize() {
	TEXT("quantizeAVX2", NOSPLIT, "func(dst *byte, x *float32, nblk int)")
	Doc("quantizeAVX2: nblk blocks of 32 values to activation blocks of 48 bytes (see Acts). AVX2.", "")
	Pragma("noescape")
	o := Load(Param("dst"), GP64()).(GPVirtual)
	x := Load(Param("x"), GP64()).(GPVirtual)
	n := Load(Param("nblk"), GP64()).(GPVirtual)
	Label("loop")
	v := load32(x)
	m := absMax(v)
	d := YMM()
	VDIVPS(constF32("c127", 127), m, d)
	q := toInt8(v, inverse(m))
	VMOVDQU(q, Mem{Base: o})
	// sums of the two halves of 16, as int32 in lanes 0 and 1
	s, h := YMM(), XMM()
	VMOVDQU(constU32("ones8", 8, 0x01010101), s)
	VPMADDUBSW(q, s, s)
	VPMADDWD(constU32("ones16", 8, 0x00010001), s, s)
	VEXTRACTI128(U8(1), s, h)
	VPHADDD(h, s.AsX(), h)
	VPHADDD(h, h, h)
	// 32: d, 36: -8*(s0+s1), 40: int16(-8*s0), int16(-8*s1), 44: d*(s0+s1)
	t, w := XMM(), XMM()
	VPSLLD(U8(3), h, h)
	VPXOR(t, t, t)
	VPSUBD(h, t, h) // -8*s0, -8*s1
	VPHADDD(h, h, t)
	VMOVSS(d.AsX(), Mem{Base: o, Disp: 32})
	VMOVD(t, Mem{Base: o, Disp: 36})
	VPACKSSDW(h, h, h)
	VMOVD(h, Mem{Base: o, Disp: 40})
	VPXOR(w, w, w)
	VPSUBD(t, w, t)
	VPSRAD(U8(3), t, t) // s0+s1
	VCVTDQ2PS(t, t)
	VMULSS(t, d.AsX(), w)
	VMOVSS(w, Mem{Base: o, Disp: 44})
	ADDQ(U32(128), x)
	ADDQ(U32(48), o)
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()

	TEXT("quantRowAVX2", NOSPLIT, "func(dst *int8, x *float32, id float32, n int)")
	Doc("quantRowAVX2: dst[i] = int8(round(x[i]*id)), ties to even, saturating; n a positive multiple of 32. AVX2.", "")
	Pragma("noescape")
	o = Load(Param("dst"), GP64()).(GPVirtual)
	x = Load(Param("x"), GP64()).(GPVirtual)
	n = Load(Param("n"), GP64()).(GPVirtual)
	p, _ := Param("id").Resolve()
	id := YMM()
	VBROADCASTSS(p.Addr, id)
	Label("loop")
	VMOVDQU(toInt8(load32(x), id), Mem{Base: o})
	ADDQ(U32(128), x)
	ADDQ(U32(32), o)
	SUBQ(Imm(32), n)
	JG(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

func convert() {
	for _, c := range []struct{ name, sig, doc string }{
		{"f16ToF32AVX2", "func(dst *float32, src *uint16, n int)", "IEEE half to float"},
		{"bf16ToF32AVX2", "func(dst *float32, src *uint16, n int)", "bfloat16 to float"},
		{"f32ToF16AVX2", "func(dst *uint16, src *float32, n int)", "float to IEEE half, nearest even"},
	} {
		TEXT(c.name, NOSPLIT, c.sig)
		Doc(c.name+": "+c.doc+"; n a positive multiple of 8. AVX2, F16C.", "")
		Pragma("noescape")
		d := Load(Param("dst"), GP64()).(GPVirtual)
		s := Load(Param("src"), GP64()).(GPVirtual)
		n := Load(Param("n"), GP64()).(GPVirtual)
		Label("loop")
		v := YMM()
		switch c.name {
		case "f32ToF16AVX2":
			h := XMM()
			VMOVUPS(Mem{Base: s}, v)
			VCVTPS2PH(U8(0), v, h)
			VMOVDQU(h, Mem{Base: d})
			ADDQ(Imm(32), s)
			ADDQ(Imm(16), d)
		default:
			kind := f16
			if c.name == "bf16ToF32AVX2" {
				kind = bf16
			}
			loadFloat(kind, Mem{Base: s}, v)
			VMOVUPS(v, Mem{Base: d})
			ADDQ(Imm(16), s)
			ADDQ(Imm(32), d)
		}
		SUBQ(Imm(8), n)
		JG(LabelRef("loop"))
		VZEROUPPER()
		RET()
	}
}

func readSum() {
	TEXT("readAVX2", NOSPLIT, "func(p *byte, n int) uint64")
	Doc("readAVX2 reads n bytes (a positive multiple of 256) and returns the OR of some of them: the stream-read limit. AVX2.", "")
	Pragma("noescape")
	p := Load(Param("p"), GP64()).(GPVirtual)
	n := Load(Param("n"), GP64()).(GPVirtual)
	var a []VecVirtual
	for i := 0; i < 8; i++ {
		a = append(a, YMM())
		VPXOR(a[i], a[i], a[i])
	}
	Label("loop")
	for i := range a {
		VPOR(Mem{Base: p, Disp: 32 * i}, a[i], a[i])
	}
	ADDQ(U32(256), p)
	SUBQ(U32(256), n)
	JG(LabelRef("loop"))
	for _, v := range a[1:] {
		VPOR(v, a[0], a[0])
	}
	r := GP64()
	VMOVQ(a[0].AsX(), r)
	VZEROUPPER()
	Store(r, ReturnIndex(0))
	RET()
}

// peaks: register-only loops that bound what a core can do.
func peaks() {
	TEXT("peakInt8AVX2", NOSPLIT, "func(n int)")
	Doc("peakInt8AVX2 does n*256 int8 multiply-adds (maddubs, madd, addd on 8 chains): the exact int8 limit. AVX2.", "")
	n := Load(Param("n"), GP64()).(GPVirtual)
	c, one := YMM(), YMM()
	VPCMPEQD(c, c, c)
	VPABSW(c, one)
	var a, p []VecVirtual
	for i := 0; i < 4; i++ {
		a = append(a, YMM())
		VPXOR(a[i], a[i], a[i])
	}
	for i := 0; i < 8; i++ {
		p = append(p, YMM())
	}
	Label("loop")
	for i := range p {
		VPMADDUBSW(c, one, p[i])
		VPMADDWD(one, p[i], p[i])
	}
	for i := range p {
		VPADDD(p[i], a[i&3], a[i&3])
	}
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()

	TEXT("peakF32AVX2", NOSPLIT, "func(n int)")
	Doc("peakF32AVX2 does n*96 float multiply-adds on 12 chains: the float limit. AVX2, FMA.", "")
	n = Load(Param("n"), GP64()).(GPVirtual)
	x := zero(YMM())
	var f []VecVirtual
	for i := 0; i < 12; i++ {
		f = append(f, zero(YMM()))
	}
	Label("loop")
	for i := range f {
		VFMADD231PS(x, x, f[i])
	}
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
