package convert

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"strings"

	"github.com/plume-run/plume/internal/gemma"
)

// rule makes the values of one tensor of a synthetic model. Value i (row-major,
// from 0) is hashed from the tensor's name and i, so any stretch can be made
// without the others:
//
//	seed = FNV-1a 64 of the safetensors name without prefix
//	z = seed + (i+1)·0x9E3779B97F4A7C15                          mod 2^64
//	z = (z ^ z>>30)·0xBF58476D1CE4E5B9
//	z = (z ^ z>>27)·0x94D049BB133111EB
//	z = z ^ z>>31                                                (SplitMix64)
//	u = (z>>40) / 2^24                                           in [0, 1)
//	value = bfloat16(float32(lo + (hi−lo)·u))
//
// The ranges lo…hi keep activations in a normal range through any number of
// layers: matrices have variance 1/n for rows of n values.
type rule struct {
	seed uint64
	lo   float64
	step float64 // (hi−lo)/2^24: times z>>40 it is (hi−lo)·u, rounded alike
}

func ruleOf(spec gemma.TensorSpec) rule {
	h := fnv.New64a()
	h.Write([]byte(spec.HF))
	lo, hi := ruleRange(spec)
	return rule{seed: h.Sum64(), lo: lo, step: (hi - lo) / (1 << 24)}
}

func ruleRange(spec gemma.TensorSpec) (lo, hi float64) {
	switch {
	case spec.Key == gemma.KeyLayerScalar:
		return 0.5, 1
	case spec.Key == gemma.KeyRouterScale || spec.Key == gemma.KeyExpertScale:
		return 0.5, 1.5
	case len(spec.Shape) == 1 && strings.Contains(spec.HF, "norm"):
		return 0.5, 1.5
	case spec.Key == gemma.KeyEmbed:
		return -0.05, 0.05
	case spec.Key == gemma.KeyPLETable:
		return -0.1, 0.1
	}
	a := math.Sqrt(3 / float64(spec.RowLen()))
	return -a, a
}

const (
	weyl = 0x9E3779B97F4A7C15 // step from one index to the next
	// Its multiples mod 2^64, so that four values can be made independently.
	weyl2 = weyl * 2 & math.MaxUint64
	weyl3 = weyl * 3 & math.MaxUint64
	weyl4 = weyl * 4 & math.MaxUint64

	mix1 = 0xBF58476D1CE4E5B9
	mix2 = 0x94D049BB133111EB
)

// bits returns the float32 bits of the value for z, rounded to bfloat16: the
// lower 16 are zero. It is inlined into the loops below.
func (r *rule) bits(z uint64) uint32 {
	z = (z ^ z>>30) * mix1
	z = (z ^ z>>27) * mix2
	z ^= z >> 31
	// The conversion of the product keeps the compiler from fusing it with the
	// addition, which would round differently on some processors.
	v := r.lo + float64(r.step*float64(int64(z>>40)))
	b := math.Float32bits(float32(v))
	return (b + 0x7fff + b>>16&1) &^ 0xffff // to nearest even; values are finite
}

// fillBF16 makes the values from index first on as little-endian bfloat16.
func (r *rule) fillBF16(dst []byte, first uint64) {
	z := r.seed + first*weyl
	for ; len(dst) >= 8; dst = dst[8:] {
		a, b := r.bits(z+weyl), r.bits(z+weyl2)
		c, d := r.bits(z+weyl3), r.bits(z+weyl4)
		z += weyl4
		binary.LittleEndian.PutUint64(dst, uint64(a>>16)|uint64(b)|uint64(c>>16)<<32|uint64(d)<<32)
	}
	for ; len(dst) >= 2; dst = dst[2:] {
		z += weyl
		binary.LittleEndian.PutUint16(dst, uint16(r.bits(z)>>16))
	}
}

// fill makes the values from index first on.
func (r *rule) fill(dst []float32, first uint64) {
	z := r.seed + first*weyl
	for i := range dst {
		z += weyl
		dst[i] = math.Float32frombits(r.bits(z))
	}
}
