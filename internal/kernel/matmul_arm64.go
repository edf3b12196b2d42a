//go:build arm64 && !purego

package kernel

import "unsafe"

// tileWidth is the most tokens a tile takes at the level in use.
func tileWidth(l Layout) int {
	switch {
	case !useNEON:
		return maxTile
	case useDot && !halfScales(l):
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
