//go:build amd64 && !purego

package kernel

import "unsafe"

// tileWidth is the most tokens a tile takes at the level in use.
func tileWidth(l Layout) int {
	if useAVX512 {
		if l == LayoutQ6_K {
			return 8
		}
		return 12
	}
	if useAVX2 {
		if l == LayoutQ6_K {
			return 4
		}
		return 6
	}
	return maxTile
}

// mulTileSIMD runs a tile of T ≤ tileWidth tokens; false: not here, use the generic code.
func mulTileSIMD(l Layout, T int, a *mulArgs) bool {
	switch {
	case useAVX512:
		mulTileVNNI(l, T, (*byte)(unsafe.Pointer(a)))
	case !useAVX2:
		return false
	case T == 1:
		mulTileAVX2(l, T, (*byte)(unsafe.Pointer(a)))
	default:
		for h := range 2 {
			part := a.half(h)
			mulTileAVX2(l, T, (*byte)(unsafe.Pointer(&part)))
		}
	}
	return true
}

func mulTileAVX2(l Layout, T int, a *byte) {
	switch l {
	case LayoutQ4_0:
		switch T {
		case 1:
			mulQ4_0x1AVX2(a)
		case 2:
			mulQ4_0x2AVX2(a)
		case 3:
			mulQ4_0x3AVX2(a)
		case 4:
			mulQ4_0x4AVX2(a)
		case 5:
			mulQ4_0x5AVX2(a)
		case 6:
			mulQ4_0x6AVX2(a)
		}
	case LayoutQ4_1:
		switch T {
		case 1:
			mulQ4_1x1AVX2(a)
		case 2:
			mulQ4_1x2AVX2(a)
		case 3:
			mulQ4_1x3AVX2(a)
		case 4:
			mulQ4_1x4AVX2(a)
		case 5:
			mulQ4_1x5AVX2(a)
		case 6:
			mulQ4_1x6AVX2(a)
		}
	case LayoutQ5_1:
		switch T {
		case 1:
			mulQ5_1x1AVX2(a)
		case 2:
			mulQ5_1x2AVX2(a)
		case 3:
			mulQ5_1x3AVX2(a)
		case 4:
			mulQ5_1x4AVX2(a)
		case 5:
			mulQ5_1x5AVX2(a)
		case 6:
			mulQ5_1x6AVX2(a)
		}
	case LayoutQ8_0:
		switch T {
		case 1:
			mulQ8_0x1AVX2(a)
		case 2:
			mulQ8_0x2AVX2(a)
		case 3:
			mulQ8_0x3AVX2(a)
		case 4:
			mulQ8_0x4AVX2(a)
		case 5:
			mulQ8_0x5AVX2(a)
		case 6:
			mulQ8_0x6AVX2(a)
		}
	case LayoutQ4_K:
		switch T {
		case 1:
			mulQ4_Kx1AVX2(a)
		case 2:
			mulQ4_Kx2AVX2(a)
		case 3:
			mulQ4_Kx3AVX2(a)
		case 4:
			mulQ4_Kx4AVX2(a)
		case 5:
			mulQ4_Kx5AVX2(a)
		case 6:
			mulQ4_Kx6AVX2(a)
		}
	case LayoutQ5_K:
		switch T {
		case 1:
			mulQ5_Kx1AVX2(a)
		case 2:
			mulQ5_Kx2AVX2(a)
		case 3:
			mulQ5_Kx3AVX2(a)
		case 4:
			mulQ5_Kx4AVX2(a)
		case 5:
			mulQ5_Kx5AVX2(a)
		case 6:
			mulQ5_Kx6AVX2(a)
		}
	case LayoutIQ4_NL:
		switch T {
		case 1:
			mulIQ4_NLx1AVX2(a)
		case 2:
			mulIQ4_NLx2AVX2(a)
		case 3:
			mulIQ4_NLx3AVX2(a)
		case 4:
			mulIQ4_NLx4AVX2(a)
		case 5:
			mulIQ4_NLx5AVX2(a)
		case 6:
			mulIQ4_NLx6AVX2(a)
		}
	case LayoutIQ4_XS:
		switch T {
		case 1:
			mulIQ4_XSx1AVX2(a)
		case 2:
			mulIQ4_XSx2AVX2(a)
		case 3:
			mulIQ4_XSx3AVX2(a)
		case 4:
			mulIQ4_XSx4AVX2(a)
		case 5:
			mulIQ4_XSx5AVX2(a)
		case 6:
			mulIQ4_XSx6AVX2(a)
		}
	case LayoutQ6_K:
		switch T {
		case 1:
			mulQ6_Kx1AVX2(a)
		case 2:
			mulQ6_Kx2AVX2(a)
		case 3:
			mulQ6_Kx3AVX2(a)
		case 4:
			mulQ6_Kx4AVX2(a)
		}
	}
}

func quantizeSIMD(dst []byte, x []float32) bool {
	if !useAVX2 {
		return false
	}
	quantizeAVX2(&dst[0], &x[0], len(x)/32)
	return true
}

// quantRowSIMD handles the first n values, n a multiple of 32, and returns n.
func quantRowSIMD(dst []int8, x []float32, inv float32) int {
	n := len(x) &^ 31
	if !useAVX2 || n == 0 {
		return 0
	}
	quantRowAVX2(&dst[0], &x[0], inv, n)
	return n
}

func mulTileVNNI(l Layout, T int, a *byte) {
	switch l {
	case LayoutQ4_0:
		switch T {
		case 1:
			mulQ4_0x1VNNI(a)
		case 2:
			mulQ4_0x2VNNI(a)
		case 3:
			mulQ4_0x3VNNI(a)
		case 4:
			mulQ4_0x4VNNI(a)
		case 5:
			mulQ4_0x5VNNI(a)
		case 6:
			mulQ4_0x6VNNI(a)
		case 7:
			mulQ4_0x7VNNI(a)
		case 8:
			mulQ4_0x8VNNI(a)
		case 9:
			mulQ4_0x9VNNI(a)
		case 10:
			mulQ4_0x10VNNI(a)
		case 11:
			mulQ4_0x11VNNI(a)
		case 12:
			mulQ4_0x12VNNI(a)
		}
	case LayoutQ4_1:
		switch T {
		case 1:
			mulQ4_1x1VNNI(a)
		case 2:
			mulQ4_1x2VNNI(a)
		case 3:
			mulQ4_1x3VNNI(a)
		case 4:
			mulQ4_1x4VNNI(a)
		case 5:
			mulQ4_1x5VNNI(a)
		case 6:
			mulQ4_1x6VNNI(a)
		case 7:
			mulQ4_1x7VNNI(a)
		case 8:
			mulQ4_1x8VNNI(a)
		case 9:
			mulQ4_1x9VNNI(a)
		case 10:
			mulQ4_1x10VNNI(a)
		case 11:
			mulQ4_1x11VNNI(a)
		case 12:
			mulQ4_1x12VNNI(a)
		}
	case LayoutQ5_1:
		switch T {
		case 1:
			mulQ5_1x1VNNI(a)
		case 2:
			mulQ5_1x2VNNI(a)
		case 3:
			mulQ5_1x3VNNI(a)
		case 4:
			mulQ5_1x4VNNI(a)
		case 5:
			mulQ5_1x5VNNI(a)
		case 6:
			mulQ5_1x6VNNI(a)
		case 7:
			mulQ5_1x7VNNI(a)
		case 8:
			mulQ5_1x8VNNI(a)
		case 9:
			mulQ5_1x9VNNI(a)
		case 10:
			mulQ5_1x10VNNI(a)
		case 11:
			mulQ5_1x11VNNI(a)
		case 12:
			mulQ5_1x12VNNI(a)
		}
	case LayoutQ8_0:
		switch T {
		case 1:
			mulQ8_0x1VNNI(a)
		case 2:
			mulQ8_0x2VNNI(a)
		case 3:
			mulQ8_0x3VNNI(a)
		case 4:
			mulQ8_0x4VNNI(a)
		case 5:
			mulQ8_0x5VNNI(a)
		case 6:
			mulQ8_0x6VNNI(a)
		case 7:
			mulQ8_0x7VNNI(a)
		case 8:
			mulQ8_0x8VNNI(a)
		case 9:
			mulQ8_0x9VNNI(a)
		case 10:
			mulQ8_0x10VNNI(a)
		case 11:
			mulQ8_0x11VNNI(a)
		case 12:
			mulQ8_0x12VNNI(a)
		}
	case LayoutQ4_K:
		switch T {
		case 1:
			mulQ4_Kx1VNNI(a)
		case 2:
			mulQ4_Kx2VNNI(a)
		case 3:
			mulQ4_Kx3VNNI(a)
		case 4:
			mulQ4_Kx4VNNI(a)
		case 5:
			mulQ4_Kx5VNNI(a)
		case 6:
			mulQ4_Kx6VNNI(a)
		case 7:
			mulQ4_Kx7VNNI(a)
		case 8:
			mulQ4_Kx8VNNI(a)
		case 9:
			mulQ4_Kx9VNNI(a)
		case 10:
			mulQ4_Kx10VNNI(a)
		case 11:
			mulQ4_Kx11VNNI(a)
		case 12:
			mulQ4_Kx12VNNI(a)
		}
	case LayoutQ5_K:
		switch T {
		case 1:
			mulQ5_Kx1VNNI(a)
		case 2:
			mulQ5_Kx2VNNI(a)
		case 3:
			mulQ5_Kx3VNNI(a)
		case 4:
			mulQ5_Kx4VNNI(a)
		case 5:
			mulQ5_Kx5VNNI(a)
		case 6:
			mulQ5_Kx6VNNI(a)
		case 7:
			mulQ5_Kx7VNNI(a)
		case 8:
			mulQ5_Kx8VNNI(a)
		case 9:
			mulQ5_Kx9VNNI(a)
		case 10:
			mulQ5_Kx10VNNI(a)
		case 11:
			mulQ5_Kx11VNNI(a)
		case 12:
			mulQ5_Kx12VNNI(a)
		}
	case LayoutIQ4_NL:
		switch T {
		case 1:
			mulIQ4_NLx1VNNI(a)
		case 2:
			mulIQ4_NLx2VNNI(a)
		case 3:
			mulIQ4_NLx3VNNI(a)
		case 4:
			mulIQ4_NLx4VNNI(a)
		case 5:
			mulIQ4_NLx5VNNI(a)
		case 6:
			mulIQ4_NLx6VNNI(a)
		case 7:
			mulIQ4_NLx7VNNI(a)
		case 8:
			mulIQ4_NLx8VNNI(a)
		case 9:
			mulIQ4_NLx9VNNI(a)
		case 10:
			mulIQ4_NLx10VNNI(a)
		case 11:
			mulIQ4_NLx11VNNI(a)
		case 12:
			mulIQ4_NLx12VNNI(a)
		}
	case LayoutIQ4_XS:
		switch T {
		case 1:
			mulIQ4_XSx1VNNI(a)
		case 2:
			mulIQ4_XSx2VNNI(a)
		case 3:
			mulIQ4_XSx3VNNI(a)
		case 4:
			mulIQ4_XSx4VNNI(a)
		case 5:
			mulIQ4_XSx5VNNI(a)
		case 6:
			mulIQ4_XSx6VNNI(a)
		case 7:
			mulIQ4_XSx7VNNI(a)
		case 8:
			mulIQ4_XSx8VNNI(a)
		case 9:
			mulIQ4_XSx9VNNI(a)
		case 10:
			mulIQ4_XSx10VNNI(a)
		case 11:
			mulIQ4_XSx11VNNI(a)
		case 12:
			mulIQ4_XSx12VNNI(a)
		}
	case LayoutQ6_K:
		switch T {
		case 1:
			mulQ6_Kx1VNNI(a)
		case 2:
			mulQ6_Kx2VNNI(a)
		case 3:
			mulQ6_Kx3VNNI(a)
		case 4:
			mulQ6_Kx4VNNI(a)
		case 5:
			mulQ6_Kx5VNNI(a)
		case 6:
			mulQ6_Kx6VNNI(a)
		case 7:
			mulQ6_Kx7VNNI(a)
		case 8:
			mulQ6_Kx8VNNI(a)
		}
	}
}
