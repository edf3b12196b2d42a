package grammar

import (
	"cmp"
	"slices"
)

// masker computes masks. Like mover it is scratch memory of one matcher.
type masker struct {
	v      *Vocab
	move   *mover
	dst    []uint64
	base   base
	levels []level // one for each walk within a walk
	probe  state
}

// level is the memory of one walk.
type level struct {
	exits []exit
	after state
}

// exit is a node of the trie where a text or a lexeme is complete and longer
// tokens go on with what follows it in the program.
type exit struct {
	at int32
	ret
}

// mask sets in dst the bits of the ids that s allows.
func (m *masker) mask(dst []uint64, s *state) {
	m.dst = dst
	m.walk(0, s, 0)
}

// walk marks the tokens below node t of the trie that s allows. Each place in s
// is followed to the end of its text or lexeme; those that come to an end at the
// same node go on together, so that what they call is called once.
func (m *masker) walk(t int32, s *state, depth int) {
	if len(m.levels) == depth {
		m.levels = append(m.levels, level{})
	}
	m.levels[depth].exits = m.levels[depth].exits[:0]
	for i := range s.configs {
		m.follow(t, s.configs[i], depth)
	}
	exits := m.levels[depth].exits
	if len(s.configs) > 1 {
		slices.SortStableFunc(exits, func(a, b exit) int { return cmp.Compare(a.at, b.at) })
	}
	var last []exit
	for len(exits) > 0 {
		n := 1
		for n < len(exits) && exits[n].at == exits[0].at {
			n++
		}
		here := exits[:n]
		// What follows is often the same as at the exit before.
		if !slices.EqualFunc(here, last, func(a, b exit) bool { return a.ret == b.ret }) {
			m.enterAll(&m.levels[depth].after, here)
		}
		if after := m.levels[depth].after; len(after.configs) > 0 {
			m.walk(here[0].at, &after, depth+1)
		}
		last, exits = here, exits[n:]
	}
}

// enterAll sets dst to the places behind exits.
func (m *masker) enterAll(dst *state, exits []exit) {
	dst.configs, dst.ended = dst.configs[:0], false
	m.move.begin()
	for _, e := range exits {
		m.move.enter(dst, e.node, e.up)
	}
}

// follow marks the tokens below t that lie within the present text or lexeme of
// c, and notes where they leave it.
func (m *masker) follow(t int32, c config, depth int) {
	switch nd := &m.move.p.nodes[c.node]; nd.op {
	case opText:
		m.followText(t, nd, c, depth)
	case opToken:
		if id := m.v.special[nd.token-quote]; t == 0 && id >= 0 {
			m.dst[id>>6] |= 1 << (id & 63)
		}
	case opLexeme:
		if t > 0 {
			m.followLexeme(t, nd, c, depth)
			return
		}
		if _, _, ok := nd.lex.next(c.at, c.count, quote); ok && m.v.special[0] >= 0 {
			id := m.v.special[0]
			m.dst[id>>6] |= 1 << (id & 63)
		}
		switch {
		case !nd.lex.counted || m.slack(nd.lex, c.count):
			m.lexeme(nd, c, depth)
		case c.at == 0:
			m.countedLexeme(nd, c, depth)
		default:
			m.followLexeme(t, nd, c, depth)
		}
	}
}

func (m *masker) exit(depth int, at int32, nd *node, c config) {
	l := &m.levels[depth]
	l.exits = append(l.exits, exit{at, ret{nd.next, c.up}})
}

func (m *masker) followText(t int32, nd *node, c config, depth int) {
	trie := &m.v.trie
	for i := int(c.at); i < len(nd.text); i++ {
		if t = trie.child(t, nd.text[i]); t < 0 {
			return
		}
		trie.mark(m.dst, t)
	}
	if !trie.leaf(t) {
		m.exit(depth, t, nd, c)
	}
}

// followLexeme walks the subtree of t.
func (m *masker) followLexeme(t int32, nd *node, c config, depth int) {
	trie := &m.v.trie
	var state, count [maxTokenBytes + 1]int32
	state[trie.depth[t]], count[trie.depth[t]] = c.at, c.count
	for i := t + 1; i < trie.end[t]; {
		at := trie.depth[i]
		to, n, ok := nd.lex.next(state[at-1], count[at-1], symbol(trie.char[i]))
		if !ok {
			i = trie.end[i]
			continue
		}
		state[at], count[at] = to, n
		trie.mark(m.dst, i)
		if nd.lex.dfa.accept[to] && !trie.leaf(i) {
			m.exit(depth, i, nd, c)
		}
		i++
	}
}

// lexeme is followLexeme from the root, by what was computed before.
func (m *masker) lexeme(nd *node, c config, depth int) {
	b := m.v.base(nd.lex.dfa, c.at, &m.base)
	b.addTo(m.dst)
	if len(b.exits) > 0 && m.goesOn(nd, c) {
		for _, at := range b.exits {
			m.exit(depth, at, nd, c)
		}
	}
}

// goesOn reports whether the rest of a token, not only other tokens, may follow
// the lexeme.
func (m *masker) goesOn(nd *node, c config) bool {
	m.enterAll(&m.probe, []exit{{0, ret{nd.next, c.up}}})
	return slices.ContainsFunc(m.probe.configs, func(c config) bool {
		return m.move.p.nodes[c.node].op != opToken
	})
}

// slack reports whether no token can violate the bounds of a counted lexeme.
func (m *masker) slack(l *lexeme, count int32) bool {
	return count >= l.min && (l.max < 0 || int(l.max-count) >= m.v.longest)
}

// countedLexeme is lexeme for a free string, between two code points, whose
// length is near a bound: tokens of plain code points by their number, the rest
// one by one.
func (m *masker) countedLexeme(nd *node, c config, depth int) {
	short := m.v.short()
	left := len(short) - 1
	if nd.lex.max >= 0 {
		left = min(left, int(nd.lex.max-c.count))
	}
	if nd.lex.dfa != freeJSON() { // nothing is escaped, and only the quote token ends it
		m.v.base(nd.lex.dfa, 0, &m.base).addWithin(m.dst, short[left])
		return
	}
	plain := m.v.plain()
	for i, w := range short[left] {
		m.dst[i] |= w & plain.mask[i]
	}
	trie := &m.v.trie
	for _, turn := range plain.turns {
		if int(turn.count) > left {
			continue
		}
		to, n, ok := nd.lex.next(0, c.count+turn.count, symbol(trie.char[turn.node]))
		if !ok {
			continue
		}
		trie.mark(m.dst, turn.node)
		if trie.leaf(turn.node) {
			continue
		}
		if nd.lex.dfa.accept[to] {
			m.exit(depth, turn.node, nd, c)
		} else {
			m.followLexeme(turn.node, nd, config{c.node, to, n, c.up}, depth)
		}
	}
}
