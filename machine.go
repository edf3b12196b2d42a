package plume

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/plan/flash"
	"github.com/plume-run/plume/internal/plan/forecast"
	"github.com/plume-run/plume/internal/plan/measure"
	"github.com/plume-run/plume/internal/ple"
	"github.com/plume-run/plume/internal/quant"
)

// MeasureOptions say what of the machine is measured.
type MeasureOptions struct {
	Threads  int               // most threads; 0: one for each physical core that the process may use
	Types    []string          // weight types that products are measured for; nil: those of common files
	File     string            // a large file on the storage that rows will come from; "": the storage is not measured
	Progress func(what string) // told what is being measured
}

// commonTypes are what published files hold.
var commonTypes = []string{"q4_0", "q4_k", "q6_k", "q8_0", "bf16"}

// MeasureMachine measures the machine at hand: memory and arithmetic by number of threads,
// the kernels' own rates, and the storage under a file. It takes some seconds, and memory
// of a few hundred MB meanwhile; other work on the machine is part of what it sees.
func MeasureMachine(o MeasureOptions) (*Machine, error) {
	if o.Threads == 0 {
		o.Threads = cpu.DefaultThreads()
	}
	if o.Types == nil {
		o.Types = commonTypes
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	b, err := findBudget(0, os.Getenv(RAMVariable), "/")
	if err != nil {
		return nil, err
	}
	m := &Machine{
		Name: "this machine", About: fmt.Sprintf("%s/%s, %d threads, measured", runtime.GOOS, runtime.GOARCH, o.Threads), RAM: b.bytes,
		ReadRate: 1, BusyWatts: 15 * float64(o.Threads), IdleWatts: 5 * float64(o.Threads),
		Sources: map[string]string{
			"all":                   "measured, " + time.Now().Format(time.DateOnly),
			"idle_watts,busy_watts": "assumption: 15 W for a busy core, 5 W for an idle one; set your own",
			"price":                 "nothing: set your own",
		},
	}
	o.Progress("memory and arithmetic")
	if m.Threads, err = measureRates(o.Threads); err != nil {
		return nil, err
	}
	o.Progress("kernels")
	if err := measureKernels(m, o); err != nil {
		return nil, err
	}
	if o.File != "" {
		o.Progress("storage")
		if m.Measured, m.ReadRate, err = measureStorage(o.File); err != nil {
			return nil, err
		}
	}
	return m, m.Validate()
}

// streamBytes is the memory that reading is measured on.
const streamBytes = 192 << 20

// measureRates measures what 1, 2, 4, … and all threads do together: the best of a few
// runs, since nothing makes a run faster than the machine is.
func measureRates(threads int) ([]forecast.Rate, error) {
	limits, err := NewMachineLimits(streamBytes)
	if err != nil {
		return nil, err
	}
	defer limits.Close()
	var rates []forecast.Rate
	for n := 1; ; n = min(2*n, threads) {
		r := forecast.Rate{Threads: n}
		for range 5 {
			r.Stream = max(r.Stream, limits.StreamRead(n)/1e9)
			r.Int8 = max(r.Int8, PeakInt8(n, 20*time.Millisecond)/1e9)
			r.F32 = max(r.F32, PeakF32(n, 20*time.Millisecond)/1e9)
		}
		rates = append(rates, r)
		if n == threads {
			return rates, nil
		}
	}
}

func measureKernels(m *Machine, o MeasureOptions) error {
	var types []quant.Type
	for _, name := range o.Types {
		t, err := quant.ParseType(name)
		if err != nil {
			return requestError{err}
		}
		types = append(types, t)
	}
	b, err := cpu.New(o.Threads)
	if err != nil {
		return requestError{err}
	}
	defer b.Close()
	return measure.Kernels(b, types, m)
}

// measureStorage reads a file past the system's memory of it, where that is possible.
func measureStorage(path string) ([]StoragePoint, float64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	spec := ple.Spec{Path: path, Bytes: info.Size()}
	src, err := ple.OpenSource(ple.Direct, spec)
	if err != nil {
		return nil, 0, unsupportedError{fmt.Errorf("measure storage: reads past the page cache are needed, or a copy in memory would be measured: %w", err)}
	}
	defer src.Close()
	return measure.Storage(io.NewSectionReader(src, 0, info.Size()), info.Size())
}

// StoragePoint is one point of a measured depth curve.
type StoragePoint = flash.Point
