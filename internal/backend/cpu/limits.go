package cpu

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plume-run/plume/internal/kernel"
)

// Limits measures what the machine can do at best, for rates to be compared with.
// The memory that it streams comes from where weights come from, on huge pages like
// them. It is used by one goroutine at a time, while nothing else computes.
type Limits struct {
	arena arena
	mem   []byte
}

// NewLimits takes bytes of memory to stream through; they should be several times
// what the processor's caches hold.
func NewLimits(bytes int) (*Limits, error) {
	if bytes < 1<<20 {
		return nil, fmt.Errorf("measure machine: %d bytes to stream, want at least 1 MiB", bytes)
	}
	l := new(Limits)
	var err error
	if l.mem, err = l.arena.take(bytes); err != nil {
		return nil, err
	}
	for i := 0; i < len(l.mem); i += 4096 {
		l.mem[i] = 1 // untouched pages are all the same one
	}
	return l, nil
}

// Bytes is the memory held.
func (l *Limits) Bytes() int { return len(l.mem) }

// Close gives the memory back.
func (l *Limits) Close() error {
	l.mem = nil
	return l.arena.release()
}

// streamPiece is what a thread takes at once: no thread waits long for another.
const streamPiece = 4 << 20

// StreamRead returns the bytes per second at which threads together read the
// memory once, each byte by one thread.
func (l *Limits) StreamRead(threads int) float64 {
	var next atomic.Int64
	d := together(threads, func() {
		for {
			end := int(next.Add(streamPiece))
			if end-streamPiece >= len(l.mem) {
				return
			}
			kernel.StreamRead(l.mem[end-streamPiece : min(end, len(l.mem))])
		}
	})
	return float64(len(l.mem)) / d.Seconds()
}

// PeakInt8 returns the multiply-adds of int8 per second that threads together
// reach on registers alone during about d; 0 where there is no such loop.
func PeakInt8(threads int, d time.Duration) float64 { return peak(threads, d, kernel.PeakInt8) }

// PeakF32 is PeakInt8 for float multiply-adds.
func PeakF32(threads int, d time.Duration) float64 { return peak(threads, d, kernel.PeakF32) }

func peak(threads int, d time.Duration, loop func() int) float64 {
	var sum atomic.Int64
	begin := time.Now()
	took := together(threads, func() {
		for time.Since(begin) < d {
			n := loop()
			if n == 0 {
				return
			}
			sum.Add(int64(n))
		}
	})
	return float64(sum.Load()) / took.Seconds()
}

// together runs f on n goroutines and returns how long all of them took.
func together(n int, f func()) time.Duration {
	var wg sync.WaitGroup
	begin := time.Now()
	for range n - 1 {
		wg.Go(f)
	}
	f()
	wg.Wait()
	return time.Since(begin)
}
