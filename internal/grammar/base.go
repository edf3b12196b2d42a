package grammar

import (
	"container/list"
	"sync"
)

const (
	cacheBytes = 64 << 20 // of all masks a Vocab keeps
	// A lexeme state whose walk visits fewer nodes is walked again each time: at
	// 5 ns a node that costs less than 10 µs.
	worthKeeping = 1_500
	// Nodes that preparing one grammar may visit, some 300 ms.
	prepareNodes = 40_000_000
)

// base is what a lexeme admits from one of its states: the tokens that begin
// there and do not leave it, and the nodes of the trie where the lexeme may be
// complete while longer tokens go on.
type base struct {
	dense   []uint64 // the tokens as a mask, or
	ids     []int32  // as a list, whichever is smaller
	exits   []int32  // ascending
	visited int
}

func (b *base) bytes() int { return 200 + 8*len(b.dense) + 4*len(b.ids) + 4*len(b.exits) }

// addTo sets the bits of the tokens in dst.
func (b *base) addTo(dst []uint64) {
	for i, w := range b.dense {
		dst[i] |= w
	}
	for _, id := range b.ids {
		dst[id>>6] |= 1 << (id & 63)
	}
}

// addWithin is addTo for those of the tokens that are in mask.
func (b *base) addWithin(dst, mask []uint64) {
	for i, w := range b.dense {
		dst[i] |= w & mask[i]
	}
	for _, id := range b.ids {
		dst[id>>6] |= mask[id>>6] & (1 << (id & 63))
	}
}

// cache keeps bases, those used last up to a number of bytes.
type cache struct {
	mu    sync.Mutex
	limit int
	used  int
	items map[baseKey]*list.Element
	order list.List // of cacheItem, the last used first
}

// baseKey names a state of an automaton, of several alike the first. By the automaton's sum
// grammars share the masks of what they have in common, as a format, and one that is compiled
// again finds its own; and no kept mask keeps an automaton alive.
type baseKey struct {
	dfa dfaSum
	q   int32
}

type cacheItem struct {
	key  baseKey
	base *base
}

func (c *cache) get(key baseKey) *base {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.items[key]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(cacheItem).base
}

func (c *cache) put(key baseKey, b *base) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.items[key] != nil {
		return
	}
	if c.items == nil {
		c.items = map[baseKey]*list.Element{}
	}
	c.items[key] = c.order.PushFront(cacheItem{key, b})
	for c.used += b.bytes(); c.used > c.limit; {
		e := c.order.Back()
		old := c.order.Remove(e).(cacheItem)
		delete(c.items, old.key)
		c.used -= old.base.bytes()
	}
}

// base returns what d admits from state q. The result may be small, which the next call with
// the same one overwrites; it stays small, however many tokens a state admits.
func (v *Vocab) base(d *dfa, q int32, small *base) *base {
	key := baseKey{d.sum, d.classes(v.longest)[q]}
	if b := v.cache.get(key); b != nil {
		return b
	}
	scratch, _ := v.scratch.Get().(*base)
	if scratch == nil {
		scratch = new(base)
	}
	defer v.scratch.Put(scratch)
	v.walk(d, q, scratch)
	if scratch.visited < worthKeeping {
		small.ids = append(small.ids[:0], scratch.ids...)
		small.exits, small.visited = append(small.exits[:0], scratch.exits...), scratch.visited
		return small
	}
	b := &base{exits: append([]int32(nil), scratch.exits...), visited: scratch.visited}
	if 4*len(scratch.ids) < 8*v.words {
		b.ids = append([]int32(nil), scratch.ids...)
	} else {
		b.dense = make([]uint64, v.words)
		for _, id := range scratch.ids {
			b.dense[id>>6] |= 1 << (id & 63)
		}
	}
	v.cache.put(key, b)
	return b
}

// walk runs d from state q over the whole trie and lists what it finds in out.
func (v *Vocab) walk(d *dfa, q int32, out *base) {
	out.dense, out.ids, out.exits, out.visited = nil, out.ids[:0], out.exits[:0], 0
	var state [maxTokenBytes + 1]int32
	state[0] = q
	t := &v.trie
	for i := int32(1); i < t.end[0]; {
		out.visited++
		at := t.depth[i]
		to := d.next(state[at-1], symbol(t.char[i]))
		if to < 0 {
			i = t.end[i]
			continue
		}
		state[at] = to
		out.ids = t.appendIDs(out.ids, i)
		if d.accept[to] && !t.leaf(i) {
			out.exits = append(out.exits, i)
		}
		i++
	}
}

// classes gives for each state the first of those that tokens of at most depth
// bytes cannot tell from it.
func (d *dfa) classes(depth int) []int32 {
	if known := d.known.Load(); known != nil && known.depth >= depth {
		return known.first
	}
	class := d.alike(depth)
	first := map[int32]int32{}
	for q, c := range class {
		if f, ok := first[c]; ok {
			class[q] = f
		} else {
			first[c] = int32(q)
			class[q] = int32(q)
		}
	}
	d.known.Store(&knownClasses{depth, class})
	return class
}

// knownClasses is the result of classes, kept with the automaton.
type knownClasses struct {
	depth int
	first []int32
}

// prepare computes the bases of a program ahead, as far as the budget goes.
func (v *Vocab) prepare(p *program) {
	left := prepareNodes
	var small base
	for _, l := range p.lexemes {
		if l.counted {
			v.short()
			v.plain()
		}
		class := l.dfa.classes(v.longest)
		for q := 0; q < len(class) && left > 0; q++ {
			left -= 50 // even where nothing is to be done
			if class[q] != int32(q) || v.cache.get(baseKey{l.dfa.sum, int32(q)}) != nil {
				continue
			}
			left -= v.base(l.dfa, int32(q), &small).visited
		}
	}
}
