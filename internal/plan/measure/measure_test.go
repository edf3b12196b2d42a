package measure

import (
	"errors"
	"io"
	"testing"

	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/plan/forecast"
	"github.com/plume-run/plume/internal/quant"
)

func TestKernelsFillAMachine(t *testing.T) {
	if testing.Short() {
		t.Skip("measures for a second")
	}
	b, err := cpu.New(1)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	m := &forecast.Machine{Name: "here", Threads: []forecast.Rate{{Threads: 1, Stream: 1, Int8: 1, F32: 1}}, ReadRate: 1}
	if err := Kernels(b, []quant.Type{quant.Q4_0, quant.BF16}, m); err != nil {
		t.Fatal(err)
	}
	if err := m.Validate(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"q4_0", "bf16", "other"} {
		if m.Vector[name] <= 0 || m.Matrix[name] <= 0 {
			t.Errorf("%s: %g bytes and %g multiply-adds per nanosecond", name, m.Vector[name], m.Matrix[name])
		}
	}
	if err := Kernels(b, []quant.Type{quant.I64}, m); err == nil {
		t.Error("measured products with I64")
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
		t.Skip("measures for two seconds")
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

func TestStorageThatFails(t *testing.T) {
	broken := errors.New("cable out")
	if _, _, err := Storage(file{size: leastBytes, bad: broken}, leastBytes); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if _, _, err := Storage(file{size: 1000}, 1000); err == nil {
		t.Error("measured a file of 1000 bytes")
	}
}
