package grammar

import (
	"slices"
	"sort"
	"sync"
	"unicode/utf8"
)

// quoting is how a text is written in the answer.
type quoting uint8

const (
	plain    quoting = iota // as it is, with nothing around
	jsonText                // the inside of a JSON string and the quote behind it
	rawText                 // as it is, and the quote token behind it
	bareText                // as it is, and a colon behind it, which is not in it
)

// encode writes an automaton out in bytes. In JSON only what must be escaped is,
// and in one way: \" \\ \b \f \n \r \t, other control characters as \u00XX in
// either case.
func encode(a *automaton, style quoting) *dfa {
	e := encoder{style: style}
	e.block = map[blockKey]int32{}
	for _, s := range a.states {
		e.state(style == plain && s.accept)
	}
	end := int32(-1)
	if style != plain {
		end = e.state(true)
	}
	for q, s := range a.states {
		row := e.row(s.edges)
		if s.accept {
			switch style {
			case jsonText:
				row = insertEdge(row, byteEdge{'"', '"', end})
			case rawText:
				row = append(row, byteEdge{quote, quote, end})
			case bareText:
				row = insertEdge(row, byteEdge{':', ':', end})
			}
		}
		e.edges[q] = row
	}
	return e.finish()
}

func insertEdge(row []byteEdge, e byteEdge) []byteEdge {
	i := 0
	for i < len(row) && row[i].lo < e.lo {
		i++
	}
	return slices.Insert(row, i, e)
}

type encoder struct {
	rows
	style quoting
	block map[blockKey]int32
}

// blockKey names the state from which every way of writing n more bytes of a
// code point leads to state to.
type blockKey struct{ n, to int32 }

// row turns edges over code points into edges over bytes.
func (e *encoder) row(edges []runeEdge) []byteEdge {
	if e.style == jsonText {
		return e.jsonRow(edges)
	}
	return e.utf8Row(edges)
}

// jsonRow is utf8Row with escapes.
func (e *encoder) jsonRow(edges []runeEdge) []byteEdge {
	escaped := map[rune]int32{}
	var free []runeEdge
	for _, g := range edges {
		for r := g.lo; r <= min(g.hi, '\\'); r++ {
			if mustEscape(r) {
				escaped[r] = g.to
			}
		}
		for _, keep := range [][2]rune{{' ', '"' - 1}, {'"' + 1, '\\' - 1}, {'\\' + 1, utf8.MaxRune}} {
			if lo, hi := max(g.lo, keep[0]), min(g.hi, keep[1]); lo <= hi {
				free = append(free, runeEdge{lo, hi, g.to})
			}
		}
	}
	row := e.utf8Row(free)
	if len(escaped) > 0 {
		row = insertEdge(row, byteEdge{'\\', '\\', e.escapes(escaped)})
	}
	return row
}

func mustEscape(r rune) bool { return r < ' ' || r == '"' || r == '\\' }

// shortEscapes are the letters behind a backslash, ascending.
var shortEscapes = []struct {
	letter byte
	is     rune
}{{'"', '"'}, {'\\', '\\'}, {'b', '\b'}, {'f', '\f'}, {'n', '\n'}, {'r', '\r'}, {'t', '\t'}}

// escapes is the state behind a backslash.
func (e *encoder) escapes(to map[rune]int32) int32 {
	var row []byteEdge
	for _, s := range shortEscapes {
		if q, ok := to[s.is]; ok {
			row = addEdge(row, symbol(s.letter), symbol(s.letter), q)
			delete(to, s.is)
		}
	}
	var high []byteEdge // the third digit
	for _, digit := range []rune{0, 1} {
		var low []byteEdge // the fourth
		for _, c := range "0123456789ABCDEFabcdef" {
			if q, ok := to[digit<<4|hexValue(c)]; ok {
				low = addEdge(low, symbol(c), symbol(c), q)
			}
		}
		if len(low) > 0 {
			high = addEdge(high, symbol('0'+digit), symbol('0'+digit), e.intern(low))
		}
	}
	if len(high) > 0 {
		q := e.intern(high)
		q = e.intern([]byteEdge{{'0', '0', q}})
		q = e.intern([]byteEdge{{'0', '0', q}})
		row = addEdge(row, 'u', 'u', q)
	}
	return e.intern(row)
}

func hexValue(c rune) rune {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}

// The first bytes of code points of 2, 3 and 4 bytes.
var leads = []struct {
	from, to symbol
	n        int32 // bytes that follow
}{{0xC2, 0xDF, 1}, {0xE0, 0xEF, 2}, {0xF0, 0xF4, 3}}

func (e *encoder) utf8Row(edges []runeEdge) []byteEdge {
	edges = withoutSurrogates(edges)
	var row []byteEdge
	for _, g := range edges {
		if g.lo < utf8.RuneSelf {
			row = addEdge(row, symbol(g.lo), symbol(min(g.hi, utf8.RuneSelf-1)), g.to)
		}
	}
	for _, l := range leads {
		low := []rune{0, 0x80, 0x800, 0x10000}[l.n]
		for c := l.from; c <= l.to; c++ {
			lo := rune(c) & (0x3F >> l.n) << (6 * l.n)
			hi := lo + 1<<(6*l.n) - 1
			if q := e.tail(edges, max(lo, low), min(hi, utf8.MaxRune), lo, l.n); q >= 0 {
				row = addEdge(row, c, c, q)
			}
		}
	}
	return row
}

// withoutSurrogates takes out what UTF-8 cannot say.
func withoutSurrogates(edges []runeEdge) []runeEdge {
	const first, last = 0xD800, 0xDFFF
	var out []runeEdge
	for _, g := range edges {
		if g.lo < first {
			out = append(out, runeEdge{g.lo, min(g.hi, first-1), g.to})
		}
		if g.hi > last {
			out = append(out, runeEdge{max(g.lo, last+1), g.hi, g.to})
		}
	}
	return out
}

// tail is the state from which n more bytes write the code points lo … hi, of a
// block that begins at base; −1 if no edge takes any.
func (e *encoder) tail(edges []runeEdge, lo, hi, base rune, n int32) int32 {
	i, _ := slices.BinarySearchFunc(edges, lo, func(g runeEdge, r rune) int { return int(g.hi - r) })
	edges = edges[i:]
	if len(edges) == 0 || edges[0].lo > hi {
		return -1
	}
	if n == 0 {
		return edges[0].to
	}
	size := rune(1) << (6 * (n - 1)) // of the block behind one byte
	uniform := edges[0].lo <= base && edges[0].hi >= base+64*size-1 && lo == base && hi == base+64*size-1
	key := blockKey{n, edges[0].to}
	if uniform {
		if q, ok := e.block[key]; ok {
			return q
		}
	}
	var row []byteEdge
	for c := range rune(64) {
		sub := base + c*size
		from, to := max(lo, sub), min(hi, sub+size-1)
		if from > to {
			continue
		}
		if q := e.tail(edges, from, to, sub, n-1); q >= 0 {
			row = addEdge(row, symbol(0x80+c), symbol(0x80+c), q)
		}
	}
	q := e.intern(row)
	if uniform {
		e.block[key] = q
	}
	return q
}

// freeJSON is the inside of any JSON string and the quote behind it, with every
// escape JSON has; halves of surrogate pairs only together. Every code point,
// escaped or not, leads back to state 0.
var freeJSON = sync.OnceValue(func() *dfa {
	e := encoder{style: jsonText, block: map[blockKey]int32{}}
	e.state(false)
	end := e.state(true)
	digits := func(n int, to int32) int32 {
		for range n {
			to = e.intern([]byteEdge{{'0', '9', to}, {'A', 'F', to}, {'a', 'f', to}})
		}
		return to
	}
	low := e.intern([]byteEdge{{'C', 'F', digits(2, 0)}, {'c', 'f', digits(2, 0)}}) // of a pair, behind \uD
	low = e.intern([]byteEdge{{'D', 'D', low}, {'d', 'd', low}})
	low = e.intern([]byteEdge{{'u', 'u', low}})
	low = e.intern([]byteEdge{{'\\', '\\', low}})
	pair := digits(2, low)
	d := e.intern([]byteEdge{{'0', '7', digits(2, 0)}, {'8', '9', pair}, {'A', 'B', pair}, {'a', 'b', pair}})
	any := digits(3, 0)
	hex := e.intern([]byteEdge{{'0', '9', any}, {'A', 'C', any}, {'D', 'D', d}, {'E', 'F', any}, {'a', 'c', any}, {'d', 'd', d}, {'e', 'f', any}})
	var row []byteEdge
	for _, c := range `"/\bfnrt` {
		row = append(row, byteEdge{symbol(c), symbol(c), 0})
	}
	esc := e.intern(append(row, byteEdge{'u', 'u', hex}))
	row = e.utf8Row([]runeEdge{{' ', '"' - 1, 0}, {'"' + 1, '\\' - 1, 0}, {'\\' + 1, utf8.MaxRune, 0}})
	e.edges[0] = insertEdge(insertEdge(row, byteEdge{'"', '"', end}), byteEdge{'\\', '\\', esc})
	return e.finish()
})

// freeRaw is any text and the quote token behind it.
var freeRaw = sync.OnceValue(func() *dfa { return encode(anyText(), rawText) })

// sameWords is the automaton of a sorted list of distinct texts, each followed
// by end if that is not 0. Nothing is escaped here.
func sameWords(list []string, end symbol) (*dfa, error) {
	total := 2
	for _, w := range list {
		total += len(w)
	}
	if total > maxByteStates {
		return nil, tooComplex("an enum of more than %d bytes", maxByteStates)
	}
	b := rows{}
	b.state(false)
	last := int32(-1)
	if end != 0 {
		b.state(true)
		last = 1
	}
	b.words(0, list, 0, end, last)
	return b.finish(), nil
}

// words gives state q the texts of list behind their first n bytes, which are
// the same. It calls itself only where the texts part, so its depth is bounded by
// their number and not by their length.
func (b *rows) words(q int32, list []string, n int, end symbol, last int32) {
	for {
		if len(list[0]) == n {
			if list = list[1:]; last < 0 {
				b.accept[q] = true
			} else {
				b.edges[q] = append(b.edges[q], byteEdge{end, end, last})
			}
		}
		for len(list) > 0 {
			c := list[0][n]
			same := sort.Search(len(list), func(i int) bool { return list[i][n] > c })
			to := b.state(false)
			b.edges[q] = insertEdge(b.edges[q], byteEdge{symbol(c), symbol(c), to})
			if same == len(list) { // go on here
				q, n = to, n+1
				break
			}
			b.words(to, list[:same], n+1, end, last)
			list = list[same:]
		}
		if len(list) == 0 {
			return
		}
	}
}
