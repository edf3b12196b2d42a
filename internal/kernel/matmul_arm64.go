//go:build arm64 && !purego

package kernel

import "unsafe"

// tileWidth is the most tokens a tile takes at the level in use.
func tileWidth(l Layout) int {
	switch {
	case !useNEON:
		return maxTile
	case useDot && l != LayoutQ6_K:
		return 4
	}
	return 2
}

// mulTileSIMD runs a tile of T ≤ tileWidth tokens; false: not here, use the generic code.
func mulTileSIMD(l Layout, T int, a *mulArgs) bool {
	if !useNEON {
		return false
	}
	for h := range 2 {
		part := a.half(h)
		if useDot {
			mulTileDot(l, T, (*byte)(unsafe.Pointer(&part)))
		} else {
			mulTileNEON(l, T, (*byte)(unsafe.Pointer(&part)))
		}
	}
	return true
}

func mulTileDot(l Layout, T int, a *byte) {
	switch l {
	case LayoutQ4_0:
		switch T {
		case 1:
			mulQ4_0x1Dot(a)
		case 2:
			mulQ4_0x2Dot(a)
		case 3:
			mulQ4_0x3Dot(a)
		case 4:
			mulQ4_0x4Dot(a)
		}
	case LayoutQ4_1:
		switch T {
		case 1:
			mulQ4_1x1Dot(a)
		case 2:
			mulQ4_1x2Dot(a)
		case 3:
			mulQ4_1x3Dot(a)
		case 4:
			mulQ4_1x4Dot(a)
		}
	case LayoutQ5_1:
		switch T {
		case 1:
			mulQ5_1x1Dot(a)
		case 2:
			mulQ5_1x2Dot(a)
		case 3:
			mulQ5_1x3Dot(a)
		case 4:
			mulQ5_1x4Dot(a)
		}
	case LayoutQ8_0:
		switch T {
		case 1:
			mulQ8_0x1Dot(a)
		case 2:
			mulQ8_0x2Dot(a)
		case 3:
			mulQ8_0x3Dot(a)
		case 4:
			mulQ8_0x4Dot(a)
		}
	case LayoutQ4_K:
		switch T {
		case 1:
			mulQ4_Kx1Dot(a)
		case 2:
			mulQ4_Kx2Dot(a)
		case 3:
			mulQ4_Kx3Dot(a)
		case 4:
			mulQ4_Kx4Dot(a)
		}
	case LayoutQ5_K:
		switch T {
		case 1:
			mulQ5_Kx1Dot(a)
		case 2:
			mulQ5_Kx2Dot(a)
		case 3:
			mulQ5_Kx3Dot(a)
		case 4:
			mulQ5_Kx4Dot(a)
		}
	case LayoutIQ4_NL:
		switch T {
		case 1:
			mulIQ4_NLx1Dot(a)
		case 2:
			mulIQ4_NLx2Dot(a)
		case 3:
			mulIQ4_NLx3Dot(a)
		case 4:
			mulIQ4_NLx4Dot(a)
		}
	case LayoutIQ4_XS:
		switch T {
		case 1:
			mulIQ4_XSx1Dot(a)
		case 2:
			mulIQ4_XSx2Dot(a)
		case 3:
			mulIQ4_XSx3Dot(a)
		case 4:
			mulIQ4_XSx4Dot(a)
		}
	case LayoutQ6_K:
		switch T {
		case 1:
			mulQ6_Kx1Dot(a)
		case 2:
			mulQ6_Kx2Dot(a)
		}
	}
}

func mulTileNEON(l Layout, T int, a *byte) {
	switch l {
	case LayoutQ4_0:
		switch T {
		case 1:
			mulQ4_0x1NEON(a)
		case 2:
			mulQ4_0x2NEON(a)
		}
	case LayoutQ4_1:
		switch T {
		case 1:
			mulQ4_1x1NEON(a)
		case 2:
			mulQ4_1x2NEON(a)
		}
	case LayoutQ5_1:
		switch T {
		case 1:
			mulQ5_1x1NEON(a)
		case 2:
			mulQ5_1x2NEON(a)
		}
	case LayoutQ8_0:
		switch T {
		case 1:
			mulQ8_0x1NEON(a)
		case 2:
			mulQ8_0x2NEON(a)
		}
	case LayoutQ4_K:
		switch T {
		case 1:
			mulQ4_Kx1NEON(a)
		case 2:
			mulQ4_Kx2NEON(a)
		}
	case LayoutQ5_K:
		switch T {
		case 1:
			mulQ5_Kx1NEON(a)
		case 2:
			mulQ5_Kx2NEON(a)
		}
	case LayoutIQ4_NL:
		switch T {
		case 1:
			mulIQ4_NLx1NEON(a)
		case 2:
			mulIQ4_NLx2NEON(a)
		}
	case LayoutIQ4_XS:
		switch T {
		case 1:
			mulIQ4_XSx1NEON(a)
		case 2:
			mulIQ4_XSx2NEON(a)
		}
	case LayoutQ6_K:
		switch T {
		case 1:
			mulQ6_Kx1NEON(a)
		case 2:
			mulQ6_Kx2NEON(a)
		}
	}
}

func quantizeSIMD(dst []byte, x []float32) bool {
	if !useNEON {
		return false
	}
	quantizeNEON(&dst[0], &x[0], len(x)/32)
	return true
}

// quantRowSIMD handles the first n values, n a multiple of 32, and returns n.
func quantRowSIMD(dst []int8, x []float32, inv float32) int {
	n := len(x) &^ 31
	if !useNEON || n == 0 {
		return 0
	}
	quantRowNEON(&dst[0], &x[0], inv, n)
	return n
}
