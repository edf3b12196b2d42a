package cpu

import (
	"testing"
	"time"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/quant"
)

// loadZeros makes a matrix of zeros.
func loadZeros(t *testing.T, c *CPU, typ quant.Type, out, in int) backend.Matrix {
	t.Helper()
	n, err := typ.Bytes(int64(out) * int64(in))
	if err != nil {
		t.Fatal(err)
	}
	m, err := backend.NewMatrix(c, backend.MatrixSpec{Type: typ, Out: out, In: in}, make([]byte, n))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestProfileCounts(t *testing.T) {
	for _, threads := range []int{1, 2} {
		c, err := New(1)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetThreads(threads); err != nil {
			t.Fatal(err)
		}
		embed := loadZeros(t, c, quant.Q8_0, 64, 32)
		w := loadZeros(t, c, quant.Q4_0, 16, 32)
		f := loadZeros(t, c, quant.BF16, 16, 32)
		x, y := backend.NewTensor(5, 32), backend.NewTensor(5, 16)
		c.Linear(x, []backend.Product{{Dst: y, W: w}}) // not counted

		c.StartProfile()
		c.Embed(x, embed, []int32{1, 2, 3, 4, 5}, 1)
		c.Norm(x, x, make([]float32, 32), 1e-6)
		c.Linear(x, []backend.Product{{Dst: y, W: w}, {Dst: backend.NewTensor(5, 16), W: w}})
		c.GeGLU(y, x, w, w, 0)
		c.Linear(x, []backend.Product{{Dst: backend.NewTensor(5, 16), W: f}})
		c.Linear(x, []backend.Product{{Dst: backend.NewTensor(5, 64), W: embed}})
		kv, err := c.NewKV(backend.KVSpec{Heads: 1, HeadDim: 16, Slots: 64, Type: quant.F16})
		if err != nil {
			t.Fatal(err)
		}
		one := backend.NewTensor(1, 32)
		c.Store(kv, 0, backend.NewTensor(1, 16), backend.NewTensor(1, 16), 0, 1)
		c.Attend(backend.NewTensor(1, 32), one, []backend.Span{{N: 1, Pos: 9, Hist: kv}}, backend.Attention{Heads: 2, KVHeads: 1, HeadDim: 16})
		c.Attend(backend.NewTensor(1, 32), one, []backend.Span{{N: 1, Pos: 9, Hist: kv}}, backend.Attention{Heads: 2, KVHeads: 1, HeadDim: 16, Window: 4})
		p := c.StopProfile()
		c.Linear(x, []backend.Product{{Dst: y, W: w}}) // not counted

		want := Profile{}
		want.Of[ClassProducts] = Usage{MACs: 4 * 5 * 16 * 32, Bytes: 4 * 16 * 18}
		want.Of[ClassFloat] = Usage{MACs: 5 * 16 * 32, Bytes: 16 * 32 * 2}
		want.Of[ClassHead] = Usage{MACs: 5 * 64 * 32, Bytes: 64 * 34}
		want.Of[ClassAttend] = Usage{MACs: 2 * 2 * 16 * (10 + 4), Bytes: (10 + 4) * 2 * 16 * 2}
		want.Of[ClassRows] = Usage{Bytes: 5*34 + 32*4}
		var sum time.Duration
		for class, u := range p.Of {
			if u.Time <= 0 {
				t.Errorf("%d threads, %s: no time", threads, Class(class))
			}
			sum += u.Time
			u.Time = 0
			if u != want.Of[class] {
				t.Errorf("%d threads, %s: %+v, want %+v", threads, Class(class), u, want.Of[class])
			}
		}
		if sum > time.Minute {
			t.Errorf("%d threads: %v in all", threads, sum)
		}
		if q := c.StopProfile(); q != p {
			t.Errorf("%d threads: counted while off", threads)
		}
	}
}

func TestLimits(t *testing.T) {
	l, err := NewLimits(5<<20 + 100)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for threads := 1; threads <= 3; threads++ {
		if r := l.StreamRead(threads); r < 1e6 {
			t.Errorf("%d threads read %g B/s", threads, r)
		}
		if r := PeakInt8(threads, time.Millisecond); r < 0 {
			t.Errorf("%d threads: %g int8 MAC/s", threads, r)
		}
		if r := PeakF32(threads, time.Millisecond); r < 0 {
			t.Errorf("%d threads: %g f32 MAC/s", threads, r)
		}
	}
	if _, err := NewLimits(10); err == nil {
		t.Error("10 bytes were taken")
	}
}
