package gemma

import (
	"context"
	"math"
	"slices"

	"github.com/plume-run/plume/internal/backend"
)

// routing is the choice of experts for the rows of a layer.
type routing struct {
	k       int
	ids     []int32   // [row, k], each row in ascending order
	weights []float32 // [row, k]

	// The same by expert: expert used[i] has rows and weights number
	// first[i] to first[i+1], in ascending order of expert, then row.
	used         []int32
	first        []int
	byRow        []int
	byWeight     []float32
	next, counts []int // [expert] of sort
}

// route chooses k experts for every row of logits [row, expert]: the k largest,
// the lower index on a tie, weighted by the softmax over the chosen ones and then
// by scale [expert], which is why the weights of a row need not sum to 1. A NaN
// counts as the smallest value, so k experts are always chosen.
func route(r *routing, logits *backend.Tensor, k int, scale []float32) {
	r.k, r.ids, r.weights = k, r.ids[:0], r.weights[:0]
	for i := range logits.Rows {
		row := logits.Row(i)
		from := len(r.ids)
		for range k {
			r.ids = append(r.ids, largest(row, r.ids[from:]))
		}
		ids := r.ids[from:]
		top := float64(row[ids[0]])
		slices.Sort(ids)
		var sum float64
		for _, id := range ids {
			sum += math.Exp(float64(row[id]) - top)
		}
		for _, id := range ids {
			w := math.Exp(float64(row[id])-top) / sum
			r.weights = append(r.weights, float32(w)*scale[id])
		}
	}
	r.sort(logits.Cols)
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

// sort lists the choices by expert.
func (r *routing) sort(experts int) {
	n := len(r.ids)
	r.counts = slices.Grow(r.counts[:0], experts)[:experts]
	r.next = slices.Grow(r.next[:0], experts)[:experts]
	r.byRow = slices.Grow(r.byRow[:0], n)[:n]
	r.byWeight = slices.Grow(r.byWeight[:0], n)[:n]
	clear(r.counts)
	for _, id := range r.ids {
		r.counts[id]++
	}
	r.used, r.first = r.used[:0], r.first[:0]
	at := 0
	for id, count := range r.counts {
		r.next[id] = at
		if count > 0 {
			r.used, r.first = append(r.used, int32(id)), append(r.first, at)
			at += count
		}
	}
	r.first = append(r.first, at)
	for i, id := range r.ids {
		r.byRow[r.next[id]], r.byWeight[r.next[id]] = i/r.k, r.weights[i]
		r.next[id]++
	}
}

// chooseExperts routes the rows of x and has the chosen experts read.
//
//	u = norm(x) ⊙ scale·H^(−1/2)      experts chosen by softmax(router·u), see route
func (s *step) chooseExperts(ctx context.Context, i int) error {
	m, l := s.m, &s.m.layers[i]
	m.back.Norm(&s.h, &s.x, l.routerScale, m.eps)
	s.router.Resize(s.rows, m.cfg.NumExperts)
	if err := s.linear(ctx, &s.h, output{&s.router, &l.router}); err != nil {
		return err
	}
	route(&s.routing, &s.router, m.cfg.TopKExperts, l.expertScale)
	if c := m.weights.experts; c != nil {
		c.choose(i, s.routing.used)
	}
	return nil
}

// mixExperts turns y, the dense network's output, into norm(y) + norm(experts).
//
//	y = norm₁(y) + norm₂(Σ w_e · expert_e(norm(x)))
//
// Experts are taken in ascending order and each meets all the rows that chose it at
// once, so a row's sum runs in that order whatever the batch.
func (s *step) mixExperts(ctx context.Context, i int) error {
	m, l, r := s.m, &s.m.layers[i], &s.routing
	cache := m.weights.experts
	if cache == nil {
		if err := m.weights.use(ctx, m.weights.groups.experts[i]); err != nil {
			return err
		}
	}
	m.back.Norm(&s.h, &s.x, l.expertNorm, m.eps)
	s.y2.Resize(s.rows, m.cfg.HiddenSize)
	clear(s.y2.Data)
	for k, id := range r.used {
		var e backend.Expert
		if cache == nil {
			e = m.weights.expert(i, id)
		} else {
			var err error
			if e, err = cache.take(ctx, id); err != nil {
				return err
			}
		}
		from, to := r.first[k], r.first[k+1]
		m.back.AddExpert(&s.y2, &s.h, r.byRow[from:to], r.byWeight[from:to], e)
		if cache != nil {
			cache.give(id)
		}
	}
	m.back.Norm(&s.h, &s.y, l.postDenseNorm, m.eps)
	m.back.Norm(&s.y, &s.y2, l.postExpertNorm, m.eps)
	m.back.Add(&s.y, &s.h)
	return nil
}
