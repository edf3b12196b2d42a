package tokenizer

import (
	"hash/maphash"
	"math/bits"
	"unicode/utf8"
)

// pieces stores n strings in one block: text[end[i-1]:end[i]] is string i.
type pieces struct {
	text string
	end  []uint32
}

func (p *pieces) at(id int32) string {
	start := uint32(0)
	if id > 0 {
		start = p.end[id-1]
	}
	return p.text[start:p.end[id]]
}

// pieceIndex finds a piece's id: open addressing, linear probing, −1 is empty.
// The hash is seeded per process, so a file cannot be made to collide.
type pieceIndex struct {
	seed  maphash.Seed
	slots []int32
}

func newPieceIndex(n int) pieceIndex {
	slots := make([]int32, tableLen(n))
	for i := range slots {
		slots[i] = -1
	}
	return pieceIndex{maphash.MakeSeed(), slots}
}

// find returns the id of piece, or −1 and the slot where it would go.
func (x *pieceIndex) find(p *pieces, piece string) (id int32, slot int) {
	mask := len(x.slots) - 1
	i := int(maphash.String(x.seed, piece)) & mask
	for {
		id := x.slots[i]
		if id < 0 || p.at(id) == piece {
			return id, i
		}
		i = (i + 1) & mask
	}
}

// tableLen is the power of two that holds n entries at a load of at most 2/3.
func tableLen(n int) int {
	want := uint64(n) + uint64(n)/2 + 1
	return 1 << bits.Len64(want)
}

// noRank stands for "these two do not merge"; it is above every rank.
const noRank = maxMerges

// mergeTable maps a pair of ids to the rank of its merge. A slot holds
// left (21 bits) | right (21 bits) | rank (22 bits); all ones is empty, which
// no pair can be because ids stay below 2^21−1. result[rank] is the product.
type mergeTable struct {
	slots  []uint64
	mul    uint64 // odd and random: multiplicative hashing, not predictable by a file
	shift  uint
	result []int32
}

const emptySlot = ^uint64(0)

func newMergeTable(n int) mergeTable {
	size := tableLen(n)
	slots := make([]uint64, size)
	for i := range slots {
		slots[i] = emptySlot
	}
	var h maphash.Hash
	return mergeTable{
		slots:  slots,
		mul:    h.Sum64() | 1,
		shift:  uint(64 - bits.Len(uint(size-1))),
		result: make([]int32, 0, n),
	}
}

func (m *mergeTable) rank(left, right int32) uint32 {
	key := uint64(left)<<idBits | uint64(right)
	i := key * m.mul >> m.shift
	for {
		s := m.slots[i]
		if s>>rankBits == key {
			return uint32(s & (1<<rankBits - 1))
		}
		if s == emptySlot {
			return noRank
		}
		i = (i + 1) & uint64(len(m.slots)-1)
	}
}

// add gives the pair the next rank; false when it already has one.
func (m *mergeTable) add(left, right, product int32) bool {
	key := uint64(left)<<idBits | uint64(right)
	i := key * m.mul >> m.shift
	for m.slots[i] != emptySlot {
		if m.slots[i]>>rankBits == key {
			return false
		}
		i = (i + 1) & uint64(len(m.slots)-1)
	}
	m.slots[i] = key<<rankBits | uint64(len(m.result))
	m.result = append(m.result, product)
	return true
}

// pairs calls f for every merge, in table order.
func (m *mergeTable) pairs(f func(left, right int32, rank int)) {
	for _, s := range m.slots {
		if s != emptySlot {
			key := s >> rankBits
			f(int32(key>>idBits), int32(key&(1<<idBits-1)), int(s&(1<<rankBits-1)))
		}
	}
}

// runeIDs maps a code point to the id of the token that is just this code
// point, −1 where there is none. Only pages of 256 that hold one are stored.
type runeIDs struct {
	page [(utf8.MaxRune + 1) >> 8]uint16 // 0: page 0, which is all −1
	ids  [][256]int32
}

func newRuneIDs() *runeIDs {
	r := &runeIDs{}
	r.newPage()
	return r
}

func (r *runeIDs) newPage() uint16 {
	var p [256]int32
	for i := range p {
		p[i] = -1
	}
	r.ids = append(r.ids, p)
	return uint16(len(r.ids) - 1)
}

func (r *runeIDs) set(c rune, id int32) {
	p := &r.page[c>>8]
	if *p == 0 {
		*p = r.newPage()
	}
	r.ids[*p][c&255] = id
}

func (r *runeIDs) get(c rune) int32 { return r.ids[r.page[c>>8]][c&255] }

// crossings tells where text may be cut. open(x, y) reports whether a merge
// could join a piece ending in x with one beginning with y; a false yes costs
// only a missed cut. Exact for two ASCII characters, otherwise one hashed bit
// (Gemma has 33,695 pairs: about 6 % of the other pairs are taken for one).
// Space stands for '▁' in both tables, as it does in the text.
type crossings struct {
	ascii [128][2]uint64
	hash  []uint64
}

func newCrossings(merges int) *crossings {
	// Distinct pairs number at most the merges; Gemma has 15 times fewer.
	words := max(1<<4, min(1<<13, tableLen(merges)/64))
	return &crossings{hash: make([]uint64, words)}
}

func (c *crossings) bit(x, y rune) (word int, mask uint64) {
	h := (uint64(uint32(x))<<32 | uint64(uint32(y))) * 0x9E3779B97F4A7C15
	return int(h >> 40 & uint64(len(c.hash)-1)), 1 << (h >> 58)
}

func (c *crossings) add(x, y rune) {
	x, y = spaceFromMeta(x), spaceFromMeta(y)
	if x < 128 && y < 128 {
		c.ascii[x][y>>6] |= 1 << (y & 63)
		return
	}
	w, m := c.bit(x, y)
	c.hash[w] |= m
}

func (c *crossings) open(x, y rune) bool {
	x, y = spaceFromMeta(x), spaceFromMeta(y)
	if x < 128 && y < 128 {
		return c.ascii[x][y>>6]>>(y&63)&1 != 0
	}
	w, m := c.bit(x, y)
	return c.hash[w]&m != 0
}

func spaceFromMeta(r rune) rune {
	if r == metaRune {
		return ' '
	}
	return r
}
