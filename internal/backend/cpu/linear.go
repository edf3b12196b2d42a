package cpu

import (
	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/kernel"
)

// mulJob is a matrix product and what happens to its result before it is stored.
// A task is a tile of output rows of one product.
type mulJob struct {
	c        *CPU
	x        *backend.Tensor // rows padded to a multiple of 8
	products []backend.Product
	first    []int // first task of each product

	dst  *backend.Tensor
	gate *matrix // GeGLU and GateMul: the product that goes through the activation
	up   *matrix // GeGLU: what it is multiplied by, another product
	by   *backend.Tensor
	col  int // GateMul: what it is multiplied by, columns of by from col on
}

// Linear implements backend.Backend.
func (c *CPU) Linear(x *backend.Tensor, products []backend.Product) {
	c.mul = mulJob{c: c, x: c.padRows(x), products: products, first: c.mul.first[:0]}
	n := 0
	for _, p := range products {
		c.mul.first = append(c.mul.first, n)
		n += p.W.(*matrix).tiles()
	}
	c.pool.do(jobMul, n)
}

// GeGLU implements backend.Backend.
func (c *CPU) GeGLU(dst, x *backend.Tensor, gate, up backend.Matrix) {
	g := gate.(*matrix)
	c.mul = mulJob{c: c, x: c.padRows(x), dst: dst, gate: g, up: up.(*matrix), first: c.mul.first}
	c.pool.do(jobMul, g.tiles())
}

// GateMul implements backend.Backend.
func (c *CPU) GateMul(dst, x *backend.Tensor, w backend.Matrix, by *backend.Tensor, col int) {
	g := w.(*matrix)
	c.mul = mulJob{c: c, x: c.padRows(x), dst: dst, gate: g, by: by, col: col, first: c.mul.first}
	c.pool.do(jobMul, g.tiles())
}

// padRows returns x, or a copy whose rows end in zeros up to a multiple of 8.
func (c *CPU) padRows(x *backend.Tensor) *backend.Tensor {
	if x.Cols%8 == 0 {
		return x
	}
	c.padded.Resize(x.Rows, pad8(x.Cols))
	for i := range x.Rows {
		row := c.padded.Row(i)
		clear(row[copy(row, x.Row(i)):])
	}
	return &c.padded
}

// tileRows is how many output rows a task computes: 16,384 weights at least, so
// that a task outweighs being handed out, and few enough decoded ones that they
// stay in the second-level cache.
func (m *matrix) tileRows() int { return min(max(16, 1<<15/pad8(m.in)&^7), 64) }

// tiles is the number of tasks of a product with m.
func (m *matrix) tiles() int { return (m.out + m.tileRows() - 1) / m.tileRows() }

func (j *mulJob) run(worker, task int) {
	s := &j.c.scratch[worker]
	if j.gate == nil {
		i := len(j.first) - 1
		for j.first[i] > task {
			i--
		}
		p := j.products[i]
		j.tile(s, p.Dst.Data, p.Dst.Cols, p.W.(*matrix), task-j.first[i])
		return
	}
	j.tile(s, j.dst.Data, j.dst.Cols, j.gate, task)
	from := task * j.gate.tileRows()
	n := min(j.gate.out-from, j.gate.tileRows())
	if j.up != nil {
		s.up = grow(s.up, j.x.Rows*n)
		j.rows(s, s.up, n, j.up, from, n)
	}
	for t := range j.x.Rows {
		var mul []float32
		if j.up != nil {
			mul = s.up[t*n:]
		} else {
			mul = j.by.Row(t)[j.col+from:]
		}
		kernel.GeGLU(j.dst.Row(t)[from:from+n], mul[:n])
	}
}

// tile sets one tile of y [x.Rows, stride], the product of x and w.
func (j *mulJob) tile(s *scratch, y []float32, stride int, w *matrix, tile int) {
	from := tile * w.tileRows()
	j.rows(s, y[from:], stride, w, from, min(w.out-from, w.tileRows()))
}

// rows sets y[t·stride + r] to row from+r of w times row t of x, for r below n.
func (j *mulJob) rows(s *scratch, y []float32, stride int, w *matrix, from, n int) {
	rows := kernel.Rows{N: n, Cols: j.x.Cols}
	if kind, float := w.kind(); float {
		rows.Kind, rows.Data, rows.Stride = kind, w.data[from*w.rowBytes:], w.rowBytes
	} else {
		s.weights = grow(s.weights, n*rows.Cols)
		for r := range n {
			row := s.weights[r*rows.Cols : (r+1)*rows.Cols]
			w.decode(row, from+r)
			clear(row[w.in:])
		}
		rows.Kind, rows.Data, rows.Stride = kernel.F32, bytesOf(s.weights), 4*rows.Cols
	}
	kernel.Dots(y, 1, stride, rows, kernel.Vecs{Data: j.x.Data, N: j.x.Rows, Stride: j.x.Cols})
}
