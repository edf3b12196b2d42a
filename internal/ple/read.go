package ple

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// ErrSlow is wrapped by the error of a row whose read took longer than
// Options.Timeout.
var ErrSlow = errors.New("the device does not answer")

// read is one read of the source: a row, or rows that lie close to each other.
//
//	off                                      off+n
//	├── row 7 ──┼── row 8 ──┼┄┄ gap ┄┄├─ row 11 ─┤   the last one wanted in part
//
// It goes from Table.queue to Table.under, where the watchdog sees it, to the
// one who ends it. Everything is guarded by Table.mu, but the slots' buf and err
// belong to the one who has called end until he calls settle.
type read struct {
	slots      []*slot // ascending rows
	off        int64
	n          int
	begun      time.Time
	givenUp    bool // by the watchdog: nobody waits for it any more
	next, prev *read
	buf        []byte // of the ring, as user
	user       uint32
}

// reads is a list of reads, first in first out.
type reads struct {
	ring read
	n    int
}

func (l *reads) init() { l.ring.next, l.ring.prev = &l.ring, &l.ring }

// push puts r at the end, unpop at the beginning.
func (l *reads) push(r *read)  { l.insert(r, l.ring.prev) }
func (l *reads) unpop(r *read) { l.insert(r, &l.ring) }
func (l *reads) empty() bool   { return l.n == 0 }
func (l *reads) first() *read  { return l.ring.next }

func (l *reads) insert(r, at *read) {
	r.prev, r.next = at, at.next
	r.prev.next, r.next.prev = r, r
	l.n++
}

func (l *reads) remove(r *read) {
	r.prev.next, r.next.prev = r.next, r.prev
	r.next, r.prev = nil, nil
	l.n--
}

// enqueue plans the reads of slots, which are queued and in ascending order.
func (t *Table) enqueue(slots []*slot) {
	for len(slots) > 0 {
		n, first := 1, slots[0].row
		for n < len(slots) {
			gap := t.offset(slots[n].row - slots[n-1].row - 1)
			if gap > int64(t.opt.GapBytes) || t.offset(slots[n].row-first+1) > int64(t.opt.MaxReadBytes) {
				break
			}
			n++
		}
		t.queue.push(t.newRead(slots[:n]))
		slots = slots[n:]
	}
}

func (t *Table) newRead(slots []*slot) *read {
	var r *read
	if k := len(t.reads); k > 0 {
		r = t.reads[k-1]
		t.reads = t.reads[:k-1]
	} else {
		r = &read{}
	}
	r.slots = append(r.slots, slots...)
	return r
}

// recycleRead keeps r for the next newRead.
func (t *Table) recycleRead(r *read) {
	clear(r.slots)
	if len(t.reads) < Depth {
		*r = read{slots: r.slots[:0]}
		t.reads = append(t.reads, r)
	}
}

// nextRead begins the next read, or returns nil when none is queued.
func (t *Table) nextRead() *read {
	for !t.queue.empty() {
		r := t.queue.first()
		if t.ahead > 0 {
			t.ahead--
		}
		t.queue.remove(r)
		if !t.wanted(r) {
			t.recycleRead(r)
			continue
		}
		for _, s := range r.slots {
			s.state = reading
		}
		r.begun = time.Now()
		t.under.push(r)
		t.watch()
		t.look()
		return r
	}
	return nil
}

// wanted takes rows that nobody wants any more out of a queued read, and settles
// where the rest lies; false when nothing is left.
func (t *Table) wanted(r *read) bool {
	wanted := r.slots[:0]
	for _, s := range r.slots {
		if s.refs == 0 {
			t.fail(s, nil) // its waiters are gone, nobody sees the nil
			continue
		}
		wanted = append(wanted, s)
	}
	clear(r.slots[len(wanted):])
	r.slots = wanted
	if len(wanted) == 0 {
		return false
	}
	last := wanted[len(wanted)-1]
	r.off = t.offset(wanted[0].row)
	r.n = int(t.offset(last.row)-r.off) + last.bytes
	return true
}

// takeCached ends the queued reads that need no waiting, in the calling goroutine.
func (t *Table) takeCached() {
	told := t.ahead
	for r := t.queue.first(); r != &t.queue.ring; told-- {
		here := r
		r = r.next
		wanted := t.wanted(here)
		if wanted && !t.takeOne(here) {
			continue
		}
		if told > 0 {
			t.ahead--
		}
		t.queue.remove(here)
		if !wanted {
			t.recycleRead(here)
			continue
		}
		t.ending++
		t.settle(here, here.n)
	}
}

// takeOne fills the rows of a queued read if that needs no waiting.
func (t *Table) takeOne(r *read) bool {
	p := r.slots[0].buf
	if len(r.slots) > 1 {
		if len(t.scratch) < r.n {
			t.scratch = make([]byte, max(r.n, t.opt.MaxReadBytes))
		}
		p = t.scratch
	}
	r.begun = time.Now()
	if !t.cached.readCached(p[:r.n], r.off) {
		return false
	}
	t.deliver(r, p, r.n, nil)
	return true
}

// adviseAhead is how many queued reads the kernel knows of before their turn.
const adviseAhead = 64

// look tells the source of the reads that come next, unless some hang: then the device may
// have no room for more, and the system would wait until it has, with the lock held.
func (t *Table) look() {
	if t.adviser == nil || t.hung > 0 {
		return
	}
	r := t.queue.first()
	for range t.ahead {
		r = r.next
	}
	for ; t.ahead < adviseAhead && r != &t.queue.ring; r = r.next {
		first, last := r.slots[0], r.slots[len(r.slots)-1]
		t.adviser.advise(t.offset(first.row), int(t.offset(last.row)-t.offset(first.row))+last.bytes)
		t.ahead++
	}
}

// end takes a finished read from the watchdog. When it says false, the read had
// been given up, and its slots are somebody else's.
func (t *Table) end(r *read) bool {
	if r.givenUp {
		t.hung--
		t.recycleRead(r)
		return false
	}
	t.under.remove(r)
	t.ending++
	return true
}

// deliver copies what a read of r brought, n bytes of p and err, to the rows. It
// runs without the lock, between end and settle.
func (t *Table) deliver(r *read, p []byte, n int, err error) {
	if n == r.n {
		err = nil // an io.EOF beside all the bytes is no error
	} else if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	for _, s := range r.slots {
		at := int(t.offset(s.row) - r.off)
		if at+s.bytes <= n {
			copy(s.buf, p[at:at+s.bytes])
			continue
		}
		s.err = fmt.Errorf("got %d of %d bytes: %w", max(0, n-at), s.bytes, err)
	}
}

// settle makes the outcome of a delivered read known. Rows that failed in
// company are read again, each alone: some of them may be sound.
func (t *Table) settle(r *read, n int) {
	t.stats.Reads++
	t.stats.ReadTimes.Add(time.Since(r.begun))
	t.stats.BytesRead += int64(max(0, n))
	device := t.aligned(r.off, max(0, n))
	t.stats.DeviceBytes += device
	r.slots[0].reads++
	r.slots[0].device += device
	for _, s := range r.slots {
		switch {
		case s.err == nil:
			t.stats.RowsRead++
			t.succeed(s)
		case len(r.slots) > 1:
			s.err = nil
			t.again(s)
		default:
			t.stats.Errors++
			t.fail(s, t.rowError(s.row, s.err))
		}
	}
	t.ending--
	t.recycleRead(r)
	if t.closed {
		t.quiet.Broadcast()
	}
}

// again queues a slot of a failed read alone, before all others.
func (t *Table) again(s *slot) {
	s.state = queued
	t.queue.unpop(t.newRead([]*slot{s}))
	t.ahead = 0 // told again
}

// aligned returns how many bytes the device reads for n bytes at off.
func (t *Table) aligned(off int64, n int) int64 {
	a := int64(t.traits.AlignBytes)
	if a <= 1 || n == 0 {
		return int64(n)
	}
	off += t.traits.Base
	return (off+int64(n)+a-1)/a*a - off/a*a
}

// watch makes sure that the watchdog looks when the oldest read is due.
func (t *Table) watch() {
	if t.opt.Timeout < 0 || t.watching {
		return
	}
	t.watching = true
	wait := time.Until(t.under.first().begun.Add(t.opt.Timeout))
	if t.watchdog == nil {
		t.watchdog = time.AfterFunc(wait, t.due)
	} else {
		t.watchdog.Reset(wait)
	}
}

// due gives up the reads that take too long. Their readers are left to
// themselves: a system call cannot be taken back.
func (t *Table) due() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watching = false
	t.poll()
	for !t.under.empty() {
		r := t.under.first()
		if time.Since(r.begun) < t.opt.Timeout {
			t.watch()
			break
		}
		t.giveUp(r)
	}
	if t.dev != nil { // else closed meanwhile
		t.dev.kick(t.queue.n)
		t.attend()
		t.drainStuck()
	}
	t.quiet.Broadcast()
}

// giveUp ends the slots of a read that is still under way. Its reader finds
// givenUp and touches them no more.
func (t *Table) giveUp(r *read) {
	t.under.remove(r)
	r.givenUp = true
	t.hung++
	for _, s := range r.slots {
		if len(r.slots) > 1 && !t.closed {
			t.again(s)
			continue
		}
		t.stats.Errors++
		t.fail(s, t.rowError(s.row, fmt.Errorf("%w for %v", ErrSlow, t.opt.Timeout)))
	}
}

// drainStuck fails what is queued when every reader hangs.
func (t *Table) drainStuck() {
	if t.hung == 0 || !t.under.empty() || t.dev.capacity() {
		return
	}
	t.failQueue(fmt.Errorf("%w: all %d reads under way hang", ErrSlow, t.hung))
}

// failQueue fails every queued row.
func (t *Table) failQueue(err error) {
	for !t.queue.empty() {
		r := t.queue.first()
		t.queue.remove(r)
		for _, s := range r.slots {
			if s.refs > 0 {
				t.stats.Errors++
			}
			t.fail(s, t.rowError(s.row, err))
		}
		t.recycleRead(r)
	}
	t.ahead = 0
}
