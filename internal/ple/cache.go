package ple

// cachePolicy names the policy, for the test that compares it with others.
const cachePolicy = "S3-FIFO"

// cache keeps rows that no Fetch holds, up to max bytes, by S3-FIFO: newcomers
// pass through a small queue; those used again there, or soon after leaving it,
// enter the main queue, which spares a row for each of its last uses, up to three.
//
//	miss ──→ small (a tenth) ──used──→ main ⟲ while used
//	           └─ unused: out, remembered as ghost ──miss──→ main
//
// On text it misses a tenth less than LRU at every size that matters, and a long
// prompt does not sweep it; docs/measurements/ple-cache.md has the comparison.
//
// A pinned row stays in its queue, so using one costs no more than a count. It is
// guarded by Table.mu, but for its construction.
type cache struct {
	max, smallMax int64
	small, main   fifo
	ghosts        []uint64 // by row: row<<32 | its turn; other rows overwrite it
	memory        uint32   // turns that a ghost is remembered for
	turn          uint32
}

// fifo lists slots; the first one pushed is the first to go.
type fifo struct {
	ring  slot // next: newest, prev: oldest
	n     int
	bytes int64
}

func (l *fifo) init() { l.ring.next, l.ring.prev = &l.ring, &l.ring }

func (l *fifo) push(s *slot) {
	s.prev, s.next = &l.ring, l.ring.next
	s.prev.next, s.next.prev = s, s
	s.in = l
	l.n++
	l.bytes += int64(len(s.buf))
}

func (l *fifo) remove(s *slot) {
	s.prev.next, s.next.prev = s.next, s.prev
	s.next, s.prev, s.in = nil, nil, nil
	l.n--
	l.bytes -= int64(len(s.buf))
}

func (l *fifo) oldest() *slot { return l.ring.prev }

func (c *cache) init(maxBytes int64, rowBytes int) {
	rows := maxBytes / int64(rowBytes)
	c.max, c.smallMax = maxBytes, max(1, rows/10)*int64(rowBytes)
	c.small.init()
	c.main.init()
	c.memory = uint32(rows - c.smallMax/int64(rowBytes))
	if rows > 0 {
		c.ghosts = make([]uint64, 2*rows)
	}
}

func (c *cache) bytes() int64 { return c.small.bytes + c.main.bytes }
func (c *cache) n() int       { return c.small.n + c.main.n }

// used counts one more use of a row in memory.
func (s *slot) use() { s.used = min(3, s.used+1) }

// drop takes a slot out, if it is in.
func (c *cache) drop(s *slot) {
	if s.in != nil {
		s.in.remove(s)
	}
}

// add puts a slot in, for which there must be room.
func (c *cache) add(s *slot) {
	if c.takeGhost(s.row) {
		c.main.push(s)
	} else {
		c.small.push(s)
	}
}

// evict takes one row out, or moves one from small to main. It returns the slot
// that is out, whose row may still be pinned; nil after a move.
func (c *cache) evict() *slot {
	if c.small.n > 0 && (c.small.bytes >= c.smallMax || c.main.n == 0) {
		s := c.small.oldest()
		c.small.remove(s)
		if s.used > 0 {
			s.used = 0
			c.main.push(s)
			return nil
		}
		c.addGhost(s.row)
		return s
	}
	for {
		s := c.main.oldest()
		c.main.remove(s)
		if s.used == 0 {
			return s
		}
		s.used--
		c.main.push(s)
	}
}

func (c *cache) ghost(row int32) *uint64 {
	return &c.ghosts[uint32(row)*2654435769%uint32(len(c.ghosts))] // Knuth's multiplier spreads neighbours
}

func (c *cache) addGhost(row int32) {
	c.turn++
	*c.ghost(row) = uint64(row)<<32 | uint64(c.turn)
}

// takeGhost reports whether row left the small queue lately, and forgets it.
func (c *cache) takeGhost(row int32) bool {
	g := c.ghost(row)
	turn := uint32(*g)
	if turn == 0 || *g>>32 != uint64(row) || c.turn-turn >= c.memory {
		return false
	}
	*g = 0
	return true
}
