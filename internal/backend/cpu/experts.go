package cpu

import (
	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/kernel"
)

// expertState is the working memory of Experts.
type expertState struct {
	rows      []int     // rows that chose the current expert
	weights   []float32 // their weights for it
	x, act, y backend.Tensor
	product   [1]backend.Product
}

// Experts implements backend.Backend. Experts are taken in ascending order and
// each one meets all the rows that chose it at once, so a row's sum runs in that
// order whatever the batch, and an expert's weights are read once.
func (c *CPU) Experts(dst, x *backend.Tensor, r *backend.Routing, e *backend.Experts) {
	s := &c.expert
	clear(dst.Data)
	for id := range e.Gate {
		s.rows, s.weights = s.rows[:0], s.weights[:0]
		for i, chosen := range r.IDs {
			if int(chosen) == id {
				s.rows, s.weights = append(s.rows, i/r.K), append(s.weights, r.Weights[i])
			}
		}
		if len(s.rows) == 0 {
			continue
		}
		ffn, _ := e.Gate[id].Shape()
		s.x.Resize(len(s.rows), x.Cols)
		s.act.Resize(len(s.rows), ffn)
		s.y.Resize(len(s.rows), dst.Cols)
		c.Gather(&s.x, x, s.rows)
		c.GeGLU(&s.act, &s.x, e.Gate[id], e.Up[id])
		s.product[0] = backend.Product{Dst: &s.y, W: e.Down[id]}
		c.Linear(&s.act, s.product[:])
		for i, row := range s.rows {
			kernel.Axpy(dst.Row(row), s.y.Row(i), s.weights[i])
		}
	}
}
