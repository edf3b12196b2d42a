package plume

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"

	"github.com/plume-run/plume/internal/plan/flash"
)

// StorageFit is the model of a storage beside what was measured of it, twice.
type StorageFit struct {
	Points    []FitPoint `json:"points"`
	Steady    int        `json:"steady"`        // points that came out alike both times
	Within    int        `json:"steady_within"` // of these, those whose error is at most FitMark
	Worst     float64    `json:"steady_worst_error"`
	Unsteady  bool       `json:"fitted_to_unsteady"` // too few points were steady: the model was fitted to the others as well
	ReadGBps  float64    `json:"read_gbps"`          // sequential, measured
	ModelGBps float64    `json:"model_read_gbps"`
	// Profile is what was fitted: saved as a file, --storage and --ple-emulate take it.
	Profile *flash.Profile `json:"profile"`
}

// FitPoint is one point of a depth curve.
type FitPoint struct {
	Bytes    int     `json:"bytes"`
	Depth    int     `json:"depth"`
	Measured float64 `json:"measured_iops"`
	Again    float64 `json:"measured_again_iops"`
	Spread   float64 `json:"spread"` // Again/Measured − 1
	Steady   bool    `json:"steady"` // Spread is at most FitMark, up or down
	Fitted   bool    `json:"fitted"` // the model knew it: steady, or not where too few are
	Model    float64 `json:"model_iops"`
	Error    float64 `json:"error"` // of Model, against the geometric mean of both measurements
}

// mean of both measurements, as a point to fit to.
func (p *FitPoint) mean() flash.Point {
	return flash.Point{Bytes: p.Bytes, Depth: p.Depth, IOPS: math.Sqrt(p.Measured * p.Again)}
}

// FitMark is the error that the model of a steady storage stays below. A point is steady when
// its measurements do not differ by more.
const FitMark = 0.2

const (
	unfitted = 8 << 10 // reads that the model is held against without having seen them
	fewFit   = 6       // steady points that are enough to fit to
	fitReads = 4000    // simulated reads that a point of the model is told from
)

// FitStorage measures the storage under a file or folder twice, fits a device of the model to
// what was steady of it, but for reads of 8 KiB, and holds it against all. Of a folder a
// temporary file is read. It takes some ten seconds.
func FitStorage(path string) (*StorageFit, error) {
	first, rate, err := measureStorage(path)
	if err != nil {
		return nil, err
	}
	again, _, err := measureStorage(path)
	if err != nil {
		return nil, err
	}
	f, err := fitStorage(first, again)
	if err != nil {
		return nil, err
	}
	f.ReadGBps = rate
	return f, nil
}

// fitStorage is FitStorage on two measurements of the same points.
func fitStorage(first, again []StoragePoint) (*StorageFit, error) {
	f := &StorageFit{}
	steady := 0 // of those that may be fitted to
	for i, p := range first {
		point := FitPoint{Bytes: p.Bytes, Depth: p.Depth, Measured: p.IOPS, Again: again[i].IOPS, Spread: again[i].IOPS/p.IOPS - 1}
		point.Steady = max(p.IOPS, again[i].IOPS) <= (1+FitMark)*min(p.IOPS, again[i].IOPS)
		if point.Steady && point.Bytes != unfitted {
			steady++
		}
		f.Points = append(f.Points, point)
	}
	f.Unsteady = steady < fewFit
	if err := f.fit(); err != nil {
		return nil, err
	}
	for i := range f.Points {
		p := &f.Points[i]
		p.Model = flash.Random(f.Profile, p.Bytes, p.Depth, fitReads).IOPS
		p.Error = p.Model/p.mean().IOPS - 1
		if !p.Steady {
			continue
		}
		f.Steady++
		f.Worst = max(f.Worst, math.Abs(p.Error))
		if math.Abs(p.Error) <= FitMark {
			f.Within++
		}
	}
	return f, nil
}

// fit makes a device of f's steady points, or of all.
func (f *StorageFit) fit() error {
	base, err := flash.Load("nvme")
	if err != nil {
		return err
	}
	var given []flash.Point
	for i := range f.Points {
		p := &f.Points[i]
		if p.Fitted = p.Bytes != unfitted && (p.Steady || f.Unsteady); p.Fitted {
			given = append(given, p.mean())
		}
	}
	if f.Profile, _, err = flash.Calibrate(base, given); err != nil {
		return err
	}
	f.ModelGBps = flash.Sequential(f.Profile, 1<<20, 8, 256<<20) / 1e9
	return nil
}

// probeBytes is the size of the temporary file that stands for a folder's storage.
const probeBytes = 256 << 20

// probeFile returns a file on the storage under path: path itself or, of a folder, a new one
// that remove deletes. Its bytes are random, so that no storage can make less of them.
func probeFile(path string) (file string, remove func() error, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", nil, err
	}
	if !info.IsDir() {
		return path, func() error { return nil }, nil
	}
	f, err := os.CreateTemp(path, ".plume-probe-*")
	if err != nil {
		return "", nil, fmt.Errorf("measure storage: %w", err)
	}
	noise := rand.NewChaCha8([32]byte{1})
	_, err = io.CopyN(f, noise, probeBytes)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", nil, fmt.Errorf("measure storage: write a file to read: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return f.Name(), func() error { return os.Remove(f.Name()) }, nil
}
