//go:build amd64 && !purego

package kernel

import "unsafe"

// tileWidth is the most tokens a tile takes at the level in use.
func tileWidth(l Layout) int {
	if useAVX512 {
		if halfScales(l) {
			return 8
		}
		return 12
	}
	if useAVX2 {
		if halfScales(l) {
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
		mulTile256(l, T, a)
	default:
		for h := range 2 {
			part := a.half(h)
			mulTile256(l, T, &part)
		}
	}
	return true
}

func mulTile256(l Layout, T int, a *mulArgs) {
	if useAVXVNNI {
		mulTileAVXVNNI(l, T, (*byte)(unsafe.Pointer(a)))
	} else {
		mulTileAVX2(l, T, (*byte)(unsafe.Pointer(a)))
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
