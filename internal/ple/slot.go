package ple

// slot is the memory of one row. Everything but buf is guarded by Table.mu; buf
// is written by the one worker that reads the row, before ready is set, and
// only read afterwards.
//
//	queued ──→ being read ──→ ready (pinned while refs > 0, else in Table.idle)
//	   │            └───────→ failed (out of Table.known)
//	   └─ refs is 0 when its turn comes, or the table closes: forgotten
type slot struct {
	row        int32
	refs       int // fetches that hold the slot
	ready      bool
	failed     bool
	err        error // set by the worker before the slot is finished
	buf        []byte
	waiting    *waiter // fetches to tell when the slot is finished
	next, prev *slot   // in queue (next only) or lru
}

// waiter links a slot to one fetch that misses it. The fetch owns the memory.
type waiter struct {
	f    *Fetch
	next *waiter
}

// newSlot returns a slot for row that nothing holds, in Table.known.
func (t *Table) newSlot(row int32) *slot {
	var s *slot
	if n := len(t.spare); n > 0 {
		s = t.spare[n-1]
		t.spare = t.spare[:n-1]
	} else {
		s = &slot{buf: make([]byte, t.rowBytes)}
	}
	s.row = row
	t.known[row] = s
	return s
}

// maxSpare is how many buffers without a row are kept for the next ones: a
// decode batch's worth. What a prompt needs beyond that goes back to the runtime.
const maxSpare = 16

// discard takes the buffer of a slot that is in no list and no map.
func (t *Table) discard(s *slot) {
	if t.mangle {
		for i := range s.buf {
			s.buf[i] = 0xDB
		}
	}
	if len(t.spare) < maxSpare {
		*s = slot{buf: s.buf}
		t.spare = append(t.spare, s)
	}
}

// pin adds one holder to a slot of Table.known.
func (t *Table) pin(s *slot) {
	if s.refs == 0 && s.ready {
		t.idle.remove(s)
	}
	s.refs++
}

// unpin drops one holder. A queued row without holders is forgotten when its
// turn comes; one being read will be cached by its worker.
func (t *Table) unpin(s *slot) {
	s.refs--
	switch {
	case s.refs < 0:
		panic("ple: internal error: row released twice")
	case s.refs > 0:
	case s.failed:
		t.discard(s)
	case s.ready:
		t.keep(s)
	}
}

// keep puts a ready slot without holders into the cache, which may cost the
// slot unused for the longest time its place.
func (t *Table) keep(s *slot) {
	t.idle.push(s)
	if t.idle.n > t.maxIdle {
		old := t.idle.oldest()
		t.idle.remove(old)
		delete(t.known, old.row)
		t.discard(old)
	}
}

// fail ends a slot without its row; a later Fetch of the row tries again.
func (t *Table) fail(s *slot, err error) {
	delete(t.known, s.row)
	s.failed = true
	t.tell(s, err)
	if s.refs == 0 {
		t.discard(s)
	}
}

// succeed makes the row in s.buf visible.
func (t *Table) succeed(s *slot) {
	s.ready = true
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

// queue is a first-in first-out list of slots.
type queue struct{ head, tail *slot }

func (q *queue) push(s *slot) {
	if q.head == nil {
		q.head = s
	} else {
		q.tail.next = s
	}
	q.tail = s
}

// pop returns nil when the queue is empty.
func (q *queue) pop() *slot {
	s := q.head
	if s != nil {
		q.head, s.next = s.next, nil
	}
	return s
}

// lru lists slots from the one pushed last to the one pushed first.
type lru struct {
	ring slot // next: newest, prev: oldest
	n    int
}

func (l *lru) init() { l.ring.next, l.ring.prev = &l.ring, &l.ring }

func (l *lru) push(s *slot) {
	s.prev, s.next = &l.ring, l.ring.next
	s.prev.next, s.next.prev = s, s
	l.n++
}

func (l *lru) remove(s *slot) {
	s.prev.next, s.next.prev = s.next, s.prev
	s.next, s.prev = nil, nil
	l.n--
}

func (l *lru) oldest() *slot { return l.ring.prev }
