package flash

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
)

// Calibrate finds the figures of a device from measured points of its depth curve: how
// long a read takes, how many go on at once, what a command and the link cost. What it
// cannot see from outside (dies, planes, pages) stands for that behaviour and no more:
// as many planes on channels of their own as reads go on at once. base gives the rest,
// energies among them. The second result is the largest relative error in IOPS at the
// points given.
func Calibrate(base *Profile, points []Point) (*Profile, float64, error) {
	if len(points) < 3 {
		return nil, 0, errors.New("calibrate storage: want at least three points of the depth curve")
	}
	for _, pt := range points {
		if pt.Bytes < 512 || pt.Depth < 1 || !(pt.IOPS > 0) {
			return nil, 0, fmt.Errorf("calibrate storage: %d bytes at depth %d with %g reads per second", pt.Bytes, pt.Depth, pt.IOPS)
		}
	}
	best := fit(base, points)
	worst := 0.0
	for _, pt := range points {
		worst = max(worst, math.Abs(Random(best, pt.Bytes, pt.Depth, reads(pt.Depth)).IOPS/pt.IOPS-1))
	}
	best.Name, best.About = "measured", "fitted to measured reads; its insides stand for their behaviour only"
	best.Sources = map[string]string{"all": "fitted to a measured depth curve"}
	return best, worst, nil
}

// fit goes on from the best of what some starts lead to.
func fit(base *Profile, points []Point) *Profile {
	var all [4]fitted
	var wg sync.WaitGroup
	for i := range all {
		from := start(base, points, []int{16 << 10, 64 << 10}[i/2], []float64{1, 0.5}[i%2])
		wg.Go(func() { all[i] = descend(fitted{from, cost(from, points, math.Inf(1))}, points, 2, 1.1) })
	}
	wg.Wait()
	best := slices.MinFunc(all[:], func(a, b fitted) int { return cmp.Compare(a.cost, b.cost) })
	return descend(best, points, 1.1, 1.02).profile
}

// fitted is a device and how far off it is.
type fitted struct {
	profile *Profile
	cost    float64
}

// descend turns one knob after the other as long as that makes the fit better, by factors from
// coarse to fine.
func descend(best fitted, points []Point, coarse, fine float64) fitted {
	for scale := coarse; scale > fine; {
		better := false
		for _, knob := range knobs {
			for _, f := range []float64{scale, 1 / scale} {
				try := *best.profile
				knob(&try, f)
				if try.Validate() != nil {
					continue
				}
				if c := cost(&try, points, best.cost); c < best.cost {
					best, better = fitted{&try, c}, true
				}
			}
		}
		if !better {
			scale = math.Sqrt(scale)
		}
	}
	return best
}

// knobs are what Calibrate turns, each by a factor.
var knobs = []func(p *Profile, f float64){
	func(p *Profile, f float64) { p.Sense *= f },
	func(p *Profile, f float64) { p.Controller *= f },
	func(p *Profile, f float64) { p.LinkRate *= f },
	func(p *Profile, f float64) { p.ChannelRate *= f },
	func(p *Profile, f float64) {
		n := int(math.Round(float64(p.Channels) * f))
		if n == p.Channels && f > 1 {
			n++
		}
		p.Channels = max(1, n)
	},
}

// start is a device of the right order: the first point's latency, the parallelism that the
// highest rate takes, and a controller that spends such a share of its time on the most reads.
// Where it is busy all the time it alone ends the curve's rise, else planes and channels do.
// Reads that cross a page keep two planes busy.
func start(base *Profile, points []Point, page int, share float64) *Profile {
	p := *base
	slow, fast, most := points[0], points[0], points[0].IOPS
	for _, pt := range points {
		if pt.Depth < slow.Depth || pt.Depth == slow.Depth && pt.Bytes < slow.Bytes {
			slow = pt
		}
		if pt.Rate() > fast.Rate() {
			fast = pt
		}
		most = max(most, pt.IOPS)
	}
	latency := float64(slow.Depth) / slow.IOPS * 1e6
	p.Submit, p.Complete, p.Decode, p.MapMiss, p.Jitter = 0.02*latency, 0.02*latency, 0, 0, 0.2
	p.Controller, p.Cores = min(0.4*latency, 0.95e6*share/most), 1
	p.Sense = 0.85*latency - p.Controller
	p.PageBytes, p.SectorBytes, p.LinkBlock = page, 4096, 512
	p.Dies, p.Planes = 1, 1
	p.Channels = max(1, int(math.Round(fast.IOPS*latency/1e6)))
	p.LinkRate, p.ChannelRate = 1.5*fast.Rate()/1e6, 1.5*fast.Rate()/1e6
	p.QueueDepth = 1 << 10
	return &p
}

// cost is the sum of squared errors in log IOPS, or anything above enough if it is more.
func cost(p *Profile, points []Point, enough float64) float64 {
	var sum float64
	for _, pt := range points {
		e := math.Log(Random(p, pt.Bytes, pt.Depth, reads(pt.Depth)).IOPS / pt.IOPS)
		if sum += e * e; sum > enough {
			break
		}
	}
	return sum
}

// reads is how many reads say enough about a depth.
func reads(depth int) int { return 100 + 12*depth }
