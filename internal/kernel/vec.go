package kernel

import "math"

// The element-wise operations and reductions. Slices that belong together must have the
// same length; a shorter one is a bug of the caller and panics. Any length works; multiples
// of 8 are fastest. dst may be the same slice as an operand but must not overlap it otherwise.

// Add does dst[i] += x[i].
//
//go:noinline
func Add(dst, x []float32) {
	x = x[:len(dst)]
	raceRead(x)
	raceWrite(dst)
	n := addSIMD(dst, x)
	addGeneric(dst[n:], x[n:])
}

// Mul does dst[i] *= x[i].
//
//go:noinline
func Mul(dst, x []float32) {
	x = x[:len(dst)]
	raceRead(x)
	raceWrite(dst)
	n := mulSIMD(dst, x)
	mulGeneric(dst[n:], x[n:])
}

// Scale does dst[i] *= s.
//
//go:noinline
func Scale(dst []float32, s float32) {
	raceWrite(dst)
	n := scaleSIMD(dst, s)
	scaleGeneric(dst[n:], s)
}

// Axpy does dst[i] = fma(s, x[i], dst[i]).
//
//go:noinline
func Axpy(dst, x []float32, s float32) {
	x = x[:len(dst)]
	raceRead(x)
	raceWrite(dst)
	n := axpySIMD(dst, x, s)
	axpyGeneric(dst[n:], x[n:], s)
}

// ScaleMul does dst[i] = (x[i]*s)*w[i]; a nil w counts as ones.
//
//go:noinline
func ScaleMul(dst, x, w []float32, s float32) {
	x = x[:len(dst)]
	if w == nil {
		copy(dst, x)
		n := scaleSIMD(dst, s)
		scaleGeneric(dst[n:], s)
		return
	}
	w = w[:len(dst)]
	raceRead(x)
	raceRead(w)
	raceWrite(dst)
	n := scaleMulSIMD(dst, x, w, s)
	scaleMulGeneric(dst[n:], x[n:], w[n:], s)
}

// SumSquares is Dot(x, x).
func SumSquares(x []float32) float32 { return Dot(x, x) }

// RMSNorm does dst = x / sqrt(mean(x²)+eps) * w; a nil w counts as ones.
func RMSNorm(dst, x, w []float32, eps float32) {
	if len(x) == 0 {
		return
	}
	mean := float32(SumSquares(x)/float32(len(x))) + eps
	ScaleMul(dst, x, w, 1/float32(math.Sqrt(float64(mean))))
}

// GeGLU does gate[i] = gelu_tanh(gate[i]) * up[i], with
// gelu_tanh(g) = g/2 (1 + tanh(√(2/π) (g + 0.044715 g³))); largest absolute error 2e-6 for
// gate and up of magnitude 1.
//
//go:noinline
func GeGLU(gate, up []float32) {
	up = up[:len(gate)]
	raceRead(up)
	raceWrite(gate)
	n := gegluSIMD(gate, up)
	gegluGeneric(gate[n:], up[n:])
}

// SoftCap does x[i] = s * tanh(x[i]/s); absolute error below 1e-6·s.
//
//go:noinline
func SoftCap(x []float32, s float32) {
	for len(x) > 0 {
		part := x[:min(len(x), 1<<14)] // 16,384 values: about 20 µs
		x = x[len(part):]
		softCapPart(part, s)
	}
}

//go:noinline
func softCapPart(x []float32, s float32) {
	raceWrite(x)
	n := softcapSIMD(x, s)
	softcapGeneric(x[n:], s)
}

// Rope rotates the pairs (lo[i], hi[i]) by the angles whose cosines and sines are given:
// lo' = lo·cos − hi·sin, hi' = hi·cos + lo·sin. All four have one length.
//
//go:noinline
func Rope(lo, hi, cos, sin []float32) {
	hi, cos, sin = hi[:len(lo)], cos[:len(lo)], sin[:len(lo)]
	raceRead(cos)
	raceRead(sin)
	raceWrite(lo)
	raceWrite(hi)
	n := ropeSIMD(lo, hi, cos, sin)
	ropeGeneric(lo[n:], hi[n:], cos[n:], sin[n:])
}

// Max is the largest element, -Inf of none. A NaN may be lost.
//
//go:noinline
func Max(x []float32) float32 {
	raceRead(x)
	var lanes [8]float32
	for i := range lanes {
		lanes[i] = float32(math.Inf(-1))
	}
	n := maxSIMD(x, &lanes)
	m := lanes[0]
	for _, v := range lanes[1:] {
		m = max(m, v)
	}
	for _, v := range x[n:] {
		m = max(m, v)
	}
	return m
}

// ExpSum does x[i] = e^(x[i]-sub) and returns the sum of the results. Results below
// e^-87.3 are exactly 0; relative error 2e-7 for x[i] near sub, 2e-6 at the far end.
//
//go:noinline
func ExpSum(x []float32, sub float32) float32 {
	raceWrite(x)
	var lanes [8]float32
	n := expSumSIMD(x, sub, &lanes)
	expSumGeneric(x[n:], sub, &lanes)
	return sum8(&lanes)
}

// Exp is e^v with the bits of ExpSum, on every machine (math.Exp differs between them).
func Exp(v float32) float32 { return exp32(v) }

// sum8 adds eight lanes in the order l+4, l+2, l+1.
func sum8(l *[8]float32) float32 {
	a := [4]float32{l[0] + l[4], l[1] + l[5], l[2] + l[6], l[3] + l[7]}
	return (a[0] + a[2]) + (a[1] + a[3])
}

// F16ToF32 widens half floats, exactly.
//
//go:noinline
func F16ToF32(dst []float32, src []uint16) {
	src = src[:len(dst)]
	raceRead(src)
	raceWrite(dst)
	n := f16ToF32SIMD(dst, src)
	f16ToF32Generic(dst[n:], src[n:])
}

// BF16ToF32 widens bfloat16 values, exactly.
//
//go:noinline
func BF16ToF32(dst []float32, src []uint16) {
	src = src[:len(dst)]
	raceRead(src)
	raceWrite(dst)
	n := bf16ToF32SIMD(dst, src)
	bf16ToF32Generic(dst[n:], src[n:])
}

// F32ToF16 rounds to half floats, ties to even; overflow gives infinity.
//
//go:noinline
func F32ToF16(dst []uint16, src []float32) {
	src = src[:len(dst)]
	raceRead(src)
	raceWrite(dst)
	n := f32ToF16SIMD(dst, src)
	f32ToF16Generic(dst[n:], src[n:])
}
