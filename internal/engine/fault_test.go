package engine

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/ple"
	"github.com/plume-run/plume/internal/quant"
	"github.com/plume-run/plume/internal/testkit"
)

var errSector = errors.New("bad sector")

// loadFaulty is load with the table read through a reader that misbehaves as told, every
// row again each time. bad makes the row of a token unreadable.
func loadFaulty(t *testing.T) (e *Engine, faulty *testkit.FaultyReaderAt, bad func(id int32)) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(tiny, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(tiny, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := gemma.ParseConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	faulty = testkit.NewFaultyReaderAt(bytes.NewReader(raw))
	cat, err := checkpoint.OpenReader("tiny.safetensors", faulty, int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	back, err := cpu.New(2)
	if err != nil {
		t.Fatal(err)
	}
	m, err := gemma.Bind(cat, cfg, back, gemma.BindOptions{KVType: quant.F32, PLE: ple.Options{CacheBytes: -1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(m.Close(), back.Close()); err != nil {
			t.Error(err)
		}
	})
	i := slices.IndexFunc(cat.Tensors(), func(t *checkpoint.Tensor) bool {
		return strings.HasSuffix(t.Name, "embed_tokens_per_layer.weight")
	})
	table := cat.Tensors()[i]
	_, at := table.Location()
	row := table.Bytes / int64(table.Shape[0])
	return New(m), faulty, func(id int32) { faulty.FailRange(at+int64(id)*row, row, errSector) }
}

// A row of the table that cannot be read fails the answers that need it, by name. Those
// beside them are what they would be without, and what comes after the fault is healed is
// right.
func TestFailingRowFailsItsAnswersOnly(t *testing.T) {
	whole, g := load(t)
	const requests = 18
	type outcome struct {
		ids  []int32
		fate Finish
	}
	want := make([]outcome, requests)
	seen := map[int32]int{} // in how many texts a token is computed
	for i := range want {
		r := request(t, g, i)
		ids, res := collect(t, newSession(t, whole, SessionOptions{Context: 128}), r)
		want[i] = outcome{ids, res.Finish}
		for _, id := range computed(r.Prompt, ids) {
			seen[id]++
		}
	}
	var victims []int32 // tokens that some texts need and others do not
	for id, n := range seen {
		if n >= 1 && n <= requests/3 {
			victims = append(victims, id)
		}
	}
	slices.Sort(victims)
	if len(victims) < 4 {
		t.Fatal("the texts are too much alike for the test")
	}
	e, faulty, bad := loadFaulty(t)
	for _, o := range []SchedulerOptions{{Sequences: requests}, {Sequences: 5, Chunk: 3, BusyChunk: 3, PrefixBytes: 1 << 20}} {
		o.Queue = requests
		s := newScheduler(t, e, o)
		for _, id := range []int32{victims[0], victims[len(victims)/2], -1} {
			faulty.Heal()
			if id >= 0 {
				bad(id)
			}
			var wg sync.WaitGroup
			for i := range requests {
				wg.Go(func() {
					r := request(t, g, i)
					var got []int32
					res, err := s.Generate(t.Context(), r, func(tok Token) bool { got = append(got, tok.ID); return true })
					switch needs := slices.Contains(computed(r.Prompt, want[i].ids)[res.Reused:], id); {
					case needs && (!errors.Is(err, errSector) || res.Finish != FinishError || !slices.Equal(got, want[i].ids[:len(got)])):
						t.Errorf("request %d without row %d: %v %+v, %v", i, id, got, res.Finish, err)
					case needs && (!strings.Contains(err.Error(), "tiny.safetensors") || !strings.Contains(err.Error(), "read row")):
						t.Errorf("request %d: error %v", i, err)
					case !needs && (err != nil || !slices.Equal(got, want[i].ids) || res.Finish != want[i].fate):
						t.Errorf("request %d beside row %d: %v, %v, want %v", i, id, got, err, want[i])
					}
				})
			}
			wg.Wait()
			if s.known != nil && id < 0 {
				checkPrefixes(t, s)
			}
		}
		if st := s.Stats(); st.Failed == 0 || st.Failed+st.Answered != 3*requests || st.Running != 0 {
			t.Errorf("%+v: afterwards %+v", o, st)
		}
	}
}

// computed are the tokens whose rows an answer needs unless it finds them computed: all
// but the last one drawn.
func computed(prompt, drawn []int32) []int32 {
	return slices.Concat(prompt, drawn[:len(drawn)-1])
}

// Answers that are computed together count their own rows.
func TestRowsOfEachAnswer(t *testing.T) {
	for _, together := range []bool{false, true} {
		e, g := load(t)
		s := newScheduler(t, e, SchedulerOptions{Sequences: 4, Queue: 4})
		before := e.model.PLEStats()
		var wg sync.WaitGroup
		results := make([]Result, 4)
		for i := range results {
			one := func() {
				r := request(t, g, 3*i+1)
				var err error
				if results[i], err = s.Generate(t.Context(), r, func(Token) bool { return true }); err != nil {
					t.Error(err)
				}
			}
			if together {
				wg.Go(one)
			} else {
				one()
			}
		}
		wg.Wait()
		var sum gemma.PLECounts
		for i, res := range results {
			sum.Add(res.PLE)
			rows := res.Prompt - res.Reused + res.Generated - 1 + res.Drafted - res.Accepted
			if p := res.PLE; p.Rows != int64(rows) || p.Hits+p.Shared+p.Read != p.Rows || p.Bytes < p.Read {
				t.Errorf("together %v, answer %d of %d tokens: %+v", together, i, rows, p)
			}
			if n := res.PLEWaits.Count(); n == 0 || n > int64(rows) {
				t.Errorf("together %v, answer %d: waits of %d steps", together, i, n)
			}
		}
		all := e.model.PLEStats().Sub(before)
		if sum.Rows != all.Rows || sum.Read != all.RowsRead || sum.Reads != all.Reads || sum.Device != all.DeviceBytes {
			t.Errorf("together %v: the answers' %+v, the model's %+v", together, sum, all)
		}
	}
}
