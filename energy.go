package plume

import "github.com/plume-run/plume/internal/sysinfo"

// EnergyMeter reads the machine's energy counters. Begin starts a span, whose Lap and End
// return joules: of everything that runs on the machine meanwhile, in the parts that String
// names.
type EnergyMeter = sysinfo.Meter

// EnergySpan is a stretch of time whose energy is counted.
type EnergySpan = sysinfo.Span

// OpenEnergyMeter finds the counters. A machine without any is ErrUnsupported, and so is one
// that shows them to others only; the error says what to do.
func OpenEnergyMeter() (*EnergyMeter, error) {
	m, err := sysinfo.This().OpenMeter()
	if err != nil {
		return nil, unsupportedError{err}
	}
	return m, nil
}
