package plume

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/plume-run/plume/internal/gemma"
)

// productMACs is the multiply-adds of matrix products for a prompt of n tokens
// after none, of which the last one is wanted, worked out from the shape alone.
func productMACs(c *gemma.Config, n int64) int64 {
	h, p := int64(c.HiddenSize), int64(c.PLESize)
	last := c.FirstShared() - 1
	var sum int64
	if p > 0 { // context part of the per-layer inputs
		sum += n*int64(last)*p*h + int64(c.NumLayers-last)*p*h
	}
	for l := range c.NumLayers {
		q, kv := int64(c.NumHeads*c.LayerHeadDim(l)), int64(c.LayerKVHeads(l)*c.LayerHeadDim(l))
		rows := n
		if l >= last {
			rows = 1 // the others leave once their keys and values are stored
		}
		if l <= last {
			k := kv
			if c.HasV(l) {
				k += kv
			}
			sum += n * h * k
		}
		each := 2*h*q + 3*h*int64(c.IntermediateSize[l]) + 2*h*p
		if e := int64(c.NumExperts); e > 0 {
			each += h*e + int64(c.TopKExperts)*3*h*int64(c.ExpertSize)
		}
		sum += rows * each
	}
	return sum + h*int64(c.VocabSize)
}

// attendMACs is the same for attention.
func attendMACs(c *gemma.Config, n int) int64 {
	var sum int64
	for l := range c.NumLayers {
		first := 0
		if l >= c.FirstShared()-1 {
			first = n - 1
		}
		for pos := first; pos < n; pos++ {
			seen := pos + 1
			if c.Sliding[l] {
				seen = min(seen, c.SlidingWindow)
			}
			sum += 2 * int64(c.NumHeads*c.LayerHeadDim(l)*seen)
		}
	}
	return sum
}

// The published sizes of the family, in millions: what one decoded token
// multiplies, and what a token of a long prompt does: 569.8 in the first 15 layers
// of E2B, less what comes after the keys and values of the last of these (queries
// and output 12.6, feed-forward 28.3, per-layer block and its inputs 1.2).
func TestProductMACs(t *testing.T) {
	for _, c := range []struct {
		shape          string
		decode, prompt float64
	}{
		{"e2b", 2280, 527.7}, {"e4b", 4644, 0}, {"12b", 11907, 0}, {"26b-a4b", 3822, 0}, {"31b", 30696, 0},
	} {
		cfg, err := gemma.ShapeConfig(c.shape, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := float64(productMACs(cfg, 1)) / 1e6; got < c.decode-1.5 || got > c.decode+1.5 {
			t.Errorf("%s: %.1f M multiply-adds a decoded token, want %.0f", c.shape, got, c.decode)
		}
		more := float64(productMACs(cfg, 1001)-productMACs(cfg, 1)) / 1000 / 1e6
		if c.prompt > 0 && (more < c.prompt-0.1 || more > c.prompt+0.1) {
			t.Errorf("%s: %.1f M multiply-adds a prompt token, want %.1f", c.shape, more, c.prompt)
		}
	}
}

func newBench(t *testing.T, m *Model) *Bench {
	t.Helper()
	b, err := m.NewBench()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func openGolden(t *testing.T, name string, o Options) *Model {
	t.Helper()
	m, err := Open(filepath.Join("internal", "gemma", "testdata", name), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// What the backend counts is what the shape asks for.
func TestBenchCounts(t *testing.T) {
	for _, name := range []string{"e-tiny", "moe-tiny", "dense-tiny"} {
		m := openGolden(t, name, Options{Threads: 1, KVType: "f32"})
		b := newBench(t, m)
		for _, threads := range []int{1, 2} {
			if err := b.SetThreads(threads); err != nil {
				t.Fatal(err)
			}
			for _, chunk := range []int{0, 7} {
				run, err := b.Prefill(context.Background(), BenchPrefill{Tokens: 40, Chunk: chunk, Profile: true})
				if err != nil {
					t.Fatal(err)
				}
				if run.Tokens != 40 || run.Rate() <= 0 || chunk == 0 && run.Steps != 1 || chunk == 7 && run.Steps != 6 {
					t.Errorf("%s: %d tokens in %d steps, %.1f tok/s", name, run.Tokens, run.Steps, run.Rate())
				}
				// A chunk that is not the last ends for all its tokens where a whole
				// prompt ends for all but the last one.
				if got, want := run.Sum("products", "float products", "head").MACs, productMACs(m.cfg, 40); got != want {
					t.Errorf("%s, chunk %d: %d multiply-adds in products, want %d", name, chunk, got, want)
				}
				if got, want := run.Sum("attention").MACs, attendMACs(m.cfg, 40); got != want {
					t.Errorf("%s, chunk %d: %d multiply-adds in attention, want %d", name, chunk, got, want)
				}
				if all := run.Sum().Time; all > run.Time+run.Time/100 {
					t.Errorf("%s: classes sum to %v of %v", name, all, run.Time)
				}
			}
		}
	}
}

// A decoded token reads every resident weight once (the embedding one row more,
// the norm of the per-layer inputs twice, the layers' scalars not at all) and the keys and values that it sees.
func TestBenchBytes(t *testing.T) {
	for _, name := range []string{"e-tiny", "dense-tiny"} {
		m := openGolden(t, name, Options{Threads: 2, KVType: "f32"})
		c, b := m.cfg, newBench(t, m)
		const context0 = 33
		run, err := b.Decode(context.Background(), BenchDecode{Context: context0, Tokens: 1, Profile: true})
		if err != nil {
			t.Fatal(err)
		}
		row := int64((c.HiddenSize+15)&^15) * 2 // bf16
		want := row + 4*int64(c.PLESize) - 4*int64(c.NumLayers)
		for _, spec := range c.Tensors() {
			switch {
			case spec.Optional || spec.Role == gemma.RolePLETable:
			case spec.Role == gemma.RoleNorm:
				want += 4 * spec.Values()
			default:
				want += 2 * spec.Values() // whole panels, in both models
			}
		}
		if got := run.Sum("products", "float products", "head", "rows", "quantise").Bytes; got != want {
			t.Errorf("%s: %d weight bytes, want %d", name, got, want)
		}
		want = 0
		for l := range c.NumLayers {
			seen := context0 + 1
			if c.Sliding[l] {
				seen = min(seen, c.SlidingWindow)
			}
			want += int64(2 * 4 * seen * c.LayerKVHeads(l) * ((c.LayerHeadDim(l) + 7) &^ 7))
		}
		if got := run.Sum("attention").Bytes; got != want {
			t.Errorf("%s: %d bytes of keys and values, want %d", name, got, want)
		}
	}
}

// Two sequences read the weights once and no expert that nobody chose.
func TestBenchBatch(t *testing.T) {
	m := openGolden(t, "moe-tiny", Options{Threads: 2})
	b := newBench(t, m)
	bytes := func(batch int) int64 {
		run, err := b.Decode(context.Background(), BenchDecode{Context: 4, Tokens: 3, Batch: batch, Profile: true})
		if err != nil {
			t.Fatal(err)
		}
		if run.Tokens != 3*batch || run.Context != 4 {
			t.Errorf("%d tokens after %d in a batch of %d", run.Tokens, run.Context, batch)
		}
		return run.Sum("products", "float products", "head").Bytes / 3
	}
	one, two := bytes(1), bytes(2)
	if one >= m.ResidentBytes() || two < one || two > m.ResidentBytes() {
		t.Errorf("bytes per step: %d alone, %d for two, resident %d", one, two, m.ResidentBytes())
	}
}

func TestBenchRuns(t *testing.T) {
	m := openDemo(t)
	b := newBench(t, m)
	for range 3 { // the same caches, from the same position, past the window
		run, err := b.Decode(context.Background(), BenchDecode{Context: 300, Tokens: 8})
		if err != nil {
			t.Fatal(err)
		}
		if run.Context != 300 || run.Steps != 8 || run.PLE.Rows != 8 || run.Classes != nil {
			t.Errorf("%+v", run)
		}
	}
	run, err := b.Greedy(context.Background(), 5, 10)
	if err != nil || run.Tokens != 9 || run.Rate() <= 0 {
		t.Errorf("%+v, %v", run, err)
	}
	for _, d := range []BenchDecode{{Context: -1, Tokens: 1}, {Context: 1}, {Context: 1 << 30, Tokens: 1}, {Tokens: 1, Batch: -1}} {
		if _, err := b.Decode(context.Background(), d); !errors.Is(err, ErrRequest) {
			t.Errorf("%+v: %v", d, err)
		}
	}
	ref := openTiny(t, Options{Backend: "ref"})
	if _, err := ref.NewBench(); !errors.Is(err, ErrUnsupported) {
		t.Errorf("backend ref: %v", err)
	}
	seen := map[int32]bool{}
	ids := make([]int32, m.VocabSize())
	b.draw(ids)
	for _, id := range ids {
		seen[id] = true
	}
	if len(seen) != len(ids) {
		t.Errorf("%d of %d ids drawn", len(seen), len(ids))
	}
}

// A text that repeats is drafted, one that does not is not, and a session without drafts has none.
func TestBenchDrafts(t *testing.T) {
	b := newBench(t, openDemo(t))
	line := make([]int32, 20)
	b.draw(line)
	var twice []int32
	for range 12 {
		twice = append(twice, line...)
	}
	with, without, err := b.Drafts(t.Context(), BenchDrafts{Prompt: twice[:60], Answer: twice[60:]})
	if err != nil {
		t.Fatal(err)
	}
	if with.Accepted == 0 || with.Accepted > with.Drafted || with.Steps+with.Accepted != with.Tokens || with.Tokens != 179 {
		t.Errorf("with drafts: %+v", with)
	}
	if without.Drafted != 0 || without.Accepted != 0 || without.Tokens != with.Tokens || without.Rate() <= 0 {
		t.Errorf("without: %+v", without)
	}
	fresh := make([]int32, 80)
	b.draw(fresh)
	if with, _, err := b.Drafts(t.Context(), BenchDrafts{Prompt: fresh[:60], Answer: fresh[60:]}); err != nil || with.Drafted != 0 {
		t.Errorf("a text without repetition: %+v, %v", with, err)
	}
	for _, d := range []BenchDrafts{{Prompt: fresh}, {Answer: fresh}, {Prompt: fresh, Answer: make([]int32, 1<<20)}} {
		if _, _, err := b.Drafts(t.Context(), d); !errors.Is(err, ErrRequest) {
			t.Errorf("%d tokens after %d: %v", len(d.Answer), len(d.Prompt), err)
		}
	}
}
