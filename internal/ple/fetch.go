package ple

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// Fetch is one request for rows. It is used by one goroutine at a time:
// Table.Fetch, then Wait, then Row as often as wanted, then Release.
type Fetch struct {
	t     *Table
	keys  []uint64      // id<<32 | index, ascending
	slots []*slot       // slots[i] has the row of ids[i]; nil: no byte of it is wanted
	bytes []int32       // bytes[i] are wanted of it; empty: the whole row
	from  []origin      // from[i] is where the row of ids[i] was found
	held  []*slot       // the different slots
	fresh []*slot       // of held: to be read for this fetch
	links []waiter      // one for each held slot at most
	done  chan struct{} // one signal, when missing falls to 0
	here  bool          // the caller knows that nothing is missing
	yield bool          // goroutines are to begin its reads, see Traits
	ahead bool          // of no use yet, see Ahead
	told  bool          // its wait is in the histogram
	begun time.Time
	wait  time.Duration // spent in Wait

	// Guarded by t.mu; err is constant once nothing is missing.
	missing   int
	latency   time.Duration // from begun until nothing was missing
	abandoned bool          // released; with rows missing, the last of them recycles it
	err       error
	errRow    int32
}

// Fetch asks for the rows of ids, in any order and with repetitions, and returns
// at once; ids is not kept. An id outside the table, or a closed table, makes
// Wait fail and nothing is read. The result must be released.
func (t *Table) Fetch(ids []int32) *Fetch { return t.FetchPart(ids, nil) }

// FetchPart is Fetch for rows of which only the beginning is needed: bytes[i]
// bytes of the row of ids[i], 0 to the length of a row (0: none of it is read).
// No more is read where that saves something. nil means whole rows. A row kept
// from such a fetch never stands for a longer part of itself.
func (t *Table) FetchPart(ids []int32, bytes []int) *Fetch {
	f := t.newFetch(len(ids))
	f.begin(ids, bytes)
	return f
}

// Ahead begins to read whole rows that a Fetch will soon ask for. It counts as no
// use of them: in Stats and Counts their reads belong to that Fetch. The result is
// good for nothing but its Release, which should come after that Fetch.
func (t *Table) Ahead(ids []int32) *Fetch {
	f := t.newFetch(len(ids))
	f.ahead = true
	f.begin(ids, nil)
	return f
}

// begin asks for the rows of an empty fetch.
func (f *Fetch) begin(ids []int32, bytes []int) {
	err := f.sort(ids, bytes)
	if err == nil && len(ids) > 0 {
		if e := f.t.guard.check(); e != nil {
			err = f.t.rowError(ids[0], e)
		}
	}
	if err == nil {
		err = f.ask()
	}
	if err != nil {
		f.err, f.here = err, true
	}
	if f.yield {
		f.yield = false
		runtime.Gosched()
	}
}

// ask pins the rows of keys and has the missing ones read.
func (f *Fetch) ask() error {
	t := f.t
	t.mu.Lock()
	defer t.mu.Unlock()
	t.poll() // what others left behind
	if t.closed {
		return fmt.Errorf("read %d rows: %w", len(f.keys), ErrClosed)
	}
	if !f.ahead {
		t.stats.Fetches++
		t.stats.Rows += int64(len(f.keys))
	}
	f.holdAll()
	if f.here = f.missing == 0; !f.here {
		f.begun = time.Now()
	}
	if before := t.queue.n; len(f.fresh) > 0 {
		t.enqueue(f.fresh)
		t.dev.kick(t.queue.n - before)
		t.look()
		t.drainStuck()
		t.attend()
		f.yield = t.traits.yields && !t.queue.empty()
	}
	return nil
}

// holdAll pins every row of keys once, with as many bytes as any of its ids wants.
func (f *Fetch) holdAll() {
	for i := 0; i < len(f.keys); {
		row, n := int32(f.keys[i]>>32), 0
		end := i
		for ; end < len(f.keys) && int32(f.keys[end]>>32) == row; end++ {
			n = max(n, f.wanted(int(uint32(f.keys[end]))))
		}
		if n > 0 && f.t.mem == nil {
			s, from := f.hold(row, n)
			for k, key := range f.keys[i:end] {
				f.slots[uint32(key)] = s
				if k == 0 {
					f.from[uint32(key)] = from
				}
			}
		} else if n > 0 {
			f.count(fromMemory)
		}
		i = end
	}
}

// wanted is how many bytes of the row of ids[i] are asked for.
func (f *Fetch) wanted(i int) int {
	if len(f.bytes) == 0 {
		return f.t.rowBytes
	}
	return int(f.bytes[i])
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
	f.from = slices.Grow(f.from, n)[:n]
	f.held = slices.Grow(f.held, n)
	f.fresh = slices.Grow(f.fresh, n)
	f.links = slices.Grow(f.links, n) // never grows again: slots point into it
	return f
}

// sort fills keys and bytes.
func (f *Fetch) sort(ids []int32, bytes []int) error {
	t := f.t
	if bytes != nil && len(bytes) != len(ids) {
		return fmt.Errorf("read %d rows: %d lengths", len(ids), len(bytes))
	}
	for i, id := range ids {
		if id < 0 || id >= t.rows {
			return fmt.Errorf("read row %d: the table has rows 0 to %d", id, t.rows-1)
		}
		f.keys = append(f.keys, uint64(id)<<32|uint64(i))
		if bytes == nil {
			continue
		}
		if bytes[i] < 0 || bytes[i] > t.rowBytes {
			return fmt.Errorf("read row %d: %d bytes of a row of %d", id, bytes[i], t.rowBytes)
		}
		f.bytes = append(f.bytes, int32(bytes[i]))
	}
	if t.mem == nil {
		slices.Sort(f.keys) // in memory there is nothing to order, and Row looks here
	}
	return nil
}

// hold pins a slot with the first n bytes of row. When nobody has asked for them
// before, it adds the slot to fresh.
func (f *Fetch) hold(row int32, n int) (*slot, origin) {
	t := f.t
	from := fromRead
	s := t.known[row]
	switch {
	case s == nil:
		s = t.newSlot(row, n)
		f.fresh = append(f.fresh, s)
	case s.state == ready && s.bytes >= n:
		from = fromMemory
	case s.state == queued:
		from = fromOther
		s.lengthen(n)
	case s.state == reading && s.bytes >= n:
		from = fromOther
	default: // too short
		t.cache.drop(s)
		if s.state == ready && s.refs == 0 {
			t.discard(s)
		}
		s = t.newSlot(row, n)
		f.fresh = append(f.fresh, s)
	}
	switch {
	case f.ahead:
		s.early = s.early || from == fromRead
	case s.early:
		from, s.early = fromRead, false
	case from == fromMemory:
		s.use()
	}
	f.count(from)
	s.refs++
	f.held = append(f.held, s)
	if s.state != ready {
		f.links = append(f.links, waiter{f: f, next: s.waiting})
		s.waiting = &f.links[len(f.links)-1]
		f.missing++
	}
	return s, from
}

// count adds one of the different rows of f to the statistics.
func (f *Fetch) count(from origin) {
	if f.ahead {
		return
	}
	f.t.stats.Distinct++
	switch from {
	case fromMemory:
		f.t.stats.CacheHits++
	case fromOther:
		f.t.stats.Shared++
	}
}

// arrived notes that a row of f is in memory, or never will be. Of several
// errors the one with the smallest row is kept, whatever the order of arrival.
func (f *Fetch) arrived(row int32, err error) {
	if err != nil && (f.err == nil || row < f.errRow) {
		f.err, f.errRow = err, row
	}
	f.missing--
	if f.missing == 0 && !f.ahead {
		f.latency = time.Since(f.begun)
		f.t.stats.Latency += f.latency
	}
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
//
// It looks by itself whether the reads have ended, which needs no other goroutine,
// and sleeps only when they have not. The time it takes is counted in Stats.
func (f *Fetch) Wait(ctx context.Context) error {
	switch {
	case f.here && f.told:
		return f.err
	case f.here:
		f.wake(0, false)
		return f.err
	}
	begin := time.Now()
	cancelled := ctx.Done()
	slept := f.lieDown()
	if !slept {
		cancelled = nil // rows that are here win
	}
	select {
	case <-f.done:
		f.here = true
	case <-cancelled:
	}
	f.wake(time.Since(begin), slept)
	if !f.here {
		return fmt.Errorf("wait for rows: %w", ctx.Err())
	}
	return f.err
}

// lieDown looks for reads that have ended. When rows are missing all the same, it
// counts f as a sleeper and returns true.
func (f *Fetch) lieDown() bool {
	t := f.t
	t.mu.Lock()
	defer t.mu.Unlock()
	t.poll()
	if f.missing == 0 {
		return false
	}
	t.sleepers++
	t.attend()
	return true
}

// wake undoes lieDown and counts the call of Wait.
func (f *Fetch) wake(waited time.Duration, slept bool) {
	t := f.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if slept {
		t.sleepers--
		t.stats.Waits++
		t.attend()
	}
	f.wait += waited
	t.stats.Wait += waited
	if f.here && !f.told && len(f.keys) > 0 {
		t.stats.WaitTimes.Add(f.wait)
		f.told = true
	}
}

// Row returns the bytes of the row of ids[i], as many as were asked for, shared
// with other fetches of the same row: read only, valid until Release. It must
// follow a Wait that returned nil, or one that failed because of other rows, see Err.
func (f *Fetch) Row(i int) []byte {
	f.mustBeHere("Row")
	if f.err != nil && f.Err(i) != nil {
		panic("ple: internal error: Row of a row that could not be read")
	}
	n := f.wanted(i)
	switch {
	case n == 0:
		return nil
	case f.t.mem != nil:
		at := f.t.offset(int32(f.keys[i] >> 32))
		return f.t.mem[at : at+int64(n) : at+int64(n)]
	}
	return f.slots[i].buf[:n:n]
}

// Here reports whether all rows have come or failed: whether the last Wait was not cut
// short.
func (f *Fetch) Here() bool { return f.here }

// Err returns why the row of ids[i] could not be read, when everything is Here; nil after
// a Wait that failed because of other rows only. Then the row is as good as any.
func (f *Fetch) Err(i int) error {
	f.mustBeHere("Err")
	if f.err == nil || len(f.held) == 0 { // all is well, or nothing was asked for
		return f.err
	}
	if s := f.slots[i]; s != nil && s.state == failed { // settled: it stays so while it is held
		return s.err
	}
	return nil
}

func (f *Fetch) mustBeHere(call string) {
	if !f.here {
		panic("ple: internal error: " + call + " before the rows have come")
	}
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
	clear(f.from)
	clear(f.held)
	clear(f.fresh)
	clear(f.links)
	*f = Fetch{
		t:     t,
		keys:  f.keys[:0],
		slots: f.slots[:0],
		bytes: f.bytes[:0],
		from:  f.from[:0],
		held:  f.held[:0],
		fresh: f.fresh[:0],
		links: f.links[:0],
		done:  f.done,

		abandoned: true, // until newFetch: a second Release is noticed
	}
	t.fetches = append(t.fetches, f)
}
