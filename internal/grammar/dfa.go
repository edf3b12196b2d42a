package grammar

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync/atomic"
)

// The symbols of a text: bytes, and the tokens that are delimiters in calls.
type symbol = uint16

const (
	quote     symbol = 256 + iota // <|"|>
	callOpen                      // <|tool_call>
	callClose                     // <tool_call|>
)

// specialTexts are the tokens behind the symbols from quote on.
var specialTexts = []string{`<|"|>`, "<|tool_call>", "<tool_call|>"}

// dfa is a deterministic automaton over symbols, an automaton written out in
// UTF-8 and quoted (encode.go). State 0 is the start. It is trimmed: from every
// state, but for the start of an empty one, an accepting state can be reached.
// Rows are sparse: most states of large enums have one edge.
type dfa struct {
	sum    dfaSum   // of what follows
	first  []uint32 // edges of state q: edges[first[q]:first[q+1]]
	edges  []byteEdge
	accept []bool
	known  atomic.Pointer[knownClasses]
}

// dfaSum tells automata apart: those with the same one are the same, so that what was
// computed for one grammar's is good for another's. It is cryptographic, because schemas
// come from anywhere.
type dfaSum [16]byte

// byteEdge leads to state to on the symbols lo … hi.
type byteEdge struct {
	lo, hi symbol
	to     int32
}

func (d *dfa) row(q int32) []byteEdge { return d.edges[d.first[q]:d.first[q+1]] }

func (d *dfa) len() int { return len(d.accept) }

// empty reports whether d accepts nothing.
func (d *dfa) empty() bool { return !d.accept[0] && len(d.row(0)) == 0 }

// next is the state behind c; −1 if there is none.
func (d *dfa) next(q int32, c symbol) int32 {
	row := d.row(q)
	if len(row) > 16 {
		i, _ := slices.BinarySearchFunc(row, c, func(e byteEdge, c symbol) int { return cmp.Compare(e.hi, c) })
		row = row[i:]
	}
	for i := range row {
		if e := &row[i]; c <= e.hi {
			if c >= e.lo {
				return e.to
			}
			return -1
		}
	}
	return -1
}

// rows is a dfa being built.
type rows struct {
	edges  [][]byteEdge // per state: ascending, disjoint
	accept []bool
	same   map[string]int32 // states made by intern, by their edges
}

func (b *rows) state(accept bool) int32 {
	b.edges = append(b.edges, nil)
	b.accept = append(b.accept, accept)
	return int32(len(b.edges) - 1)
}

// intern returns a state that does not accept and has exactly these edges.
func (b *rows) intern(row []byteEdge) int32 {
	key := make([]byte, 0, 8*len(row))
	for _, e := range row {
		key = binary.LittleEndian.AppendUint16(key, e.lo)
		key = binary.LittleEndian.AppendUint16(key, e.hi)
		key = binary.LittleEndian.AppendUint32(key, uint32(e.to))
	}
	if id, ok := b.same[string(key)]; ok {
		return id
	}
	id := b.state(false)
	b.edges[id] = row
	if b.same == nil {
		b.same = map[string]int32{}
	}
	b.same[string(key)] = id
	return id
}

// addEdge appends an edge behind all others of a row and joins neighbours.
func addEdge(row []byteEdge, lo, hi symbol, to int32) []byteEdge {
	if n := len(row); n > 0 && row[n-1].to == to && row[n-1].hi+1 == lo {
		row[n-1].hi = hi
		return row
	}
	return append(row, byteEdge{lo, hi, to})
}

// finish trims and packs. States keep their order, so the start stays first.
func (b *rows) finish() *dfa {
	live := b.live()
	name := make([]int32, len(b.edges))
	d := &dfa{}
	for q := range b.edges {
		if live[q] || q == 0 {
			name[q] = int32(len(d.accept))
			d.accept = append(d.accept, b.accept[q])
		}
	}
	d.first = make([]uint32, 1, len(d.accept)+1)
	for q, row := range b.edges {
		if !live[q] && q != 0 {
			continue
		}
		begin := len(d.edges)
		for _, e := range row {
			if !live[e.to] {
				continue
			}
			d.edges = append(d.edges[:begin], addEdge(d.edges[begin:], e.lo, e.hi, name[e.to])...)
		}
		d.first = append(d.first, uint32(len(d.edges)))
	}
	d.sum = d.digest()
	return d
}

// digest computes sum: of each state its edges, and then what no edge begins with.
func (d *dfa) digest() dfaSum {
	h := sha256.New()
	buf := make([]byte, 0, 4096)
	for q, accept := range d.accept {
		for _, e := range d.row(int32(q)) {
			buf = binary.LittleEndian.AppendUint16(buf, e.lo)
			buf = binary.LittleEndian.AppendUint16(buf, e.hi)
			buf = binary.LittleEndian.AppendUint32(buf, uint32(e.to))
		}
		end := uint16(0xfffe) // no symbol
		if accept {
			end++
		}
		if buf = binary.LittleEndian.AppendUint16(buf, end); len(buf) > 2048 {
			h.Write(buf)
			buf = buf[:0]
		}
	}
	h.Write(buf)
	return dfaSum(h.Sum(nil)[:len(dfaSum{})])
}

// live marks the states from which an accepting one can be reached.
func (b *rows) live() []bool {
	n := len(b.edges)
	count := make([]uint32, n+1)
	for _, row := range b.edges {
		for _, e := range row {
			count[e.to+1]++
		}
	}
	for i := range n {
		count[i+1] += count[i]
	}
	from := make([]int32, count[n])
	fill := slices.Clone(count)
	for q, row := range b.edges {
		for _, e := range row {
			from[fill[e.to]] = int32(q)
			fill[e.to]++
		}
	}
	live := make([]bool, n)
	var work []int32
	for q, ok := range b.accept {
		if ok {
			live[q] = true
			work = append(work, int32(q))
		}
	}
	for len(work) > 0 {
		q := work[len(work)-1]
		work = work[:len(work)-1]
		for _, p := range from[count[q]:count[q+1]] {
			if !live[p] {
				live[p] = true
				work = append(work, p)
			}
		}
	}
	return live
}

// maxAlike bounds the automata that alike looks at.
const maxAlike = 30_000

// alike sorts the states into classes that no text of at most depth symbols
// tells apart: they admit the same tokens of that length and accept after the
// same parts of them. A counted repetition has many such states. Of a large
// automaton every state is its own class.
func (d *dfa) alike(depth int) []int32 {
	class := make([]int32, d.len())
	if d.len() > maxAlike {
		for q := range class {
			class[q] = int32(q)
		}
		return class
	}
	for q, ok := range d.accept {
		if ok {
			class[q] = 1
		}
	}
	count := 0
	for range depth {
		refined, n := d.refine(class)
		if n == count {
			break
		}
		class, count = refined, n
	}
	return class
}

// refine splits classes whose members lead to different classes.
func (d *dfa) refine(class []int32) ([]int32, int) {
	name := map[string]int32{}
	out := make([]int32, len(class))
	var key []byte
	var row []byteEdge
	for q := range out {
		row = row[:0]
		for _, e := range d.row(int32(q)) {
			row = addEdge(row, e.lo, e.hi, class[e.to])
		}
		key = binary.LittleEndian.AppendUint32(key[:0], uint32(class[q]))
		for _, e := range row {
			key = binary.LittleEndian.AppendUint32(key, uint32(e.lo)<<16|uint32(e.hi))
			key = binary.LittleEndian.AppendUint32(key, uint32(e.to))
		}
		id, ok := name[string(key)]
		if !ok {
			id = int32(len(name))
			name[string(key)] = id
		}
		out[q] = id
	}
	return out, len(name)
}
