package ple

import (
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

// Options sets the resources of a Table. The zero value is the default.
type Options struct {
	// Workers is the largest number of reads under way at once. 0 means 16:
	// 32 readers gained at most a quarter over 8 on the disk measured, and each
	// blocked reader holds an operating system thread.
	Workers int

	// CacheBytes bounds the rows kept in memory while no Fetch holds them.
	// 0 means 2 MiB; a negative value keeps none.
	CacheBytes int64

	// MaxReadBytes bounds one read of neighbouring rows; a single longer row is
	// still one read. 0 means 64 KiB; a negative value never merges rows.
	// Every worker that has merged rows keeps a buffer of this size.
	MaxReadBytes int
}

func (o Options) withDefaults() Options {
	if o.Workers == 0 {
		o.Workers = 16
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 2 << 20
	}
	if o.MaxReadBytes == 0 {
		o.MaxReadBytes = 64 << 10
	}
	return o
}

// Table is a per-layer embedding table that stays in storage. It is safe for
// concurrent use.
type Table struct {
	src      io.ReaderAt
	rows     int32
	rowBytes int
	opt      Options
	maxRun   int // rows in one read
	maxIdle  int // unpinned rows kept

	workers sync.WaitGroup

	mu      sync.Mutex
	wake    sync.Cond // a worker sleeps here while the queue is empty
	started int       // workers started
	asleep  int       // workers sleeping and not yet signalled
	closed  bool
	known   map[int32]*slot // queued, being read, or ready
	queue   queue           // slots to read
	idle    lru             // ready slots no Fetch holds
	spare   []*slot         // buffers without a row
	fetches []*Fetch        // released, for reuse
	stats   Stats
	mangle  bool // tests: overwrite a buffer when its row is forgotten
}

// Open makes a Table of rows·rowBytes bytes on src, where byte 0 of src is the
// first byte of row 0. It reads nothing. src must allow concurrent ReadAt, as
// io.ReaderAt demands, and stays the caller's: close it after the Table.
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
	o = o.withDefaults()
	t := &Table{
		src:      src,
		rows:     int32(rows),
		rowBytes: rowBytes,
		opt:      o,
		maxRun:   max(1, o.MaxReadBytes/rowBytes),
		maxIdle:  int(min(max(0, o.CacheBytes)/int64(rowBytes), int64(rows))),
		known:    make(map[int32]*slot),
	}
	t.wake.L = &t.mu
	t.idle.init()
	return t, nil
}

// Options returns the options in force, defaults filled in.
func (t *Table) Options() Options { return t.opt }

// Close ends the reading goroutines and waits for them, so that the source may
// be closed afterwards; it takes as long as the reads that have begun. Rows not
// yet begun fail with ErrClosed, rows already handed out stay valid until their
// Release. Close may be called again, and always returns nil.
func (t *Table) Close() error {
	t.mu.Lock()
	t.closed = true
	for s := t.queue.pop(); s != nil; s = t.queue.pop() {
		t.fail(s, t.rowError(s.row, ErrClosed))
	}
	t.wake.Broadcast()
	t.mu.Unlock()
	t.workers.Wait()
	return nil
}

// Stats are counts since Open. Distinct = CacheHits + Shared + the rows queued
// for reading.
type Stats struct {
	Fetches   int64         // calls of Fetch with valid ids on an open table
	Rows      int64         // rows asked for, repetitions included
	Distinct  int64         // different rows, summed over fetches
	CacheHits int64         // of Distinct: already in memory
	Shared    int64         // of Distinct: already queued or being read for another Fetch
	Reads     int64         // ReadAt calls begun
	RowsRead  int64         // rows that arrived
	BytesRead int64         // bytes that arrived, those of failed reads included
	Errors    int64         // rows that could not be read
	Waits     int64         // calls of Wait that found rows missing
	Wait      time.Duration // time spent in those calls
	IdleBytes int64         // now: bytes of rows kept by the cache (not a count)
}

// Sub returns the counts since the earlier snapshot b; IdleBytes stays s's.
func (s Stats) Sub(b Stats) Stats {
	s.Fetches -= b.Fetches
	s.Rows -= b.Rows
	s.Distinct -= b.Distinct
	s.CacheHits -= b.CacheHits
	s.Shared -= b.Shared
	s.Reads -= b.Reads
	s.RowsRead -= b.RowsRead
	s.BytesRead -= b.BytesRead
	s.Errors -= b.Errors
	s.Waits -= b.Waits
	s.Wait -= b.Wait
	return s
}

// Stats returns one consistent snapshot of the counts, also while rows are
// being read and after Close.
func (t *Table) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stats
	s.IdleBytes = int64(t.idle.n) * int64(t.rowBytes)
	return s
}

func (t *Table) offset(row int32) int64 { return int64(row) * int64(t.rowBytes) }

func (t *Table) rowError(row int32, err error) error {
	return fmt.Errorf("read row %d at table offset %d: %w", row, t.offset(row), err)
}
