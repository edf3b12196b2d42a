package kernel

import (
	"math"

	"github.com/plume-run/plume/internal/quant"
)

// The specification of vec.go. Every rounding is written out: float32(a*b)+c is two
// roundings, fma32(a, b, c) is one, and the SIMD variants do the same.

func addGeneric(dst, x []float32) {
	for i := range dst {
		dst[i] += x[i]
	}
}

func mulGeneric(dst, x []float32) {
	for i := range dst {
		dst[i] *= x[i]
	}
}

func scaleGeneric(dst []float32, s float32) {
	for i := range dst {
		dst[i] *= s
	}
}

func axpyGeneric(dst, x []float32, s float32) {
	for i := range dst {
		dst[i] = fma32(s, x[i], dst[i])
	}
}

func scaleMulGeneric(dst, x, w []float32, s float32) {
	for i := range dst {
		dst[i] = float32(x[i]*s) * w[i]
	}
}

func ropeGeneric(lo, hi, cos, sin []float32) {
	for i := range lo {
		a, b := lo[i], hi[i]
		lo[i] = fma32(cos[i], a, -float32(b*sin[i]))
		hi[i] = fma32(cos[i], b, float32(a*sin[i]))
	}
}

// exp32 is e^v: n = round(v/ln2), r = v - n·ln2 in |r| ≤ 0.35, then a polynomial of degree
// 7 (Cephes expf) times 2^n. Below -87.3 the result is 0, above 88.3 it is e^88.3.
func exp32(v float32) float32 {
	if v != v {
		return v
	}
	if v < -87.3 {
		return 0
	}
	v = min(v, 88.3)
	n := float32(math.RoundToEven(float64(float32(v * 1.44269504088896341))))
	r := fma32(-n, 0.693359375, v)
	r = fma32(-n, -2.12194440e-4, r)
	p := fma32(1.9875691500e-4, r, 1.3981999507e-3)
	p = fma32(p, r, 8.3334519073e-3)
	p = fma32(p, r, 4.1665795894e-2)
	p = fma32(p, r, 1.6666665459e-1)
	p = fma32(p, r, 5.0000001201e-1)
	p = fma32(p, float32(r*r), r) + 1
	return p * math.Float32frombits(uint32(int32(n)+127)<<23)
}

// geluArg is -2√(2/π)(g + 0.044715 g³) in Horner form.
func geluArg(g float32) float32 {
	const k = 0.7978845608028654 // √(2/π)
	return fma32(-2*k*0.044715, float32(g*g), -2*k) * g
}

func gegluGeneric(gate, up []float32) {
	for i, g := range gate {
		gate[i] = float32(g*up[i]) / (exp32(geluArg(g)) + 1)
	}
}

func softcapGeneric(x []float32, s float32) {
	for i, v := range x {
		t := v / s
		e := exp32(min(t+t, 40))
		x[i] = float32((e-1)/(e+1)) * s
	}
}

func expSumGeneric(x []float32, sub float32, lanes *[8]float32) {
	for i, v := range x {
		x[i] = exp32(v - sub)
		lanes[i%8] += x[i]
	}
}

func f16ToF32Generic(dst []float32, src []uint16) {
	for i, h := range src {
		dst[i] = quant.F16ToF32(h)
	}
}

func bf16ToF32Generic(dst []float32, src []uint16) {
	for i, h := range src {
		dst[i] = quant.BF16ToF32(h)
	}
}

func f32ToF16Generic(dst []uint16, src []float32) {
	for i, f := range src {
		dst[i] = quant.F32ToF16(f)
	}
}
