package plume

import (
	"errors"

	"github.com/plume-run/plume/internal/plan/flash"
	"github.com/plume-run/plume/internal/ple"
)

// emulate wraps src as the options ask. It takes src over: when it fails, src is closed.
func (o Options) emulate(src ple.Source) (ple.Source, error) {
	if o.PLEEmulate == "" {
		return src, nil
	}
	p, err := flash.Load(o.PLEEmulate)
	if err != nil {
		return nil, requestError{errors.Join(err, src.Close())}
	}
	device := flash.NewEmulator(p)
	return ple.Slow(src, p.Name, func(off int64, n int) ple.Answer { return device.Begin(off, n) }), nil
}
