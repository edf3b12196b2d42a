package gemma

import (
	"math"
	"slices"

	"github.com/plume-run/plume/internal/backend"
)

// route chooses k experts for every row of logits [row, expert]: the k largest,
// the lower index on a tie, weighted by the softmax over the chosen ones and then
// by scale [expert], which is why the weights of a row need not sum to 1. A NaN
// counts as the smallest value, so k experts are always chosen.
func route(r *backend.Routing, logits *backend.Tensor, k int, scale []float32) {
	r.K, r.IDs, r.Weights = k, r.IDs[:0], r.Weights[:0]
	for i := range logits.Rows {
		row := logits.Row(i)
		from := len(r.IDs)
		for range k {
			r.IDs = append(r.IDs, largest(row, r.IDs[from:]))
		}
		ids := r.IDs[from:]
		top := float64(row[ids[0]])
		slices.Sort(ids)
		var sum float64
		for _, id := range ids {
			sum += math.Exp(float64(row[id]) - top)
		}
		for _, id := range ids {
			w := math.Exp(float64(row[id])-top) / sum
			r.Weights = append(r.Weights, float32(w)*scale[id])
		}
	}
}

// largest returns the index of the greatest value that is not among taken.
func largest(row []float32, taken []int32) int32 {
	best := int32(-1)
	for i, v := range row {
		if slices.Contains(taken, int32(i)) {
			continue
		}
		if best < 0 || v > row[best] || row[best] != row[best] && v == v {
			best = int32(i)
		}
	}
	return best
}
