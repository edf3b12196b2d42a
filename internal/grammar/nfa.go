package grammar

import (
	"encoding/binary"
	"slices"
)

// nfa is a nondeterministic automaton over code points, to be built up and then
// made deterministic. State 0 is the start.
type nfa struct {
	edges [][]runeEdge
	skips [][]int32 // states reached without reading
}

func newNFA() *nfa {
	n := &nfa{}
	n.state()
	return n
}

func (n *nfa) state() int32 {
	n.edges = append(n.edges, nil)
	n.skips = append(n.skips, nil)
	return int32(len(n.edges) - 1)
}

func (n *nfa) edge(from int32, lo, hi rune, to int32) {
	n.edges[from] = append(n.edges[from], runeEdge{lo, hi, to})
}

func (n *nfa) skip(from, to int32) { n.skips[from] = append(n.skips[from], to) }

// determinise builds the automaton of the texts that lead from the start to end.
func (n *nfa) determinise(end int32) (*automaton, error) {
	d := subsets{step: n.closure, name: map[string]int32{}}
	d.closed = make([]uint32, len(n.edges))
	return d.run([]int32{0}, func(q int32) []runeEdge { return n.edges[q] },
		func(set []int32) bool { return slices.Contains(set, end) })
}

// closure appends q and what it skips to.
func (n *nfa) closure(d *subsets, set []int32, q int32) []int32 {
	work := []int32{q}
	for len(work) > 0 {
		q := work[len(work)-1]
		work = work[:len(work)-1]
		if !d.enter(q) {
			continue
		}
		set = append(set, q)
		work = append(work, n.skips[q]...)
	}
	return set
}

// subsets is the subset construction: a state of the result is a set of states
// of the source. The source is given by functions, so that regular expressions
// need not be copied into another form.
type subsets struct {
	step   func(d *subsets, set []int32, q int32) []int32 // appends q and what needs no reading
	closed []uint32                                       // per source state: the round it was last entered in
	round  uint32
	name   map[string]int32
	sets   [][]int32
	steps  int
	edges  int
}

// enter reports whether q is new in this round.
func (d *subsets) enter(q int32) bool {
	d.steps++
	if d.closed[q] == d.round {
		return false
	}
	d.closed[q] = d.round
	return true
}

// id names a set, which it sorts.
func (d *subsets) id(set []int32) int32 {
	slices.Sort(set)
	key := make([]byte, 0, 4*len(set))
	for _, q := range set {
		key = binary.LittleEndian.AppendUint32(key, uint32(q))
	}
	id, ok := d.name[string(key)]
	if !ok {
		id = int32(len(d.sets))
		d.name[string(key)] = id
		d.sets = append(d.sets, slices.Clone(set))
	}
	return id
}

func (d *subsets) run(start []int32, edges func(int32) []runeEdge, accept func([]int32) bool) (*automaton, error) {
	d.round++
	var set []int32
	for _, q := range start {
		set = d.step(d, set, q)
	}
	d.id(set)
	out := &automaton{}
	for i := 0; i < len(d.sets); i++ {
		s := runeState{accept: accept(d.sets[i])}
		s.edges = d.moves(d.sets[i], edges)
		d.edges += len(s.edges)
		if len(d.sets) > maxStates || d.edges > maxEdges || d.steps > maxSteps {
			return nil, tooComplex("the expression needs more than %d states, %d transitions or %d steps", maxStates, maxEdges, maxSteps)
		}
		out.states = append(out.states, s)
	}
	return out.trim(), nil
}

// moves are the transitions of a set: its members' edges, cut where any of them
// begins or ends.
func (d *subsets) moves(set []int32, edges func(int32) []runeEdge) []runeEdge {
	var all []runeEdge
	var cuts []rune
	for _, q := range set {
		for _, e := range edges(q) {
			all = append(all, e)
			cuts = append(cuts, e.lo, e.hi+1)
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	slices.SortFunc(all, func(a, b runeEdge) int { return int(a.lo - b.lo) })
	var out []runeEdge
	var open []runeEdge // those that reach beyond the present cut
	var target []int32
	for i, j := 0, 0; i+1 < len(cuts) && d.steps <= maxSteps; i++ {
		lo, hi := cuts[i], cuts[i+1]-1
		open = slices.DeleteFunc(open, func(e runeEdge) bool { return e.hi < lo })
		for ; j < len(all) && all[j].lo == lo; j++ {
			open = append(open, all[j])
		}
		d.steps += len(open)
		if len(open) == 0 {
			continue
		}
		d.round++
		target = target[:0]
		for _, e := range open {
			target = d.step(d, target, e.to)
		}
		if len(target) > 0 {
			out = appendEdge(out, runeEdge{lo, hi, d.id(target)})
		}
	}
	return out
}
