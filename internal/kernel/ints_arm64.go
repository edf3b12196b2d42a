//go:build arm64 && !purego

package kernel

import "unsafe"

// intWidth is the most vectors a tile of DotInts takes, mixIntWidth one of MixInts.
func intWidth() int    { return 4 }
func mixIntWidth() int { return 4 }

// dotIntsSIMD runs one tile of R rows and T vectors; false: not here, use the generic code.
func dotIntsSIMD(R, T int, a *intArgs) bool {
	if !useNEON {
		return false
	}
	p := (*byte)(unsafe.Pointer(a))
	switch tile := R<<4 | T; tile {
	case 0x41:
		dotInts4x1NEON(p)
	case 0x42:
		dotInts4x2NEON(p)
	case 0x43:
		dotInts4x3NEON(p)
	case 0x44:
		dotInts4x4NEON(p)
	case 0x11:
		dotInts1x1NEON(p)
	case 0x12:
		dotInts1x2NEON(p)
	case 0x13:
		dotInts1x3NEON(p)
	case 0x14:
		dotInts1x4NEON(p)
	}
	return true
}

// mixIntsSIMD runs one tile of T vectors; false: not here, use the generic code.
func mixIntsSIMD(T int, a *mixArgs) bool {
	if !useNEON {
		return false
	}
	p := (*byte)(unsafe.Pointer(a))
	switch T {
	case 1:
		mixInts1NEON(p)
	case 2:
		mixInts2NEON(p)
	case 3:
		mixInts3NEON(p)
	case 4:
		mixInts4NEON(p)
	}
	return true
}

// absTopSIMD handles the first n values, n a multiple of 8: their largest magnitude, as bits.
func absTopSIMD(x []float32) (top uint32, n int) {
	n = len(x) &^ 7
	if !useNEON || n == 0 {
		return 0, 0
	}
	return absTopNEON(&x[0], n), n
}

func quantIntsSIMD(dst []int16, x []float32, inv float32) int {
	n := len(x) &^ 7
	if !useNEON || n == 0 {
		return 0
	}
	quantIntsNEON(&dst[0], &x[0], inv, n)
	return n
}

func scaleIntsSIMD(dst []float32, src []int32, s float32) int {
	n := len(dst) &^ 7
	if !useNEON || n == 0 {
		return 0
	}
	scaleIntsNEON(&dst[0], &src[0], s, n)
	return n
}
