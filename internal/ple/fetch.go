package ple

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Fetch is one request for rows. It is used by one goroutine at a time:
// Table.Fetch, then Wait, then Row as often as wanted, then Release.
type Fetch struct {
	t     *Table
	keys  []uint64      // id<<32 | index, ascending
	slots []*slot       // slots[i] has the row of ids[i]
	held  []*slot       // the different slots
	links []waiter      // one for each held slot at most
	done  chan struct{} // one signal, when missing falls to 0
	here  bool          // the caller knows that nothing is missing

	// Guarded by t.mu; err is constant once nothing is missing.
	missing   int
	abandoned bool // released; with rows missing, the last of them recycles it
	err       error
	errRow    int32
}

// Fetch asks for the rows of ids, in any order and with repetitions, and returns
// at once; ids is not kept. An id outside the table, or a closed table, makes
// Wait fail and nothing is read. The result must be released.
func (t *Table) Fetch(ids []int32) *Fetch {
	f := t.newFetch(len(ids))
	if err := f.sort(ids); err != nil {
		f.err, f.here = err, true
		return f
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		f.err, f.here = fmt.Errorf("read %d rows: %w", len(ids), ErrClosed), true
		return f
	}
	t.stats.Fetches++
	t.stats.Rows += int64(len(ids))
	reads, runRows := 0, 0
	for i := 0; i < len(f.keys); {
		row := int32(f.keys[i] >> 32)
		s, queued := f.hold(row)
		for ; i < len(f.keys) && int32(f.keys[i]>>32) == row; i++ {
			f.slots[uint32(f.keys[i])] = s
		}
		if !queued {
			runRows = 0
			continue
		}
		if n := len(f.held); runRows == 0 || runRows == t.maxRun || f.held[n-2].row != row-1 {
			reads++
			runRows = 0
		}
		runRows++
	}
	f.here = f.missing == 0
	t.start(reads)
	return f
}

// newFetch returns an empty fetch with room for n ids.
func (t *Table) newFetch(n int) *Fetch {
	t.mu.Lock()
	var f *Fetch
	if k := len(t.fetches); k > 0 {
		f = t.fetches[k-1]
		t.fetches = t.fetches[:k-1]
	}
	t.mu.Unlock()
	if f == nil {
		f = &Fetch{t: t, done: make(chan struct{}, 1)}
	}
	f.abandoned = false
	f.keys = slices.Grow(f.keys, n)
	f.slots = slices.Grow(f.slots, n)[:n]
	f.held = slices.Grow(f.held, n)
	f.links = slices.Grow(f.links, n) // never grows again: slots point into it
	return f
}

// sort fills keys.
func (f *Fetch) sort(ids []int32) error {
	for i, id := range ids {
		if id < 0 || id >= f.t.rows {
			return fmt.Errorf("read row %d: the table has rows 0 to %d", id, f.t.rows-1)
		}
		f.keys = append(f.keys, uint64(id)<<32|uint64(i))
	}
	slices.Sort(f.keys)
	return nil
}

// hold pins the slot of row, and queues it when nobody has asked for it before.
func (f *Fetch) hold(row int32) (s *slot, queued bool) {
	t := f.t
	t.stats.Distinct++
	s = t.known[row]
	switch {
	case s == nil:
		s = t.newSlot(row)
		t.queue.push(s)
		queued = true
	case s.ready:
		t.stats.CacheHits++
	default:
		t.stats.Shared++
	}
	t.pin(s)
	f.held = append(f.held, s)
	if !s.ready {
		f.links = append(f.links, waiter{f: f, next: s.waiting})
		s.waiting = &f.links[len(f.links)-1]
		f.missing++
	}
	return s, queued
}

// arrived notes that a row of f is in memory, or never will be. Of several
// errors the one with the smallest row is kept, whatever the order of arrival.
func (f *Fetch) arrived(row int32, err error) {
	if err != nil && (f.err == nil || row < f.errRow) {
		f.err, f.errRow = err, row
	}
	f.missing--
	switch {
	case f.missing > 0:
	case f.abandoned:
		f.recycle()
	default:
		f.done <- struct{}{} // room for one, sent once
	}
}

// Wait returns when all rows are in memory, with the error of the first row that
// could not be read if there is one, or with ctx's error when ctx ends first.
// In that case the rows are still on their way: Wait again, or Release.
// The time it blocks is counted in Stats.
func (f *Fetch) Wait(ctx context.Context) error {
	if !f.here {
		select {
		case <-f.done:
		default:
			if err := f.block(ctx); err != nil {
				return err
			}
		}
		f.here = true
	}
	return f.err
}

func (f *Fetch) block(ctx context.Context) error {
	begin := time.Now()
	var err error
	select {
	case <-f.done:
	case <-ctx.Done():
		err = fmt.Errorf("wait for rows: %w", ctx.Err())
	}
	f.t.mu.Lock()
	f.t.stats.Waits++
	f.t.stats.Wait += time.Since(begin)
	f.t.mu.Unlock()
	return err
}

// Row returns the rowBytes bytes of ids[i], shared with other fetches of the
// same row: read only, valid until Release. It must follow a Wait that returned nil.
func (f *Fetch) Row(i int) []byte {
	if !f.here || f.err != nil {
		panic("ple: internal error: Row without a successful Wait")
	}
	return f.slots[i].buf
}

// Release ends the use of f and of its rows; f must not be touched afterwards.
// It may come at any time, also instead of Wait: reads under way finish in the
// background, rows whose read has not begun and that nobody else asked for are
// not read.
func (f *Fetch) Release() {
	t := f.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if f.abandoned {
		panic("ple: internal error: Fetch released twice")
	}
	for _, s := range f.held {
		t.unpin(s)
	}
	f.abandoned = true
	if f.missing == 0 {
		f.recycle()
	}
}

// Released fetches kept for reuse, and the most ids one of them may have room
// for (40 bytes each).
const (
	maxFetches  = 16
	maxFetchIDs = 4096
)

// recycle empties f, to which no slot points any more.
func (f *Fetch) recycle() {
	t := f.t
	if len(t.fetches) == maxFetches || cap(f.links) > maxFetchIDs {
		return
	}
	select {
	case <-f.done: // nobody waited
	default:
	}
	clear(f.slots)
	clear(f.held)
	clear(f.links)
	*f = Fetch{
		t:     t,
		keys:  f.keys[:0],
		slots: f.slots[:0],
		held:  f.held[:0],
		links: f.links[:0],
		done:  f.done,

		abandoned: true, // until newFetch: a second Release is noticed
	}
	t.fetches = append(t.fetches, f)
}
