package flash

import (
	"sync"
	"time"
)

// Emulator tells when reads would be over on a profile's device, all of its queues
// included, so that real ones can be made to last as long. It may be shared by any number
// of goroutines.
//
// The device moves when somebody looks: it needs no goroutine and no timer of its own,
// which would be late where every processor computes.
type Emulator struct {
	mu    sync.Mutex
	moved sync.Cond // some read has ended, or nobody watches the clock
	dev   *Device
	start time.Time
	led   bool // a goroutine in Wait sleeps until something happens
}

// NewEmulator starts the device's clock. p must be valid.
func NewEmulator(p *Profile) *Emulator {
	e := &Emulator{dev: NewDevice(p), start: time.Now()}
	e.moved.L = &e.mu
	return e
}

// Pending is a read that an Emulator's device was asked for.
type Pending struct {
	e    *Emulator
	over bool
}

// Begin hands the device a read of n bytes at off. A real read that was begun at the same
// time is over when both are.
func (e *Emulator) Begin(off int64, n int) *Pending {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := &Pending{e: e}
	now := e.run()
	e.dev.Submit(now, Command{Rows: []Extent{{off, n}}, Done: func(int64) {
		p.over = true
		e.moved.Broadcast()
	}})
	return p
}

// run lets happen what is due, and returns the time.
func (e *Emulator) run() int64 {
	now := time.Since(e.start).Nanoseconds()
	e.dev.Run(now)
	return now
}

// Here reports whether the device would have answered by now.
func (p *Pending) Here() bool {
	p.e.mu.Lock()
	defer p.e.mu.Unlock()
	p.e.run()
	return p.over
}

// longestNap bounds how long nobody looks whether another read that was begun meanwhile
// ends sooner.
const longestNap = 200 * time.Microsecond

// Wait returns when the device would have answered.
func (p *Pending) Wait() {
	e := p.e
	e.mu.Lock()
	defer e.mu.Unlock()
	for now := e.run(); !p.over; now = e.run() {
		if e.led {
			e.moved.Wait()
			continue
		}
		at, ok := e.dev.Next()
		if !ok {
			panic("flash: internal error: a read that never ends")
		}
		e.led = true
		e.mu.Unlock()
		nap(min(time.Duration(at-now), longestNap))
		e.mu.Lock()
		e.led = false
	}
	if !e.led {
		e.moved.Broadcast() // somebody else may have to watch
	}
}

// Counts returns what the device has done.
func (e *Emulator) Counts() Counts {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.run()
	return e.dev.Counts()
}
