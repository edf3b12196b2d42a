//go:build arm64 && !purego

package kernel

func readSIMD([]byte) (uint64, bool) { return 0, false }
func peakInt8SIMD() int              { return 0 }
func peakF32SIMD() int               { return 0 }
