package flash

import (
	"context"
	"sync"
	"time"
)

// Emulator lets real reads take as long as on a profile's device, all of its queues
// included. It may be shared by any number of goroutines.
type Emulator struct {
	mu    sync.Mutex
	dev   *Device
	start time.Time
	timer *time.Timer
}

// NewEmulator starts the device's clock. p must be valid.
func NewEmulator(p *Profile) *Emulator {
	e := &Emulator{dev: NewDevice(p), start: time.Now()}
	e.timer = time.AfterFunc(time.Hour, e.tick)
	return e
}

// Begin hands the device a read of n bytes at off. The channel is closed when the device
// would have answered: a real read that was begun at the same time is over when both are.
func (e *Emulator) Begin(off int64, n int) <-chan struct{} {
	done := make(chan struct{})
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Since(e.start).Nanoseconds()
	e.dev.Run(now)
	e.dev.Submit(now, Command{Rows: []Extent{{off, n}}, Done: func(int64) { close(done) }})
	e.schedule()
	return done
}

// Wait is Begin and waiting, or ctx's error.
func (e *Emulator) Wait(ctx context.Context, off int64, n int) error {
	select {
	case <-e.Begin(off, n):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Counts returns what the device has done.
func (e *Emulator) Counts() Counts {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.dev.Counts()
}

// Close stops the clock; reads that wait are answered at once.
func (e *Emulator) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.timer.Stop()
	e.dev.Drain()
	return nil
}

// tick lets happen what is due.
func (e *Emulator) tick() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dev.Run(time.Since(e.start).Nanoseconds())
	e.schedule()
}

// schedule sets the timer to the next event.
func (e *Emulator) schedule() {
	if at, ok := e.dev.Next(); ok {
		e.timer.Reset(time.Duration(at) - time.Since(e.start))
	}
}
