package convert

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/quant"
)

// checks are first values of E2B's tensors as the reference implementation
// made them.
var checks = map[string][]float32{
	"layers.0.self_attn.q_proj.weight": {-0.0274658203125, -0.04248046875, 0.017333984375, -0.0152587890625},
	"norm.weight":                      {0.76171875, 0.52734375, 1.0703125, 0.81640625},
}

func TestRuleChecks(t *testing.T) {
	c, err := gemma.ShapeConfig("e2b", 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, spec := range c.Tensors() {
		want, ok := checks[spec.HF]
		if !ok {
			continue
		}
		found++
		got := make([]float32, 4)
		r := ruleOf(spec)
		r.fill(got, 0)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", spec.HF, got, want)
		}
	}
	if found != len(checks) {
		t.Errorf("%d tensors checked, want %d", found, len(checks))
	}
}

// TestRuleStretches: any stretch, of any length, in either form gives the same
// values as the whole.
func TestRuleStretches(t *testing.T) {
	c, err := gemma.ShapeConfig("26b-a4b", 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range c.Tensors() {
		r := ruleOf(spec)
		whole := make([]float32, 40)
		r.fill(whole, 0)
		lo, hi := ruleRange(spec)
		for i, v := range whole {
			// Rounding to bfloat16 may step over a bound by half a unit of its 8 bits.
			if margin := (hi - lo) / 256; float64(v) < lo-margin || float64(v) > hi+margin {
				t.Errorf("%s: value %d is %g, want %g to %g", spec, i, v, lo, hi)
			}
			if v != quant.BF16ToF32(quant.F32ToBF16(v)) {
				t.Errorf("%s: value %d is not a bfloat16", spec, i)
			}
		}
		for first := range 9 {
			for n := range 9 {
				part := make([]float32, n)
				r.fill(part, uint64(first))
				half := make([]byte, 2*n)
				r.fillBF16(half, uint64(first))
				for i, v := range part {
					if v != whole[first+i] || quant.BF16ToF32(binary.LittleEndian.Uint16(half[2*i:])) != v {
						t.Fatalf("%s: value %d of %d from %d differs", spec, i, n, first)
					}
				}
			}
		}
	}
}

func BenchmarkRuleBF16(b *testing.B) {
	c, err := gemma.ShapeConfig("e2b", 1)
	if err != nil {
		b.Fatal(err)
	}
	r := ruleOf(c.Spec(gemma.KeyQ, 0))
	dst := make([]byte, 2*chunkValues)
	b.SetBytes(int64(len(dst)))
	for b.Loop() {
		r.fillBF16(dst, 7)
	}
}
