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

// StorageFit is the model of a storage beside what was measured of it.
type StorageFit struct {
	Points    []FitPoint `json:"points"`
	Worst     float64    `json:"worst_error_fitted"` // at the points that the model was fitted to
	Within    int        `json:"within"`             // points of all whose error is at most FitMark
	Unsteady  float64    `json:"largest_difference"` // between two measurements of a point, as a share of the first
	ReadGBps  float64    `json:"read_gbps"`          // sequential, measured
	ModelGBps float64    `json:"model_read_gbps"`
	// Profile is what was fitted: saved as a file, --storage and --ple-emulate take it.
	Profile *flash.Profile `json:"profile"`
}

// FitPoint is one point of a depth curve.
type FitPoint struct {
	Bytes    int     `json:"bytes"`
	Depth    int     `json:"depth"`
	Fitted   bool    `json:"fitted"` // the model knew it
	Measured float64 `json:"measured_iops"`
	Again    float64 `json:"measured_again_iops"`
	Model    float64 `json:"model_iops"`
	Error    float64 `json:"error"`       // Model/Measured − 1
	ErrAgain float64 `json:"error_again"` // Model/Again − 1
}

// FitMark is the error that the model of a steady storage stays below.
const FitMark = 0.2

// unfitted are the reads that the model is held against without having seen them.
const unfitted = 8 << 10

// fitReads is how many simulated reads a point of the model is told from.
const fitReads = 4000

// FitStorage measures the storage under a file or folder twice, fits a device of the model to
// the first measurement, but for reads of 8 KiB, and holds it against both. Of a folder a
// temporary file is read. It takes some five seconds.
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
	base, err := flash.Load("nvme")
	if err != nil {
		return nil, err
	}
	var given []flash.Point
	for _, p := range first {
		if p.Bytes != unfitted {
			given = append(given, p)
		}
	}
	f := &StorageFit{}
	if f.Profile, _, err = flash.Calibrate(base, given); err != nil {
		return nil, err
	}
	f.ModelGBps = flash.Sequential(f.Profile, 1<<20, 8, 256<<20) / 1e9
	for i, p := range first {
		model := flash.Random(f.Profile, p.Bytes, p.Depth, fitReads).IOPS
		point := FitPoint{
			Bytes: p.Bytes, Depth: p.Depth, Fitted: p.Bytes != unfitted, Measured: p.IOPS, Again: again[i].IOPS,
			Model: model, Error: model/p.IOPS - 1, ErrAgain: model/again[i].IOPS - 1,
		}
		if math.Abs(point.Error) <= FitMark {
			f.Within++
		}
		if point.Fitted {
			f.Worst = max(f.Worst, math.Abs(point.Error))
		}
		f.Unsteady = max(f.Unsteady, math.Abs(again[i].IOPS/p.IOPS-1))
		f.Points = append(f.Points, point)
	}
	return f, nil
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
