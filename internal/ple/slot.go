package ple

// slot is the memory of one row, or of its first bytes. Everything but buf is
// guarded by Table.mu; buf is written by whoever ended the slot's read, before
// state is ready, and only read afterwards.
//
//	queued ──→ reading ──→ ready (pinned while refs > 0, else in Table.cache)
//	   │          └──────→ failed (out of Table.known)
//	   └─ refs is 0 when its turn comes, or the table closes: failed
//
// When somebody needs more bytes of a row than a slot in use has, a new slot
// takes its place in Table.known and the old one goes with its last holder.
type slot struct {
	row        int32
	refs       int // fetches that hold the slot
	state      state
	bytes      int   // of the row, from its first, that are wanted, or here
	err        error // set by the reader before the slot is settled; why it failed
	buf        []byte
	home       bool    // buf is a piece of the table's own memory
	waiting    *waiter // fetches to tell when the slot is settled
	next, prev *slot   // in the cache
	in         *fifo   // queue of the cache; nil: none
	used       uint8   // by the cache: uses lately
	early      bool    // asked for by Ahead only: the next Fetch counts as the first one
	reads      int32   // of the source that began with this row; Counts has them
	device     int64   // bytes of those, as Stats.DeviceBytes
}

type state uint8

const (
	queued state = iota
	reading
	ready
	failed
)

// waiter links a slot to one fetch that misses it. The fetch owns the memory.
type waiter struct {
	f    *Fetch
	next *waiter
}

// newSlot returns a slot for the first n bytes of a row that nothing holds, in
// Table.known, in place of the one there.
func (t *Table) newSlot(row int32, n int) *slot {
	var s *slot
	if k := len(t.spare); k > 0 {
		s = t.spare[k-1]
		t.spare = t.spare[:k-1]
	} else {
		s = &slot{buf: make([]byte, n)}
	}
	s.row, s.bytes, s.err, s.reads, s.device = row, n, nil, 0, 0
	t.known[row] = s
	return s
}

// lengthen asks for n bytes of a row whose read has not begun.
func (s *slot) lengthen(n int) {
	s.bytes = max(s.bytes, n)
	if len(s.buf) < s.bytes {
		s.buf = make([]byte, s.bytes)
	}
}

// maxSpare is how many rows there is memory for beyond the cache: a decode
// batch's worth. What a prompt needs beyond that comes from the runtime and goes
// back to it.
const maxSpare = 16

// makeHome gets the memory of the cache and the spare rows, once and for all: a step
// of decoding then allocates nothing, from the first one on. The system gives
// pages when they are first written. Slots made later are no part of it, and only
// copies of their rows get into the cache, so that it stays as large as it was made.
func (t *Table) makeHome() {
	n := int(t.cache.max/int64(t.rowBytes)) + maxSpare
	slots, memory := make([]slot, n), make([]byte, n*t.rowBytes)
	t.spare = make([]*slot, 0, n)
	for i := n - 1; i >= 0; i-- {
		at := i * t.rowBytes
		slots[i] = slot{buf: memory[at : at+t.rowBytes : at+t.rowBytes], home: true}
		t.spare = append(t.spare, &slots[i])
	}
	t.known = make(map[int32]*slot, n)
}

// discard takes the buffer of a slot that is in no list and no map.
func (t *Table) discard(s *slot) {
	if t.mangle {
		for i := range s.buf {
			s.buf[i] = 0xDB
		}
	}
	if s.home {
		*s = slot{buf: s.buf, home: true}
		t.spare = append(t.spare, s)
	}
}

// unpin drops one holder. A queued row without holders is forgotten when its
// turn comes; one being read is kept when it has come.
func (t *Table) unpin(s *slot) {
	s.refs--
	switch {
	case s.refs < 0:
		panic("ple: internal error: row released twice")
	case s.refs > 0:
	case s.state == failed:
		t.discard(s)
	case s.state == ready:
		t.keep(s)
	}
}

// keep puts a ready slot without holders into the cache, which may cost others
// their place; one whose place in known was taken has no use any more.
func (t *Table) keep(s *slot) {
	switch {
	case s.in != nil:
		return
	case t.known[s.row] != s:
		t.discard(s)
		return
	case int64(t.rowBytes) > t.cache.max:
		t.forget(s)
		return
	}
	for t.cache.bytes()+int64(t.rowBytes) > t.cache.max {
		// A pinned row that is out comes back when it is released.
		if old := t.cache.evict(); old != nil && old.refs == 0 {
			t.forget(old)
		}
	}
	if s = t.bringHome(s); s != nil {
		t.cache.add(s)
	}
}

// bringHome returns a slot of the table's own memory with the row of s, which
// nobody holds; nil when there is none left.
func (t *Table) bringHome(s *slot) *slot {
	switch k := len(t.spare); {
	case s.home:
		return s
	case k == 0:
		t.forget(s)
		return nil
	default:
		h := t.spare[k-1]
		t.spare = t.spare[:k-1]
		h.row, h.bytes, h.state, h.used, h.early = s.row, s.bytes, s.state, s.used, s.early
		copy(h.buf, s.buf[:s.bytes])
		t.known[s.row] = h
		t.discard(s)
		return h
	}
}

// forget ends a ready slot that nobody holds.
func (t *Table) forget(s *slot) {
	delete(t.known, s.row)
	t.discard(s)
}

// forgetAll sees to it that no row read until now is handed out again.
func (t *Table) forgetAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for row, s := range t.known {
		t.cache.drop(s)
		delete(t.known, row)
		if s.state == ready && s.refs == 0 {
			t.discard(s)
		}
	}
}

// fail ends a slot without its row; a later Fetch of the row tries again.
func (t *Table) fail(s *slot, err error) {
	if t.known[s.row] == s {
		delete(t.known, s.row)
	}
	s.state, s.err = failed, err
	t.tell(s, err)
	if s.refs == 0 {
		t.discard(s)
	}
}

// succeed makes the bytes in s.buf visible.
func (t *Table) succeed(s *slot) {
	s.state = ready
	t.tell(s, nil)
	if s.refs == 0 {
		t.keep(s)
	}
}

// tell reports the end of a slot to the fetches that miss it.
func (t *Table) tell(s *slot, err error) {
	w := s.waiting
	s.waiting = nil
	for w != nil {
		next := w.next // w's memory may be reused by the call
		w.f.arrived(s.row, err)
		w = next
	}
}
