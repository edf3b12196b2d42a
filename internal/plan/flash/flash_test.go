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

// A row crosses the link while the next one is still in the engine, but for sums.
func TestGatherSendsUsefulBytesOnly(t *testing.T) {
	for _, c := range []struct {
		name string
		sum  bool
		link int64 // bytes
		want int64
	}{
		// 1000 bytes over two pages are in the engine at 3+50+10+3 = 66 µs for 5 + 10. The third
		// page lies on the first one's plane, so the other row comes at 66+60 = 126 and takes
		// 5 + 6. 800 bytes take 80 µs of the link: from 81 to 161 and on to 241. Complete 4.
		{"rows", false, 1600, 245_000},
		// From 137 to 217.
		{"their sum", true, 800, 221_000},
	} {
		p := plain()
		p.LinkRate = 10
		d := NewDevice(p)
		var end int64
		d.Submit(0, Command{Gather: true, Sum: c.sum, Out: 800, Rows: []Extent{{3596, 1000}, {8192, 600}}, Done: func(at int64) { end = at }})
		d.Drain()
		got, want := d.Counts(), Counts{1, 3, 3 * 4096, c.link, 1600, 7 + 3*(100+4096) + 2*float64(c.link) + 3*1600}
		if got != want {
			t.Errorf("%s: counts %+v, want %+v", c.name, got, want)
		}
		if end != c.want {
			t.Errorf("%s: took %d ns, want %d", c.name, end, c.want)
		}
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
