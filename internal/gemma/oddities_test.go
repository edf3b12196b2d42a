package gemma_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/backend/ref"
	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/ple"
	"github.com/plume-run/plume/internal/quant"
	"github.com/plume-run/plume/internal/testkit"
)

// randomModel writes the model of a seed and draws tokens for it.
func randomModel(t *testing.T, seed uint64, n int) (dir string, ids []int32) {
	t.Helper()
	config := testkit.RandomConfig(t, seed)
	cfg, err := gemma.ParseConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	for range n {
		ids = append(ids, rng.Int32N(int32(cfg.VocabSize)))
	}
	return testkit.TextModel(t, config).Write(t), ids
}

// evaluate returns the output of the first layer and the logits of all tokens.
func evaluate(t *testing.T, m *gemma.Model, ids []int32) (first, logits []float32) {
	t.Helper()
	batch := &gemma.Batch{
		Parts: []gemma.Part{{Cache: newCache(t, m, len(ids)), IDs: ids, Want: gemma.WantAll}},
		Hidden: func(i, _ int, x []float32) {
			if i == 1 {
				first = slices.Clone(x)
			}
		},
	}
	logits, _, err := m.Forward(context.Background(), batch)
	if err != nil {
		t.Fatal(err)
	}
	return first, slices.Clone(logits)
}

// mostlyWithin fails when more than a twentieth of the values differ by more than
// tol: a rounding that flips the choice of an expert changes a whole token.
func mostlyWithin(t *testing.T, what string, got, want []float32, tol float64) {
	t.Helper()
	off := 0
	for i := range got {
		if d := float64(got[i] - want[i]); !(d <= tol && d >= -tol) {
			off++
		}
	}
	if off > len(want)/20 || len(got) != len(want) {
		t.Errorf("%s: %d of %d values are off by more than %g", what, off, len(want), tol)
	}
}

// Models of every shape give the same answer on both backends, and the same bits
// however the prompt is cut and wherever the PLE rows come from. Random weights
// make a model in which rounding grows a thousandfold from layer to layer, so the
// first layer is held to a tight bound and the logits to a loose one.
func TestRandomModels(t *testing.T) {
	for seed := range uint64(24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			dir, ids := randomModel(t, seed, 50)
			wantFirst, want := evaluate(t, open(t, dir, ref.New()), ids)
			two, err := cpu.New(2)
			if err != nil {
				t.Fatal(err)
			}
			defer two.Close()
			first, got := evaluate(t, open(t, dir, two), ids)
			testkit.Within(t, "first layer", first, wantFirst, 2e-5)
			mostlyWithin(t, "logits", got, want, 0.02)
			half, _ := evaluate(t, open(t, dir, two, gemma.BindOptions{KVType: quant.F16}), ids)
			testkit.Within(t, "first layer with float16 keys and values", half, wantFirst, 0.02)

			bare := open(t, dir, two, gemma.BindOptions{PLE: ple.Options{CacheBytes: -1, Workers: 1, MaxReadBytes: -1}})
			for _, chunk := range []int{1, 3, 32} {
				c := newCache(t, bare, len(ids))
				var all []float32
				for piece := range slices.Chunk(ids, chunk) {
					all = append(all, forward(t, bare, c, piece, gemma.WantAll)...)
				}
				testkit.SameBits(t, fmt.Sprint("chunk ", chunk), all, got)
			}
		})
	}
}

func TestCacheHoldsWhatTheWindowNeeds(t *testing.T) {
	g := loadGolden(t, "e-tiny")
	m := open(t, g.dir, ref.New())
	cfg := m.Config()
	long, short := newCache(t, m, 1000), newCache(t, m, 500)
	// A full layer grows with the context, a sliding one does not.
	full, values := 0, 2*cfg.NumGlobalKVHeads*cfg.GlobalHeadDim*4
	for l := range cfg.FirstShared() {
		if !cfg.Sliding[l] {
			full++
		}
	}
	if got, want := long.Bytes()-short.Bytes(), int64(full*values*500); got != want {
		t.Errorf("500 more positions take %d bytes, want %d", got, want)
	}
	if _, err := m.NewCache(cfg.MaxPositions+1, 0); err == nil {
		t.Error("a cache longer than the model's context was made")
	}
}

func TestTruncate(t *testing.T) {
	g := loadGolden(t, "e-tiny")
	m := open(t, g.dir, ref.New())
	c := newCache(t, m, 64)
	whole := forward(t, m, c, g.IDs, gemma.WantAll)
	v := m.Config().VocabSize
	if c.Truncate(len(g.IDs) - 2) {
		t.Error("a wrapped ring forgot two positions it no longer holds the window of")
	}
	if !c.Truncate(len(g.IDs) - 1) {
		t.Fatal("a wrapped ring could not forget its last position")
	}
	testkit.SameBits(t, "after truncation", forward(t, m, c, g.IDs[47:], gemma.WantLast), whole[47*v:])
	c.Reset()
	forward(t, m, c, g.IDs[:10], gemma.WantNone)
	if !c.Truncate(3) || c.Len() != 3 {
		t.Fatal("a ring that has not wrapped could not be cut")
	}
	testkit.SameBits(t, "after a cut", forward(t, m, c, g.IDs[3:12], gemma.WantLast), whole[11*v:12*v])
}

// Tokens on trial are evaluated together and forgotten again; what follows must
// not know of them, and what they computed is what single steps compute.
func TestTokensOnTrial(t *testing.T) {
	g := loadGolden(t, "e-tiny")
	v := 320
	for name, b := range backends(t) {
		t.Run(name, func(t *testing.T) {
			m := open(t, g.dir, b)
			whole := forward(t, m, newCache(t, m, 64), g.IDs, gemma.WantAll)
			const slack = 5
			c, err := m.NewCache(64, slack)
			if err != nil {
				t.Fatal(err)
			}
			forward(t, m, c, g.IDs[:3], gemma.WantNone)
			for n := 3; n < len(g.IDs); n++ {
				trial := g.IDs[n:min(n+1+slack, len(g.IDs))]
				got := forward(t, m, c, trial, gemma.WantAll)
				testkit.SameBits(t, fmt.Sprint("trial at ", n), got, whole[n*v:(n+len(trial))*v])
				wrong := []int32{7, 9, 11, 13, 15}[:min(slack, len(trial)-1)]
				if !c.Truncate(n + 1) {
					t.Fatalf("could not forget %d tokens after %d", len(trial)-1, n)
				}
				if len(wrong) > 0 {
					forward(t, m, c, wrong, gemma.WantNone)
					if !c.Truncate(n + 1) {
						t.Fatalf("could not forget %d tokens after %d", len(wrong), n)
					}
				}
			}
		})
	}
}

func TestForwardRefusesBadBatches(t *testing.T) {
	g := loadGolden(t, "e-tiny")
	m := open(t, g.dir, ref.New())
	run := func(p ...gemma.Part) error {
		_, _, err := m.Forward(context.Background(), &gemma.Batch{Parts: p})
		return err
	}
	c := newCache(t, m, 4)
	for name, err := range map[string]error{
		"no parts":     run(),
		"no tokens":    run(gemma.Part{Cache: c}),
		"negative id":  run(gemma.Part{Cache: c, IDs: []int32{-1}}),
		"id too large": run(gemma.Part{Cache: c, IDs: []int32{320}}),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := run(gemma.Part{Cache: c, IDs: []int32{1, 2, 3, 4, 5}}); !errors.Is(err, gemma.ErrContextFull) {
		t.Errorf("too many tokens: %v, want ErrContextFull", err)
	}
	if c.Len() != 0 {
		t.Errorf("refused batches left %d positions", c.Len())
	}
	if err := run(gemma.Part{Cache: c, IDs: []int32{1, 2, 3, 4}}); err != nil {
		t.Errorf("a full context: %v", err)
	}
}

// A table that cannot be read fails the step, and the cache asks for a Reset.
func TestForwardReportsAnUnreadableTable(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "e-tiny"))); err != nil {
		t.Fatal(err)
	}
	cat, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer cat.Close()
	cfg, err := gemma.ReadConfig(cat)
	if err != nil {
		t.Fatal(err)
	}
	m, err := gemma.Bind(cat, cfg, ref.New(), gemma.BindOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	file := filepath.Join(dir, "model.safetensors")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 4096); err != nil {
		t.Fatal(err)
	}
	c := newCache(t, m, 8)
	batch := &gemma.Batch{Parts: []gemma.Part{{Cache: c, IDs: []int32{2, 3}, Want: gemma.WantLast}}}
	if _, _, err := m.Forward(context.Background(), batch); !errors.Is(err, checkpoint.ErrCorrupt) {
		t.Fatalf("error %v, want ErrCorrupt", err)
	}
	if err := os.WriteFile(file, whole, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.Forward(context.Background(), batch); err == nil {
		t.Error("a cache whose step failed was used again without Reset")
	}
	c.Reset()
	if _, _, err := m.Forward(context.Background(), batch); err != nil {
		t.Errorf("after Reset: %v", err)
	}
}

func TestForwardStopsWhenCancelled(t *testing.T) {
	g := loadGolden(t, "e-tiny")
	m := open(t, g.dir, ref.New())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	batch := &gemma.Batch{Parts: []gemma.Part{{Cache: newCache(t, m, 64), IDs: g.IDs, Want: gemma.WantLast}}}
	if _, _, err := m.Forward(ctx, batch); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}
