package plume

import (
	"context"
	"errors"
	"math"
	"testing"
)

// TestCompare: a model is as far from itself as rounding goes, and its score is
// that of Perplexity.
func TestCompare(t *testing.T) {
	m, ref := openTiny(t, Options{KVType: "f32"}), openTiny(t, Options{KVType: "f32"})
	ids := []int32{2, 17, 5, 9, 4, 30, 31, 32, 33, 34, 8}
	want, err := m.Perplexity(t.Context(), ids, PerplexityOptions{Window: 4})
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.Compare(t.Context(), ref, ids, PerplexityOptions{Window: 4})
	if err != nil {
		t.Fatal(err)
	}
	if got.Scored != want.Scored || math.Abs(got.MeanNLL-want.MeanNLL) > 1e-5 || got.ReferenceNLL != got.MeanNLL {
		t.Errorf("%+v, want the score %+v", got, want)
	}
	if got.KL != 0 || got.KLMax != 0 || got.Agreement != 1 {
		t.Errorf("distance from itself: %+v", got)
	}
}

// TestCompareRow checks the sums on distributions of two tokens.
func TestCompareRow(t *testing.T) {
	var c comparison
	ln3 := float32(math.Log(3))
	c.row([]float32{0, 0}, []float32{ln3, 0}, 0)     // q = 1/2, 1/2; p = 3/4, 1/4
	c.row([]float32{5, 5 + ln3}, []float32{1, 1}, 1) // q = 1/4, 3/4; p = 1/2, 1/2
	got := c.result()
	kl0 := 0.75*math.Log(1.5) + 0.25*math.Log(0.5)
	kl1 := 0.5*math.Log(2) + 0.5*math.Log(2./3)
	for _, v := range []struct {
		name      string
		got, want float64
	}{
		{"kl", got.KL, (kl0 + kl1) / 2},
		{"kl max", got.KLMax, max(kl0, kl1)},
		{"kl error", got.KLError, math.Abs(kl0-kl1) / 2 / math.Sqrt2},
		{"nll", got.MeanNLL, (math.Log(2) + math.Log(4./3)) / 2},
		{"reference nll", got.ReferenceNLL, (math.Log(4./3) + math.Log(2)) / 2},
		{"agreement", got.Agreement, 0.5},
	} {
		if math.Abs(v.got-v.want) > 1e-6 {
			t.Errorf("%s %g, want %g", v.name, v.got, v.want)
		}
	}
}

func TestCompareRefuses(t *testing.T) {
	m, ref := openTiny(t, Options{KVType: "f32"}), openTiny(t, Options{KVType: "f32"})
	if _, err := m.Compare(t.Context(), m, []int32{5}, PerplexityOptions{}); !errors.Is(err, ErrRequest) {
		t.Errorf("with itself: %v", err)
	}
	if _, err := m.Compare(t.Context(), ref, nil, PerplexityOptions{}); !errors.Is(err, ErrRequest) {
		t.Errorf("no tokens: %v", err)
	}
	if _, err := m.Compare(t.Context(), ref, []int32{5}, PerplexityOptions{Window: 1}); !errors.Is(err, ErrRequest) {
		t.Errorf("window of 1: %v", err)
	}
	if _, err := m.Compare(t.Context(), ref, []int32{5, -1}, PerplexityOptions{}); err == nil {
		t.Error("a token outside the vocabulary is accepted")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Compare(ctx, ref, []int32{5, 6}, PerplexityOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	ref.Close()
	if _, err := m.Compare(t.Context(), ref, []int32{5, 6}, PerplexityOptions{}); err == nil || errors.Is(err, errEnded) {
		t.Errorf("closed reference: %v", err)
	}
}
