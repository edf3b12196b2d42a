package plume

import (
	"errors"

	"github.com/plume-run/plume/internal/plan/flash"
	"github.com/plume-run/plume/internal/ple"
)

// slowed is a source whose reads take as long as they would on a simulated device, all
// its queues included, or as long as they really take where that is longer.
type slowed struct {
	ple.Source
	device *flash.Emulator
	name   string
}

// emulate wraps src as the options ask. It takes src over: when it fails, src is closed.
func (o Options) emulate(src ple.Source) (ple.Source, error) {
	if o.PLEEmulate == "" {
		return src, nil
	}
	p, err := flash.Load(o.PLEEmulate)
	if err != nil {
		return nil, requestError{errors.Join(err, src.Close())}
	}
	return &slowed{src, flash.NewEmulator(p), p.Name}, nil
}

// ReadAt implements io.ReaderAt.
func (s *slowed) ReadAt(p []byte, off int64) (int, error) {
	done := s.device.Begin(s.Source.Traits().Base+off, len(p))
	n, err := s.Source.ReadAt(p, off)
	<-done
	return n, err
}

// Traits are those of a source that is read by a pool of goroutines, whatever is beneath.
func (s *slowed) Traits() ple.Traits {
	t := s.Source.Traits()
	return ple.Traits{
		Kind: t.Kind, Base: t.Base, AlignBytes: t.AlignBytes, Resident: t.Resident,
		Name: t.Name + ", as slow as " + s.name,
	}
}

// Close implements ple.Source.
func (s *slowed) Close() error { return errors.Join(s.device.Close(), s.Source.Close()) }
