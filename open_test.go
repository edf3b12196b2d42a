package plume

import (
	"math"
	"runtime/debug"
	"testing"

	"github.com/plume-run/plume/demo"
	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
)

// The tokenizer is built while weights arrive only where the memory for that can be held back,
// and Go is not told its limit, which the garbage of building would exceed, before it is there.
func TestWhenTheTokenizerIsBuilt(t *testing.T) {
	path, _, err := demo.Path()
	if err != nil {
		t.Fatal(err)
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	all := &Stream{Bytes: 1 << 40}
	for name, tt := range map[string]struct {
		o    Options
		late bool
	}{
		"in the background":    {Options{Background: true, RAM: -1}, true},
		"under a limit":        {Options{Background: true, RAM: 64 << 20}, true},
		"nothing to hold back": {Options{Background: true, RAM: 64 << 20, Stream: all}, false},
		"no limit, none held":  {Options{Background: true, RAM: -1, Stream: all}, true},
		"weights first":        {Options{RAM: 64 << 20}, false},
	} {
		t.Run(name, func(t *testing.T) {
			debug.SetMemoryLimit(math.MaxInt64)
			tt.o.LimitGo, tt.o.PLE, tt.o.Packed = true, "disk", PackedOff
			m := &Model{path: path, opt: tt.o.withDefaults()}
			defer m.Close()
			cat, err := checkpoint.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			m.closers = append(m.closers, cat.Close)
			if m.cfg, err = gemma.ReadConfig(cat); err != nil {
				t.Fatal(err)
			}
			b, err := m.opt.budget()
			if err != nil {
				t.Fatal(err)
			}
			size, late, err := m.makePlan(cat, b)
			if err != nil || late != tt.late || late != (m.text == nil) {
				t.Fatalf("late is %v, with a tokenizer already: %v, %v; want %v", late, m.text != nil, err, tt.late)
			}
			if err := m.bind(cat, size, b, late); err != nil {
				t.Fatal(err)
			}
			want := int64(math.MaxInt64)
			if !late && b.bytes > 0 {
				want = m.plan.GoHeap()
			}
			if got := debug.SetMemoryLimit(-1); got != want {
				t.Errorf("Go's limit is %d after bind, want %d", got, want)
			}
		})
	}
}
