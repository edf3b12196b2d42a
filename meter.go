package plume

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/plan/forecast"
	"github.com/plume-run/plume/internal/plan/measure"
	"github.com/plume-run/plume/internal/ple"
	"github.com/plume-run/plume/internal/quant"
)

// MachineMeter measures the rates of this machine as often as it is asked to, since memory
// that is shared with others gives more in one minute than in the next. It holds what it
// measures on, a few hundred MB, until Close, and belongs to one goroutine; nothing else
// should compute while it measures.
type MachineMeter struct {
	back   *cpu.CPU
	meter  *measure.Meter
	limits *MachineLimits
	counts []int // threads that are measured
}

// NewMachineMeter makes ready to measure what o asks for, the storage aside.
func NewMachineMeter(o MeasureOptions) (*MachineMeter, error) {
	o = o.withDefaults()
	work, err := o.work()
	if err != nil {
		return nil, err
	}
	t := &MachineMeter{}
	for n := 1; ; n = min(2*n, o.Threads) {
		if t.counts = append(t.counts, n); n == o.Threads {
			break
		}
	}
	if t.back, err = cpu.New(o.Threads); err != nil {
		return nil, requestError{err}
	}
	if t.limits, err = NewMachineLimits(streamBytes); err == nil {
		t.meter, err = measure.NewMeter(t.back, work)
	}
	if err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// Close gives the memory back.
func (t *MachineMeter) Close() error {
	if t.limits != nil {
		t.limits.Close()
	}
	return t.back.Close()
}

// streamBytes is the memory that reading is measured on.
const streamBytes = 192 << 20

// The machine's limits are measured so often: peaks of arithmetic for so long each.
const (
	limitRuns = 5
	peakTime  = 10 * time.Millisecond
)

// Measure fills in m's rates, all but the storage's, as they are in the time d from now on.
// It takes a little longer. What is filled in are middles of many short measurements.
func (t *MachineMeter) Measure(d time.Duration, m *Machine) {
	m.Threads = nil
	for _, n := range t.counts {
		var stream, i8, f32 []float64
		for range limitRuns {
			stream = append(stream, t.limits.StreamRead(n)/1e9)
			i8 = append(i8, PeakInt8(n, peakTime)/1e9)
			f32 = append(f32, PeakF32(n, peakTime)/1e9)
		}
		m.Threads = append(m.Threads, forecast.Rate{Threads: n, Stream: middle(stream), Int8: middle(i8), F32: middle(f32)})
	}
	t.meter.Measure(d, m)
}

// MeasureStreaming fills in what reading weights beside computing costs, in the time d from now
// on: again and again so many bytes (0: all) of the model's file, or of its packed copy if Open
// would use one. Where the system has no reads past the page cache, which would measure
// memory, it fails with ErrUnsupported.
func (t *MachineMeter) MeasureStreaming(spec ModelSpec, bytes int64, d time.Duration, m *Machine) error {
	path, o := spec.Path, Options{}.withDefaults()
	packed := spec.packed(&o)
	if packed != "" {
		path = packed
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	src, err := ple.OpenSource(ple.Direct, ple.Spec{Path: path, Bytes: info.Size()})
	if errors.Is(err, errors.ErrUnsupported) {
		err = unsupportedError{err}
	}
	if err != nil {
		return fmt.Errorf("measure streaming: %w", err)
	}
	defer src.Close()
	if bytes == 0 || bytes > info.Size() {
		bytes = info.Size()
	}
	m.Stream, err = t.meter.Streaming(io.NewSectionReader(src, 0, bytes), bytes, packed == "", d)
	return err
}

// middle is the median of an odd number of figures.
func middle(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

// familyShapes are the shapes of attention that are measured where no model says which:
// those of E2B.
var familyShapes = []backend.Attention{{Heads: 8, KVHeads: 1, HeadDim: 256, Window: 512}, {Heads: 8, KVHeads: 1, HeadDim: 512}}

// work is what the options ask to be measured: types by name, and what models use. Matrices
// are measured by shape for one model alone: for many that would take memory and time.
func (o *MeasureOptions) work() (measure.Work, error) {
	w := measure.Work{KVType: kvTypes[o.KVType]}
	for _, name := range o.Types {
		t, err := quant.ParseType(name)
		if err != nil {
			return w, requestError{err}
		}
		w.Types = append(w.Types, t)
	}
	for i := range o.Models {
		if err := o.Models[i].addWork(&w, len(o.Models) == 1); err != nil {
			return w, err
		}
	}
	if len(w.Attention) == 0 {
		w.Attention = familyShapes
	}
	return w, nil
}

// addWork adds a model's weight types and shapes of attention, and where it is asked for the
// shapes of its matrices.
func (s *ModelSpec) addWork(w *measure.Work, shapes bool) error {
	cat, cfg, err := s.open(0)
	if err != nil {
		return err
	}
	defer cat.Close()
	weights, err := gemma.Weigh(cat, cfg, newSizer(Options{Threads: 1}))
	if err != nil {
		return markUnsupported(err)
	}
	if w.Bytes == nil {
		w.Bytes = map[quant.Type]float64{}
	}
	for typ, n := range weights.TypeBytes() {
		w.Bytes[typ] += float64(n)
	}
	for _, m := range weights.Matrices() {
		if !slices.Contains(w.Types, m.Type) {
			w.Types = append(w.Types, m.Type)
		}
		if shapes {
			w.Matrices = append(w.Matrices, m)
		}
	}
	for _, a := range weights.Attentions() {
		if !slices.Contains(w.Attention, a) {
			w.Attention = append(w.Attention, a)
		}
	}
	return nil
}
