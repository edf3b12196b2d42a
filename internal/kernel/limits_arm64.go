//go:build arm64 && !purego

package kernel

func readSIMD(b []byte) (uint64, bool) {
	if !useNEON {
		return 0, false
	}
	return readNEON(&b[0], len(b)), true
}

func peakInt8SIMD() int {
	const n = 10000
	switch {
	case useDot:
		peakInt8Dot(n)
		return 384 * n
	case useNEON:
		peakInt8NEON(n)
		return 128 * n
	}
	return 0
}

func peakF32SIMD() int {
	if !useNEON {
		return 0
	}
	const n = 20000
	peakF32NEON(n)
	return 96 * n
}
