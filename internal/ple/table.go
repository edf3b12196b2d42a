package ple

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"
)

// ErrClosed is wrapped by the error of a Wait whose rows were not read because
// the table was closed.
var ErrClosed = errors.New("table is closed")

// Options sets the resources of a Table. The zero value is the default, which
// may depend on the source (see Traits).
type Options struct {
	// Workers is the largest number of reads under way at once. 0 means 32 where they
	// need no thread each (direct reads with io_uring, HTTP), else 16; see ReadMemory.
	Workers int

	// CacheBytes bounds the rows kept in memory for later. 0 means 2 MiB, which
	// holds three quarters of what a text asks for; a negative value keeps none.
	// Books about a row take some 200 bytes more.
	CacheBytes int64

	// MaxReadBytes bounds one read of several rows; a single longer row is still
	// one read. 0 means 64 KiB; a negative value never merges rows. Every worker that
	// has merged rows keeps a buffer of this size.
	MaxReadBytes int

	// GapBytes is how much that nobody asked for may lie between two rows of one
	// read. 0 means none, over HTTP 32 KiB; a negative value means none.
	GapBytes int

	// Timeout is how long one read may take before its rows fail with ErrSlow.
	// 0 means 30 s; a negative value waits for ever. Open fails when none of its reads
	// comes back for as long.
	Timeout time.Duration
}

// defaultTimeout is enough for a disk that must spin up.
const defaultTimeout = 30 * time.Second

func (o Options) withDefaults(r Traits) Options {
	first := func(v *int, choices ...int) {
		for _, c := range choices {
			if *v == 0 {
				*v = c
			}
		}
	}
	first(&o.Workers, r.Workers, poolWorkers)
	first(&o.MaxReadBytes, maxReadBytes)
	first(&o.GapBytes, r.GapBytes)
	o.GapBytes = max(0, o.GapBytes)
	if o.CacheBytes == 0 {
		o.CacheBytes = 2 << 20
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	return o
}

// Table is a per-layer embedding table that stays in storage. It is safe for
// concurrent use.
type Table struct {
	src      io.ReaderAt
	traits   Traits
	adviser  adviser // nil when src takes no advice
	cached   cached  // nil when src cannot tell what needs no waiting
	mem      []byte  // the whole table, when src has it in memory
	guard    *guard  // nil when src is no file
	device   string
	rows     int32
	rowBytes int
	opt      Options

	workers sync.WaitGroup // goroutines of dev

	mu       sync.Mutex
	dev      device
	wake     sync.Cond // an idle goroutine of the pool sleeps here
	quiet    sync.Cond // Close sleeps here
	closed   bool
	known    map[int32]*slot // queued, being read, or ready
	queue    reads           // to begin
	ahead    int             // of queue: the source was told of this many
	under    reads           // under way, oldest first
	ending   int             // reads between end and settle
	hung     int             // reads given up that have not come back
	cache    cache           // ready slots to keep
	spare    []*slot         // of the table's own memory: without a row
	sleepers int             // goroutines blocked in Wait
	reads    []*read         // for reuse
	scratch  []byte          // for several rows of the page cache
	fetches  []*Fetch        // released, for reuse
	watchdog *time.Timer
	watching bool // the watchdog is set
	stats    Stats
	mangle   bool // tests: overwrite a buffer when its row is forgotten
}

// Open makes a Table of rows·rowBytes bytes on src, where byte 0 of src is the
// first byte of row 0. Of a file it reads a few samples, to know it again. src must allow concurrent ReadAt, as
// io.ReaderAt demands, and stays the caller's: close it after the Table. A
// [Source] is read in its own best way.
func Open(src io.ReaderAt, rows, rowBytes int, o Options) (*Table, error) {
	switch {
	case src == nil:
		return nil, errors.New("open table: no source")
	case rows < 1 || rows > math.MaxInt32:
		return nil, fmt.Errorf("open table: %d rows, want 1 to %d", rows, math.MaxInt32)
	case rowBytes < 1 || int64(rowBytes) > math.MaxInt64/int64(rows):
		return nil, fmt.Errorf("open table: %d bytes a row in %d rows", rowBytes, rows)
	case o.Workers < 0:
		return nil, fmt.Errorf("open table: %d workers", o.Workers)
	}
	t := &Table{src: src, rows: int32(rows), rowBytes: rowBytes}
	if s, ok := src.(Source); ok {
		t.traits = s.Traits()
	}
	if h, ok := src.(holder); ok {
		t.mem = h.bytes()
		if int64(len(t.mem)) < int64(rows)*int64(rowBytes) {
			return nil, fmt.Errorf("open table: %d bytes in memory, want %d rows of %d", len(t.mem), rows, rowBytes)
		}
	}
	t.adviser, _ = src.(adviser)
	if t.traits.Kind == Disk {
		t.cached, _ = src.(cached)
	}
	t.opt = o.withDefaults(t.traits)
	t.wake.L, t.quiet.L = &t.mu, &t.mu
	if t.mem == nil {
		t.cache.init(min(max(0, t.opt.CacheBytes), int64(rows)*int64(rowBytes)), rowBytes)
		t.makeHome()
	}
	if err := t.watchFile(); err != nil {
		return nil, fmt.Errorf("open table: read samples of %s: %w", t.traits.Name, err)
	}
	t.queue.init()
	t.under.init()
	if err := t.makeDevice(o.Workers); err != nil {
		t.guard.close()
		return nil, fmt.Errorf("open table: read the first block of %s: %w", t.traits.Name, err)
	}
	if t.device = t.dev.name(); t.mem != nil {
		t.device = "memory"
	}
	return t, nil
}

// watchFile sets a guard on the source if that is a file and the system tells about it.
func (t *Table) watchFile() error {
	s, ok := t.src.(watched)
	if !ok {
		return nil
	}
	f, err := s.watched()
	if err != nil {
		return nil
	}
	src := &Counted{ReaderAt: t.src}
	t.guard, err = Within(Patience(t.opt.Timeout), src.Ended, func() (*guard, error) {
		return newGuard(f, src, t.offset(t.rows), t.forgetAll), nil
	}, (*guard).close)
	return err
}

// makeDevice finds who reads: the source's own device, of so many reads at once where workers
// is not 0, or a pool. A device may read to see whether it works.
func (t *Table) makeDevice(workers int) error {
	t.dev = &pool{t: t}
	s, ok := t.src.(submitter)
	if !ok {
		return nil
	}
	depth := cmp.Or(workers, Depth)
	dev, err := Within(Patience(t.opt.Timeout), nil, func() (device, error) { return s.newDevice(t, depth), nil }, func(late device) {
		if late != nil {
			late.close()
		}
	})
	if dev != nil {
		t.dev = dev
	}
	return err
}

// Options returns the options in force, defaults filled in.
func (t *Table) Options() Options { return t.opt }

// Device says who begins reads: "ring" (the asking goroutine, by io_uring), "wire"
// (the asking goroutine, over HTTP), "pool" (goroutines, which need a free processor)
// or "memory" (nobody).
func (t *Table) Device() string { return t.device }

// Close ends the reading goroutines and waits for them, so that the source may
// be closed afterwards; it takes as long as the reads that have begun, except
// over HTTP, where they are broken off. Rows not yet begun fail with ErrClosed,
// rows already handed out stay valid until their Release. A second Close is
// harmless. The error, if any, says that reads hang in the system and were left
// behind.
func (t *Table) Close() error {
	t.mu.Lock()
	t.closed = true
	t.failQueue(ErrClosed)
	if s, ok := t.src.(interrupter); ok {
		s.interrupt()
	}
	t.attend()
	for t.queue.n+t.under.n+t.ending > 0 {
		t.quiet.Wait()
	}
	dev := t.dev
	t.dev = nil
	if t.watchdog != nil {
		t.watchdog.Stop()
	}
	hung := t.hung
	t.mu.Unlock()
	if dev != nil {
		t.guard.close() // without the lock, which the guard takes while it has its own
		dev.close()
	}
	if hung > 0 {
		return fmt.Errorf("close table: %w: %d reads hang", ErrSlow, hung)
	}
	t.workers.Wait()
	return nil
}

// poll ends the reads that are complete. It may let go of the lock in between.
func (t *Table) poll() {
	if t.dev != nil { // else closed, and nothing is under way
		t.dev.poll()
	}
}

// attend tells the device whether anybody sleeps until reads end. It may let go of
// the lock in between.
func (t *Table) attend() {
	if t.dev != nil {
		t.dev.attend(t.sleepers > 0 || t.closed)
	}
}

// hangs reports whether a read given up has not come back.
func (t *Table) hangs() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.hung > 0
}

func (t *Table) offset(row int32) int64 { return int64(row) * int64(t.rowBytes) }

// rowError names the row, and the file when the source does not.
func (t *Table) rowError(row int32, err error) error {
	if t.traits.Name == "" {
		return fmt.Errorf("read row %d at table offset %d: %w", row, t.offset(row), err)
	}
	return fmt.Errorf("read row %d at offset %d of %s: %w", row, t.traits.Base+t.offset(row), t.traits.Name, err)
}
