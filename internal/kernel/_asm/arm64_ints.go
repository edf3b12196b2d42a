package main

import "fmt"

func armIntsUnit() {
	armBegin()
	for _, r := range []int{4, 1} {
		for t := 1; t <= 4; t++ {
			armDotInts(r, t)
		}
	}
	for t := 1; t <= 4; t++ {
		armMixInts(t)
	}
	armAbsTop()
	armQuantInts()
	armScaleInts()
	armEnd()
}

func sxtl8h(d, n int)    { two(0x4f08a400, "sxtl2.8h", d, n) }
func smlal(d, n, m int)  { three(0x0e608000, "smlal.4s", d, n, m) }
func smlal2(d, n, m int) { three(0x4e608000, "smlal2.4s", d, n, m) }

// Registers of a tile: R0 args, R1 w, R2 x, R3 y, R4 rstep, R5 gstep, R6 xstep, R7 yvec, R8
// groups, R9 columns / 8 left, R10… rows, R14… vectors, R20 and up scratch, R23 and R24 see
// armAhead. v0…v15 sums, v16…v19 rows, v20 vector.
func armDotInts(R, T int) {
	armFunc(fmt.Sprintf("dotInts%dx%dNEON", R, T), "(a *byte)", 8,
		fmt.Sprintf("%d int8 rows against %d vectors of int16, see intArgs. NEON.", R, T))
	op("MOVD a+0(FP), R0")
	for i, off := range []int{0, 8, 16, 32, 40, 48, 56, 64} {
		op("MOVD %d(R0), R%d", off, 1+i)
	}
	armAhead(88)
	row := func(r int) string { return fmt.Sprintf("R%d", 10+r) }
	vec := []string{"R14", "R15", "R19", "R20"}
	label("group")
	op("MOVD R1, %s", row(0))
	for r := 1; r < R; r++ {
		op("ADD R4, %s, %s", row(r-1), row(r))
	}
	op("MOVD R2, %s", vec[0])
	for t := 1; t < T; t++ {
		op("ADD R6, %s, %s", vec[t-1], vec[t])
	}
	for i := 0; i < R*T; i++ {
		zeroV(i)
	}
	op("MOVD 72(R0), R9")
	op("MOVD 80(R0), R21")
	op("ADD R9<<1, R21, R9")
	label("loop")
	armPrefetch(R*8, "PLDL1KEEP")
	for r := 0; r < R; r++ {
		ldd(16+r, row(r), 0)
		sxtl8(16+r, 16+r)
		op("ADD $8, %s, %s", row(r), row(r))
	}
	for t := 0; t < T; t++ {
		ldq(20, vec[t], 0)
		op("ADD $16, %s, %s", vec[t], vec[t])
		for r := 0; r < R; r++ {
			smlal(r*T+t, 16+r, 20)
			smlal2(r*T+t, 16+r, 20)
		}
	}
	op("SUBS $1, R9, R9")
	op("BNE loop")
	op("MOVD 24(R0), R21")
	op("MOVD R3, R22")
	for t := 0; t < T; t++ {
		op("FMOVS %d(R21), F20", 4*t)
		for r := 0; r < R; r++ {
			s := r*T + t
			addv(s, s)
			scvtf(s, s)
			fmul(s, s, 20)
			op("FMOVS F%d, %d(R22)", s, 4*r)
		}
		op("ADD R7, R22, R22")
	}
	op("ADD $%d, R3, R3", 4*R)
	op("ADD R5, R1, R1")
	op("SUBS $1, R8, R8")
	op("BNE group")
	op("RET")
}

// armMixInts: T vectors by 16 columns, then the last 8. Registers as in armMixTile.
func armMixInts(T int) {
	armFunc(fmt.Sprintf("mixInts%dNEON", T), "(a *byte)", 8,
		fmt.Sprintf("weighted sums of int8 rows for %d vectors of int16, see mixArgs. NEON.", T))
	op("MOVD a+0(FP), R0")
	for i, r := range []string{"R1", "R2", "R3", "R4", "R5", "R6"} {
		op("MOVD %d(R0), %s", 8*i, r)
	}
	armAhead(72)
	p := func(t int) string { return fmt.Sprintf("R%d", 10+t) }
	y := []string{"R14", "R15", "R19", "R20"}
	part := func(name string, quads int) {
		op("MOVD R1, R9")
		op("MOVD R2, %s", p(0))
		op("MOVD R3, %s", y[0])
		for t := 1; t < T; t++ {
			op("ADD R5, %s, %s", p(t-1), p(t))
			op("ADD R6, %s, %s", y[t-1], y[t])
		}
		op("MOVD 48(R0), R8")
		for t := 0; t < T; t++ {
			for q := 0; q < quads; q++ {
				ldq(4*t+q, y[t], 16*q)
			}
		}
		label(name)
		armPrefetch(4*quads, "PLDL1KEEP")
		if quads == 4 {
			ldq(17, "R9", 0)
			sxtl8(16, 17)
			sxtl8h(17, 17)
		} else {
			ldd(16, "R9", 0)
			sxtl8(16, 16)
		}
		for t := 0; t < T; t++ {
			word(0x4d40c400|uint32(10+t)<<5|18, "ld1r.8h v18, [x%d]", 10+t)
			for q := 0; q < quads; q += 2 {
				smlal(4*t+q, 16+q/2, 18)
				smlal2(4*t+q+1, 16+q/2, 18)
			}
			op("ADD $2, %s, %s", p(t), p(t))
		}
		op("ADD R4, R9, R9")
		op("SUBS $1, R8, R8")
		op("BNE %s", name)
		for t := 0; t < T; t++ {
			for q := 0; q < quads; q++ {
				stq(4*t+q, y[t], 16*q)
			}
		}
	}
	op("MOVD 56(R0), R7")
	op("CBZ R7, tail")
	label("chunk")
	part("loop16", 4)
	op("ADD $16, R1, R1")
	op("ADD $64, R3, R3")
	op("SUBS $1, R7, R7")
	op("BNE chunk")
	label("tail")
	op("MOVD 64(R0), R7")
	op("CBZ R7, done")
	part("loop8", 2)
	label("done")
	op("RET")
}

func armAbsTop() {
	armFunc("absTopNEON", "(x *float32, n int) uint32", 20, "the largest bits of |x[i]|; n a positive multiple of 8. NEON.")
	op("MOVD x+0(FP), R0")
	op("MOVD n+8(FP), R1")
	zeroV(0)
	constV(3, 0x7fffffff)
	label("loop")
	ldq(1, "R0", 0)
	ldq(2, "R0", 16)
	and(1, 1, 3)
	and(2, 2, 3)
	umax4s(0, 0, 1)
	umax4s(0, 0, 2)
	op("ADD $32, R0")
	op("SUBS $8, R1")
	op("BGT loop")
	umaxv(0, 0)
	op("FMOVS F0, ret+16(FP)")
	op("RET")
}

func armQuantInts() {
	armFunc("quantIntsNEON", "(dst *int16, x *float32, id float32, n int)", 32, "dst[i] = int16(round(x[i]*id)); n a positive multiple of 8. NEON.")
	op("MOVD dst+0(FP), R0")
	op("MOVD x+8(FP), R1")
	op("FMOVS id+16(FP), F8")
	dup4s(8, 8, 0)
	op("MOVD n+24(FP), R3")
	label("loop")
	ldq(0, "R1", 0)
	ldq(1, "R1", 16)
	for i := 0; i < 2; i++ {
		fmul(i, i, 8)
		fcvtns(i, i)
	}
	sqxtn4(0, 0)
	sqxtn4h(0, 1)
	stq(0, "R0", 0)
	op("ADD $16, R0")
	op("ADD $32, R1")
	op("SUBS $8, R3")
	op("BGT loop")
	op("RET")
}

func armScaleInts() {
	armFunc("scaleIntsNEON", "(dst *float32, src *int32, s float32, n int)", 32, "dst[i] = float32(src[i])*s; n a positive multiple of 8. NEON.")
	op("MOVD dst+0(FP), R0")
	op("MOVD src+8(FP), R1")
	op("FMOVS s+16(FP), F8")
	dup4s(8, 8, 0)
	op("MOVD n+24(FP), R3")
	label("loop")
	for i := 0; i < 2; i++ {
		ldq(i, "R1", 16*i)
		scvtf(i, i)
		fmul(i, i, 8)
		stq(i, "R0", 16*i)
	}
	op("ADD $32, R0")
	op("ADD $32, R1")
	op("SUBS $8, R3")
	op("BGT loop")
	op("RET")
}
