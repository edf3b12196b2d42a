package testkit

import (
	"io"
	"sync"
	"time"
)

// FaultyReaderAt passes reads on to another reader and misbehaves as told. It
// may be used and changed by many goroutines at once; a change concerns the
// reads that begin after it.
type FaultyReaderAt struct {
	src io.ReaderAt

	mu     sync.Mutex
	faults faults
	reads  int64
	bytes  int64
}

type faults struct {
	end   int64 // the file ends here; -1: where it does
	left  int64 // bytes that still arrive before err; -1: no end to them
	err   error
	delay time.Duration
	bad   []badRange
}

// badRange are bytes that cannot be read.
type badRange struct {
	from, to int64
	err      error
}

var sound = faults{end: -1, left: -1}

// NewFaultyReaderAt returns a reader without faults.
func NewFaultyReaderAt(src io.ReaderAt) *FaultyReaderAt {
	return &FaultyReaderAt{src: src, faults: sound}
}

// EndAt makes the file end at byte off, as if it had been truncated: a read
// across it is short, with io.EOF.
func (r *FaultyReaderAt) EndAt(off int64) {
	r.change(func(f *faults) { f.end = off })
}

// FailAfter lets n more bytes arrive, counted over all reads, and then fails
// with err: the read in which that happens is cut short, later ones get nothing.
func (r *FaultyReaderAt) FailAfter(n int64, err error) {
	r.change(func(f *faults) { f.left, f.err = n, err })
}

// FailRange makes reads of any of n bytes at off fail with err, and get what lies before
// them.
func (r *FaultyReaderAt) FailRange(off, n int64, err error) {
	r.change(func(f *faults) { f.bad = append(f.bad, badRange{off, off + n, err}) })
}

// Delay makes every read take d longer.
func (r *FaultyReaderAt) Delay(d time.Duration) {
	r.change(func(f *faults) { f.delay = d })
}

// Heal ends all faults.
func (r *FaultyReaderAt) Heal() {
	r.change(func(f *faults) { *f = sound })
}

func (r *FaultyReaderAt) change(do func(*faults)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	do(&r.faults)
}

// Counts returns the number of reads so far and of the bytes that they brought.
func (r *FaultyReaderAt) Counts() (reads, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reads, r.bytes
}

// ReadAt implements io.ReaderAt.
func (r *FaultyReaderAt) ReadAt(p []byte, off int64) (int, error) {
	n, delay, fault := r.begin(len(p), off)
	time.Sleep(delay)
	n, err := r.src.ReadAt(p[:n], off)
	if err == nil {
		err = fault
	}
	r.mu.Lock()
	r.bytes += int64(n)
	r.mu.Unlock()
	return n, err
}

// begin decides how many of n bytes at off shall arrive, and why not all.
func (r *FaultyReaderAt) begin(n int, off int64) (int, time.Duration, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads++
	f := &r.faults
	var fault error
	if f.end >= 0 && int64(n) > f.end-off {
		n, fault = int(max(0, f.end-off)), io.EOF
	}
	for _, b := range f.bad {
		if off < b.to && off+int64(n) > b.from {
			n, fault = int(max(0, b.from-off)), b.err
		}
	}
	if f.left >= 0 {
		if int64(n) > f.left {
			n, fault = int(f.left), f.err
		}
		f.left -= int64(n)
	}
	return n, f.delay, fault
}
