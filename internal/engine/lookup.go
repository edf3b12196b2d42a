package engine

// lookup drafts tokens from the sequence itself: where its last tokens have stood
// before, it proposes what followed them there. Text that repeats (quotations,
// code, lists, a document and questions about it) is guessed well, other text not
// at all, and looking costs nothing.
type lookup struct {
	table   [lookupSlots]int32 // position after an n-gram, by its hash; 0: none
	indexed int                // n-grams that end before this position are in the table
}

const (
	lookupSlots = 1 << 13 // 32 KiB; a collision overwrites, the comparison notices
	lookupGram  = 3       // tokens that must agree before a draft is worth a thought
)

func (l *lookup) reset() { *l = lookup{} }

// hash maps the n-gram that ends before position end to a slot.
func (l *lookup) hash(seq []int32, end int) *int32 {
	h := uint64(0)
	for _, id := range seq[end-lookupGram : end] {
		h = (h ^ uint64(uint32(id))) * 0x9E3779B97F4A7C15
		h ^= h >> 29
	}
	return &l.table[h%lookupSlots]
}

// draft appends to dst up to n tokens that may follow seq.
func (l *lookup) draft(dst, seq []int32, n int) []int32 {
	if l.indexed > len(seq) {
		l.reset()
	}
	for end := max(l.indexed, lookupGram); end < len(seq); end++ {
		*l.hash(seq, end) = int32(end)
	}
	l.indexed = len(seq)
	if len(seq) < lookupGram {
		return dst
	}
	at := int(*l.hash(seq, len(seq)))
	if at == 0 || at > len(seq) {
		return dst
	}
	for i := 1; i <= lookupGram; i++ {
		if seq[at-i] != seq[len(seq)-i] {
			return dst
		}
	}
	return append(dst, seq[at:min(at+n, len(seq))]...)
}
