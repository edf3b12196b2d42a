package ple

// lru lists slots from the one pushed last to the one pushed first.
type lru struct {
	ring  slot // next: newest, prev: oldest
	n     int
	bytes int64
}

func (l *lru) init() { l.ring.next, l.ring.prev = &l.ring, &l.ring }

func (l *lru) push(s *slot) {
	s.prev, s.next = &l.ring, l.ring.next
	s.prev.next, s.next.prev = s, s
	l.n++
	l.bytes += int64(len(s.buf))
}

func (l *lru) remove(s *slot) {
	s.prev.next, s.next.prev = s.next, s.prev
	s.next, s.prev = nil, nil
	l.n--
	l.bytes -= int64(len(s.buf))
}

func (l *lru) victim() *slot { return l.ring.prev }
