package grammar

import (
	"slices"
	"unicode/utf8"
)

// automaton is a deterministic finite automaton over code points: a set of
// strings. State 0 is the start. It is trimmed: every state but the start is
// reachable and can reach an accepting one, so a text that has not failed can
// always be completed.
type automaton struct {
	states []runeState
}

type runeState struct {
	edges  []runeEdge // ascending, disjoint
	accept bool
}

// runeEdge leads to state to on the code points lo … hi. Surrogates, which are
// none, may be within.
type runeEdge struct {
	lo, hi rune
	to     int32
}

// empty reports whether no string is in the set.
func (a *automaton) empty() bool { return !a.states[0].accept && len(a.states[0].edges) == 0 }

// next is the state behind r; −1 if there is none.
func (a *automaton) next(q int32, r rune) int32 {
	edges := a.states[q].edges
	i, _ := slices.BinarySearchFunc(edges, r, func(e runeEdge, r rune) int { return int(e.hi - r) })
	if i == len(edges) || edges[i].lo > r {
		return -1
	}
	return edges[i].to
}

// accepts reports whether s is in the set.
func (a *automaton) accepts(s string) bool {
	q := int32(0)
	for _, r := range s {
		if q = a.next(q, r); q < 0 {
			return false
		}
	}
	return a.states[q].accept
}

// anyText is the set of all strings.
func anyText() *automaton {
	return &automaton{[]runeState{{[]runeEdge{{0, utf8.MaxRune, 0}}, true}}}
}

// trim drops the states that cannot be reached or cannot accept.
func (a *automaton) trim() *automaton {
	n := len(a.states)
	reached := make([]bool, n)
	back := make([][]int32, n)
	work := []int32{0}
	reached[0] = true
	for len(work) > 0 {
		q := work[len(work)-1]
		work = work[:len(work)-1]
		for _, e := range a.states[q].edges {
			back[e.to] = append(back[e.to], q)
			if !reached[e.to] {
				reached[e.to] = true
				work = append(work, e.to)
			}
		}
	}
	live := make([]bool, n)
	for q := range a.states {
		if reached[q] && a.states[q].accept {
			live[q] = true
			work = append(work, int32(q))
		}
	}
	for len(work) > 0 {
		q := work[len(work)-1]
		work = work[:len(work)-1]
		for _, p := range back[q] {
			if !live[p] {
				live[p] = true
				work = append(work, p)
			}
		}
	}
	return a.keep(live)
}

// keep is a with only the states that live, and the start.
func (a *automaton) keep(live []bool) *automaton {
	name := make([]int32, len(a.states))
	count := int32(0)
	for q := range a.states {
		if live[q] || q == 0 {
			name[q] = count
			count++
		}
	}
	out := &automaton{make([]runeState, 0, count)}
	for q, s := range a.states {
		if !live[q] && q != 0 {
			continue
		}
		kept := runeState{accept: s.accept}
		for _, e := range s.edges {
			if live[e.to] {
				kept.edges = appendEdge(kept.edges, runeEdge{e.lo, e.hi, name[e.to]})
			}
		}
		out.states = append(out.states, kept)
	}
	return out
}

// appendEdge appends e, which lies behind all others, and joins neighbours.
func appendEdge(edges []runeEdge, e runeEdge) []runeEdge {
	if n := len(edges); n > 0 && edges[n-1].to == e.to && edges[n-1].hi+1 == e.lo {
		edges[n-1].hi = e.hi
		return edges
	}
	return append(edges, e)
}

// intersect is the set of strings in both a and b.
func intersect(a, b *automaton) (*automaton, error) {
	type pair struct{ a, b int32 }
	name := map[pair]int32{{0, 0}: 0}
	work := []pair{{0, 0}}
	out := &automaton{}
	nEdges := 0
	for i := 0; i < len(work); i++ {
		p := work[i]
		sa, sb := a.states[p.a], b.states[p.b]
		s := runeState{accept: sa.accept && sb.accept}
		for x, y := 0, 0; x < len(sa.edges) && y < len(sb.edges); {
			ea, eb := sa.edges[x], sb.edges[y]
			if lo, hi := max(ea.lo, eb.lo), min(ea.hi, eb.hi); lo <= hi {
				to := pair{ea.to, eb.to}
				id, ok := name[to]
				if !ok {
					id = int32(len(work))
					name[to] = id
					work = append(work, to)
				}
				s.edges = appendEdge(s.edges, runeEdge{lo, hi, id})
			}
			if ea.hi < eb.hi {
				x++
			} else {
				y++
			}
		}
		if nEdges += len(s.edges); len(work) > maxStates || nEdges > maxEdges {
			return nil, tooComplex("two conditions together need more than %d states", maxStates)
		}
		out.states = append(out.states, s)
	}
	return out.trim(), nil
}

// complement is the set of strings that are not in a.
func complement(a *automaton) *automaton {
	sink := int32(len(a.states))
	out := &automaton{make([]runeState, 0, sink+1)}
	for _, s := range a.states {
		out.states = append(out.states, runeState{fill(s.edges, sink), !s.accept})
	}
	out.states = append(out.states, runeState{[]runeEdge{{0, utf8.MaxRune, sink}}, true})
	return out.trim()
}

// fill leads all code points that edges leave out to sink.
func fill(edges []runeEdge, sink int32) []runeEdge {
	var out []runeEdge
	from := rune(0)
	for _, e := range edges {
		if e.lo > from {
			out = append(out, runeEdge{from, e.lo - 1, sink})
		}
		out = append(out, e)
		from = e.hi + 1
	}
	if from <= utf8.MaxRune {
		out = append(out, runeEdge{from, utf8.MaxRune, sink})
	}
	return out
}

// lengths is the set of strings of least to most code points; most < 0 is no
// bound.
func lengths(least, most int) (*automaton, error) {
	last := max(least, most)
	if last >= maxStates {
		return nil, tooComplex("a length of %d beside a pattern, at most %d is supported there", last, maxStates-1)
	}
	a := &automaton{make([]runeState, last+1)}
	for i := range a.states {
		to := int32(i + 1)
		if i == last {
			if most >= 0 {
				a.states[i].accept = i >= least
				continue
			}
			to = int32(i)
		}
		a.states[i] = runeState{[]runeEdge{{0, utf8.MaxRune, to}}, i >= least}
	}
	return a.trim(), nil
}

// words is the set of the given strings.
func words(list []string) (*automaton, error) {
	b := newNFA()
	end := b.state()
	for _, w := range list {
		q := int32(0)
		for _, r := range w {
			to := b.state()
			b.edge(q, r, r, to)
			q = to
		}
		if len(b.edges) > maxRuneStates {
			return nil, tooComplex("names or values of more than %d characters to be told apart", maxRuneStates)
		}
		b.skip(q, end)
	}
	return b.determinise(end)
}
