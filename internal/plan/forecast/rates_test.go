package forecast

import (
	"math"
	"testing"
	"time"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/plan/flash"
	"github.com/plume-run/plume/internal/quant"
)

// A product of 8000 bytes and 100 multiply-adds a row: 1000 ns with one row, 2000 with 4,
// 4000 with 8, and at 50 a nanosecond 256 with 128 rows were it for the arithmetic alone.
func TestProductsByRows(t *testing.T) {
	m := flat()
	m.Few = []FewRows{{4, map[string]float64{"other": 4}}, {8, map[string]float64{"other": 2}}}
	m.Matrix["other"] = 1
	for _, c := range []struct {
		rows int
		want time.Duration
	}{{1, 1000}, {2, 1333}, {4, 2000}, {6, 3000}, {8, 4000}, {68, 8400}, {128, 12800}, {256, 25600}} {
		op := gemma.Op{Type: quant.Q4_0, Out: 10, In: 10, Rows: c.rows, Bytes: 8000, MACs: int64(100 * c.rows)}
		if got := m.product(&op); got != c.want {
			t.Errorf("%d rows take %d ns, want %d", c.rows, got, c.want)
		}
	}
	m.Matrix["other"] = 1e6 // arithmetic takes no time: as many rows as there may be take what their bytes take
	if got := m.product(&gemma.Op{Type: quant.Q4_0, Out: 10, In: 10, Rows: 68, Bytes: 8000, MACs: 6800}); got != 2500 {
		t.Errorf("68 rows between 4000 ns of 8 and 1000 of 128 take %d ns, want 2500", got)
	}
	m.Matrix["other"] = 1
	m.Few = nil
	for rows, want := range map[int]time.Duration{4: 1000, 20: 2000} { // the longer of both
		op := gemma.Op{Type: quant.Q4_0, Out: 10, In: 10, Rows: rows, Bytes: 8000, MACs: int64(100 * rows)}
		if got := m.product(&op); got != want {
			t.Errorf("%d rows take %d ns, want %d", rows, got, want)
		}
	}
}

// The rate of the shape comes before that of the type, and that before any other.
func TestRatesByShape(t *testing.T) {
	m := flat()
	m.Vector = map[string]float64{"q4_0 10x20": 1, "q4_0": 2, "q4_0 16384x20": 4, "other": 8}
	for _, c := range []struct {
		typ     quant.Type
		out, in int
		want    time.Duration
	}{{quant.Q4_0, 10, 20, 8000}, {quant.Q4_0, 10, 21, 4000}, {quant.Q4_0, 262144, 20, 2000}, {quant.Q8_0, 10, 20, 1000}} {
		op := gemma.Op{Type: c.typ, Out: c.out, In: c.in, Rows: 1, Bytes: 8000}
		if got := m.product(&op); got != c.want {
			t.Errorf("%s %dx%d takes %d ns, want %d", c.typ, c.out, c.in, got, c.want)
		}
	}
	a := backend.Attention{Heads: 16, KVHeads: 8, HeadDim: 256, Window: 1024}
	if got := AttentionKey(quant.F16, a); got != "f16 16/8x256" {
		t.Errorf("attention is named %q", got)
	}
	m.AttendOne["f16 16/8x256"], m.AttendMany["f16 16/8x256"], m.Threads[0].Stream = 5, 50, 1e6
	for rows, want := range map[int]time.Duration{1: 2000, 2: 200} {
		op := gemma.Op{Kind: gemma.OpAttention, Type: quant.F16, Rows: rows, MACs: 10000, Attention: a}
		if got := m.time([]gemma.Op{op}).Attention; got != want {
			t.Errorf("attention with %d queries takes %d ns, want %d", rows, got, want)
		}
	}
}

// The mean takes as long as both on average: rates of 2 and 6 make 3.
func TestMeanOfMachines(t *testing.T) {
	a, b := flat(), flat()
	for m, x := range map[*Machine]float64{a: 2, b: 6} {
		m.Vector["other"], m.Matrix["other"], m.AttendOne["other"], m.AttendMany["other"] = x, x, x, x
		m.Threads[0].Stream, m.Rows, m.RowsOne, m.ReadRate, m.Call, m.Step = x, x, x, x, x, x
		m.Few = []FewRows{{4, map[string]float64{"other": x}}}
		m.Low, m.High = x/10, x
	}
	n := Mean(a, b)
	for name, got := range map[string]float64{
		"vector": n.Vector["other"], "matrix": n.Matrix["other"], "one": n.AttendOne["other"], "many": n.AttendMany["other"],
		"stream": n.Threads[0].Stream, "rows": n.Rows, "rows of one": n.RowsOne, "read": n.ReadRate, "few": n.Few[0].Rate["other"],
		"call": n.Call - 1, "step": n.Step - 1, "low": n.Low + 2.8, "high": n.High - 3,
	} {
		if math.Abs(got-3) > 1e-9 {
			t.Errorf("%s: %g, want 3", name, got)
		}
	}
	if a.Vector["other"] != 2 || a.Few[0].Rate["other"] != 2 || a.Threads[0].Stream != 2 {
		t.Error("the mean changed what it is of")
	}
	if Mean() != nil {
		t.Error("a mean of nothing")
	}
}

// Memory of four fifths makes decoding slower by that, and leaves a prompt as it is.
func TestForecastsHaveBounds(t *testing.T) {
	m, mod := flat(), model(t, "e2b")
	m.Call, m.Step, m.Rows = 0, 0, 1e6
	d, err := m.Decode(mod, nil, 1, 16)
	if err != nil || d.Low != d.Rate || d.High != d.Rate {
		t.Errorf("without a spread %g to %g around %g (%v)", d.Low, d.High, d.Rate, err)
	}
	m.Low, m.High = 0.8, 1.25
	if d, err = m.Decode(mod, nil, 1, 16); err != nil || math.Abs(d.Low/d.Rate-0.8) > 0.01 || math.Abs(d.High/d.Rate-1.25) > 0.01 {
		t.Errorf("%g to %g around %g (%v)", d.Low, d.High, d.Rate, err)
	}
	p, err := m.Prefill(mod, nil, 256)
	if err != nil || p.Low/p.Rate < 0.95 || p.High/p.Rate > 1.05 {
		t.Errorf("a prompt: %g to %g around %g (%v)", p.Low, p.High, p.Rate, err)
	}
}

// A step's own time is half laying out, once, and half sampling, for each row of logits.
func TestSamplingIsForEachSequence(t *testing.T) {
	m, mod := flat(), model(t, "e2b")
	m.Call = 0
	for _, c := range []struct {
		sequences, rows, wanted int
		want                    time.Duration
	}{{1, 1, 1, 100_000}, {4, 1, 1, 250_000}, {1, 64, 0, 50_000}, {1, 64, 1, 100_000}} {
		work := gemma.StepWork{Sequences: c.sequences, Rows: c.rows, Wanted: c.wanted, KVType: quant.F16}
		if got := m.Compute(mod, work).Calls; got != c.want {
			t.Errorf("%+v: %v, want %v", c, got, c.want)
		}
	}
}

// A share of the rows is in the cache: of two steps of four with 0.75 one each is read.
func TestRowHits(t *testing.T) {
	miss := misses(0.75)
	for range 2 {
		if rows, err := miss([]int32{1, 2, 3, 4}); err != nil || len(rows) != 1 {
			t.Errorf("%v are read (%v)", rows, err)
		}
	}
	if rows, err := misses(1)([]int32{1}); err != nil || len(rows) != 0 || misses(0) != nil {
		t.Errorf("%v are read (%v)", rows, err)
	}
	m, mod := flat(), model(t, "e2b")
	slow, err := flash.Load("microsd-a1")
	if err != nil {
		t.Fatal(err)
	}
	slow.Sense = 20_000
	waits := func() time.Duration {
		s, err := m.Decode(mod, slow, 1, 16)
		if err != nil {
			t.Fatal(err)
		}
		return s.Wait
	}
	all := waits()
	mod.RowHits = 0.75
	if got := waits(); math.Abs(float64(got)/float64(all)-0.25) > 0.03 {
		t.Errorf("a step waits %v, %v with all rows read", got, all)
	}
	mod.RowHits, mod.Held = 0, true
	if got := waits(); got != 0 {
		t.Errorf("a step waits %v for rows in memory", got)
	}
}

// Half of the threads have what lies between none and the measured number.
func TestFewerThreads(t *testing.T) {
	m := flat()
	m.Threads = []Rate{{1, 10, 100, 50}, {4, 40, 400, 150}}
	m.Few = []FewRows{{4, map[string]float64{"other": 8}}}
	n, err := m.WithThreads(2)
	if err != nil {
		t.Fatal(err)
	}
	// Memory gives 20 of 40, int8 200 of 400, float 83.3 of 150.
	f32 := (50 + 100.0/3) / 150
	for name, c := range map[string][2]float64{
		"stream": {n.Best().Stream, 20}, "int8": {n.Best().Int8, 200}, "vector": {n.Vector["other"], 4}, "matrix": {n.Matrix["other"], 25},
		"one query": {n.AttendOne["other"], 5}, "many": {n.AttendMany["other"], 20 * f32}, "rows": {n.Rows, f32}, "few": {n.Few[0].Rate["other"], 4},
	} {
		if math.Abs(c[0]-c[1]) > 1e-9 {
			t.Errorf("%s: %g, want %g", name, c[0], c[1])
		}
	}
	if one, err := m.WithThreads(1); err != nil || one.Best() != m.Threads[0] || len(one.Threads) != 1 {
		t.Errorf("one thread: %+v, %v", one, err)
	}
	if same, err := m.WithThreads(4); err != nil || same != m || m.Vector["other"] != 8 {
		t.Errorf("all threads: %v", err)
	}
	for _, bad := range []int{0, 5, -1} {
		if _, err := m.WithThreads(bad); err == nil {
			t.Errorf("took %d threads", bad)
		}
	}
}

// Four rows take 2 ns a byte, one takes 1: with memory of half as much 1 ns more, with twice as
// much half a nanosecond less.
func TestBoundsOfBatches(t *testing.T) {
	m := flat()
	m.Vector["other"] = 1
	m.Few = []FewRows{{4, map[string]float64{"other": 0.5}}, {8, map[string]float64{"other": 2}}} // of 8, an outlier: all is memory's
	for f, want := range map[float64][2]float64{0.5: {3, 1}, 2: {1.5, 0.25}} {
		n := m.scaled(f)
		for i, w := range want {
			if got := 1 / n.Few[i].Rate["other"]; math.Abs(got-w) > 1e-9 {
				t.Errorf("memory of %g: %d rows take %g ns a byte, want %g", f, n.Few[i].Rows, got, w)
			}
		}
	}
}

// Rows are hidden behind what comes before their use, and no more.
func TestRowsAreHiddenBehindLayer0(t *testing.T) {
	m, mod := flat(), model(t, "e2b")
	work := gemma.StepWork{Sequences: 1, Rows: 1, Wanted: 1, Position: 16, KVType: quant.F16}
	var want float64 // bytes at 8 per ns: the projection, q, k, v, o, gate, up and down of layer 0
	z := mod.Sizer
	for _, s := range []backend.MatrixSpec{
		{Out: 2048, In: 1536}, {Out: 256, In: 1536}, {Out: 256, In: 1536}, {Out: 1536, In: 2048},
		{Out: 6144, In: 1536}, {Out: 6144, In: 1536}, {Out: 1536, In: 6144},
	} {
		want += float64(z.MatrixBytes(quant.Q4_0, s.Out, s.In)) / 8
	}
	for _, s := range mod.Weights.Matrices() {
		if s.Out == 3584 || s.Out == 5376 { // both parts of the projection
			want += float64(z.MatrixBytes(s.Type, s.Out, s.In)) / 8
		}
	}
	want += 50_000 // laying out: half of a step's own 100 µs
	m.Call, m.Rows, m.AttendOne["other"], m.Threads[0].Stream = 0, 1e9, 1e9, 1e9
	if got := m.Hide(mod, work); math.Abs(float64(got)/want-1) > 1e-3 {
		t.Errorf("%v come before the rows' use, want %.0f ns", got, want)
	}
}

// Weights that stream are laid out by the threads that compute, 2 ns a byte and thread here,
// while they are read at 1 ns a byte; those of a packed copy only have to be read.
func TestStreamedWeightsArePacked(t *testing.T) {
	const n = 1 << 30
	m, mod := flat(), model(t, "e2b")
	m.Threads[0].Threads, m.Pack = 2, map[string]float64{"q4_0": 0.5, "other": 0.5}
	ahead, chosen := int64(n), int64(0)
	mod.Streamed = func(int) (int64, int64) { return ahead, chosen }
	check := func(what string, want func(compute time.Duration) time.Duration) {
		t.Helper()
		s, err := m.Decode(mod, nil, 1, 16)
		if err != nil {
			t.Fatal(err)
		}
		if w := want(s.Compute.Total()); s.Step-w > time.Microsecond || w-s.Step > time.Microsecond {
			t.Errorf("%s: a step takes %v, want %v", what, s.Step, w)
		}
	}
	check("ahead", func(c time.Duration) time.Duration { return c + n })
	ahead, chosen = 0, n
	check("chosen", func(c time.Duration) time.Duration { return c + n })
	m.Threads[0].Threads = 1
	check("chosen, one thread", func(c time.Duration) time.Duration { return c + 2*n })
	m.Pack["q4_0"] = 1e6
	m.Pack["other"] = 1e6
	check("in no time", func(c time.Duration) time.Duration { return c + n })
	m.Pack["other"] = 0.1 // of the embedding alone, a quarter of the bytes: some 2.5 ns a byte
	if s, err := m.Decode(mod, nil, 1, 16); err != nil || s.Step < s.Compute.Total()+2*n || s.Step > s.Compute.Total()+4*n {
		t.Errorf("by type: a step takes %v, computes for %v (%v)", s.Step, s.Compute.Total(), err)
	}
	m.Pack["q4_0"], ahead, chosen, mod.Packed = 0.5, n, 0, true
	check("packed", func(c time.Duration) time.Duration { return max(c, n) })
	_, cold, err := m.FirstToken(mod, nil, 16)
	if err != nil {
		t.Fatal(err)
	}
	mod.Packed = false
	if _, slow, err := m.FirstToken(mod, nil, 16); err != nil || slow < cold+time.Duration(mod.Stored)/2 {
		t.Errorf("a cold start takes %v, %v from a packed copy (%v)", slow, cold, err)
	}
	if mean := Mean(m, m); mean.Pack["q4_0"] != 0.5 {
		t.Errorf("the mean packs at %v", mean.Pack)
	}
}

// Computing for 100 ms takes 200 while 1 GB/s is read, so 200 MB come beside it; what is more
// comes at 4, what is less lets the rest compute at full speed.
func TestStreamingBesideComputing(t *testing.T) {
	m, mod := flat(), model(t, "e2b")
	m.Stream = &Streaming{Read: 4, Beside: 1, Slow: 2}
	for bytes, want := range map[int64]time.Duration{
		0: 100 * time.Millisecond, 100e6: 150 * time.Millisecond, 200e6: 200 * time.Millisecond, 600e6: 300 * time.Millisecond,
	} {
		if got := m.Stream.step(100*time.Millisecond, bytes); got != want {
			t.Errorf("%d bytes: %v, want %v", bytes, got, want)
		}
	}
	mod.Streamed = func(int) (int64, int64) { return 0, 400e6 } // experts: nothing to compute meanwhile
	s, err := m.Decode(mod, nil, 1, 16)
	if want := s.Compute.Total() + 100*time.Millisecond; err != nil || s.Step != want {
		t.Errorf("experts that are waited for: %v, want %v (%v)", s.Step, want, err)
	}
	mod.Packed = true // measured without a packed copy: the machine's read rate stands
	s, err = m.Decode(mod, nil, 1, 16)
	if want := s.Compute.Total() + time.Duration(400e6/m.ReadRate); err != nil || s.Step != want {
		t.Errorf("experts from a packed copy: %v, want %v (%v)", s.Step, want, err)
	}
	n := flat()
	n.Stream = &Streaming{Read: 12, Beside: 3, Slow: 4}
	if mean := *Mean(m, n).Stream; mean != (Streaming{Read: 6, Beside: 1.5, Slow: 3}) || m.Stream.Read != 4 {
		t.Errorf("the mean is %+v", mean)
	}
	for _, bad := range []Streaming{{}, {Read: 1, Slow: 1}, {Read: 1, Beside: 1, Slow: 0.5}, {Read: 1, Beside: 1, Slow: math.NaN()}} {
		if m.Stream = &bad; m.Validate() == nil {
			t.Errorf("took %+v", bad)
		}
	}
}

func TestFewRowsAreChecked(t *testing.T) {
	for _, few := range [][]FewRows{
		{{1, map[string]float64{"other": 1}}}, {{ManyRows, map[string]float64{"other": 1}}}, {{4, nil}},
		{{4, map[string]float64{"other": 1}}, {4, map[string]float64{"other": 1}}}, {{4, map[string]float64{"other": 0}}},
	} {
		m := flat()
		m.Few = few
		if m.Validate() == nil {
			t.Errorf("took %v", few)
		}
	}
}
