package main

// armLimits writes the loops that bound what a core can do, see vec.go for amd64's.
func armLimits() {
	armFunc("readNEON", "(p *byte, n int) uint64", 24,
		"reads n bytes (a positive multiple of 256) and returns the OR of some of them: the stream-read limit. NEON.")
	op("MOVD p+0(FP), R0")
	op("MOVD n+8(FP), R1")
	for i := 0; i < 8; i++ {
		zeroV(16 + i)
	}
	label("loop")
	for i := 0; i < 16; i += 4 {
		op("VLD1.P 64(R0), [V%d.B16, V%d.B16, V%d.B16, V%d.B16]", i, i+1, i+2, i+3)
	}
	for i := 0; i < 16; i++ {
		orr(16+i%8, 16+i%8, i)
	}
	op("SUBS $256, R1, R1")
	op("BGT loop")
	for i := 1; i < 8; i++ {
		orr(16, 16, 16+i)
	}
	op("VMOV V16.D[0], R0")
	op("MOVD R0, ret+16(FP)")
	op("RET")

	armPeak("peakInt8Dot", "n*384 int8 multiply-adds on 24 chains of SDOT: the exact int8 limit. NEON, ASIMDDP.", 24, func() {
		for i := 0; i < 24; i++ {
			sdot(i, 31, 31)
		}
	})
	// Two products of −127 … 127 fit into 16 bits.
	armPeak("peakInt8NEON", "n*128 int8 multiply-adds (smull, smlal2, sadalp on 8 chains): the exact int8 limit. NEON.", 8, func() {
		for i := 0; i < 8; i++ {
			smull(16+i, 31, 31)
		}
		for i := 0; i < 8; i++ {
			smlal2b(16+i, 31, 31)
		}
		for i := 0; i < 8; i++ {
			sadalp(i, 16+i)
		}
	})
	armPeak("peakF32NEON", "n*96 float multiply-adds on 24 chains: the float limit. NEON.", 24, func() {
		for i := 0; i < 24; i++ {
			fmla(i, 31, 31)
		}
	})
}

// armPeak writes a loop of n rounds on registers alone; v0 … and v31 begin at zero.
func armPeak(name, doc string, chains int, round func()) {
	armFunc(name, "(n int)", 8, "does "+doc)
	op("MOVD n+0(FP), R0")
	for i := 0; i < chains; i++ {
		zeroV(i)
	}
	zeroV(31)
	label("loop")
	round()
	op("SUBS $1, R0, R0")
	op("BNE loop")
	op("RET")
}
