// VPDPBUSD Yx, Yw, Ys by register numbers: to every int32 of Ys, add four products of unsigned
// bytes of Yw and signed bytes of Yx.
//
// The Go assembler writes this instruction in its EVEX form, for AVX-512; what follows are the
// bytes of the VEX form, for AVX-VNNI:
//
//	c4 · R̄X̄B̄00010 · 0w̄w̄w̄w̄101 · 50 · 11sssxxx      R is the fourth bit of s, B of x
//
// The EVEX form of 256 bits has the same fields two bytes further on. Compiled with
// -asmflags=-D=VNNI_EVEX the same kernels therefore run, and can be tested, on processors with
// AVX-512 VNNI alone: go test -asmflags=-D=VNNI_EVEX ./internal/kernel
//
// Checked once (2026-11-23): objdump -d of binutils 2.40 on both test binaries shows, for every one of the
// 1,684 uses in quantvnni_amd64.s and in their order, "{vex} vpdpbusd" and "vpdpbusd" with the operands
// that stand in the source.
#ifdef VNNI_EVEX
#define VPDPBUSDY(x, w, s) BYTE $0x62; BYTE $(0x52 | (((s)>>3)^1)<<7 | (((x)>>3)^1)<<5); BYTE $(0x05 | ((w)^15)<<3); BYTE $0x28; BYTE $0x50; BYTE $(0xc0 | ((s)&7)<<3 | (x)&7)
#define VNNI_IS_EVEX 1
#else
#define VPDPBUSDY(x, w, s) BYTE $0xc4; BYTE $(0x42 | (((s)>>3)^1)<<7 | (((x)>>3)^1)<<5); BYTE $(0x05 | ((w)^15)<<3); BYTE $0x50; BYTE $(0xc0 | ((s)&7)<<3 | (x)&7)
#define VNNI_IS_EVEX 0
#endif
