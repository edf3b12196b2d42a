package gemma_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/backend/ref"
	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/quant"
)

// weigh weighs the model at path without loading it.
func weigh(t *testing.T, path string, z backend.Sizer) *gemma.Weights {
	t.Helper()
	cat, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer cat.Close()
	cfg, err := gemma.ReadConfig(cat)
	if err != nil {
		t.Fatal(err)
	}
	w, err := gemma.Weigh(cat, cfg, z)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestStepsTakeWhatWasPlanned compares every byte that steps hold with what the
// headers promised: a prompt in chunks, single tokens, and logits for every token.
func TestStepsTakeWhatWasPlanned(t *testing.T) {
	dirs := map[string]string{}
	for _, name := range goldenModels {
		dirs[name] = filepath.Join("testdata", name)
	}
	for seed := range uint64(6) {
		dirs[fmt.Sprint("random", seed)], _ = randomModel(t, seed, 4)
	}
	for name, dir := range dirs {
		for _, typ := range []quant.Type{quant.F32, quant.F16, quant.I8} {
			t.Run(fmt.Sprintf("%s/%s", name, typ), func(t *testing.T) { comparePlanned(t, dir, typ) })
		}
	}
}

func comparePlanned(t *testing.T, dir string, typ quant.Type) {
	const chunk, context = 7, 24
	c, err := cpu.New(2)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	z := cpu.Sizer{Threads: 2}
	w := weigh(t, dir, z)
	m := open(t, dir, c, gemma.BindOptions{KVType: typ})
	if got, want := m.ResidentBytes(), w.Resident(); got != want {
		t.Errorf("weights take %d bytes, planned %d", got, want)
	}
	cache := newCache(t, m, context)
	full, sliding := w.CacheBytes(z, context, 0, typ)
	if got := cache.Bytes(); got != full+sliding {
		t.Errorf("cache takes %d bytes, planned %d", got, full+sliding)
	}
	shape := gemma.StepShape{Rows: chunk, Wanted: 1, Context: context, KVType: typ}
	one := gemma.StepShape{Rows: 1, Wanted: 1, Context: context, KVType: typ}
	want := w.StepBytes(z, shape, one)
	m.Reserve(chunk, 1)
	ids := []int32{1, 2, 3, 1, 2, 3, 1}
	forward(t, m, cache, ids, gemma.WantNone)
	forward(t, m, cache, ids, gemma.WantLast)
	for range 6 {
		forward(t, m, cache, ids[:1], gemma.WantLast)
	}
	check := func(want gemma.StepBytes) {
		t.Helper()
		got := m.StepBytes()
		got.Books, got.Scratch = want.Books, want.Scratch
		if got != want {
			t.Errorf("steps hold %+v, planned %+v", got, want)
		}
		if held := c.ScratchBytes(); held > want.Scratch || 4*held < want.Scratch {
			t.Errorf("backend holds %d bytes, planned %d", held, want.Scratch)
		}
	}
	check(want)
	all := shape
	all.Wanted = chunk
	cache.Reset()
	forward(t, m, cache, ids, gemma.WantAll)
	check(w.StepBytes(z, shape, one, all))
}

// recorder notes what steps ask of a device.
type recorder struct {
	cpu.Sizer
	work backend.Work
}

func (r *recorder) ScratchBytes(w backend.Work) int64 {
	r.work = w
	return 0
}

// TestGatesArePlanned looks for everything that goes through an activation: a gate may be of
// another type than what it is multiplied by.
func TestGatesArePlanned(t *testing.T) {
	for _, name := range goldenModels {
		r := &recorder{Sizer: cpu.Sizer{Threads: 2}}
		w := weigh(t, filepath.Join("testdata", name), r)
		w.StepBytes(r, gemma.StepShape{Rows: 7, Wanted: 1, Context: 24, KVType: quant.F32})
		m := open(t, filepath.Join("testdata", name), ref.New())
		want, c := 0, m.Config()
		for range c.NumLayers {
			want += 2 + 2*c.NumExperts
			if c.PLESize > 0 {
				want++
			}
		}
		got := 0
		for _, p := range r.work.Products {
			if p.Gated {
				got++
			}
		}
		if got != want {
			t.Errorf("%s: %d of %d products are gated", name, got, want)
		}
	}
}

// TestWeighRefusesNothingThatBindTakes weighs for the plain backend too.
func TestWeighRefusesNothingThatBindTakes(t *testing.T) {
	for _, name := range goldenModels {
		dir := filepath.Join("testdata", name)
		m := open(t, dir, ref.New())
		if got, want := m.ResidentBytes(), weigh(t, dir, ref.Sizer{}).Resident(); got != want {
			t.Errorf("%s: ref holds %d bytes, planned %d", name, got, want)
		}
	}
}
