package grammar

import (
	"fmt"
	"slices"
	"sync"
)

// Grammar is a compiled form of answers. Immutable to its users, safe for
// concurrent use; masks it has computed are kept by the Vocab.
type Grammar struct {
	p     *program
	ready sync.Map // *Vocab → *sync.Once
}

// Bytes is about how much memory g takes, masks left out.
func (g *Grammar) Bytes() int64 {
	n := int64(len(g.p.nodes)) * nodeBytes
	for i := range g.p.nodes {
		n += int64(4*len(g.p.nodes[i].to) + len(g.p.nodes[i].text))
	}
	for _, l := range g.p.lexemes {
		n += int64(8*len(l.dfa.edges) + 9*len(l.dfa.first))
	}
	return n
}

// nodeBytes is a node with its height.
const nodeBytes = 80

// Prepare computes ahead what masks for v need, so that no Mask has to: for
// schemas without patterns it is a matter of milliseconds, once per Vocab; for
// large patterns up to some 300 ms, beyond which the rest is left to the first
// mask that needs it. NewMatcher calls it; a server may do so earlier.
func (g *Grammar) Prepare(v *Vocab) {
	once, _ := g.ready.LoadOrStore(v, new(sync.Once))
	once.(*sync.Once).Do(func() { v.prepare(g.p) })
}

// NewMatcher begins an answer. If the model thinks first, the answer begins
// behind the thought.
func (g *Grammar) NewMatcher(v *Vocab) *Matcher {
	g.Prepare(v)
	m := &Matcher{g: g, v: v, move: newMover(g.p)}
	m.Reset()
	return m
}

// Matcher follows one answer. Not safe for concurrent use.
type Matcher struct {
	g     *Grammar
	v     *Vocab
	move  *mover
	now   state
	then  [2]state // scratch, used in turn
	masks *masker
	last  *lastMask
}

// lastMask is the mask computed last. Within a string most tokens leave the
// state as it is.
type lastMask struct {
	configs []config
	mask    []uint64
}

// Mask sets bit i of dst, that is bit i%64 of dst[i/64], if id i may come next,
// and clears it otherwise. dst holds (vocabulary+63)/64 words; further words are
// cleared. End tokens are never set: see CanEnd.
func (m *Matcher) Mask(dst []uint64) {
	if len(dst) < m.v.words {
		panic(fmt.Sprintf("grammar: internal error: a mask of %d words, want %d", len(dst), m.v.words))
	}
	clear(dst[m.v.words:])
	dst = dst[:m.v.words]
	if m.last == nil {
		m.last = &lastMask{}
		m.masks = &masker{v: m.v, move: m.move}
	} else if slices.Equal(m.last.configs, m.now.configs) {
		copy(dst, m.last.mask)
		return
	}
	clear(dst)
	m.masks.mask(dst, &m.now)
	m.last.configs = append(m.last.configs[:0], m.now.configs...)
	m.last.mask = append(m.last.mask[:0], dst...)
}

// CanEnd reports whether the answer so far is complete, so that an end token may
// come.
func (m *Matcher) CanEnd() bool { return m.now.ended }

// MustEnd reports whether nothing but an end token may come.
func (m *Matcher) MustEnd() bool { return m.now.ended && len(m.now.configs) == 0 }

// Accept takes the next id. One that Mask does not allow is an error and changes
// nothing.
func (m *Matcher) Accept(id int32) error {
	if sym, ok := m.v.bySpec[id]; ok {
		to := &m.then[0]
		m.move.advance(to, &m.now, sym)
		if len(to.configs) == 0 && !to.ended {
			return fmt.Errorf("accept token %d: %s does not fit here", id, m.v.tok.Piece(id))
		}
		m.now, *to = *to, m.now
		return nil
	}
	if id < 0 || int(id) >= m.v.tok.Len() || m.v.inTrie[id>>6]>>(id&63)&1 == 0 {
		return fmt.Errorf("accept token %d: it is no text", id)
	}
	text := m.v.tok.Text(id)
	if !m.advance(text) {
		return fmt.Errorf("accept token %d: %q does not fit here", id, text)
	}
	return nil
}

// advance takes the bytes of text if all of them fit.
func (m *Matcher) advance(text string) bool {
	from := &m.now
	for i := range len(text) {
		to := &m.then[i%2]
		m.move.advance(to, from, symbol(text[i]))
		if len(to.configs) == 0 && (!to.ended || i+1 < len(text)) {
			return false
		}
		from = to
	}
	m.now, *from = *from, m.now
	return true
}

// Clone returns an independent matcher in the same state. It shares no memory
// that either will change.
func (m *Matcher) Clone() *Matcher {
	c := &Matcher{g: m.g, v: m.v, move: newMover(m.g.p)}
	c.now = state{slices.Clone(m.now.configs), m.now.ended}
	return c
}

// Reset begins a new answer.
func (m *Matcher) Reset() { m.now = m.move.first() }
