package cpu

import (
	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/kernel"
)

// expertState is the working memory of AddExpert.
type expertState struct {
	x, act, y backend.Tensor
	product   [1]backend.Product
}

// AddExpert implements backend.Backend. The expert meets all its rows at once, so its
// weights are read from memory once.
func (c *CPU) AddExpert(dst, x *backend.Tensor, rows []int, weights []float32, e backend.Expert) {
	s := &c.expert
	ffn, _ := e.Gate.Shape()
	s.x.Resize(len(rows), x.Cols)
	s.act.Resize(len(rows), ffn)
	s.y.Resize(len(rows), dst.Cols)
	c.Gather(&s.x, x, rows)
	c.GeGLU(&s.act, &s.x, e.Gate, e.Up, 0)
	s.product[0] = backend.Product{Dst: &s.y, W: e.Down}
	c.Linear(&s.act, s.product[:])
	for i, row := range rows {
		kernel.Axpy(dst.Row(row), s.y.Row(i), weights[i])
	}
}
