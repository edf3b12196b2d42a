package testkit_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/quant"
	"github.com/plume-run/plume/internal/testkit"
)

// The first values of two tensors of E2B, from an implementation of the rule in
// another language.
func TestValuesFollowTheRule(t *testing.T) {
	testkit.SameBits(t, "q_proj", testkit.Values("layers.0.self_attn.q_proj.weight", []int{2048, 1536})[:4],
		[]float32{-0.0274658203125, -0.04248046875, 0.017333984375, -0.0152587890625})
	testkit.SameBits(t, "norm", testkit.Values("norm.weight", []int{1536})[:4],
		[]float32{0.76171875, 0.52734375, 1.0703125, 0.81640625})
	if got := testkit.Value("norm.weight", []int{1536}, 2); got != 1.0703125 {
		t.Errorf("element 2 is %v alone, 1.0703125 among all", got)
	}
	for _, c := range []struct {
		name   string
		shape  []int
		lo, hi float32
	}{
		{"layers.3.layer_scalar", []int{1}, 0.5, 1},
		{"layers.3.router.scale", []int{64}, 0.5, 1.5},
		{"layers.3.router.per_expert_scale", []int{64}, 0.5, 1.5},
		{"layers.3.self_attn.q_norm.weight", []int{64}, 0.5, 1.5},
		{"embed_tokens.weight", []int{8, 64}, -0.05, 0.05},
		{"embed_tokens_per_layer.weight", []int{8, 64}, -0.1, 0.1},
		{"layers.3.experts.down_proj", []int{2, 8, 48}, -0.25, 0.25},
	} {
		x := testkit.Values(c.name, c.shape)
		lo, hi := x[0], x[0]
		for _, v := range x {
			lo, hi = min(lo, v), max(hi, v)
		}
		slack := (c.hi - c.lo) / 128 // bfloat16 rounds the bounds too
		if lo < c.lo-slack || hi > c.hi+slack || len(x) > 1 && hi-lo < (c.hi-c.lo)*0.8 {
			t.Errorf("%s: values from %v to %v, want to fill %v to %v", c.name, lo, hi, c.lo, c.hi)
		}
	}
}

func TestWrittenModelsOpen(t *testing.T) {
	features := map[string]int{}
	for seed := range uint64(40) {
		config := testkit.RandomConfig(t, seed)
		if !bytes.Equal(config, testkit.RandomConfig(t, seed)) {
			t.Fatalf("seed %d: two different configs", seed)
		}
		m := testkit.TextModel(t, config)
		if seed%2 == 1 {
			m.Prefix, m.Type = "", quant.F32
		}
		cat, err := checkpoint.Open(m.Write(t))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		cfg, err := gemma.ReadConfig(cat)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for _, spec := range cfg.Tensors() {
			if _, err := gemma.Locate(cat, spec); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
		}
		testkit.SameBits(t, "norm.weight", testkit.Read(t, cat, m.Prefix+"norm.weight"),
			testkit.Values("norm.weight", []int{cfg.HiddenSize}))
		if len(cfg.Unknown) > 0 {
			t.Errorf("seed %d: unknown keys %v", seed, cfg.Unknown)
		}
		for name, has := range map[string]bool{
			"table": cfg.PLESize > 0, "shared": cfg.NumKVSharedLayers > 0, "experts": cfg.NumExperts > 0,
			"k_eq_v": cfg.KEqV, "wide": cfg.IntermediateSize[0] != cfg.IntermediateSize[cfg.NumLayers-1],
			"other kv heads": cfg.NumGlobalKVHeads != cfg.NumKVHeads,
		} {
			if has {
				features[name]++
			}
		}
		if err := cat.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"table", "shared", "experts", "k_eq_v", "wide", "other kv heads"} {
		if n := features[name]; n < 3 || n > 37 {
			t.Errorf("%d of 40 random models have %s: the draw is lopsided", n, name)
		}
	}
}

// recorder is a testing.TB that keeps errors instead of failing.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Helper()                   {}
func (r *recorder) Errorf(f string, a ...any) { r.errors = append(r.errors, fmt.Sprintf(f, a...)) }

func TestComparisons(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, c := range []struct {
		name      string
		got, want []float32
		tol       float64
		msg       string // of Within; "" when it must pass
	}{
		{"equal", []float32{1, nan, inf}, []float32{1, nan, inf}, 0, ""},
		{"inside", []float32{1, 2.5}, []float32{1, 2}, 0.5, ""},
		{"outside", []float32{1, 2.5, 9}, []float32{1.25, 2, 9}, 0.1, "x: 2 of 3 values are off by more than 0.1; the worst, [1], is 2.5, want 2 (off by 0.5)"},
		{"nan", []float32{1, nan}, []float32{1, 2}, 1e30, "the worst, [1], is NaN, want 2 (off by +Inf)"},
		{"wanted nan", []float32{2}, []float32{nan}, 1e30, "is 2, want NaN"},
		{"infinite", []float32{inf}, []float32{-inf}, 1e30, "is +Inf, want -Inf"},
		{"nan tolerance", []float32{1}, []float32{2}, math.NaN(), "is 1, want 2"},
		{"length", []float32{1}, nil, 1, "x: 1 values, want 0"},
	} {
		r := &recorder{}
		testkit.Within(r, "x", c.got, c.want, c.tol)
		if got := strings.Join(r.errors, "\n"); (got == "") != (c.msg == "") || !strings.Contains(got, c.msg) {
			t.Errorf("%s: %q, want %q", c.name, got, c.msg)
		}
	}
	r := &recorder{}
	testkit.SameBits(r, "x", []float32{0, 1}, []float32{0, 1})
	if len(r.errors) > 0 {
		t.Errorf("equal bits: %q", r.errors)
	}
	testkit.SameBits(r, "x", []float32{1, 0}, []float32{1, float32(math.Copysign(0, -1))})
	testkit.SameBits(r, "x", []float32{1}, nil)
	if len(r.errors) != 2 || !strings.Contains(r.errors[0], "1 of 2 values have other bits; the first, [1], is 0") {
		t.Errorf("different bits: %q", r.errors)
	}
}

func TestFaultyReaderAt(t *testing.T) {
	boom := errors.New("boom")
	r := testkit.NewFaultyReaderAt(strings.NewReader("0123456789"))
	want := func(name string, off int64, n int, text string, is error) {
		t.Helper()
		p := make([]byte, n)
		got, err := r.ReadAt(p, off)
		if string(p[:got]) != text || !errors.Is(err, is) {
			t.Errorf("%s: %q, %v, want %q, %v", name, p[:got], err, text, is)
		}
	}
	want("sound", 2, 3, "234", nil)
	want("past the end", 8, 3, "89", io.EOF)
	r.EndAt(5)
	want("before the new end", 1, 4, "1234", nil)
	want("across the new end", 3, 4, "34", io.EOF)
	want("behind the new end", 7, 2, "", io.EOF)
	r.Heal()
	r.FailAfter(5, boom)
	want("before the fault", 0, 3, "012", nil)
	want("into the fault", 0, 3, "01", boom)
	want("after the fault", 0, 1, "", boom)
	r.Heal()
	want("healed", 0, 1, "0", nil)
	if reads, n := r.Counts(); reads != 9 || n != 17 {
		t.Errorf("%d reads, %d bytes, want 9 and 17", reads, n)
	}
	r.Delay(2 * time.Millisecond)
	begin := time.Now()
	want("slow", 0, 1, "0", nil)
	if d := time.Since(begin); d < 2*time.Millisecond {
		t.Errorf("slow read took %v", d)
	}
}
