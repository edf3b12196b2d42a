package engine

import (
	"container/list"
	"strings"

	"github.com/plume-run/plume/internal/gemma"
)

// prefixes remembers what beginnings of sequences have computed, for any later
// sequence that begins the same way.
//
// It is a tree over token ids. An edge is a block of blockTokens ids with the full
// layers' keys and values at these positions, which depend on nothing behind them, so
// sequences share their blocks up to where they part. Sliding layers cannot be cut like
// that: what a window holds is right at one place only. So some places carry a mark,
// with a copy of the rings there and what lies behind the last whole block. A sequence
// goes on from the mark that shares most with it.
//
// Marks are made where a request may well go on: at the end of a prompt, at the end of
// an answer, and where two prompts part. When the budget is used up, the mark that has
// not been used for longest goes, and the blocks that led to nothing else with it.
//
// All methods copy through the model's backend and so need the engine's turn.
type prefixes struct {
	budget int64
	root   node
	recent list.List // of *mark, the last used first
	stats  PrefixStats
	lent   bool // a snapshot is alive: what were forgotten now would not give its memory back
}

// PrefixStats say what the remembered prefixes take and have been good for.
type PrefixStats struct {
	Capacity, Bytes int64
	Entries         int    // places that a sequence can go on from
	Hits            int64  // requests that did
	Tokens          int64  // tokens that these did not compute
	Evicted         int64  // entries that had to go
	Saves           int64  // times that the file they are kept in was written
	Note            string // what was wrong with it
}

const (
	blockTokens = 64

	// worthTokens is how many tokens a mark must save: rings take megabytes, computing
	// these few a fraction of a second.
	worthTokens = 16

	bookBytes = 256 // of a node or a mark, beside keys and values
)

// node is a block of ids behind its parent's.
type node struct {
	parent *node
	ids    []int32 // [blockTokens]; none at the root
	full   *gemma.Piece
	bytes  int64
	kids   []*node
	marks  []*mark
}

// mark is a place behind a node, less than a block away.
type mark struct {
	at    *node
	n     int          // tokens from the beginning
	tail  []int32      // those behind the node
	full  *gemma.Piece // at the tail; nil when there is none
	rings *gemma.Piece
	bytes int64
	place *list.Element
}

func newPrefixes(budget int64) *prefixes {
	return &prefixes{budget: budget, stats: PrefixStats{Capacity: budget}}
}

// note tells of errors that nobody waits for, and whether there is one.
func (p *prefixes) note(errs ...error) bool {
	said := []string{}
	for _, err := range errs {
		if err != nil {
			said = append(said, err.Error())
		}
	}
	if len(said) > 0 {
		p.stats.Note = strings.Join(said, "; ")
	}
	return len(said) > 0
}

// find returns the mark from which a cache like c can hold most of ids, and how many
// of them, the last one never; and how many of ids anything in the tree begins with.
func (p *prefixes) find(c *gemma.Cache, ids []int32) (best *mark, n, seen int) {
	s := search{c: c, ids: ids}
	s.visit(&p.root, 0)
	return s.best, s.n, s.seen
}

// search is one find.
type search struct {
	c       *gemma.Cache
	ids     []int32
	best    *mark
	n, seen int
}

// visit looks at what lies behind a node that shares its pos tokens with ids.
func (s *search) visit(at *node, pos int) {
	for _, m := range at.marks {
		s.consider(m, pos+common(m.tail, s.ids[pos:]))
	}
	for _, kid := range at.kids {
		if n := common(kid.ids, s.ids[pos:]); n == blockTokens {
			s.visit(kid, pos+n)
		} else if n > 0 {
			s.beyond(kid, pos+n)
		}
	}
}

// beyond looks at the marks behind a node, which share n tokens with ids and no more:
// rings that have not turned yet, or hardly, can go back to there.
func (s *search) beyond(at *node, n int) {
	for _, m := range at.marks {
		s.consider(m, n)
	}
	for _, kid := range at.kids {
		s.beyond(kid, n)
	}
}

// consider takes m if it is the best so far; it shares n tokens with ids.
func (s *search) consider(m *mark, n int) {
	s.seen = max(s.seen, n)
	if n = min(n, len(s.ids)-1); n > s.n && s.c.Reaches(m.n, n) {
		s.best, s.n = m, n
	}
}

// restore fills c with what was held at m and returns the ids of that.
func (p *prefixes) restore(m *mark, c *gemma.Cache, ids []int32) []int32 {
	var path []*node
	for at := m.at; at != &p.root; at = at.parent {
		path = append(path, at)
	}
	ids = ids[:0]
	var full []*gemma.Piece
	for i := len(path) - 1; i >= 0; i-- {
		ids, full = append(ids, path[i].ids...), append(full, path[i].full)
	}
	if m.full != nil {
		full = append(full, m.full)
	}
	c.Restore(m.n, full, m.rings)
	p.recent.MoveToFront(m.place)
	return append(ids, m.tail...)
}

// keep remembers what c holds, the keys and values of ids, if that is worth its bytes
// and the budget has room for it when others have gone.
func (p *prefixes) keep(c *gemma.Cache, ids []int32) error {
	if m := p.near(ids); m != nil {
		p.recent.MoveToFront(m.place)
		return nil
	}
	at, n := p.walk(ids)
	for p.stats.Bytes+cost(c, n, len(ids)) > p.budget {
		if p.lent || cost(c, n, len(ids)) > p.budget {
			return nil
		}
		p.evict(p.recent.Back().Value.(*mark))
		at, n = p.walk(ids) // the way here may have been among it
	}
	for ; n+blockTokens <= len(ids); n += blockTokens {
		full, err := c.CopyFull(n, blockTokens)
		if err != nil {
			p.prune(at)
			return err
		}
		at = p.addNode(at, append([]int32(nil), ids[n:n+blockTokens]...), full)
	}
	return p.addMark(c, at, n, ids)
}

func (p *prefixes) addNode(parent *node, ids []int32, full *gemma.Piece) *node {
	kid := &node{parent: parent, ids: ids, full: full, bytes: full.Bytes() + 4*blockTokens + bookBytes}
	parent.kids = append(parent.kids, kid)
	p.stats.Bytes += kid.bytes
	return kid
}

// addMark marks the end of ids, which is what c holds, n tokens of it before at.
func (p *prefixes) addMark(c *gemma.Cache, at *node, n int, ids []int32) error {
	m := &mark{at: at, n: len(ids), tail: append([]int32(nil), ids[n:]...)}
	var err error
	if m.rings, err = c.CopyRings(); err == nil && len(m.tail) > 0 {
		m.full, err = c.CopyFull(n, len(m.tail))
	}
	if err != nil {
		p.prune(at)
		return err
	}
	p.link(m)
	return nil
}

// link puts a mark in its place.
func (p *prefixes) link(m *mark) {
	m.bytes = m.rings.Bytes() + 4*int64(len(m.tail)) + bookBytes
	if m.full != nil {
		m.bytes += m.full.Bytes()
	}
	m.at.marks = append(m.at.marks, m)
	m.place = p.recent.PushFront(m)
	p.stats.Bytes += m.bytes
	p.stats.Entries++
}

// cost is what keeping total tokens would take when n of them are in the tree.
func cost(c *gemma.Cache, n, total int) int64 {
	have, _ := c.PieceBytes(n)
	full, rings := c.PieceBytes(total)
	blocks := int64((total - n) / blockTokens)
	return full - have + rings + 4*int64(total-n) + (blocks+1)*bookBytes
}

// near returns a mark that ids go on from, so close to their end that another one
// would not be worth it.
func (p *prefixes) near(ids []int32) *mark {
	at, n := p.walk(ids)
	for ; at != nil && len(ids)-n < worthTokens+blockTokens; at, n = at.parent, n-blockTokens {
		for _, m := range at.marks {
			if len(ids)-m.n < worthTokens && common(m.tail, ids[n:]) == len(m.tail) {
				return m
			}
		}
	}
	return nil
}

// walk returns the last node whose blocks ids begin with, and how many tokens that is.
func (p *prefixes) walk(ids []int32) (at *node, n int) {
	for next := &p.root; next != nil; {
		at, next = next, nil
		for _, kid := range at.kids {
			if common(kid.ids, ids[n:]) == blockTokens {
				next, n = kid, n+blockTokens
				break
			}
		}
	}
	return at, n
}

// evict forgets a mark, and the blocks that led only there.
func (p *prefixes) evict(m *mark) {
	m.at.marks = without(m.at.marks, m)
	p.recent.Remove(m.place)
	p.stats.Bytes -= m.bytes
	p.stats.Entries--
	p.stats.Evicted++
	p.prune(m.at)
}

// prune removes a node that leads to no mark, and its parents likewise.
func (p *prefixes) prune(at *node) {
	for at != &p.root && len(at.kids) == 0 && len(at.marks) == 0 {
		p.stats.Bytes -= at.bytes
		at.parent.kids = without(at.parent.kids, at)
		at = at.parent
	}
}

// without returns list less x, in another order.
func without[T comparable](list []T, x T) []T {
	for i := range list {
		if list[i] == x {
			list[i] = list[len(list)-1]
			clear(list[len(list)-1:])
			return list[:len(list)-1]
		}
	}
	return list
}
