package testkit

import (
	"hash/fnv"
	"math"
	"strings"

	"github.com/plume-run/plume/internal/quant"
)

// Value returns element i (row-major, from 0) of the tensor called name, which
// has the given shape; name carries no prefix such as "model.". The rule is
//
//	z = FNV-1a64(name) + (i+1)·0x9E3779B97F4A7C15, mixed as SplitMix64 does
//	u = (z >> 40) / 2^24
//	value = bfloat16(float32(lo + (hi−lo)·u))
//
// with lo and hi by the kind of tensor, see [valueRange]. The result is exact
// in bfloat16.
func Value(name string, shape []int, i int64) float32 {
	lo, hi := valueRange(name, shape)
	return value(seed(name), lo, hi, i)
}

// Values returns all elements of the tensor.
func Values(name string, shape []int) []float32 {
	n := 1
	for _, d := range shape {
		n *= d
	}
	lo, hi := valueRange(name, shape)
	s, out := seed(name), make([]float32, n)
	for i := range out {
		out[i] = value(s, lo, hi, int64(i))
	}
	return out
}

func seed(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()
}

func value(seed uint64, lo, hi float64, i int64) float32 {
	z := seed + uint64(i+1)*0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	z ^= z >> 31
	u := float64(z>>40) / (1 << 24)
	x := lo + float64((hi-lo)*u) // the conversion forbids a fused multiply-add
	return quant.BF16ToF32(quant.F32ToBF16(float32(x)))
}

// valueRange is away from every default: norms and scales are not 1, so that
// leaving one out shows, and matrices keep the variance of what they multiply.
func valueRange(name string, shape []int) (lo, hi float64) {
	switch {
	case strings.HasSuffix(name, "layer_scalar"):
		return 0.5, 1
	case strings.HasSuffix(name, "router.scale"), strings.HasSuffix(name, "per_expert_scale"):
		return 0.5, 1.5
	case len(shape) == 1 && strings.Contains(name, "norm"):
		return 0.5, 1.5
	case name == "embed_tokens.weight":
		return -0.05, 0.05
	case name == "embed_tokens_per_layer.weight":
		return -0.1, 0.1
	}
	a := math.Sqrt(3 / float64(shape[len(shape)-1]))
	return -a, a
}
