package grammar

import (
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/plume-run/plume/internal/tokenizer"
)

// maxTokenBytes bounds the tokens that masks can allow. Gemma's longest has 48.
const maxTokenBytes = 255

// Vocab is a vocabulary prepared for masks: the normal and byte tokens of a
// tokenizer by their bytes, the delimiters of calls, and masks computed so far.
// One serves all grammars of a model. Safe for concurrent use.
type Vocab struct {
	tok     *tokenizer.Tokenizer
	trie    trie
	words   int                // of a mask
	special [3]int32           // ids of specialTexts; −1 where there is none
	bySpec  map[int32]symbol   // the reverse
	inTrie  []uint64           // bit set: ids that the trie holds
	longest int                // bytes of the longest of them
	short   func() [][]uint64  // [n]: tokens of at most n code points
	plain   func() *plainWords // of freeJSON and freeRaw
	cache   cache
	scratch sync.Pool // of *base, a megabyte each where most tokens fit
}

// trie holds the bytes of all tokens in depth-first order: the subtree of node i
// is i … end[i]−1. Node 0 is the root.
type trie struct {
	char  []byte
	depth []uint8
	end   []int32
	id    []int32 // the token that ends here; −1: none; −2−k: those of twins[k]
	twins [][]int32
}

// NewVocab prepares the vocabulary of tok, which it keeps. It takes some 200 ms
// and 8 MB for 262,144 tokens.
func NewVocab(tok *tokenizer.Tokenizer) *Vocab {
	v := &Vocab{tok: tok, words: (tok.Len() + 63) / 64, bySpec: map[int32]symbol{}}
	v.inTrie = make([]uint64, v.words)
	var ids []int32
	for id := range int32(tok.Len()) {
		text := tok.Text(id)
		if k := tok.Kind(id); k != tokenizer.Normal && k != tokenizer.Byte || text == "" || len(text) > maxTokenBytes {
			continue
		}
		ids = append(ids, id)
		v.inTrie[id>>6] |= 1 << (id & 63)
		v.longest = max(v.longest, len(text))
	}
	for i, text := range specialTexts {
		v.special[i] = -1
		if id, ok := tok.ID(text); ok {
			v.special[i] = id
			v.bySpec[id] = quote + symbol(i)
		}
	}
	slices.SortFunc(ids, func(a, b int32) int { return strings.Compare(tok.Text(a), tok.Text(b)) })
	v.trie = newTrie(ids, tok.Text)
	v.short = sync.OnceValue(v.byLength)
	v.plain = sync.OnceValue(v.findPlain)
	v.cache.limit = cacheBytes
	return v
}

// newTrie builds the trie of ids, sorted by their texts.
func newTrie(ids []int32, text func(int32) string) trie {
	t := trie{char: []byte{0}, depth: []uint8{0}, end: []int32{0}, id: []int32{-1}}
	path := []int32{0} // nodes of the last text
	last := ""
	for _, id := range ids {
		s := text(id)
		same := 0
		for same < len(s) && same < len(last) && s[same] == last[same] {
			same++
		}
		for _, n := range path[same+1:] {
			t.end[n] = int32(len(t.char))
		}
		path = path[:same+1]
		for i := same; i < len(s); i++ {
			path = append(path, int32(len(t.char)))
			t.char = append(t.char, s[i])
			t.depth = append(t.depth, uint8(i+1))
			t.end = append(t.end, 0)
			t.id = append(t.id, -1)
		}
		t.put(path[len(path)-1], id)
		last = s
	}
	for _, n := range path {
		t.end[n] = int32(len(t.char))
	}
	return t
}

// put gives node n a token; it may have one with the same bytes.
func (t *trie) put(n, id int32) {
	switch k := t.id[n]; {
	case k == -1:
		t.id[n] = id
	case k >= 0:
		t.id[n] = -2 - int32(len(t.twins))
		t.twins = append(t.twins, []int32{k, id})
	default:
		t.twins[-2-k] = append(t.twins[-2-k], id)
	}
}

// appendIDs appends the tokens that end at node n.
func (t *trie) appendIDs(dst []int32, n int32) []int32 {
	switch k := t.id[n]; {
	case k >= 0:
		return append(dst, k)
	case k < -1:
		return append(dst, t.twins[-2-k]...)
	}
	return dst
}

// mark sets the bits of the tokens that end at node n.
func (t *trie) mark(dst []uint64, n int32) {
	switch k := t.id[n]; {
	case k >= 0:
		dst[k>>6] |= 1 << (k & 63)
	case k < -1:
		for _, id := range t.twins[-2-k] {
			dst[id>>6] |= 1 << (id & 63)
		}
	}
}

// leaf reports whether no token goes on behind node n.
func (t *trie) leaf(n int32) bool { return t.end[n] == n+1 }

// child is the node behind n and c; −1 if there is none.
func (t *trie) child(n int32, c byte) int32 {
	for i := n + 1; i < t.end[n]; i = t.end[i] {
		if t.char[i] == c {
			return i
		}
	}
	return -1
}

// Supports reports as an error that the vocabulary lacks a token the grammar
// cannot do without: the delimiters of calls. A matcher for it would be stuck.
func (v *Vocab) Supports(g *Grammar) error {
	for _, nd := range g.p.nodes {
		if nd.op == opToken && v.special[nd.token-quote] < 0 {
			return unsupported("the vocabulary has no %s", specialTexts[nd.token-quote])
		}
	}
	return nil
}

// byLength computes short. A token that begins or ends within a code point
// counts it where it begins.
func (v *Vocab) byLength() [][]uint64 {
	longest := 0
	length := make([]int, v.tok.Len())
	for id := range length {
		text := v.tok.Text(int32(id))
		for i := range len(text) {
			if utf8.RuneStart(text[i]) {
				length[id]++
			}
		}
		if v.inTrie[id>>6]>>(id&63)&1 != 0 {
			longest = max(longest, length[id])
		}
	}
	out := make([][]uint64, longest+1)
	for n := range out {
		out[n] = make([]uint64, v.words)
		for id, l := range length {
			if l <= n {
				out[n][id>>6] |= 1 << (id & 63)
			}
		}
	}
	return out
}

// plainWords are the tokens of code points that stand for themselves in a JSON
// string, and the places in the trie where something else begins: an escape, or
// the end.
type plainWords struct {
	mask  []uint64
	turns []turn
}

// turn is a node behind count plain code points and a quote or a backslash.
type turn struct {
	node  int32
	count int32
}

func (v *Vocab) findPlain() *plainWords {
	p := &plainWords{mask: make([]uint64, v.words)}
	d := freeJSON()
	var q [maxTokenBytes + 1]int32
	var count [maxTokenBytes + 1]int32
	t := &v.trie
	for i := int32(1); i < t.end[0]; {
		at := t.depth[i]
		c := t.char[i]
		to := d.next(q[at-1], symbol(c))
		if to < 0 || q[at-1] == 0 && (c == '"' || c == '\\') {
			if to >= 0 {
				p.turns = append(p.turns, turn{i, count[at-1]})
			}
			i = t.end[i]
			continue
		}
		q[at], count[at] = to, count[at-1]
		if to == 0 {
			count[at]++
		}
		t.mark(p.mask, i)
		i++
	}
	return p
}
