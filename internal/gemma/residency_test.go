package gemma_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/backend/ref"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/testkit"
)

// residencies are different enough that every way through the machinery is taken.
func residencies(experts int) []gemma.Residency {
	list := []gemma.Residency{
		{}, {StreamLayers: 1}, {StreamLayers: 2}, {StreamLayers: 3}, {StreamLayers: 1000},
		{StreamHead: true}, {StreamLayers: 2, StreamHead: true}, {StreamLayers: 1000, StreamHead: true},
	}
	if experts > 0 {
		for _, slots := range []int{1, 2, 3, experts / 2, experts - 1, experts} {
			list = append(list, gemma.Residency{ExpertSlots: slots}, gemma.Residency{StreamLayers: 2, StreamHead: true, ExpertSlots: slots})
		}
	}
	return list
}

// No Residency, and no moment at which weights arrive, changes a bit, nor takes memory
// that was not planned.
func TestResidencyChangesNoBit(t *testing.T) {
	for _, name := range goldenModels {
		g := loadGolden(t, name)
		for bname, b := range map[string]backend.Backend{"ref": ref.New(), "cpu": newCPU(t, 2)} {
			whole := open(t, g.dir, b)
			want := forward(t, whole, newCache(t, whole, 64), g.IDs, gemma.WantAll)
			w := weigh(t, g.dir, sizerOf(b))
			for i, r := range residencies(w.ExpertCount()) {
				if bname == "ref" && i%4 != 2 {
					continue // the same code, more slowly
				}
				t.Run(fmt.Sprintf("%s/%s/%+v", name, bname, r), func(t *testing.T) {
					m := open(t, g.dir, b, gemma.BindOptions{Residency: r, Background: i%2 == 0, DropRead: true})
					inChunks(t, m, g.IDs, want)
					if err := m.Ready(t.Context()); err != nil {
						t.Error(err)
					}
					if got, planned := m.ResidentBytes(), w.ResidentWith(r); got != planned {
						t.Errorf("%d bytes resident, planned %d", got, planned)
					}
				})
			}
		}
	}
}

func newCPU(t *testing.T, threads int) *cpu.CPU {
	t.Helper()
	c, err := cpu.New(threads)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func sizerOf(b backend.Backend) backend.Sizer {
	if b.Name() == "ref" {
		return ref.Sizer{}
	}
	return cpu.Sizer{Threads: 2}
}

// inChunks evaluates ids in chunks, all wanted or only the last ones, one by one.
func inChunks(t *testing.T, m *gemma.Model, ids []int32, want []float32) {
	t.Helper()
	c, v := newCache(t, m, 64), m.Config().VocabSize
	for _, chunk := range []int{7, 48} {
		c.Reset()
		var all []float32
		for piece := range slices.Chunk(ids, chunk) {
			all = append(all, forward(t, m, c, piece, gemma.WantAll)...)
		}
		testkit.SameBits(t, fmt.Sprint("chunk ", chunk), all, want)
	}
	c.Reset()
	const prompt = 42
	for piece := range slices.Chunk(ids[:prompt], 14) {
		forward(t, m, c, piece, gemma.WantNone)
	}
	for i := prompt; i < len(ids); i++ {
		testkit.SameBits(t, "decode", forward(t, m, c, ids[i:i+1], gemma.WantLast), want[i*v:(i+1)*v])
	}
}
