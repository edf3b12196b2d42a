package ple

import (
	"fmt"
	"io"
	"math"
	"sync/atomic"
	"time"
)

// Strikes tell a hung device from a process that was stopped for longer than its patience,
// whose timers expire as soon as it goes on: nothing must be seen for half of it, twice.
type Strikes struct {
	seen   int64
	struck bool
}

// Begin counts from what has been seen so far, some number that grows while all is well.
func Begin(seen int64) Strikes { return Strikes{seen: seen} }

// Out is asked after half of the patience each time, with what has been seen by then.
func (s *Strikes) Out(seen int64) bool {
	if seen != s.seen {
		*s = Strikes{seen: seen}
		return false
	}
	out := s.struck
	s.struck = true
	return out
}

// Patience is how long nothing at all may arrive from a device, where Options.Timeout is
// timeout.
func Patience(timeout time.Duration) time.Duration {
	switch {
	case timeout == 0:
		return defaultTimeout
	case timeout < 0:
		return math.MaxInt64
	}
	return max(2, timeout) // its half is a timer's
}

// Counted is a reader that counts the reads that have come back, well or not: Within tells
// a slow device from one that hangs by them.
type Counted struct {
	io.ReaderAt
	ended atomic.Int64
}

// ReadAt implements io.ReaderAt.
func (c *Counted) ReadAt(p []byte, off int64) (int, error) {
	defer c.ended.Add(1)
	return c.ReaderAt.ReadAt(p, off)
}

// Ended is how many reads have come back.
func (c *Counted) Ended() int64 { return c.ended.Load() }

// Within does work that may hang in the system, in a goroutine of its own. When seen, which
// grows as the work goes on, has not grown for patience, the error is ErrSlow, and the
// work is left to itself; what comes of it in the end, if it does, is for late. A nil seen
// never grows.
func Within[T any](patience time.Duration, seen func() int64, work func() (T, error), late func(T)) (T, error) {
	type outcome struct {
		v   T
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		v, err := work()
		done <- outcome{v, err}
	}()
	if seen == nil {
		seen = func() int64 { return 0 }
	}
	strikes := Begin(seen())
	timer := time.NewTicker(patience / 2)
	defer timer.Stop()
	for {
		select {
		case o := <-done:
			return o.v, o.err
		case <-timer.C:
			if !strikes.Out(seen()) {
				continue
			}
			go func() {
				if o := <-done; o.err == nil {
					late(o.v)
				}
			}()
			var none T
			return none, fmt.Errorf("%w for %v", ErrSlow, patience)
		}
	}
}
