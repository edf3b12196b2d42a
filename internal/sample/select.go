package sample

import (
	"cmp"
	"math"
	"slices"
)

// candidate is one token still in the race.
type candidate struct {
	logit float32
	id    int32
}

// worse orders candidates: the lower logit is worse, among equals the higher id.
func (c candidate) worse(d candidate) bool {
	return c.logit < d.logit || c.logit == d.logit && c.id > d.id
}

// selectTop appends the k best logits to dst, best first; fewer when fewer are
// above -Inf. k is in 1…len(logits).
//
// One pass with a heap of the k best so far, its worst on top. Nearly every
// logit of a real row fails the first comparison, so the row costs little more
// than reading it, and k hardly matters.
func selectTop(dst []candidate, logits []float32, k int) []candidate {
	i := 0
	for ; i < len(logits) && len(dst) < k; i++ {
		if v := logits[i]; v > float32(math.Inf(-1)) {
			dst = append(dst, candidate{v, int32(i)})
		}
	}
	if i < len(logits) {
		for at := len(dst)/2 - 1; at >= 0; at-- {
			siftDown(dst, at)
		}
		scan(dst, logits, i)
	}
	slices.SortFunc(dst, func(a, b candidate) int {
		if c := cmp.Compare(b.logit, a.logit); c != 0 {
			return c
		}
		return cmp.Compare(a.id, b.id)
	})
	return dst
}

// scan offers logits[from:] to the full heap. A later id never wins a tie, so
// only strictly greater logits enter.
func scan(heap []candidate, logits []float32, from int) {
	for i := from; ; i++ {
		if i = nextAbove(logits, i, heap[0].logit); i < 0 {
			return
		}
		heap[0] = candidate{logits[i], int32(i)}
		siftDown(heap, 0)
	}
}

// argmax is the lowest index of the highest logit, -1 when all are -Inf or NaN.
func argmax(logits []float32) int32 {
	best, at := float32(math.Inf(-1)), int32(-1)
	for i := 0; ; i++ {
		if i = nextAbove(logits, i, best); i < 0 {
			return at
		}
		best, at = logits[i], int32(i)
	}
}

// nextAbove is the first index ≥ i with a logit above bar, -1 for none. NaN is
// above nothing. This loop is where the time of a whole Sample goes.
func nextAbove(logits []float32, i int, bar float32) int {
	for ; i+8 <= len(logits); i += 8 {
		q := logits[i : i+8 : i+8]
		if q[0] > bar || q[1] > bar || q[2] > bar || q[3] > bar ||
			q[4] > bar || q[5] > bar || q[6] > bar || q[7] > bar {
			break
		}
	}
	for ; i < len(logits); i++ {
		if logits[i] > bar {
			return i
		}
	}
	return -1
}

// siftDown restores the heap below index at.
func siftDown(heap []candidate, at int) {
	for {
		child := 2*at + 1
		if child >= len(heap) {
			return
		}
		if r := child + 1; r < len(heap) && heap[r].worse(heap[child]) {
			child = r
		}
		if !heap[child].worse(heap[at]) {
			return
		}
		heap[at], heap[child] = heap[child], heap[at]
		at = child
	}
}
