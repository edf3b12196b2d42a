package gemma_test

import (
	"math"
	"slices"
	"testing"

	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/convert"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/quant"
)

// weigh describes a shape in Q4_0 and weighs it.
func weighShape(t *testing.T, shape string) (*gemma.Config, *gemma.Weights) {
	t.Helper()
	cfg, err := gemma.ShapeConfig(shape, 0)
	if err != nil {
		t.Fatal(err)
	}
	cat, err := convert.Describe(cfg, convert.Types{Type: quant.Q4_0})
	if err != nil {
		t.Fatal(err)
	}
	w, err := gemma.Weigh(cat, cfg, cpu.Sizer{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	return cfg, w
}

// The counts that the published sizes come to, in 10⁹ multiply-adds for a decoded token.
func TestOpsCountWhatAStepComputes(t *testing.T) {
	z := cpu.Sizer{Threads: 2}
	for _, c := range []struct {
		shape          string
		products, head float64
	}{
		{"e2b", 1.877, 0.403},
		{"e4b", 3.973, 0.671},
		{"26b-a4b", 3.06, 0.738}, // 8 of 128 experts
	} {
		_, w := weighShape(t, c.shape)
		var products, head, bytes float64
		for _, op := range w.Ops(z, gemma.StepWork{Sequences: 1, Rows: 1, Wanted: 1, Position: 16, KVType: quant.F16}) {
			switch op.Kind {
			case gemma.OpHead:
				head += float64(op.MACs) / 1e9
			case gemma.OpProduct, gemma.OpFFN, gemma.OpExperts:
				products += float64(op.MACs) / 1e9
			}
			if op.Kind != gemma.OpAttention {
				bytes += float64(op.Bytes)
			}
		}
		if math.Abs(products/c.products-1) > 0.01 || math.Abs(head/c.head-1) > 0.01 {
			t.Errorf("%s: %.3f + %.3f, want %.3f + %.3f", c.shape, products, head, c.products, c.head)
		}
		if all := float64(w.Resident() - w.Vectors); c.shape[0] == 'e' && bytes != all {
			t.Errorf("%s: a token touches %.0f bytes of the %.0f there are", c.shape, bytes, all)
		}
	}
}

// A chunk whose logits nobody wants leaves at the last layer with keys and values of its own.
func TestOpsStopEarly(t *testing.T) {
	_, w := weighShape(t, "e2b")
	z := cpu.Sizer{Threads: 2}
	macs := func(wanted int) (sum int64) {
		for _, op := range w.Ops(z, gemma.StepWork{Sequences: 1, Rows: 256, Wanted: wanted, KVType: quant.F16}) {
			if op.Kind == gemma.OpProduct || op.Kind == gemma.OpFFN {
				sum += op.MACs
			}
		}
		return sum
	}
	if share := float64(macs(0)) / float64(macs(256)); share < 0.25 || share > 0.35 {
		t.Errorf("a chunk without logits takes %.2f of one with all", share)
	}
}

// A full layer's attention grows with the position, a sliding one's stops at the window.
func TestOpsAttention(t *testing.T) {
	cfg, w := weighShape(t, "e2b")
	z := cpu.Sizer{Threads: 2}
	macs := func(position int) (sum int64) {
		for _, op := range w.Ops(z, gemma.StepWork{Sequences: 2, Rows: 1, Wanted: 1, Position: position, KVType: quant.F16}) {
			if op.Kind == gemma.OpAttention {
				sum += op.MACs
			}
		}
		return sum
	}
	var want int64
	for i := range cfg.NumLayers {
		if !cfg.Sliding[i] {
			want += 2 * 2 * 1000 * int64(cfg.NumHeads) * int64(cfg.GlobalHeadDim)
		}
	}
	if got := macs(5000) - macs(4000); got != want {
		t.Errorf("1000 more positions cost %d multiply-adds, want %d", got, want)
	}
}

// E2B's layers of a token: queries with keys and values, output, gate with up, down, and the
// two of the per-layer embedding, 35 times; the projection in two parts and the head.
func TestOpsCountOperations(t *testing.T) {
	_, w := weighShape(t, "e2b")
	var products, attention float64
	for _, op := range w.Ops(cpu.Sizer{Threads: 2}, gemma.StepWork{Sequences: 1, Rows: 1, Wanted: 1, KVType: quant.F16}) {
		if op.Kind == gemma.OpAttention {
			attention += op.Calls
		} else {
			products += op.Calls
		}
	}
	if products != 6*35+2+1 || attention != 35 {
		t.Errorf("%g operations with weights, %g of attention", products, attention)
	}
	if got := len(w.Attentions()); got != 2 {
		t.Errorf("%d shapes of attention", got)
	}
	for i, m := range w.Matrices() {
		if slices.Contains(w.Matrices()[:i], m) {
			t.Errorf("%v is listed twice", m)
		}
	}
}

// Of 128 experts, 8 for each row, n rows touch the share 1 − (1 − 8/128)ⁿ and compute with the
// 8/128 that they chose.
func TestOpsExpertsThatRowsTouch(t *testing.T) {
	_, w := weighShape(t, "26b-a4b")
	experts := func(rows int) (bytes, macs float64) {
		for _, op := range w.Ops(cpu.Sizer{Threads: 2}, gemma.StepWork{Sequences: rows, Rows: 1, Wanted: 1, KVType: quant.F16}) {
			if op.Kind == gemma.OpExperts {
				bytes, macs = bytes+float64(op.Bytes), macs+float64(op.MACs)
			}
		}
		return bytes, macs
	}
	all, _ := experts(4096) // as good as all of them
	_, one := experts(1)
	for _, rows := range []int{1, 2, 16, 64} {
		bytes, macs := experts(rows)
		if want := 1 - math.Pow(1-8.0/128, float64(rows)); math.Abs(bytes/all-want) > 1e-6 {
			t.Errorf("%d rows touch %.4f of the experts, want %.4f", rows, bytes/all, want)
		}
		if math.Abs(macs/(float64(rows)*one)-1) > 1e-6 {
			t.Errorf("%d rows compute %.4f times one's", rows, macs/one)
		}
	}
}
