package plume

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/plan/flash"
	"github.com/plume-run/plume/internal/plan/measure"
	"github.com/plume-run/plume/internal/ple"
)

// MeasureOptions say what of the machine is measured.
type MeasureOptions struct {
	Threads  int               // most threads; 0: one for each physical core that the process may use
	Types    []string          // weight types that products are measured for
	Models   []ModelSpec       // and those of these models, with their shapes of attention; neither: what common files have
	KVType   string            // of keys and values: "f16" (the default), "f32" or "int8"
	File     string            // a large file on the storage that rows will come from, or a folder there; "": the storage is not measured
	Progress func(what string) // told what is being measured
}

// commonTypes are what published files hold.
var commonTypes = []string{"q4_0", "q4_k", "q6_k", "q8_0", "bf16"}

// CommonTypes are weight types to measure for a profile that is to be kept.
func CommonTypes() []string { return slices.Clone(commonTypes) }

func (o MeasureOptions) withDefaults() MeasureOptions {
	if o.Threads == 0 {
		o.Threads = cpu.DefaultThreads()
	}
	if len(o.Types) == 0 && len(o.Models) == 0 {
		o.Types = commonTypes
	}
	if o.KVType == "" {
		o.KVType = "f16"
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	return o
}

// kernelTime is how long the kernels are measured: long enough to meet a shared memory's better
// and worse moments.
const kernelTime = 2 * time.Second

// streamTime is how long streaming of a model's weights is measured.
const streamTime = time.Second

// MeasureMachine measures the machine at hand: memory and arithmetic by number of threads,
// the kernels' own rates, the storage under a file, and what the system tells of power and
// graphics cards. It takes some seconds, and memory
// of a few hundred MB meanwhile; other work on the machine is part of what it sees.
func MeasureMachine(o MeasureOptions) (*Machine, error) {
	o = o.withDefaults()
	b, err := findBudget(0, os.Getenv(RAMVariable), "/")
	if err != nil {
		return nil, err
	}
	m := &Machine{
		Name: "this machine", About: fmt.Sprintf("%s/%s, %d threads, measured", runtime.GOOS, runtime.GOARCH, o.Threads), RAM: b.bytes, RAMFrom: b.from,
		ReadRate: 1, BusyWatts: 15 * float64(o.Threads), IdleWatts: 5 * float64(o.Threads),
		Sources: map[string]string{
			"all":                   "measured, " + time.Now().Format(time.DateOnly),
			"idle_watts,busy_watts": "assumption: 15 W for a busy core, 5 W for an idle one; --watts and --idle-watts set your own",
			"price":                 "nothing: --price sets your own",
			"step_us":               "measured on two other machines",
		},
	}
	if err := ask(m, func() error { return compute(m, o) }); err != nil {
		return nil, err
	}
	if o.File == "" {
		m.Sources["storage,read_gbps"] = "assumption: the storage was not measured"
		return m, m.Validate()
	}
	o.Progress("storage")
	if m.Measured, m.ReadRate, err = measureStorage(o.File); err != nil {
		return nil, err
	}
	return m, m.Validate()
}

// compute measures memory, arithmetic and the kernels.
func compute(m *Machine, o MeasureOptions) error {
	o.Progress("memory and kernels")
	meter, err := NewMachineMeter(o)
	if err != nil {
		return err
	}
	m.Level = meter.back.Name()
	meter.Measure(kernelTime, m)
	if o.File != "" && len(o.Models) == 1 && o.Models[0].Path == o.File { // rows and weights are on one storage
		err = meter.MeasureStreaming(o.Models[0], 0, streamTime, m)
		if errors.Is(err, ErrUnsupported) { // of a packed copy, which may be elsewhere; measureStorage refuses File itself
			err = nil
		}
	}
	return errors.Join(err, meter.Close())
}

// measureStorage reads a file, of a folder a temporary one, past the system's memory of it,
// where that is possible.
func measureStorage(path string) (points []StoragePoint, rate float64, err error) {
	path, remove, err := probeFile(path)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, remove()) }()
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
