package measure

import (
	"errors"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/plan/forecast"
	"github.com/plume-run/plume/internal/quant"
)

func TestMeterFillsAMachine(t *testing.T) {
	if testing.Short() {
		t.Skip("measures for a second")
	}
	b, err := cpu.New(1)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	sliding := backend.Attention{Heads: 2, KVHeads: 1, HeadDim: 64, Window: 128}
	full := backend.Attention{Heads: 2, KVHeads: 2, HeadDim: 128}
	meter, err := NewMeter(b, Work{
		Types: []quant.Type{quant.Q4_0, quant.BF16}, Attention: []backend.Attention{sliding, full}, KVType: quant.I8,
		Matrices: []backend.MatrixSpec{{Type: quant.Q4_0, Out: 40000, In: 64}, {Type: quant.Q4_0, Out: 50000, In: 64}, {Type: quant.BF16, Out: 200, In: 96}},
	})
	if err != nil {
		t.Fatal(err)
	}
	m := &forecast.Machine{Name: "here", Threads: []forecast.Rate{{Threads: 1, Stream: 1, Int8: 1, F32: 1}}, ReadRate: 1}
	meter.Measure(0, m)
	if err := m.Validate(); err != nil {
		t.Error(err)
	}
	if len(m.Few) != len(fewRows) {
		t.Fatalf("products with few rows: %v", m.Few)
	}
	matrices := []string{"q4_0", "bf16", "q4_0 16384x64", "bf16 200x96", "other"} // more outputs make no difference
	for _, c := range []struct {
		what  string
		rates map[string]float64
		names []string
	}{
		{"vector", m.Vector, matrices}, {"matrix", m.Matrix, matrices}, {"few", m.Few[0].Rate, matrices}, {"more", m.Few[1].Rate, matrices},
		{"packing", m.Pack, []string{"q4_0", "bf16", "other"}},
		{"one query", m.AttendOne, []string{"i8 2/1x64", "i8 2/2x128", "other"}},
		{"many queries", m.AttendMany, []string{"i8 2/1x64", "i8 2/2x128", "other"}},
	} {
		if len(c.rates) != len(c.names) {
			t.Errorf("%s: %v, want %v", c.what, c.rates, c.names)
		}
		for _, name := range c.names {
			if c.rates[name] <= 0 {
				t.Errorf("%s: no rate for %s in %v", c.what, name, c.rates)
			}
		}
	}
	if !(m.Low > 0 && m.Low <= 1 && m.High >= 1) {
		t.Errorf("rates between %g and %g of their middle", m.Low, m.High)
	}
	if _, err := NewMeter(b, Work{Types: []quant.Type{quant.I64}, Attention: []backend.Attention{full}, KVType: quant.F16}); err == nil {
		t.Error("measured products with I64")
	}
	if _, err := NewMeter(b, Work{}); err == nil {
		t.Error("measured nothing")
	}
}

// A gauge of 10 ns a unit, of which 4 are one start's half; what is taken off has a limit.
func TestNetOfStarts(t *testing.T) {
	g := gauge{times: []float64{10}}
	if got := g.net(0.5, 8); math.Abs(got-1.0/6) > 1e-9 {
		t.Errorf("rate %g, want 1/6", got)
	}
	if got := g.net(0.5, 100); math.Abs(got-0.4) > 1e-9 {
		t.Errorf("rate %g, want 0.4", got)
	}
}

func TestQuantile(t *testing.T) {
	x := []float64{4, 1, 3, 2, 5}
	for q, want := range map[float64]float64{0: 1, 0.5: 3, 0.1: 1.4, 0.9: 4.6, 1: 5} {
		if got := quantile(x, q); math.Abs(got-want) > 1e-9 {
			t.Errorf("quantile %g is %g, want %g", q, got, want)
		}
	}
}

// A query with a window of 4 sees 3 keys at position 2, then 4 at each.
func TestSeen(t *testing.T) {
	if got := seen(backend.Attention{Window: 4}, 2, 3); got != 3+4+4 {
		t.Errorf("three queries see %d keys, want 11", got)
	}
	if got := seen(backend.Attention{}, 2, 3); got != 3+4+5 {
		t.Errorf("three queries see %d keys, want 12", got)
	}
}

// A file in memory: what is measured is the loop itself.
type file struct {
	size int64
	bad  error
}

func (f file) ReadAt(p []byte, off int64) (int, error) {
	if f.bad != nil {
		return 0, f.bad
	}
	if off < 0 || off+int64(len(p)) > f.size || off%block != 0 {
		return 0, io.ErrUnexpectedEOF
	}
	return len(p), nil
}

func TestStorage(t *testing.T) {
	if testing.Short() {
		t.Skip("measures for seconds")
	}
	points, rate, err := Storage(file{size: leastBytes}, leastBytes)
	if err != nil || len(points) != len(sizes)*len(depths) || rate <= 0 {
		t.Fatalf("%d points, %g GB/s, %v", len(points), rate, err)
	}
	for _, p := range points {
		if p.IOPS <= 0 || p.Mean <= 0 {
			t.Errorf("%+v", p)
		}
	}
}

// slow is a file of which a piece takes so long; it knows what was read of it, and when.
type slow struct {
	file
	delay time.Duration

	mu          sync.Mutex
	bytes       int
	first, last time.Time // a read begun and one ended
}

func (s *slow) ReadAt(p []byte, off int64) (int, error) {
	s.mu.Lock()
	if s.first.IsZero() {
		s.first = time.Now()
	}
	s.mu.Unlock()
	time.Sleep(s.delay)
	n, err := s.file.ReadAt(p, off)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes, s.last = s.bytes+n, time.Now()
	return n, err
}

// The rate is of all that was read, what was under way at the end included, in the time that
// took; and all of it was laid out.
func TestStreamedBytesPerTime(t *testing.T) {
	for _, meanwhile := range []func(){func() {}, func() { time.Sleep(20 * time.Millisecond) }} {
		src := &slow{file: file{size: leastBytes}, delay: 3 * time.Millisecond}
		var filled atomic.Int64
		s := &streamer{r: src, pieces: leastBytes / streamPiece, fill: func(int, int64) error {
			filled.Add(1)
			return nil
		}}
		begin := time.Now()
		rate, err := s.run(meanwhile)
		most := time.Since(begin)
		if err != nil {
			t.Fatal(err)
		}
		if filled.Load()*streamPiece != int64(src.bytes) || src.bytes < streamReaders*streamPiece {
			t.Errorf("%d pieces laid out of %d bytes read", filled.Load(), src.bytes)
		}
		took := float64(src.bytes) / rate // ns
		if least := src.last.Sub(src.first); took < 0.999*float64(least) || took > 1.001*float64(most) {
			t.Errorf("%g GB/s: %d bytes in %.0f ns, which took %v to %v", rate, src.bytes, took, least, most)
		}
	}
}

func TestStreaming(t *testing.T) {
	if testing.Short() {
		t.Skip("measures for a second")
	}
	b, err := cpu.New(1)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	meter, err := NewMeter(b, Work{Types: []quant.Type{quant.Q4_0, quant.BF16}, Attention: []backend.Attention{{Heads: 1, KVHeads: 1, HeadDim: 64}}, KVType: quant.F16})
	if err != nil {
		t.Fatal(err)
	}
	for _, pack := range []bool{false, true} {
		// Eight readers of pieces that take 4 ms each.
		most := streamReaders * streamPiece / float64(4*time.Millisecond)
		s, err := meter.Streaming(&slow{file: file{size: leastBytes}, delay: 4 * time.Millisecond}, leastBytes, pack, 0)
		if err != nil || s.Read > most || s.Read < most/100 || s.Beside <= 0 || s.Beside > s.Read || s.Slow < 1 || s.Packed == pack {
			t.Errorf("packing %v: %+v, %v, want at most %g GB/s", pack, s, err, most)
		}
	}
	broken := errors.New("cable out")
	if _, err := meter.Streaming(file{size: leastBytes, bad: broken}, leastBytes, true, 0); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if _, err := meter.Streaming(file{size: 1000}, 1000, true, 0); err == nil {
		t.Error("measured a file of 1000 bytes")
	}
}

// Three bytes of one type to one of the other: three turns of four, never two of the rarer in a row.
func TestTypesTakeTurns(t *testing.T) {
	order := takeTurns([]float64{3, 1})
	rare := 0
	for i, k := range order {
		if rare += k; k == 1 && i > 0 && order[i-1] == 1 {
			t.Errorf("two of the rarer type at turn %d", i)
		}
	}
	if rare != turns/4 {
		t.Errorf("the rarer type has %d of %d turns", rare, turns)
	}
}

func TestStorageThatFails(t *testing.T) {
	broken := errors.New("cable out")
	if _, _, err := Storage(file{size: leastBytes, bad: broken}, leastBytes); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if _, _, err := Storage(file{size: 1000}, 1000); err == nil {
		t.Error("measured a file of 1000 bytes")
	}
}
