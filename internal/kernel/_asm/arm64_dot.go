package main

import "fmt"

func armDotUnit() {
	armBegin()
	for _, k := range []kind{f32, f16, bf16} {
		for _, s := range [][2]int{{4, 1}, {2, 3}, {2, 2}, {2, 1}, {1, 3}, {1, 2}, {1, 1}} {
			armDotTile(k, s[0], s[1])
		}
	}
	for _, k := range []kind{f32, f16} {
		for t := 1; t <= 4; t++ {
			armMixTile(k, t)
		}
	}
	armEnd()
}

// armLoad8 reads 8 elements as floats into lo and hi.
func armLoad8(k kind, reg string, off, lo, hi int) {
	switch k {
	case f32:
		ldq(lo, reg, off)
		ldq(hi, reg, off+16)
	case f16:
		ldq(hi, reg, off)
		fcvtl(lo, hi)
		fcvtl2(hi, hi)
	case bf16:
		ldq(hi, reg, off)
		shll16(lo, hi)
		shll16h(hi, hi)
	}
}

// armAhead sets R23 to what is prefetched first and R24 to the step from there; the arguments are
// at off.
func armAhead(off int) {
	op("MOVD %d(R0), R23", off)
	op("ADD R1, R23, R23")
	op("MOVD %d(R0), R24", off+8)
}

// armPrefetch asks for the lines of n bytes at R23 and moves on.
func armPrefetch(n int, hint string) {
	for o := 0; o < n; o += 64 {
		op("PRFM %d(R23), %s", o, hint)
	}
	op("ADD R24, R23, R23")
}

// Registers of a dot tile: R0 args, R1 w, R2 x, R3 y, R4 rstep, R5 cstep, R6 gstep, R7 xstep,
// R8 groups, R9 chunks left, R10… rows, R14… vectors, R20 and up scratch, R23 and R24 see armAhead. v0…v23 sums, v24…v29
// elements.
func armDotTile(k kind, R, T int) {
	name := fmt.Sprintf("dot%sx%dx%dNEON", k.name, R, T)
	armFunc(name, "(a *byte)", 8, fmt.Sprintf("%d %s rows against %d vectors, see dotArgs. NEON.", R, k.name, T))
	op("MOVD a+0(FP), R0")
	for i, r := range []string{"R1", "R2", "R3", "R4", "R5", "R6", "R7"} {
		op("MOVD %d(R0), %s", 8*i, r)
	}
	op("MOVD 72(R0), R8")
	armAhead(96)
	row := func(r int) string { return fmt.Sprintf("R%d", 10+r) }
	vec := []string{"R14", "R15", "R19"}
	acc := func(r, t, q int) int { return (r*T+t)*4 + q }
	label("group")
	op("MOVD R1, %s", row(0))
	for r := 1; r < R; r++ {
		op("ADD R4, %s, %s", row(r-1), row(r))
	}
	op("MOVD R2, %s", vec[0])
	for t := 1; t < T; t++ {
		op("ADD R7, %s, %s", vec[t-1], vec[t])
	}
	for i := 0; i < 4*R*T; i++ {
		zeroV(i)
	}
	half := func(h int) {
		if R == 4 { // one row at a time: its two quads against the one vector
			ldq(28, vec[0], 32*h)
			ldq(29, vec[0], 32*h+16)
			for r := 0; r < R; r++ {
				armLoad8(k, row(r), 8*h*k.size, 24, 25)
				fmla(acc(r, 0, 2*h), 24, 28)
				fmla(acc(r, 0, 2*h+1), 25, 29)
			}
			return
		}
		for r := 0; r < R; r++ {
			armLoad8(k, row(r), 8*h*k.size, 24+2*r, 25+2*r)
		}
		for t := 0; t < T; t++ {
			ldq(28, vec[t], 32*h)
			ldq(29, vec[t], 32*h+16)
			for r := 0; r < R; r++ {
				fmla(acc(r, t, 2*h), 24+2*r, 28)
				fmla(acc(r, t, 2*h+1), 25+2*r, 29)
			}
		}
	}
	hint := "PLDL2KEEP" // see nextHint
	if R == 4 {
		hint = "PLDL1STRM"
	}
	op("MOVD 80(R0), R9")
	op("CBZ R9, tail")
	label("loop")
	armPrefetch(R*16*k.size, hint)
	half(0)
	half(1)
	for r := 0; r < R; r++ {
		op("ADD R5, %s, %s", row(r), row(r))
	}
	for t := 0; t < T; t++ {
		op("ADD $64, %s, %s", vec[t], vec[t])
	}
	op("SUBS $1, R9, R9")
	op("BNE loop")
	label("tail")
	op("MOVD 88(R0), R9")
	op("CBZ R9, reduce")
	half(0)
	label("reduce")
	op("MOVD 56(R0), R20")
	op("MOVD 64(R0), R21")
	for r := 0; r < R; r++ {
		op("MOVD R3, R22")
		for t := 0; t < T; t++ {
			a := acc(r, t, 0)
			reduce16([4]int{a, a + 1, a + 2, a + 3})
			op("FMOVS F%d, (R22)", a)
			op("ADD R21, R22, R22")
		}
		op("ADD R20, R3, R3")
	}
	op("ADD R6, R1, R1")
	op("SUBS $1, R8, R8")
	op("BNE group")
	op("RET")
}

// armMixTile: T vectors by 16 columns, then the last 8. R0 args, R1 v, R2 p, R3 y, R4 vstep,
// R5 pstep, R6 ystep, R7 column strips, R8 rows left, R9 row, R10… weights, R14… outputs, R23 and
// R24 see armAhead.
func armMixTile(k kind, T int) {
	name := fmt.Sprintf("mix%sx%dNEON", k.name, T)
	armFunc(name, "(a *byte)", 8, fmt.Sprintf("weighted sums of %s rows for %d vectors, see mixArgs. NEON.", k.name, T))
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
				zeroV(4*t + q)
			}
		}
		op("MOVD 88(R0), R21")
		op("CBNZ R21, %s", name)
		for t := 0; t < T; t++ {
			for q := 0; q < quads; q++ {
				ldq(4*t+q, y[t], 16*q)
			}
		}
		label(name)
		armPrefetch(4*quads*k.size, "PLDL1KEEP")
		for h := 0; h < quads/2; h++ {
			armLoad8(k, "R9", 8*h*k.size, 16+2*h, 17+2*h)
		}
		for t := 0; t < T; t++ {
			op("FMOVS (%s), F24", p(t))
			for q := 0; q < quads; q++ {
				fmlaLane(4*t+q, 16+q, 24, 0)
			}
			op("ADD $4, %s, %s", p(t), p(t))
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
	op("ADD $%d, R1, R1", 16*k.size)
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
