//go:build amd64 && !purego

package kernel

import "unsafe"

// intWidth is the most vectors a tile of DotInts takes, mixIntWidth one of MixInts.
func intWidth() int {
	if useAVX512 {
		return 4
	}
	return 2
}

func mixIntWidth() int {
	if useAVX512 {
		return 8
	}
	return 4
}

// dotIntsSIMD runs one tile of R rows and T vectors; false: not here, use the generic code.
func dotIntsSIMD(R, T int, a *intArgs) bool {
	p := (*byte)(unsafe.Pointer(a))
	switch tile := R<<4 | T; {
	case useAVX512:
		dotIntsVNNI(tile, p)
	case !useAVX2:
		return false
	case tile == 0x41:
		dotInts4x1AVX2(p)
	case tile == 0x42:
		dotInts4x2AVX2(p)
	case tile == 0x11:
		dotInts1x1AVX2(p)
	default:
		dotInts1x2AVX2(p)
	}
	return true
}

func dotIntsVNNI(tile int, p *byte) {
	switch tile {
	case 0x41:
		dotInts4x1VNNI(p)
	case 0x42:
		dotInts4x2VNNI(p)
	case 0x43:
		dotInts4x3VNNI(p)
	case 0x44:
		dotInts4x4VNNI(p)
	case 0x11:
		dotInts1x1VNNI(p)
	case 0x12:
		dotInts1x2VNNI(p)
	case 0x13:
		dotInts1x3VNNI(p)
	case 0x14:
		dotInts1x4VNNI(p)
	}
}

// mixIntsSIMD runs one tile of T vectors; false: not here, use the generic code.
func mixIntsSIMD(T int, a *mixArgs) bool {
	p := (*byte)(unsafe.Pointer(a))
	switch {
	case useAVX512:
		mixIntsVNNI(T, p)
	case !useAVX2:
		return false
	case T == 1:
		mixInts1AVX2(p)
	case T == 2:
		mixInts2AVX2(p)
	case T == 3:
		mixInts3AVX2(p)
	default:
		mixInts4AVX2(p)
	}
	return true
}

func mixIntsVNNI(T int, p *byte) {
	switch T {
	case 1:
		mixInts1VNNI(p)
	case 2:
		mixInts2VNNI(p)
	case 3:
		mixInts3VNNI(p)
	case 4:
		mixInts4VNNI(p)
	case 5:
		mixInts5VNNI(p)
	case 6:
		mixInts6VNNI(p)
	case 7:
		mixInts7VNNI(p)
	case 8:
		mixInts8VNNI(p)
	}
}

// absTopSIMD handles the first n values, n a multiple of 8: their largest magnitude, as bits.
func absTopSIMD(x []float32) (top uint32, n int) {
	n = len(x) &^ 7
	if !useAVX2 || n == 0 {
		return 0, 0
	}
	return absTopAVX2(&x[0], n), n
}

func quantIntsSIMD(dst []int16, x []float32, inv float32) int {
	n := len(x) &^ 7
	if !useAVX2 || n == 0 {
		return 0
	}
	quantIntsAVX2(&dst[0], &x[0], inv, n)
	return n
}

func scaleIntsSIMD(dst []float32, src []int32, s float32) int {
	n := len(dst) &^ 7
	if !useAVX2 || n == 0 {
		return 0
	}
	scaleIntsAVX2(&dst[0], &src[0], s, n)
	return n
}
