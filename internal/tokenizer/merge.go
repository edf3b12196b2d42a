package tokenizer

import (
	"slices"
	"unicode/utf8"
)

// maxScan is the number of symbols up to which finding the lowest rank by
// scanning beats the heap.
const maxScan = 48

// keepSymbols bounds what a scratch keeps between calls (24 bytes a symbol).
const keepSymbols = 1 << 16

// scratch is the working memory of one running Encode.
type scratch struct {
	cache pieceCache
	ids   []int32  // symbols of the piece
	rank  []uint32 // rank[i]: the merge of symbol i with the one after it
	prev  []int32  // linked list, long pieces only
	next  []int32
	heap  []uint64 // rank<<32 | position
}

// trim gives up memory that one very long piece needed.
func (s *scratch) trim() {
	if cap(s.ids) > keepSymbols {
		*s = scratch{cache: s.cache}
	}
}

// merge appends the ids of piece: its code points, merged until nothing
// merges, lowest rank first and of equal ranks the leftmost.
func (t *Tokenizer) merge(s *scratch, dst []int32, piece string) []int32 {
	ids := s.ids[:0]
	if len(piece) > 4*maxScan { // otherwise growing is soon over
		ids = slices.Grow(ids, utf8.RuneCountInString(piece))
	}
	for _, r := range piece { // U+FFFD for each invalid byte
		ids = t.appendRune(ids, r)
	}
	s.ids = ids
	n := len(ids)
	if n == 1 {
		return append(dst, ids[0])
	}
	if cap(s.rank) < n {
		s.rank = make([]uint32, 0, cap(ids))
	}
	rank := s.rank[:n]
	for i := range n - 1 {
		rank[i] = t.merges.rank(ids[i], ids[i+1])
	}
	rank[n-1] = noRank
	if n <= maxScan {
		return append(dst, t.mergeScan(ids, rank)...)
	}
	return t.mergeHeap(s, dst, ids, rank)
}

// mergeScan merges in place and returns what is left of ids.
func (t *Tokenizer) mergeScan(ids []int32, rank []uint32) []int32 {
	for {
		best, at := uint32(noRank), 0
		for i, r := range rank {
			if r < best {
				best, at = r, i
			}
		}
		if best == noRank {
			return ids
		}
		ids[at] = t.merges.result[best]
		ids = append(ids[:at+1], ids[at+2:]...)
		rank = append(rank[:at], rank[at+1:]...)
		if at > 0 {
			rank[at-1] = t.merges.rank(ids[at-1], ids[at])
		}
		if at+1 < len(ids) {
			rank[at] = t.merges.rank(ids[at], ids[at+1])
		} else {
			rank[at] = noRank
		}
	}
}

// mergeHeap is for long pieces: O(n log n) whatever the text. A heap entry is
// stale when rank[position] has changed since; a dead symbol has noRank.
func (t *Tokenizer) mergeHeap(s *scratch, dst, ids []int32, rank []uint32) []int32 {
	n := len(ids)
	if cap(s.next) < n {
		s.next, s.prev = make([]int32, cap(ids)), make([]int32, cap(ids))
	}
	next, prev, heap := s.next[:n], s.prev[:n], slices.Grow(s.heap[:0], n)
	for i := range n {
		next[i], prev[i] = int32(i+1), int32(i-1)
		if rank[i] != noRank {
			heap = append(heap, uint64(rank[i])<<32|uint64(i))
		}
	}
	for i := (len(heap)+2)/4 - 1; i >= 0; i-- {
		siftDown(heap, i)
	}
	for len(heap) > 0 {
		top := heap[0]
		i, r := int(uint32(top)), uint32(top>>32)
		if rank[i] != r {
			heap = popTop(heap)
			continue
		}
		dead := next[i]
		after := int(next[dead])
		ids[i] = t.merges.result[r]
		rank[dead] = noRank
		next[i] = int32(after)
		rank[i] = noRank
		if after < n {
			prev[after] = int32(i)
			rank[i] = t.merges.rank(ids[i], ids[after])
		}
		// The new pair takes the place of the one just used.
		if rank[i] != noRank {
			heap[0] = uint64(rank[i])<<32 | uint64(i)
			siftDown(heap, 0)
		} else {
			heap = popTop(heap)
		}
		if p := prev[i]; p >= 0 {
			if rank[p] = t.merges.rank(ids[p], ids[i]); rank[p] != noRank {
				heap = append(heap, uint64(rank[p])<<32|uint64(p))
				siftUp(heap, len(heap)-1)
			}
		}
	}
	s.heap = heap
	for i := 0; i < n; i = int(next[i]) {
		dst = append(dst, ids[i])
	}
	return dst
}

func popTop(h []uint64) []uint64 {
	last := len(h) - 1
	h[0] = h[last]
	h = h[:last]
	if last > 0 {
		siftDown(h, 0)
	}
	return h
}

// The heap is 4-ary: half the depth of a binary one, and the four children
// share a cache line.
func siftDown(h []uint64, i int) {
	v := h[i]
	for {
		c := 4*i + 1
		if c >= len(h) {
			break
		}
		best := c
		for k := c + 1; k < min(c+4, len(h)); k++ {
			if h[k] < h[best] {
				best = k
			}
		}
		if h[best] >= v {
			break
		}
		h[i] = h[best]
		i = best
	}
	h[i] = v
}

func siftUp(h []uint64, i int) {
	v := h[i]
	for i > 0 {
		p := (i - 1) / 4
		if h[p] <= v {
			break
		}
		h[i] = h[p]
		i = p
	}
	h[i] = v
}
