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

// everything is more bytes than there are.
const everything = 1 << 40

// residencies are different enough that every way through the machinery is taken.
func residencies(w *gemma.Weights) []gemma.Residency {
	all := w.Resident()
	list := []gemma.Residency{{}}
	for _, share := range []int64{50, 12, 7, 3, 2} {
		list = append(list, gemma.Residency{StreamBytes: all / share})
	}
	list = append(list, gemma.Residency{StreamBytes: all * 9 / 10}, gemma.Residency{StreamBytes: everything})
	if experts := w.ExpertCount(); experts > 0 {
		for i, slots := range []int{1, 2, 3, experts / 2, experts - 1, experts} {
			list = append(list, gemma.Residency{StreamBytes: int64(i%3) * all / 8, ExpertSlots: slots})
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
			for i, r := range residencies(w) {
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

// A prompt's early chunks read only what they compute with: of the last layer that owns
// keys and values, the projections to these. What a step has read ahead is not read again.
func TestChunksReadOnlyTheirPart(t *testing.T) {
	g := loadGolden(t, "e-tiny")
	all := gemma.Residency{StreamBytes: everything}
	m := open(t, g.dir, newCPU(t, 1), gemma.BindOptions{Residency: all})
	w := weigh(t, g.dir, cpu.Sizer{Threads: 1})
	c, cfg := newCache(t, m, 64), m.Config()
	last := cfg.FirstShared() - 1
	var part, whole int64
	for _, spec := range cfg.Tensors() {
		n := 2 * spec.Values() // bf16
		switch key := spec.Key; {
		case len(spec.Shape) != 2 || key == gemma.KeyPLETable || spec.Optional:
			continue
		case key == gemma.KeyPLEProj:
			part += n / int64(cfg.NumLayers) * int64(last)
		case spec.Layer >= 0 && spec.Layer < last, spec.Layer == last && (key == gemma.KeyK || key == gemma.KeyV):
			part += n
		}
		whole += n
	}
	if got := w.StreamedBytes(all); got != whole {
		t.Errorf("everything is %d bytes, want %d", got, whole)
	}
	const steps = 6
	for _, kind := range []struct {
		want  gemma.Want
		bytes int64
	}{{gemma.WantNone, part}, {gemma.WantLast, whole}} {
		forward(t, m, c, g.IDs[:1], kind.want)
		before := m.WeightStats().ReadBytes
		for range steps {
			forward(t, m, c, g.IDs[:1], kind.want)
		}
		got, ring := m.WeightStats().ReadBytes-before, bytesOf(w.RolesWith(all), gemma.RoleRing)
		if diff := got - steps*kind.bytes; diff < -2*ring || diff > 2*ring {
			t.Errorf("%d steps read %d bytes, want %d each but for what is in a ring of %d", steps, got, kind.bytes, ring)
		}
		if kind.bytes < 2*ring {
			t.Errorf("%d bytes in a ring of %d show nothing", kind.bytes, ring)
		}
	}
}

// bytesOf is what a role takes.
func bytesOf(roles []gemma.RoleBytes, role gemma.Role) int64 {
	for _, r := range roles {
		if r.Role == role {
			return r.Bytes
		}
	}
	return 0
}

// Streaming goes on without allocating anything that steps do not allocate anyway: which is
// nothing, but for the race detector.
func TestStreamingAllocatesNothing(t *testing.T) {
	for _, name := range goldenModels {
		g := loadGolden(t, name)
		least := 0.
		for _, r := range []gemma.Residency{{}, {StreamBytes: 100 << 10, ExpertSlots: 5}, {StreamBytes: everything, ExpertSlots: 2}} {
			m := open(t, g.dir, newCPU(t, 2), gemma.BindOptions{Residency: r, DropRead: true})
			c := newCache(t, m, 64)
			batch := &gemma.Batch{Parts: []gemma.Part{{Cache: c, IDs: make([]int32, 1), Want: gemma.WantLast}}}
			next := 0
			step := func() {
				batch.Parts[0].IDs[0] = g.IDs[next%len(g.IDs)]
				next++
				if _, _, err := m.Forward(t.Context(), batch); err != nil {
					t.Fatal(err)
				}
			}
			for range 20 {
				step()
			}
			n := testing.AllocsPerRun(30, step)
			if r == (gemma.Residency{}) {
				least = n
			} else if n > least {
				t.Errorf("%s %+v: %v allocations per token, %v with everything in memory", name, r, n, least)
			}
		}
	}
}

// Slots are counted: what is not a hit is read, and once all slots are full each read
// takes one away.
func TestExpertCounts(t *testing.T) {
	g := loadGolden(t, "moe-tiny")
	w := weigh(t, g.dir, cpu.Sizer{Threads: 1})
	const slots = 7
	m := open(t, g.dir, newCPU(t, 1), gemma.BindOptions{Residency: gemma.Residency{ExpertSlots: slots}})
	c := newCache(t, m, 64)
	before := m.WeightStats()
	for _, id := range g.IDs {
		forward(t, m, c, []int32{id}, gemma.WantLast)
	}
	s := m.WeightStats().Sub(before)
	if got, want := s.ExpertHits+s.ExpertMisses, int64(len(g.IDs)*w.ExpertsPerToken()); got != want {
		t.Errorf("%d experts looked up, want %d", got, want)
	}
	if s.ExpertHits == 0 || s.ExpertMisses <= slots || s.ExpertEvictions != s.ExpertMisses-slots {
		t.Errorf("%d hits, %d misses, %d evictions of %d slots", s.ExpertHits, s.ExpertMisses, s.ExpertEvictions, slots)
	}
	if got, want := s.ReadBytes, s.ExpertMisses*w.ExpertBytes(); got != want || s.Groups != s.ExpertMisses {
		t.Errorf("%d bytes of %d experts read, want %d of %d", got, s.Groups, want, s.ExpertMisses)
	}
	if s.Overlap() < 0 || s.Overlap() > 1 {
		t.Errorf("overlap %v", s.Overlap())
	}
}

// Plans differ in what they hold and in what they read.
func TestPlansOfResidency(t *testing.T) {
	for _, name := range goldenModels {
		w := weigh(t, loadGolden(t, name).dir, cpu.Sizer{Threads: 1})
		all, some := gemma.Residency{}, gemma.Residency{StreamBytes: everything}
		if w.StreamedBytes(all) != 0 || w.StreamedBytes(some) == 0 {
			t.Errorf("%s: streams %d bytes with all in memory, %d with least", name, w.StreamedBytes(all), w.StreamedBytes(some))
		}
		if w.ResidentWith(all) != w.Resident() || w.ResidentWith(some) >= w.Resident() {
			t.Errorf("%s: holds %d bytes, %d with least", name, w.Resident(), w.ResidentWith(some))
		}
		if n := w.ExpertCount(); n > 0 {
			one, two := w.ResidentWith(gemma.Residency{ExpertSlots: 1}), w.ResidentWith(gemma.Residency{ExpertSlots: 2})
			if two <= one || w.ResidentWith(gemma.Residency{ExpertSlots: n}) != w.Resident() {
				t.Errorf("%s: one slot %d bytes, two %d", name, one, two)
			}
		}
	}
}
