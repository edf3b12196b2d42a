package flash

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// Point is one point of a depth curve: random reads of Bytes with Depth of them always
// under way.
type Point struct {
	Bytes int     `json:"bytes"`
	Depth int     `json:"depth"`
	IOPS  float64 `json:"iops"`
	Mean  float64 `json:"mean_us"` // latency
	P99   float64 `json:"p99_us,omitempty"`
}

// Rate is the point's bytes per second.
func (p Point) Rate() float64 { return p.IOPS * float64(p.Bytes) }

// span is the address space that random reads are spread over: that of a table.
const span = 4 << 30

// Random runs n random reads of some bytes, aligned to 4096, at a depth. Where n is more than
// three times the depth, reads per second are counted from when as many as that have ended until
// the last one begins: filling and draining the queue would make a deep one look slow.
func Random(p *Profile, bytes, depth, n int) Point {
	d := NewDevice(p)
	var latencies, ends []int64
	var submit func()
	left := n
	submit = func() {
		if left--; left < 0 {
			return
		}
		off := int64(d.draw()%(span/4096)) * 4096
		begin := d.Now()
		d.Submit(begin, Command{Rows: []Extent{{off, bytes}}, Done: func(at int64) {
			latencies, ends = append(latencies, at-begin), append(ends, at)
			submit()
		}})
	}
	for range min(depth, n) {
		submit()
	}
	d.Drain()
	mean, p99 := summary(latencies)
	counted, ns := n, ends[n-1]
	if n > 3*depth {
		counted, ns = n-2*depth, ends[n-depth-1]-ends[depth-1]
	}
	return Point{Bytes: bytes, Depth: depth, Mean: mean, P99: p99, IOPS: float64(counted) / (float64(ns) / 1e9)}
}

// Sequential is the rate, in bytes per second, of reading total bytes in blocks one after
// the other at a depth.
func Sequential(p *Profile, block, depth int, total int64) float64 {
	d := NewDevice(p)
	var off int64
	var submit func()
	submit = func() {
		if off >= total {
			return
		}
		at := off
		off += int64(block)
		d.Submit(d.Now(), Command{Rows: []Extent{{at, block}}, Done: func(int64) { submit() }})
	}
	for range depth {
		submit()
	}
	d.Drain()
	return float64(off) / (float64(d.Now()) / 1e9)
}

// summary is the mean and the 99th percentile of nanoseconds, in microseconds.
func summary(ns []int64) (mean, p99 float64) {
	if len(ns) == 0 {
		return 0, 0
	}
	slices.Sort(ns)
	for _, x := range ns {
		mean += float64(x)
	}
	rank := int(math.Ceil(0.99*float64(len(ns)))) - 1
	return mean / float64(len(ns)) / 1000, float64(ns[rank]) / 1000
}

// Mode is how rows reach the host.
type Mode uint8

// The modes.
const (
	Host          Mode = iota // the host reads the blocks that a row lies in, one command for each row
	GatherStored              // the device sends the rows alone, as they are stored
	GatherDecoded             // … as 16-bit floats, ready to use
	GatherSummed              // … the sum of all rows of a step, as 16-bit floats
	modes         = iota
)

// Modes lists all.
func Modes() []Mode { return []Mode{Host, GatherStored, GatherDecoded, GatherSummed} }

func (m Mode) String() string {
	return [modes]string{"host reads", "device gathers", "device gathers and decodes", "device gathers and sums"}[m]
}

// Table is where rows lie: row i at Off + i·RowBytes, Values numbers in each.
type Table struct {
	Off      int64
	Rows     int
	RowBytes int
	Values   int
	Part     int // bytes of a row, from its first, that are asked for; 0: all
}

// extent is where what is wanted of a row lies.
func (t *Table) extent(id int32) Extent {
	return Extent{t.Off + int64(id)*int64(t.RowBytes), cmp.Or(t.Part, t.RowBytes)}
}

// Step is a set of rows that are needed together: those of the sequences of a batch, or
// of a prompt.
type Step []int32

// Distinct is n steps that ask for so many rows each, which come again only when all have
// come; neighbours in a step are far apart in the table.
func Distinct(rows, each, n int) []Step {
	out := make([]Step, n)
	stride := max(1, int(float64(rows)*0.6180339887))
	for gcd(stride, rows) != 1 {
		stride++
	}
	at := 0
	for i := range out {
		for range min(each, rows) {
			at = (at + stride) % rows
			out[i] = append(out[i], int32(at))
		}
	}
	return out
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// Replay says how steps are run: each asks for its rows when the step before has ended
// and Every has passed since it began, and first needs them Hide later.
type Replay struct {
	Table Table
	Mode  Mode
	Every time.Duration // what a step computes
	Hide  time.Duration // from the rows' ids to their first use
	Depth int           // most reads that the host keeps under way; 0: as many as rows

	// Miss returns which of a step's rows, all different and ascending, must come from the
	// device, the others being in the host's memory; nil: all. It is called once for each
	// step, in order.
	Miss func(rows []int32) ([]int32, error)
}

// Outcome is what steps cost. Per token means per row asked for, repeated ones included.
type Outcome struct {
	Mode    string  `json:"mode"`
	Steps   int     `json:"steps"`
	Tokens  int     `json:"tokens"`
	Mean    float64 `json:"mean_us"` // until a step's rows are there
	P99     float64 `json:"p99_us"`
	Wait    float64 `json:"wait_us"` // mean time that a step stands still
	Bus     float64 `json:"bus_bytes_per_token"`
	Sensed  float64 `json:"pages_per_token"`
	Energy  float64 `json:"energy_uj_per_token"`
	Read    float64 `json:"rows_read_per_token"` // that came from the device
	PerStep float64 `json:"step_us"`             // mean length of a step, waiting included
}

// Run replays steps on a fresh device. Rows that a step asks for twice are read once, those
// that Miss does not name not at all.
func (r *Replay) Run(p *Profile, steps []Step) (Outcome, error) {
	d := NewDevice(p)
	var latencies []int64
	var wait, begin, read int64
	out := Outcome{Mode: r.Mode.String(), Steps: len(steps)}
	for i, step := range steps {
		rows := slices.Clone(step)
		slices.Sort(rows)
		rows = slices.Compact(rows)
		if len(rows) == 0 || rows[0] < 0 || int(rows[len(rows)-1]) >= r.Table.Rows {
			return Outcome{}, fmt.Errorf("replay step %d: no rows, or one outside the table of %d", i, r.Table.Rows)
		}
		if r.Miss != nil {
			var err error
			if rows, err = r.Miss(rows); err != nil {
				return Outcome{}, fmt.Errorf("replay step %d: %w", i, err)
			}
		}
		out.Tokens += len(step)
		read += int64(len(rows))
		d.Run(begin)
		end := r.step(d, rows)
		latencies = append(latencies, end-begin)
		stall := max(0, end-begin-r.Hide.Nanoseconds())
		wait += stall
		begin += r.Every.Nanoseconds() + stall
	}
	if len(steps) == 0 {
		return out, nil
	}
	c := d.Counts()
	tokens := float64(out.Tokens)
	out.Mean, out.P99 = summary(latencies)
	out.Wait = float64(wait) / float64(len(steps)) / 1000
	out.PerStep = float64(begin) / float64(len(steps)) / 1000
	out.Read = float64(read) / tokens
	out.Bus, out.Sensed, out.Energy = float64(c.LinkBytes)/tokens, float64(c.Pages)/tokens, c.Energy/tokens/1000
	return out, nil
}

// step fetches rows from now on and returns when the last has arrived.
func (r *Replay) step(d *Device, rows []int32) int64 {
	if len(rows) == 0 {
		return d.Now()
	}
	var last int64
	done := func(at int64) { last = max(last, at) }
	if r.Mode != Host {
		c := Command{Gather: true, Sum: r.Mode == GatherSummed, Done: done, Out: r.sent()}
		for _, id := range rows {
			c.Rows = append(c.Rows, r.Table.extent(id))
		}
		d.Submit(d.Now(), c)
		d.Drain()
		return last
	}
	next := 0
	var submit func()
	submit = func() {
		if next == len(rows) {
			return
		}
		x := r.Table.extent(rows[next])
		next++
		d.Submit(d.Now(), Command{Rows: []Extent{x}, Done: func(at int64) {
			done(at)
			submit()
		}})
	}
	depth := r.Depth
	if depth == 0 {
		depth = len(rows)
	}
	for range min(depth, len(rows)) {
		submit()
	}
	d.Drain()
	return last
}

// sent is what crosses the link for a gathered row, or for their sum.
func (r *Replay) sent() int64 {
	if r.Mode == GatherStored {
		return int64(r.Table.RowBytes)
	}
	return int64(r.Table.Values) * 2
}
