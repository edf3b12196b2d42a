package ple

import (
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"sync"
	"time"
)

// ErrChanged is wrapped by the error of a read that found another version of the
// table than the one that was opened.
var ErrChanged = errors.New("the table has changed")

var errOverwritten = fmt.Errorf("%w: the file was written to since it was opened; open the model again", ErrChanged)

// stamp is what the system tells of an open file.
type stamp struct {
	bytes    int64
	written  time.Time
	changed  time.Time // also by what sets written back; zero where the system does not tell
	nameless bool      // removed, or another file has taken its name: still readable
}

// How often a file is looked at while rows are asked for, and how long an answer is
// waited for: longer, and the reads are left to show what is wrong.
const (
	guardEvery    = time.Second
	guardPatience = 50 * time.Millisecond
)

// Samples that stand for the content of a table.
const (
	guardSamples     = 16
	guardSampleBytes = 4096
)

// guard notices that a file was written to while rows are read from it. A second
// look decides: when samples spread over the table are what they were, the file was
// touched or restored and all is well.
//
// A look is one system call by a goroutine of its own, since it may hang where a
// read may. Whoever asks for rows pays for it once a second, and gives up the
// processor to that goroutine meanwhile.
type guard struct {
	of      stamper
	src     io.ReaderAt
	bytes   int64
	opened  stamp
	samples uint64
	changed func()

	mu     sync.Mutex
	last   time.Time
	asked  bool
	closed bool
	ask    chan struct{}
	answer chan verdict
	timer  *time.Timer
	now    verdict
	looks  int64
}

// verdict is the result of a look.
type verdict struct {
	err      error
	nameless bool
}

// newGuard notes what a file is now, of which src is the table of so many bytes;
// nil when the system does not tell. changed is called when it is another one.
func newGuard(f stamper, src io.ReaderAt, bytes int64, changed func()) *guard {
	g := &guard{of: f, src: src, bytes: bytes, changed: changed, last: time.Now(),
		ask: make(chan struct{}, 1), answer: make(chan verdict, 1)}
	var err error
	if g.opened, err = f.stamp(); err != nil {
		return nil
	}
	if g.samples, err = g.sample(); err != nil {
		return nil
	}
	g.timer = time.NewTimer(guardPatience)
	go g.work()
	return g
}

// sample reads the samples and returns their checksum.
func (g *guard) sample() (uint64, error) {
	p := make([]byte, min(guardSampleBytes, g.bytes))
	last, sum := g.bytes-int64(len(p)), crc64.New(crc64.MakeTable(crc64.ECMA))
	for i := range int64(guardSamples) {
		if n, err := g.src.ReadAt(p, last/(guardSamples-1)*i); n < len(p) {
			return 0, err
		}
		sum.Write(p)
	}
	return sum.Sum64(), nil
}

// check returns an error while the file is not the one that was opened. It takes the table's
// lock while it has g's.
func (g *guard) check() error {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || time.Since(g.last) < guardEvery {
		return g.now.err
	}
	if !g.asked {
		g.asked = true
		g.looks++
		g.ask <- struct{}{}
	}
	g.timer.Reset(guardPatience)
	select {
	case v := <-g.answer:
		if v.err != nil && g.now.err == nil {
			g.changed()
		}
		g.asked, g.now = false, v
	case <-g.timer.C:
	}
	g.last = time.Now()
	return g.now.err
}

// state returns how often was looked, and whether the file has lost its name.
func (g *guard) state() (looks int64, nameless bool) {
	if g == nil {
		return 0, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.looks, g.now.nameless
}

// close ends the goroutine, which may hang for now.
func (g *guard) close() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	close(g.ask)
}

func (g *guard) work() {
	for range g.ask {
		g.answer <- g.look()
	}
}

// look compares the file with what it was. What cannot be seen is left to reads.
func (g *guard) look() verdict {
	s, err := g.of.stamp()
	if err != nil {
		return verdict{}
	}
	v := verdict{nameless: s.nameless}
	if s.bytes == g.opened.bytes && s.written.Equal(g.opened.written) && s.changed.Equal(g.opened.changed) {
		return v
	}
	samples, err := g.sample()
	switch {
	case err != nil: // truncated, say: each read will tell
	case samples == g.samples:
		g.opened.bytes, g.opened.written, g.opened.changed = s.bytes, s.written, s.changed
	default:
		v.err = errOverwritten
	}
	return v
}
