package gemma_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/backend/ref"
	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/testkit"
)

// golden is what an independent implementation computed for a tiny model.
type golden struct {
	dir    string
	IDs    []int32 `json:"input_ids"`
	Greedy []int32 `json:"greedy"`
	values *checkpoint.Catalog
}

var goldenModels = []string{"e-tiny", "moe-tiny", "dense-tiny"}

func loadGolden(t *testing.T, name string) *golden {
	t.Helper()
	g := &golden{dir: filepath.Join("testdata", name)}
	raw, err := os.ReadFile(filepath.Join(g.dir, "expect.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, g); err != nil {
		t.Fatal(err)
	}
	g.values, err = checkpoint.Open(filepath.Join(g.dir, "expect.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.values.Close() })
	return g
}

// tensor reads one expected tensor.
func (g *golden) tensor(t *testing.T, name string) []float32 {
	t.Helper()
	return testkit.Read(t, g.values, name)
}

// backends lists every backend under test.
func backends(t *testing.T) map[string]backend.Backend {
	t.Helper()
	all := map[string]backend.Backend{"ref": ref.New()}
	for _, threads := range []int{1, 2, 3} {
		c, err := cpu.New(threads)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		all["cpu"+strconv.Itoa(threads)] = c
	}
	return all
}

// open binds the model in a folder or file.
func open(t *testing.T, path string, b backend.Backend, o ...gemma.BindOptions) *gemma.Model {
	t.Helper()
	o = append(o, gemma.BindOptions{})
	cat, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cat.Close() })
	cfg, err := gemma.ReadConfig(cat)
	if err != nil {
		t.Fatal(err)
	}
	m, err := gemma.Bind(cat, cfg, b, o[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func newCache(t *testing.T, m *gemma.Model, n int) *gemma.Cache {
	t.Helper()
	c, err := m.NewCache(n, 0)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// forward runs one step of one sequence and returns a copy of the logits.
func forward(t *testing.T, m *gemma.Model, c *gemma.Cache, ids []int32, want gemma.Want) []float32 {
	t.Helper()
	logits, _, err := m.Forward(context.Background(), &gemma.Batch{Parts: []gemma.Part{{Cache: c, IDs: ids, Want: want}}})
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(logits)
}

func TestLogitsAndHiddenStatesOfTheReference(t *testing.T) {
	for _, name := range goldenModels {
		g := loadGolden(t, name)
		for bname, b := range backends(t) {
			t.Run(name+"/"+bname, func(t *testing.T) {
				m := open(t, g.dir, b)
				seen := 0
				batch := &gemma.Batch{
					Parts: []gemma.Part{{Cache: newCache(t, m, 64), IDs: g.IDs, Want: gemma.WantAll}},
					Hidden: func(i, rows int, x []float32) {
						seen++
						testkit.Within(t, "hidden."+strconv.Itoa(i), x, g.tensor(t, "hidden."+strconv.Itoa(i)), 1e-3)
					},
				}
				logits, rows, err := m.Forward(context.Background(), batch)
				if err != nil {
					t.Fatal(err)
				}
				if rows != len(g.IDs) || seen != m.Config().NumLayers+1 {
					t.Errorf("%d rows and %d hidden states, want %d and %d", rows, seen, len(g.IDs), m.Config().NumLayers+1)
				}
				testkit.Within(t, "logits", logits, g.tensor(t, "logits"), 2e-4)
			})
		}
	}
}

func TestGreedyContinuationOfTheReference(t *testing.T) {
	for _, name := range goldenModels {
		g := loadGolden(t, name)
		for bname, b := range backends(t) {
			t.Run(name+"/"+bname, func(t *testing.T) {
				m := open(t, g.dir, b)
				c := newCache(t, m, len(g.IDs)+len(g.Greedy))
				next := g.IDs
				for i, want := range g.Greedy {
					got := argmax(forward(t, m, c, next, gemma.WantLast))
					if got != want {
						t.Fatalf("token %d is %d, want %d", i, got, want)
					}
					next = []int32{got}
				}
			})
		}
	}
}

func argmax(x []float32) int32 {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return int32(best)
}

// A chunk, the early stop, batch mates and threads must not change one bit.
func TestNothingChangesABit(t *testing.T) {
	for _, name := range goldenModels {
		g := loadGolden(t, name)
		var cpuBits []float32
		for bname, b := range backends(t) {
			t.Run(name+"/"+bname, func(t *testing.T) {
				m := open(t, g.dir, b)
				whole := forward(t, m, newCache(t, m, 64), g.IDs, gemma.WantAll)
				v := m.Config().VocabSize
				if b.Name() != "ref" {
					if cpuBits == nil {
						cpuBits = whole
					}
					testkit.SameBits(t, "threads", whole, cpuBits)
				}
				for _, chunk := range []int{1, 2, 7, 16, 17, 31, 47} {
					c := newCache(t, m, 64)
					var all []float32
					for ids := range slices.Chunk(g.IDs, chunk) {
						all = append(all, forward(t, m, c, ids, gemma.WantAll)...)
					}
					testkit.SameBits(t, "chunk "+strconv.Itoa(chunk), all, whole)
					c.Reset()
					var last []float32
					for ids := range slices.Chunk(g.IDs, chunk) {
						want := gemma.WantNone
						if c.Len()+len(ids) == len(g.IDs) {
							want = gemma.WantLast
						}
						last = forward(t, m, c, ids, want)
					}
					testkit.SameBits(t, "early stop, chunk "+strconv.Itoa(chunk), last, whole[len(whole)-v:])
				}
				batchMates(t, m, g.IDs, whole)
			})
		}
	}
}

// batchMates evaluates three sequences in one batch: the golden one in two pieces,
// beside others of other lengths.
func batchMates(t *testing.T, m *gemma.Model, ids []int32, whole []float32) {
	a, b, c := newCache(t, m, 64), newCache(t, m, 64), newCache(t, m, 64)
	v := m.Config().VocabSize
	forward(t, m, b, ids[5:40], gemma.WantNone)
	for _, piece := range [][2]int{{0, 20}, {20, 21}, {21, 48}} {
		batch := &gemma.Batch{Parts: []gemma.Part{
			{Cache: b, IDs: ids[piece[0] : piece[0]+1], Want: gemma.WantLast},
			{Cache: a, IDs: ids[piece[0]:piece[1]], Want: gemma.WantAll},
			{Cache: c, IDs: ids[2:9], Want: gemma.WantNone},
		}}
		logits, rows, err := m.Forward(context.Background(), batch)
		if err != nil {
			t.Fatal(err)
		}
		if want := 1 + piece[1] - piece[0]; rows != want {
			t.Fatalf("%d rows, want %d", rows, want)
		}
		testkit.SameBits(t, "batch mates", logits[v:], whole[piece[0]*v:piece[1]*v])
	}
}
