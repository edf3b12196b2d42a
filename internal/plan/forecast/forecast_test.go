package forecast

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/convert"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/plan/flash"
	"github.com/plume-run/plume/internal/quant"
)

func model(t *testing.T, shape string) *Model {
	t.Helper()
	cfg, err := gemma.ShapeConfig(shape, 0)
	if err != nil {
		t.Fatal(err)
	}
	cat, err := convert.Describe(cfg, convert.Types{Type: quant.Q4_0})
	if err != nil {
		t.Fatal(err)
	}
	z := cpu.Sizer{Threads: 2}
	w, err := gemma.Weigh(cat, cfg, z)
	if err != nil {
		t.Fatal(err)
	}
	return &Model{Weights: w, Sizer: z, KVType: quant.F16, Stored: w.Resident(), Chunk: 256}
}

// flat is a machine whose times can be worked out by hand.
func flat() *Machine {
	return &Machine{
		Name: "flat", Threads: []Rate{{1, 10, 100, 50}},
		Vector: map[string]float64{"other": 8}, Matrix: map[string]float64{"other": 50, "bf16": 20},
		AttendOne: map[string]float64{"other": 10}, AttendMany: map[string]float64{"other": 20}, Rows: 1, Call: 2, Step: 100, ReadRate: 1, IdleWatts: 5, BusyWatts: 20, Price: 100,
	}
}

func TestComputeIsARoofline(t *testing.T) {
	m, mod := flat(), model(t, "e2b")
	work := gemma.StepWork{Sequences: 1, Rows: 1, Wanted: 1, Position: 16, KVType: quant.F16}
	got := m.Compute(mod, work)
	var products, ffn, head, calls, elems float64
	for _, op := range mod.Weights.Ops(mod.Sizer, work) {
		calls += op.Calls
		bytes, macs := float64(op.Bytes)/8, float64(op.MACs)/50
		if op.Type == quant.BF16 {
			macs = float64(op.MACs) / 20
		}
		switch op.Kind {
		case gemma.OpProduct:
			products += max(bytes, macs)
		case gemma.OpFFN:
			ffn += max(bytes, macs)
		case gemma.OpHead:
			head += max(bytes, macs)
		}
		if op.Kind != gemma.OpAttention {
			elems += float64(op.Elems)
		}
	}
	for _, c := range []struct {
		name string
		got  time.Duration
		want float64
	}{
		{"products", got.Products, products}, {"ffn", got.FFN, ffn}, {"head", got.Head, head}, {"rows", got.Rows, elems},
		{"calls", got.Calls, calls*2000 + 100_000},
	} {
		if math.Abs(float64(c.got)/c.want-1) > 1e-3 {
			t.Errorf("%s: %v, want %.0f ns", c.name, c.got, c.want)
		}
	}
	if got.Attention <= 0 || got.Experts != 0 {
		t.Errorf("attention %v, experts %v", got.Attention, got.Experts)
	}
	if bytes := float64(mod.Weights.Resident()-mod.Weights.Vectors) / 8; math.Abs(float64(got.Products+got.FFN+got.Head)/bytes-1) > 0.01 {
		t.Errorf("a token takes %v, its weights alone %.0f ns", got.Products+got.FFN+got.Head, bytes)
	}
}

func TestWeightsThatAreStreamedSetThePace(t *testing.T) {
	m, mod := flat(), model(t, "e2b")
	held, err := m.Decode(mod, nil, 1, 16)
	if err != nil {
		t.Fatal(err)
	}
	mod.Streamed = func(int) (int64, int64) { return 1 << 30, 0 }
	s, err := m.Decode(mod, nil, 1, 16)
	if err != nil {
		t.Fatal(err)
	}
	if want := 1073741824 * time.Nanosecond; s.Step != want || held.Step >= want {
		t.Errorf("a step takes %v, want %v of reading; %v without", s.Step, want, held.Step)
	}
	// Experts are known when they are needed: reading them comes on top, but for a prompt.
	mod.Streamed = func(int) (int64, int64) { return 0, 1 << 30 }
	if s, err = m.Decode(mod, nil, 1, 16); err != nil || s.Step != held.Step+1073741824*time.Nanosecond {
		t.Errorf("a step with experts to read takes %v (%v)", s.Step, err)
	}
	if s, err = m.Prefill(mod, nil, 64); err != nil || s.Step >= s.Compute.Total()+s.Stream {
		t.Errorf("a prompt takes %v, %v of computing and %v of reading (%v)", s.Step, s.Compute.Total(), s.Stream, err)
	}
}

func TestSlowStorageMakesStepsWait(t *testing.T) {
	m, mod := flat(), model(t, "e2b")
	wait := func(name string) time.Duration {
		p, err := flash.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := m.Decode(mod, p, 1, 16)
		if err != nil {
			t.Fatal(err)
		}
		return s.Wait
	}
	if fast := wait("nvme"); fast != 0 {
		t.Errorf("rows of an NVMe drive are waited for: %v", fast)
	}
	slow, err := flash.Load("microsd-a1")
	if err != nil {
		t.Fatal(err)
	}
	slow.Sense = 20_000
	s, err := m.Decode(mod, slow, 1, 16)
	if err != nil {
		t.Fatal(err)
	}
	// A row takes more than its page's 20 ms ± 20 %, layer 0 hides some 4 ms.
	if s.Wait < 12*time.Millisecond || s.Wait > 40*time.Millisecond {
		t.Errorf("a step waits %v", s.Wait)
	}
}

// A prompt reads of a row what the layers before the last owner of keys and values take, 14 of
// E2B's 35, and of its last token all.
func TestPromptsReadPartsOfRows(t *testing.T) {
	w := model(t, "e2b").Weights
	if w.PLEPart != w.PLERow*14/35 {
		t.Fatalf("%d bytes of a row of %d", w.PLEPart, w.PLERow)
	}
	for _, c := range []struct {
		rows, wanted int
		want         int64
	}{{1, 1, w.PLERow}, {256, 0, w.PLEPart}, {2, 1, (w.PLERow + w.PLEPart) / 2}} {
		if got := rowPart(w, gemma.StepWork{Rows: c.rows, Wanted: c.wanted}); int64(got) != c.want {
			t.Errorf("%d rows, %d wanted: %d bytes of each, want %d", c.rows, c.wanted, got, c.want)
		}
	}
}

func TestColdStartCannotBeatTheDisk(t *testing.T) {
	m, mod := flat(), model(t, "e2b")
	warm, cold, err := m.FirstToken(mod, nil, 16)
	if err != nil {
		t.Fatal(err)
	}
	load := time.Duration(mod.Stored) // at 1 GB/s
	if want := load + warm/35; load < warm || cold != want {
		t.Errorf("cold %v, want loading's %v and a layer of %v", cold, load, warm)
	}
	m.ReadRate = 1000 // computing is what lasts
	if _, cold, err = m.FirstToken(mod, nil, 16); err != nil || cold != warm+load/1000/35 {
		t.Errorf("cold %v, want %v of computing and a layer of loading (%v)", cold, warm, err)
	}
	if _, err := m.Prefill(mod, nil, 0); err == nil {
		t.Error("forecast an empty prompt")
	}
}

func TestBatchesShareTheWeights(t *testing.T) {
	m, mod := flat(), model(t, "e2b")
	one, err := m.Decode(mod, nil, 1, 16)
	if err != nil {
		t.Fatal(err)
	}
	four, err := m.Decode(mod, nil, 4, 16)
	if err != nil {
		t.Fatal(err)
	}
	if gain := four.Rate / one.Rate; gain < 2 || gain > 4 {
		t.Errorf("four sequences are %.2f times as fast as one", gain)
	}
}

func TestCost(t *testing.T) {
	m := flat()
	p := Prices{Life: 1, Utilisation: 0.5, Power: 0.36, Overhead: 1, Hosted: 2}
	c, err := m.Cost(10, 0.5, p)
	if err != nil {
		t.Fatal(err)
	}
	// 20 W busy and as long 5 W idle: 25 J a second for 10 tokens, and 0.5 J of storage.
	// 3 J·10⁶/3.6 MJ = 0.8333 kWh at 0.36. The machine: 100 over 8766 h · 3600 · 0.5 at 10/s.
	machine := 100 / (8766 * 3600 * 0.5) / 10 * 1e6
	for _, x := range []struct {
		name      string
		got, want float64
	}{{"energy", c.Energy, 3}, {"power", c.Power, 0.3}, {"machine", c.Machine, machine}, {"total", c.Total, 0.3 + machine}} {
		if math.Abs(x.got/x.want-1) > 1e-9 {
			t.Errorf("%s %g, want %g", x.name, x.got, x.want)
		}
	}
	if c.BreakEven == nil {
		t.Fatal("no break-even")
	}
	p.Utilisation = *c.BreakEven
	if even, err := m.Cost(10, 0.5, p); err != nil || math.Abs(even.Total-p.Hosted) > 1e-9 {
		t.Errorf("at the break-even utilisation of %g a million tokens cost %g (%v), hosted %g", *c.BreakEven, even.Total, err, p.Hosted)
	}
	p.Utilisation, p.Hosted = 0.5, 0.01
	if c, err := m.Cost(10, 0.5, p); err != nil || c.BreakEven != nil || c.PaysFrom() != "never" {
		t.Errorf("break-even at %s (%v) with a hosted price below the power's", c.PaysFrom(), err)
	}
	// What is there anyway and draws nothing while it waits costs its power alone, whatever it does.
	m.Price, m.IdleWatts, p.Hosted = 0, 0, 2
	if c, err := m.Cost(10, 0.5, p); err != nil || c.BreakEven == nil || *c.BreakEven != 0 || c.PaysFrom() != "always" {
		t.Errorf("break-even at %s (%v) of a machine that costs its power alone", c.PaysFrom(), err)
	}
	for _, bad := range []Prices{{}, {Life: 1, Utilisation: 2, Overhead: 1}, {Life: 1, Utilisation: math.NaN(), Overhead: 1}} {
		if _, err := m.Cost(10, 0, bad); err == nil {
			t.Errorf("took %+v", bad)
		}
	}
	if _, err := m.Cost(0, 0, p); err == nil {
		t.Error("took no tokens per second")
	}
}

func TestMachines(t *testing.T) {
	mod := model(t, "e2b")
	for _, name := range Names() {
		m, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if missing := m.Unsourced(); missing != nil {
			t.Errorf("%s: no source for %v", name, missing)
		}
		store, err := m.Device()
		if err != nil {
			t.Fatal(err)
		}
		d, err := m.Decode(mod, store, 1, 512)
		if err != nil {
			t.Fatal(err)
		}
		p, err := m.Prefill(mod, store, 512)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%-15s E2B Q4_0: decode %6.1f tok/s, waits %v, prefill %7.1f tok/s", name, d.Rate, d.Wait, p.Rate)
		if d.Rate < 1 || p.Rate < d.Rate {
			t.Errorf("%s: decode %.1f, prefill %.1f tokens per second", name, d.Rate, p.Rate)
		}
	}
}

// No profile computes faster than its own memory and arithmetic, and by their order of magnitude
// slower: an 85 % in the wrong place would be seen.
func TestProfilesKeepTheirLimits(t *testing.T) {
	for _, name := range Names() {
		m, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		best := m.Best()
		for _, c := range []struct {
			what       string
			got, limit float64
		}{
			{"vector", m.Vector["other"], best.Stream}, {"matrix", m.Matrix["other"], best.Int8}, {"bf16", rate(m.Matrix, "bf16"), best.F32},
			{"one query", m.AttendOne["other"], best.F32}, {"many", m.AttendMany["other"], best.F32},
		} {
			if share := c.got / c.limit; !(share > 0.3 && share < 0.95) {
				t.Errorf("%s: %s is %.2f of its limit", name, c.what, share)
			}
		}
		if first := m.Threads[0]; first.Stream > best.Stream || first.Int8 > best.Int8 || first.F32 > best.F32 {
			t.Errorf("%s: one thread does more than all", name)
		}
	}
}

func TestMachinesAreChecked(t *testing.T) {
	good, err := json.Marshal(flat())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(good); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{`"threads":[`, `"thread":[`, "thread"},
		{`"threads":1`, `"threads":0`, "threads[0]"},
		{`"stream_gbps":10`, `"stream_gbps":0`, "stream_gbps"},
		{`"other":8`, `"q4_0":8`, `no entry "other"`},
		{`"call_us":2`, `"call_us":-1`, "call_us"},
		{`"read_gbps":1`, `"read_gbps":1e99`, "read_gbps"},
	} {
		if _, err := Parse([]byte(strings.Replace(string(good), c.old, c.new, 1))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want one that says %q", c.new, err, c.want)
		}
	}
	if _, err := Load("no-such"); err == nil {
		t.Error("loaded a machine that there is not")
	}
}
