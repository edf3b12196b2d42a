package flash

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// The published figures that profiles must come to: random 4 KiB reads per second at a
// depth, and sequential MB/s. 0: nobody says.
var published = map[string]struct {
	depth1, deep float64
	depth        int
	sequential   float64
}{
	"microsd-a1": {1900, 0, 1, 43},
	"microsd-a2": {0, 5000, 32, 90},
	"emmc-5.1":   {0, 11000, 32, 250},
	"ufs-3.1":    {0, 100e3, 32, 2100},
	"ufs-4.0":    {0, 0, 32, 4200},
	"sata-ssd":   {13000, 98e3, 32, 560},
	"nvme":       {22000, 1.2e6, 512, 7450},
	"nvme-pi5":   {0, 0, 32, 430},
}

func TestProfilesComeToThePublishedFigures(t *testing.T) {
	for _, name := range Names() {
		p, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if missing := p.Unsourced(); missing != nil {
			t.Errorf("%s: no source for %v", name, missing)
		}
		want, ok := published[name]
		if !ok {
			t.Errorf("%s: not in the table of published figures", name)
		}
		check := func(what string, got, want float64) {
			t.Logf("%-10s %-10s %10.0f, published %10.0f", name, what, got, want)
			if want > 0 && math.Abs(got/want-1) > 0.1 {
				t.Errorf("%s: %s is %.0f, published are %.0f", name, what, got, want)
			}
		}
		check("depth 1", Random(p, 4096, 1, 2000).IOPS, want.depth1)
		check("deep", Random(p, 4096, want.depth, 20000).IOPS, want.deep)
		check("sequential", Sequential(p, 512<<10, 8, 256<<20)/1e6, want.sequential)
	}
}

// plain is a device whose times can be added up by hand.
func plain() *Profile {
	return &Profile{
		Name: "plain", Channels: 2, Dies: 1, Planes: 1, PageBytes: 4096, SectorBytes: 4096,
		Sense: 50, ChannelRate: 409.6, Decode: 3, Controller: 2, Cores: 1, QueueDepth: 8,
		LinkRate: 1024, LinkBlock: 512, Submit: 1, Complete: 4,
		Row: 5, Engine: 100, Engines: 1,
		SenseEnergy: 100, ChannelEnergy: 1, LinkEnergy: 2, CommandEnergy: 7, EngineEnergy: 3,
	}
}

func TestOneReadAddsUp(t *testing.T) {
	d := NewDevice(plain())
	var end int64
	d.Submit(0, Command{Rows: []Extent{{4096, 4096}}, Done: func(at int64) { end = at }})
	d.Drain()
	// submit 1, controller 2, sense 50, channel 4096/409.6 = 10, ECC 3, link 4, complete 4
	if want := int64(74_000); end != want {
		t.Errorf("took %d ns, want %d", end, want)
	}
	if c, want := d.Counts(), (Counts{1, 1, 4096, 4096, 0, 7 + 100 + 4096 + 2*4096}); c != want {
		t.Errorf("counts %+v, want %+v", c, want)
	}
}

func TestReadsShareWhatTheyMustShare(t *testing.T) {
	for _, c := range []struct {
		name string
		offs []int64
		want int64 // the last answer
	}{
		// Other planes and channels: the second waits for the controller (2 µs) and the link (2 µs).
		{"two channels", []int64{0, 4096}, 78_000},
		// The same plane: sense and channel twice.
		{"one plane", []int64{0, 8192}, 74_000 + 60_000},
	} {
		d := NewDevice(plain())
		var last int64
		for _, off := range c.offs {
			d.Submit(0, Command{Rows: []Extent{{off, 4096}}, Done: func(at int64) { last = max(last, at) }})
		}
		d.Drain()
		if last != c.want {
			t.Errorf("%s: %d ns, want %d", c.name, last, c.want)
		}
	}
}

func TestGatherSendsUsefulBytesOnly(t *testing.T) {
	d := NewDevice(plain())
	var end int64
	// 1000 bytes over two pages, and 600 in one.
	d.Submit(0, Command{Gather: true, Out: 1600, Rows: []Extent{{3596, 1000}, {8192, 600}}, Done: func(at int64) { end = at }})
	d.Drain()
	c := d.Counts()
	if c.LinkBytes != 1600 || c.Pages != 3 || c.ChannelBytes != 3*4096 || c.EngineBytes != 1600 || c.Commands != 1 {
		t.Errorf("counts %+v", c)
	}
	// The third page lies on the first one's plane, so it comes at 3+60+60+3 = 126; its row
	// takes 5 + 6 µs, 1600 bytes of link 1.5625, complete 4.
	if want := int64(126_000 + 11_000 + 1_562 + 4_000); end != want {
		t.Errorf("took %d ns, want %d", end, want)
	}
}

func TestQueueDepthBounds(t *testing.T) {
	p := plain()
	p.QueueDepth = 1
	deep, one := Random(p, 4096, 16, 400), Random(p, 4096, 1, 400)
	// The host's own 5 µs are all that a deeper queue can hide.
	if gain := deep.IOPS / one.IOPS; gain > 1.08 || gain < 1 {
		t.Errorf("a queue of one gains %.2f from depth 16", gain)
	}
}

func TestReplay(t *testing.T) {
	p, table := plain(), Table{Rows: 100, RowBytes: 1000, Values: 900}
	steps := []Step{{1}, {2, 2, 50}, {99}}
	for _, c := range []struct {
		mode Mode
		bus  float64 // per token, five tokens
	}{
		{Host, (1536 + 1536 + 1536 + 1536) / 5.0}, // widened to 512: [512,2048) [1536,3072) [49664,51200) [98816,100352)
		{GatherStored, 4000 / 5.0},
		{GatherDecoded, 4 * 1800 / 5.0},
		{GatherSummed, 3 * 1800 / 5.0},
	} {
		r := Replay{Table: table, Mode: c.mode, Every: time.Millisecond, Hide: 50 * time.Microsecond}
		out, err := r.Run(p, steps)
		if err != nil {
			t.Fatal(err)
		}
		if out.Tokens != 5 || math.Abs(out.Bus-c.bus) > 1e-9 {
			t.Errorf("%s: %d tokens, %.1f bytes on the bus for each, want %.1f", c.mode, out.Tokens, out.Bus, c.bus)
		}
		if out.Wait <= 0 || out.Mean < out.Wait || math.Abs(out.PerStep-1000-out.Wait) > 1e-6 {
			t.Errorf("%s: mean %.1f wait %.1f step %.1f", c.mode, out.Mean, out.Wait, out.PerStep)
		}
	}
	if _, err := (&Replay{Table: table}).Run(p, []Step{{100}}); err == nil {
		t.Error("a row outside the table was read")
	}
}

func TestDistinctMeetsEveryRow(t *testing.T) {
	seen := map[int32]bool{}
	for _, s := range Distinct(12, 4, 3) {
		for _, id := range s {
			seen[id] = true
		}
	}
	if len(seen) != 12 {
		t.Errorf("three steps of four met %d of 12 rows", len(seen))
	}
}

func TestCalibrateFindsADeviceAgain(t *testing.T) {
	for _, name := range []string{"emmc-5.1", "sata-ssd", "nvme"} {
		p, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		var given []Point
		for _, n := range []int{4096, 16384} {
			for _, depth := range []int{1, 4, 32} {
				given = append(given, Random(p, n, depth, 2000))
			}
		}
		got, worst, err := Calibrate(p, given)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: fitted within %.1f %%", name, 100*worst)
		for _, depth := range []int{2, 8, 16} { // points that were not given
			want, have := Random(p, 8192, depth, 2000).IOPS, Random(got, 8192, depth, 2000).IOPS
			if e := math.Abs(have/want - 1); e > 0.2 {
				t.Errorf("%s: depth %d, 8 KiB: %.0f, want %.0f", name, depth, have, want)
			}
		}
	}
	if _, _, err := Calibrate(plain(), nil); err == nil {
		t.Error("calibrated to nothing")
	}
}

func TestProfilesAreChecked(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "p.json")
	nvme, err := profileFiles.ReadFile("profiles/nvme.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ text, want string }{
		{`{`, "EOF"},
		{`{"chanels": 1}`, "chanels"},
		{`{"channels": 0}`, "channels is 0"},
		{`{"channels": 1e99}`, "channels"},
		{strings.Replace(string(nvme), `"planes_per_die": 4`, `"planes_per_die": 65`, 1), "planes_per_die"},
		{strings.Replace(strings.Replace(string(nvme), `"channels": 8`, `"channels": 1024`, 1), `"dies_per_channel": 4`, `"dies_per_channel": 1024`, 1), "make 4194304 planes"},
	} {
		if err := os.WriteFile(bad, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(bad); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want one that says %q", c.text, err, c.want)
		}
	}
	for _, name := range []string{"no-such", "../profiles/nvme", t.TempDir()} {
		if _, err := Load(name); err == nil {
			t.Errorf("loaded %q", name)
		}
	}
}

func TestEmulatorIsNotFaster(t *testing.T) {
	p := plain()
	p.Sense = 3000
	e := NewEmulator(p)
	begin := time.Now()
	var wg sync.WaitGroup
	for i := range 8 { // all of them at one plane, so one after the other
		wg.Go(func() {
			off := int64(i * p.PageBytes * p.Channels * p.Dies * p.Planes)
			a := e.Begin(off, 4096)
			if a.Here() && time.Since(begin) < 3*time.Millisecond {
				t.Error("a read was over at once")
			}
			a.Wait()
			if !a.Here() {
				t.Error("a read that was waited for is not over")
			}
		})
	}
	wg.Wait()
	if took := time.Since(begin); took < 8*3*time.Millisecond {
		t.Errorf("eight reads took %v, the device needs more than 24ms", took)
	}
	if c := e.Counts(); c.Commands != 8 || c.LinkBytes != 8*4096 {
		t.Errorf("counts %+v", c)
	}
}

// What nobody waits for is over all the same.
func TestEmulatorNeedsNobody(t *testing.T) {
	p := plain()
	e := NewEmulator(p)
	a := e.Begin(0, 4096)
	for !a.Here() {
		runtime.Gosched()
	}
	e.Begin(0, 4096).Wait()
}
