//go:build amd64 && !purego

package kernel

func readSIMD(b []byte) (uint64, bool) {
	if !useAVX2 {
		return 0, false
	}
	return readAVX2(&b[0], len(b)), true
}

func peakInt8SIMD() int {
	if !useAVX2 {
		return 0
	}
	const n = 10000
	if useAVX512 {
		peakInt8VNNI(n / 3)
		return 768 * (n / 3)
	}
	if useAVXVNNI {
		peakInt8AVXVNNI(n)
		return 384 * n
	}
	peakInt8AVX2(n)
	return 256 * n
}

func peakF32SIMD() int {
	if !useAVX2 {
		return 0
	}
	const n = 20000
	peakF32AVX2(n)
	return 96 * n
}
