package grammar

// frame is a rule that is being run: where to go on when it returns. Several
// places may have called the same rule at the same point of the text; they share
// the frame, so a stack is a graph that only grows where the text does. A frame
// does not change after the step that made it.
type frame struct {
	depth   int32
	returns []ret
}

type ret struct {
	node int32
	up   *frame
}

// config is a place in the program that the text may have led to: a node that
// reads, how far it has read, and the rule it belongs to.
type config struct {
	node  int32
	at    int32 // bytes of a text; the state of a lexeme's automaton
	count int32 // code points, of a counted lexeme
	up    *frame
}

// state is the set of all such places, and whether the text may end here.
type state struct {
	configs []config
	ended   bool
}

// mover computes the states that follow. It holds scratch memory only; one
// belongs to each matcher.
type mover struct {
	p       *program
	seen    map[ret]struct{} // nodes entered in this step
	calls   map[callKey]*frame
	pending []ret
}

type callKey struct{ rule, depth int32 }

func newMover(p *program) *mover {
	return &mover{p: p, seen: map[ret]struct{}{}, calls: map[callKey]*frame{}}
}

func (m *mover) begin() {
	clear(m.seen)
	clear(m.calls)
}

// enter adds to dst the reading nodes that are reached from node without reading.
func (m *mover) enter(dst *state, nodeAt int32, up *frame) {
	m.pending = append(m.pending[:0], ret{nodeAt, up})
	for len(m.pending) > 0 {
		here := m.pending[len(m.pending)-1]
		m.pending = m.pending[:len(m.pending)-1]
		if _, ok := m.seen[here]; ok || !m.fits(here) {
			continue
		}
		m.seen[here] = struct{}{}
		switch nd := &m.p.nodes[here.node]; nd.op {
		case opChoice:
			for i := len(nd.to) - 1; i >= 0; i-- {
				m.pending = append(m.pending, ret{nd.to[i], here.up})
			}
		case opCall:
			m.call(nd, here.up)
		case opReturn:
			if here.up == nil {
				dst.ended = true
			} else {
				m.pending = append(m.pending, here.up.returns...)
			}
		case opLexeme:
			if len(nd.lex.dfa.row(0)) > 0 {
				dst.add(config{node: here.node, up: here.up})
			}
			if nd.lex.dfa.accept[0] {
				m.pending = append(m.pending, ret{nd.next, here.up})
			}
		default:
			dst.add(config{node: here.node, up: here.up})
		}
	}
}

// fits reports whether the answer can be completed from here without nesting too
// deep.
func (m *mover) fits(r ret) bool {
	depth := int32(0)
	if r.up != nil {
		depth = r.up.depth
	}
	h := m.p.height[r.node]
	return h != unbounded && depth+h <= m.p.depth
}

// call enters a rule. All who call it in this step share one frame. That the
// frame is complete before anything returns through it follows from rules reading
// something first.
func (m *mover) call(nd *node, up *frame) {
	depth := int32(1)
	if up != nil {
		depth = up.depth + 1
	}
	key := callKey{nd.rule, depth}
	f := m.calls[key]
	if f == nil {
		f = &frame{depth: depth}
		m.calls[key] = f
		m.pending = append(m.pending, ret{m.p.rules[nd.rule], f})
	}
	f.returns = append(f.returns, ret{nd.next, up})
}

// add appends c unless it is there already or there are too many.
func (s *state) add(c config) {
	if len(s.configs) >= maxConfigs {
		return
	}
	s.configs = append(s.configs, c)
}

// addNew is add for places that have been reached in the middle of a node, which
// enter's own memory does not cover.
func (s *state) addNew(c config) {
	for i := len(s.configs) - 1; i >= 0 && i >= len(s.configs)-64; i-- {
		if s.configs[i] == c {
			return
		}
	}
	s.add(c)
}

// step adds to dst the places behind c and symbol sym.
func (m *mover) step(dst *state, c config, sym symbol) {
	switch nd := &m.p.nodes[c.node]; nd.op {
	case opText:
		if sym != symbol(nd.text[c.at]) {
			return
		}
		if c.at++; int(c.at) == len(nd.text) {
			m.enter(dst, nd.next, c.up)
			return
		}
		dst.addNew(c)
	case opToken:
		if sym == nd.token {
			m.enter(dst, nd.next, c.up)
		}
	case opLexeme:
		to, count, ok := nd.lex.next(c.at, c.count, sym)
		if !ok {
			return
		}
		if len(nd.lex.dfa.row(to)) > 0 {
			dst.addNew(config{c.node, to, count, c.up})
		}
		if nd.lex.dfa.accept[to] {
			m.enter(dst, nd.next, c.up)
		}
	}
}

// next is the state and count behind sym; false where there is none. A counted
// word is left for its last state only with enough code points, and a further
// code point is begun only if one more is allowed.
func (l *lexeme) next(q, count int32, sym symbol) (int32, int32, bool) {
	to := l.dfa.next(q, sym)
	if to < 0 || !l.counted {
		return to, 0, to >= 0
	}
	switch {
	case l.dfa.accept[to]:
		return to, 0, count >= l.min
	case q == 0 && l.max >= 0 && count >= l.max:
		return 0, 0, false
	case to == 0 && (l.max >= 0 || count < l.min): // count no further than matters
		count++
	}
	return to, count, true
}

// advance is the state behind s and sym, in dst, whose memory is used again.
func (m *mover) advance(dst *state, s *state, sym symbol) {
	m.begin()
	dst.configs, dst.ended = dst.configs[:0], false
	for _, c := range s.configs {
		m.step(dst, c, sym)
	}
}

// first is the state before any text.
func (m *mover) first() state {
	m.begin()
	var s state
	m.enter(&s, m.p.start, nil)
	return s
}
