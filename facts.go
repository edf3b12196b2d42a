package plume

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/plume-run/plume/internal/sysinfo"
)

// idleTime is how long a machine is watched doing nothing.
const idleTime = time.Second

// wattage fills in what the machine draws idle and while work runs, where it counts its own
// energy; else the assumptions stay. The work's error is returned.
func wattage(m *Machine, meter *EnergyMeter, idle, work func() error) error {
	if meter == nil {
		return work()
	}
	low, lowErr := watts(meter, idle)
	high, err := watts(meter, work)
	if err != nil && !errors.Is(err, errUncounted) {
		return err
	}
	if err == nil && lowErr == nil && high > 0 {
		m.IdleWatts, m.BusyWatts = min(low, high), high
		m.Sources["idle_watts,busy_watts"] = fmt.Sprintf("measured (%s): without what is not named here, as drives, screen and supply", meter)
	}
	return nil
}

// errUncounted marks work that was done while nothing could be counted.
var errUncounted = errors.New("energy not counted")

// watts is the mean power while f runs.
func watts(meter *EnergyMeter, f func() error) (float64, error) {
	begin, span := time.Now(), meter.Begin()
	err := f()
	joules, countErr := span.End()
	if err != nil {
		return 0, err
	}
	if countErr != nil {
		return 0, fmt.Errorf("%w: %w", errUncounted, countErr)
	}
	return joules / max(time.Since(begin).Seconds(), 1e-9), nil
}

func stayIdle() error {
	time.Sleep(idleTime)
	return nil
}

// graphics fills in the memory of the largest card that has its own.
func graphics(m *Machine, cards []sysinfo.GPU) {
	var all []string
	for _, g := range cards {
		all = append(all, g.String())
		if !g.Shared {
			m.VRAM = max(m.VRAM, g.Bytes)
		}
	}
	if all == nil {
		all = []string{"no graphics card found"}
	}
	m.Sources["vram_bytes"] = strings.Join(all, "; ") + "; plume has no GPU backend yet: for capacity only"
}

// ask fills in what the system knows of the machine, and runs the work that measures the
// rest, whose power is measured meanwhile.
func ask(m *Machine, work func() error) error {
	graphics(m, sysinfo.This().GPUs(context.Background()))
	meter, err := OpenEnergyMeter()
	if err != nil {
		m.Sources["idle_watts,busy_watts"] += " (" + err.Error() + ")"
		return wattage(m, nil, nil, work)
	}
	return errors.Join(wattage(m, meter, stayIdle, work), meter.Close())
}
