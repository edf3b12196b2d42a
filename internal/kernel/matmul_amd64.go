//go:build amd64 && !purego

package kernel

import "unsafe"

// tileWidth is the most tokens a tile takes at the level in use.
func tileWidth(Layout) int {
	if useAVX2 {
		return 6
	}
	return maxTile
}

// mulTileSIMD runs a tile of T ≤ tileWidth tokens; false: not here, use the generic code.
func mulTileSIMD(l Layout, T int, a *mulArgs) bool {
	if !useAVX2 {
		return false
	}
	mulTileAVX2(l, T, (*byte)(unsafe.Pointer(a)))
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
		case 5:
			mulQ6_Kx5AVX2(a)
		case 6:
			mulQ6_Kx6AVX2(a)
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
