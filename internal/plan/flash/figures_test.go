package flash

import (
	"math"
	"testing"
)

// What the profiles' sources say: random 4 KiB reads per second at a depth, and sequential MB/s;
// published by makers, or assumed in the profile where those say nothing. How long a single read
// takes is published by few; TestOneReadOfEveryProfile has all.
var figures = map[string]struct {
	depth1     float64 // published; 0: by nobody
	deep       float64
	depth      int
	sequential float64
}{
	"microsd-a1": {1900, 1900, 32, 43}, // without a queue depth changes little
	"microsd-a2": {0, 5000, 32, 90},
	"emmc-5.1":   {0, 11000, 32, 250},
	"ufs-3.1":    {0, 100e3, 32, 2100},
	"ufs-4.0":    {0, 200e3, 32, 4200}, // random: assumed, twice UFS 3.1's
	"sata-ssd":   {13000, 98e3, 32, 560},
	"nvme":       {22000, 1.2e6, 512, 7450},
	"nvme-pi5":   {0, 105e3, 32, 430}, // random: what its link carries of 4 KiB
}

func TestProfilesComeToTheirFigures(t *testing.T) {
	for _, name := range Names() {
		p, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if missing := p.Unsourced(); missing != nil {
			t.Errorf("%s: no source for %v", name, missing)
		}
		want, ok := figures[name]
		if !ok {
			t.Errorf("%s: not in the table of figures", name)
		}
		check := func(what string, got, want float64) {
			t.Logf("%-10s %-10s %10.0f, its sources say %10.0f", name, what, got, want)
			if want > 0 && math.Abs(got/want-1) > 0.1 {
				t.Errorf("%s: %s is %.0f, its sources say %.0f", name, what, got, want)
			}
		}
		check("depth 1", Random(p, 4096, 1, 2000).IOPS, want.depth1)
		check("deep", Random(p, 4096, want.depth, 20000).IOPS, want.deep)
		check("sequential", Sequential(p, 512<<10, 8, 256<<20)/1e6, want.sequential)
	}
}

// A read that meets nobody takes what its stations take, one after the other (planning.md), and
// once more a page where its address must be looked up first.
func TestOneReadOfEveryProfile(t *testing.T) {
	for _, name := range Names() {
		p, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		sector := float64(p.SectorBytes)
		page := p.Sense + sector/p.ChannelRate + p.Decode
		want := p.Submit + p.Controller + (1+p.MapMiss)*page + float64(max(p.LinkBlock, 4096))/p.LinkRate + p.Complete
		if got := Random(p, 4096, 1, 5000).Mean; math.Abs(got/want-1) > 0.01 {
			t.Errorf("%s: a read takes %.2f µs, want %.2f", name, got, want)
		}
	}
}

// The cost that Calibrate makes small is the sum of squared errors in the logarithm of reads per
// second.
func TestCostOfAFit(t *testing.T) {
	p := plain()
	at := func(bytes, depth int, off float64) Point {
		return Point{Bytes: bytes, Depth: depth, IOPS: Random(p, bytes, depth, reads(depth)).IOPS * off}
	}
	points := []Point{at(4096, 1, 1), at(8192, 4, 1.1), at(16384, 8, 0.8)}
	want := math.Pow(math.Log(1.1), 2) + math.Pow(math.Log(0.8), 2)
	if got := cost(p, points, 1); math.Abs(got-want) > 1e-12 {
		t.Errorf("cost %g, want %g", got, want)
	}
	if got := cost(p, points, want/2); got <= want/2 {
		t.Errorf("cost %g, want more than %g", got, want/2)
	}
}
