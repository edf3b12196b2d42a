package main

import "math"

func fbits(v float64) uint32 { return math.Float32bits(float32(v)) }

// constants of e^x in registers, from v16 on.
const (
	vExpMin = 16 + iota
	vExpMax
	vLog2e
	vLn2Hi
	vLn2Lo
	vE0
	vE1
	vE2
	vE3
	vE4
	vE5
	vOne
	vBias
	vK0 // the operation's own
	vK1
	vK2
)

func armExpConsts() {
	for i, v := range []float64{-87.3, 88.3, 1.44269504088896341, 0.693359375, -2.12194440e-4, 1.9875691500e-4, 1.3981999507e-3,
		8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1, 1} {
		constV(vExpMin+i, fbits(v))
	}
	constV(vBias, 127)
}

// armExp does v = e^v with temporaries t … t+4: exp32 of vec_generic.go.
func armExp(v, t int) {
	under, n, r, p, q := t, t+1, t+2, t+3, t+4
	fcmgt(under, vExpMin, v) // v < expmin, false for NaN
	fmin(v, v, vExpMax)
	fmul(n, v, vLog2e)
	frintn(n, n)
	mov(r, v)
	fmls(r, n, vLn2Hi)
	fmls(r, n, vLn2Lo)
	mov(p, vE0)
	for _, c := range []int{vE1, vE2, vE3, vE4, vE5} { // p = p*r + c
		mov(q, c)
		fmla(q, p, r)
		p, q = q, p
	}
	fmul(q, r, r) // p = p*r² + r
	fmla(r, p, q)
	fadd(p, r, vOne)
	fcvtns(n, n)
	add4s(n, n, vBias)
	shl4s(n, n, 23)
	fmul(v, p, n)
	bic(v, v, under)
}

// armMap is a loop over n elements, four at a time, in R2; pointers advance by 16 bytes.
func armMap(body func(), pointers ...string) {
	label("loop")
	body()
	for _, p := range pointers {
		op("ADD $16, %s, %s", p, p)
	}
	op("SUBS $4, R3, R3")
	op("BGT loop")
	op("RET")
}

const armMultiple = "; n a positive multiple of 8. NEON."

func armVecUnit() {
	armBegin()
	binary := func(name, doc string, f func()) {
		armFunc(name, "(dst, x *float32, n int)", 24, doc+armMultiple)
		op("MOVD dst+0(FP), R0")
		op("MOVD x+8(FP), R1")
		op("MOVD n+16(FP), R3")
		if name == "gegluNEON" {
			armExpConsts()
			constV(vK0, fbits(-2*sqrt2overPi*0.044715))
			constV(vK1, fbits(-2*sqrt2overPi))
		}
		armMap(func() {
			ldq(0, "R0", 0)
			ldq(1, "R1", 0)
			f()
			stq(0, "R0", 0)
		}, "R0", "R1")
	}
	binary("addNEON", "dst[i] += x[i]", func() { fadd(0, 0, 1) })
	binary("mulNEON", "dst[i] *= x[i]", func() { fmul(0, 0, 1) })
	binary("gegluNEON", "dst[i] = gelu_tanh(dst[i]) * x[i]", func() {
		fmul(2, 0, 0)
		mov(3, vK1)
		fmla(3, vK0, 2)
		fmul(3, 3, 0)
		armExp(3, 4)
		fadd(3, 3, vOne)
		fmul(0, 0, 1)
		fdiv(0, 0, 3)
	})
	unary := func(name, doc string, f func()) {
		armFunc(name, "(dst *float32, s float32, n int)", 24, doc+armMultiple)
		op("MOVD dst+0(FP), R0")
		op("FMOVS s+8(FP), F%d", vK0)
		dup4s(vK0, vK0, 0)
		op("MOVD n+16(FP), R3")
		if name == "softcapNEON" {
			armExpConsts()
			constV(vK1, fbits(40))
		}
		armMap(func() {
			ldq(0, "R0", 0)
			f()
			stq(0, "R0", 0)
		}, "R0")
	}
	unary("scaleNEON", "dst[i] *= s", func() { fmul(0, 0, vK0) })
	unary("softcapNEON", "dst[i] = s * tanh(dst[i]/s)", func() {
		fdiv(1, 0, vK0)
		fadd(1, 1, 1)
		fmin(1, 1, vK1)
		armExp(1, 2)
		fsub(0, 1, vOne)
		fadd(1, 1, vOne)
		fdiv(0, 0, 1)
		fmul(0, 0, vK0)
	})

	armFunc("axpyNEON", "(dst, x *float32, s float32, n int)", 32, "dst[i] = fma(s, x[i], dst[i])"+armMultiple)
	op("MOVD dst+0(FP), R0")
	op("MOVD x+8(FP), R1")
	op("FMOVS s+16(FP), F2")
	dup4s(2, 2, 0)
	op("MOVD n+24(FP), R3")
	armMap(func() {
		ldq(0, "R0", 0)
		ldq(1, "R1", 0)
		fmla(0, 1, 2)
		stq(0, "R0", 0)
	}, "R0", "R1")

	armFunc("scaleMulNEON", "(dst, x, w *float32, s float32, n int)", 40, "dst[i] = (x[i]*s)*w[i]"+armMultiple)
	op("MOVD dst+0(FP), R0")
	op("MOVD x+8(FP), R1")
	op("MOVD w+16(FP), R2")
	op("FMOVS s+24(FP), F2")
	dup4s(2, 2, 0)
	op("MOVD n+32(FP), R3")
	armMap(func() {
		ldq(0, "R1", 0)
		ldq(1, "R2", 0)
		fmul(0, 0, 2)
		fmul(0, 0, 1)
		stq(0, "R0", 0)
	}, "R0", "R1", "R2")

	armFunc("ropeNEON", "(lo, hi, cos, sin *float32, n int)", 40, "(lo, hi) = (fma(lo, cos, -(hi*sin)), fma(hi, cos, lo*sin))"+armMultiple)
	op("MOVD lo+0(FP), R0")
	op("MOVD hi+8(FP), R1")
	op("MOVD cos+16(FP), R2")
	op("MOVD sin+24(FP), R4")
	op("MOVD n+32(FP), R3")
	armMap(func() {
		ldq(0, "R0", 0)
		ldq(1, "R1", 0)
		ldq(2, "R2", 0)
		ldq(3, "R4", 0)
		fmul(4, 1, 3)
		fneg(4, 4)
		fmul(5, 0, 3)
		fmla(4, 2, 0)
		fmla(5, 2, 1)
		stq(4, "R0", 0)
		stq(5, "R1", 0)
	}, "R0", "R1", "R2", "R4")

	// The lanes are eight, so these two take eight elements a turn.
	for _, name := range []string{"expSumNEON", "maxNEON"} {
		if name == "expSumNEON" {
			armFunc(name, "(x *float32, sub float32, n int, lanes *float32)", 32, "x[i] = e^(x[i]-sub), lanes[i%8] += x[i]"+armMultiple)
			op("MOVD x+0(FP), R0")
			op("FMOVS sub+8(FP), F%d", vK0)
			dup4s(vK0, vK0, 0)
			op("MOVD n+16(FP), R3")
			op("MOVD lanes+24(FP), R1")
			armExpConsts()
		} else {
			armFunc(name, "(x *float32, n int, lanes *float32)", 24, "lanes[i%8] = max(lanes[i%8], x[i])"+armMultiple)
			op("MOVD x+0(FP), R0")
			op("MOVD n+8(FP), R3")
			op("MOVD lanes+16(FP), R1")
		}
		ldq(10, "R1", 0)
		ldq(11, "R1", 16)
		label("loop")
		for h := 0; h < 2; h++ {
			ldq(0, "R0", 16*h)
			if name == "expSumNEON" {
				fsub(0, 0, vK0)
				armExp(0, 1)
				fadd(10+h, 10+h, 0)
				stq(0, "R0", 16*h)
			} else {
				fmax(10+h, 10+h, 0)
			}
		}
		op("ADD $32, R0, R0")
		op("SUBS $8, R3, R3")
		op("BGT loop")
		stq(10, "R1", 0)
		stq(11, "R1", 16)
		op("RET")
	}
	armConvert()
	armQuantize()
	armFunc("pause", "()", 0, "an instruction barrier, which takes about as long as PAUSE does on amd64; YIELD does nothing on most cores")
	word(0xd5033fdf, "isb sy")
	op("RET")
	armFunc("fetch", "(p *byte, n int)", 16, "asks for the cache lines of n > 0 bytes at p.")
	op("MOVD p+0(FP), R0")
	op("MOVD n+8(FP), R1")
	label("loop")
	op("PRFM (R0), PLDL1KEEP")
	op("ADD $64, R0")
	op("SUBS $64, R1")
	op("BGT loop")
	op("RET")
	armLimits()
	armEnd()
}

func armConvert() {
	for _, c := range []struct {
		name, sig string
		f         func()
	}{
		{"f16ToF32NEON", "(dst *float32, src *uint16, n int)", func() { fcvtl(1, 0); fcvtl2(2, 0) }},
		{"bf16ToF32NEON", "(dst *float32, src *uint16, n int)", func() { shll16(1, 0); shll16h(2, 0) }},
		{"f32ToF16NEON", "(dst *uint16, src *float32, n int)", nil},
	} {
		armFunc(c.name, c.sig, 24, "see the AVX2 variant"+armMultiple)
		op("MOVD dst+0(FP), R0")
		op("MOVD src+8(FP), R1")
		op("MOVD n+16(FP), R3")
		label("loop")
		ldq(0, "R1", 0)
		if c.f != nil {
			c.f()
			stq(1, "R0", 0)
			stq(2, "R0", 16)
			op("ADD $32, R0, R0")
			op("ADD $16, R1, R1")
		} else {
			ldq(1, "R1", 16)
			fcvtn(2, 0)
			fcvtn2(2, 1)
			stq(2, "R0", 0)
			op("ADD $16, R0, R0")
			op("ADD $32, R1, R1")
		}
		op("SUBS $8, R3, R3")
		op("BGT loop")
		op("RET")
	}
}

// armToInt8 multiplies v0 … v7 by v8 and packs them as bytes into v0 and v4.
func armToInt8() {
	for i := 0; i < 8; i++ {
		fmul(i, i, 8)
		fcvtns(i, i)
	}
	for i := 0; i < 8; i += 4 {
		sqxtn4(i, i)
		sqxtn4h(i, i+1)
		sqxtn4(i+2, i+2)
		sqxtn4h(i+2, i+3)
		sqxtn8(i, i)
		sqxtn8h(i, i+2)
	}
}

func armQuantize() {
	armFunc("quantizeNEON", "(dst *byte, x *float32, nblk int)", 24, "nblk blocks of 32 values to activation blocks of 48 bytes (see Acts). NEON.")
	op("MOVD dst+0(FP), R0")
	op("MOVD x+8(FP), R1")
	op("MOVD nblk+16(FP), R3")
	constV(20, fbits(127))
	constV(21, fbits(1e-30))
	constV(22, 0x7fffffff)
	label("loop")
	for i := 0; i < 8; i++ {
		ldq(i, "R1", 16*i)
	}
	and(9, 0, 22)
	for i := 1; i < 8; i++ {
		and(10, i, 22)
		umax4s(9, 9, 10)
	}
	umaxv(9, 9)
	dup4s(9, 9, 0)
	fdiv(11, 9, 20) // d
	fmax(10, 9, 21)
	fdiv(8, 20, 10)
	armToInt8()
	stq(0, "R0", 0)
	stq(4, "R0", 16)
	for i := 0; i < 8; i += 4 { // -8 times the sums of the halves
		saddlp8(1+i, i)
		saddlp4(1+i, 1+i)
		addv(1+i, 1+i)
	}
	op("FMOVS F11, 32(R0)")
	add4s(2, 1, 5)
	scvtf(3, 2)
	fmul(3, 3, 11)
	op("FMOVS F3, 44(R0)")
	zeroV(6)
	shl4s(2, 2, 3)
	sub4s(2, 6, 2)
	op("FMOVS F2, 36(R0)")
	for i := 0; i < 8; i += 4 {
		shl4s(1+i, 1+i, 3)
		sub4s(1+i, 6, 1+i)
		op("FMOVS F%d, R4", 1+i)
		op("MOVH R4, %d(R0)", 40+i/2)
	}
	op("ADD $48, R0, R0")
	op("ADD $128, R1, R1")
	op("SUBS $1, R3, R3")
	op("BGT loop")
	op("RET")

	armFunc("quantRowNEON", "(dst *int8, x *float32, id float32, n int)", 32, "dst[i] = int8(round(x[i]*id)); n a positive multiple of 32. NEON.")
	op("MOVD dst+0(FP), R0")
	op("MOVD x+8(FP), R1")
	op("FMOVS id+16(FP), F8")
	dup4s(8, 8, 0)
	op("MOVD n+24(FP), R3")
	label("loop")
	for i := 0; i < 8; i++ {
		ldq(i, "R1", 16*i)
	}
	armToInt8()
	stq(0, "R0", 0)
	stq(4, "R0", 16)
	op("ADD $32, R0, R0")
	op("ADD $128, R1, R1")
	op("SUBS $32, R3, R3")
	op("BGT loop")
	op("RET")
}
