//go:build arm64 && !purego

package kernel

// Each …SIMD function handles the first n elements, n a multiple of 8, and returns n.

func addSIMD(dst, x []float32) int {
	n := len(dst) &^ 7
	if !useNEON || n == 0 {
		return 0
	}
	addNEON(&dst[0], &x[0], n)
	return n
}

func mulSIMD(dst, x []float32) int {
	n := len(dst) &^ 7
	if !useNEON || n == 0 {
		return 0
	}
	mulNEON(&dst[0], &x[0], n)
	return n
}

func scaleSIMD(dst []float32, s float32) int {
	n := len(dst) &^ 7
	if !useNEON || n == 0 {
		return 0
	}
	scaleNEON(&dst[0], s, n)
	return n
}

func axpySIMD(dst, x []float32, s float32) int {
	n := len(dst) &^ 7
	if !useNEON || n == 0 {
		return 0
	}
	axpyNEON(&dst[0], &x[0], s, n)
	return n
}

func scaleMulSIMD(dst, x, w []float32, s float32) int {
	n := len(dst) &^ 7
	if !useNEON || n == 0 {
		return 0
	}
	scaleMulNEON(&dst[0], &x[0], &w[0], s, n)
	return n
}

func ropeSIMD(lo, hi, cos, sin []float32) int {
	n := len(lo) &^ 7
	if !useNEON || n == 0 {
		return 0
	}
	ropeNEON(&lo[0], &hi[0], &cos[0], &sin[0], n)
	return n
}

func gegluSIMD(gate, up []float32) int {
	n := len(gate) &^ 7
	if !useNEON || n == 0 {
		return 0
	}
	gegluNEON(&gate[0], &up[0], n)
	return n
}

func softcapSIMD(x []float32, s float32) int {
	n := len(x) &^ 7
	if !useNEON || n == 0 {
		return 0
	}
	softcapNEON(&x[0], s, n)
	return n
}

func maxSIMD(x []float32, lanes *[8]float32) int {
	n := len(x) &^ 7
	if !useNEON || n == 0 {
		return 0
	}
	maxNEON(&x[0], n, &lanes[0])
	return n
}

// expSumSIMD handles everything: the last few values go through a padded buffer, because
// the generic version of e^x costs about 100 ns each.
func expSumSIMD(x []float32, sub float32, lanes *[8]float32) int {
	if !useNEON || len(x) == 0 {
		return 0
	}
	n := len(x) &^ 7
	if n > 0 {
		expSumNEON(&x[0], sub, n, &lanes[0])
	}
	if n < len(x) {
		var buf, unused [8]float32
		copy(buf[:], x[n:])
		expSumNEON(&buf[0], sub, 8, &unused[0])
		for i := range x[n:] {
			x[n+i] = buf[i]
			lanes[i] += buf[i]
		}
	}
	return len(x)
}

func f16ToF32SIMD(dst []float32, src []uint16) int {
	n := len(dst) &^ 7
	if !useNEON || n == 0 {
		return 0
	}
	f16ToF32NEON(&dst[0], &src[0], n)
	return n
}

func bf16ToF32SIMD(dst []float32, src []uint16) int {
	n := len(dst) &^ 7
	if !useNEON || n == 0 {
		return 0
	}
	bf16ToF32NEON(&dst[0], &src[0], n)
	return n
}

func f32ToF16SIMD(dst []uint16, src []float32) int {
	n := len(dst) &^ 7
	if !useNEON || n == 0 {
		return 0
	}
	f32ToF16NEON(&dst[0], &src[0], n)
	return n
}
