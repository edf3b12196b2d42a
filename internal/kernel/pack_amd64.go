//go:build amd64 && !purego

package kernel

import "github.com/plume-run/plume/internal/quant"

// packPanelSIMD packs a whole panel; false: not here, use the generic code.
func packPanelSIMD(t quant.Type, dst, src []byte, rowBytes int) bool {
	if !useAVX2 {
		return false
	}
	src = src[:PanelRows*rowBytes]
	switch t {
	case quant.Q4_0, quant.IQ4_NL:
		n := rowBytes / 18
		packQ4_0AVX2(&dst[:n*288][0], &src[0], rowBytes, n)
	case quant.Q8_0:
		n := rowBytes / 34
		packQ8_0AVX2(&dst[:n*544][0], &src[0], rowBytes, n)
	case quant.Q6_K:
		n := rowBytes / 210
		packQ6KAVX2(&dst[:n*(32+8*416)][0], &src[0], rowBytes, n)
	default:
		return false
	}
	raceRead(src)
	raceWrite(dst)
	return true
}
