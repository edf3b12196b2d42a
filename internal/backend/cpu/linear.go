package cpu

import (
	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/kernel"
)

// mulJob is a matrix product and what happens to its result before it is stored.
// A task is a tile of output rows of one product.
type mulJob struct {
	c        *CPU
	x        *backend.Tensor
	products []backend.Product
	first    []int // first task of each product

	dst  *backend.Tensor
	at   int     // GeGLU: the result's first column in dst
	gate *matrix // GeGLU and GateMul: the product that goes through the activation
	up   *matrix // GeGLU: what it is multiplied by, another product
	by   *backend.Tensor
	col  int // GateMul: what it is multiplied by, columns of by from col on
}

// Linear implements backend.Backend.
func (c *CPU) Linear(x *backend.Tensor, products []backend.Product) {
	c.mul = mulJob{c: c, x: x, products: products, first: c.mul.first[:0]}
	n := 0
	for _, p := range products {
		c.mul.first = append(c.mul.first, n)
		n += c.tiles(p.W.(*matrix))
	}
	for _, p := range products {
		c.prepare(x, p.W.(*matrix))
	}
	c.multiply(n)
}

// GeGLU implements backend.Backend.
func (c *CPU) GeGLU(dst, x *backend.Tensor, gate, up backend.Matrix, col int) {
	g, u := gate.(*matrix), up.(*matrix)
	c.mul = mulJob{c: c, x: x, dst: dst, at: col, gate: g, up: u, first: c.mul.first}
	c.prepare(x, g)
	c.prepare(x, u)
	c.multiply(c.tiles(g))
}

// GateMul implements backend.Backend.
func (c *CPU) GateMul(dst, x *backend.Tensor, w backend.Matrix, by *backend.Tensor, col int) {
	g := w.(*matrix)
	c.mul = mulJob{c: c, x: x, dst: dst, gate: g, by: by, col: col, first: c.mul.first}
	c.prepare(x, g)
	c.multiply(c.tiles(g))
}

// prepare puts x into the form that w multiplies: rounded to int8 per 32 values
// for quantised weights, float for the others. A product's matrices share it.
func (c *CPU) prepare(x *backend.Tensor, w *matrix) {
	a := c.acts(w)
	if a.ready {
		return
	}
	begin := c.prof.begin()
	defer c.prof.end(ClassQuantise, begin)
	a.ready = true
	a.Reset(w.Layout, x.Rows, x.Cols)
	a.bytes = max(a.bytes, actsBytes(w.Layout, x.Rows, x.Cols))
	c.set = setJob{x, &a.Acts}
	if x.Rows < 4 {
		for i := range x.Rows {
			c.set.run(0, i)
		}
		return
	}
	c.pool.do(jobSet, x.Rows)
}

// acts returns the activations that w multiplies.
func (c *CPU) acts(w *matrix) *activations {
	if w.Layout.Float() {
		return &c.floats
	}
	return &c.rounded
}

// activations are the input of the current product in one form.
type activations struct {
	kernel.Acts
	ready bool
	bytes int64 // that it holds
}

// setJob is the conversion of x; a task is a row.
type setJob struct {
	x *backend.Tensor
	a *kernel.Acts
}

func (j *setJob) run(_, task int) { j.a.Set(task, j.x.Row(task)) }

// multiply runs the current job in n tiles and forgets the activations.
func (c *CPU) multiply(n int) {
	begin := c.prof.begin()
	c.pool.do(jobMul, n)
	c.prof.endMul(&c.mul, begin)
	c.floats.ready, c.rounded.ready = false, false
}

// tilePanels is how many panels of w a task multiplies: enough tasks for the
// threads to share evenly, few enough that handing them out costs nothing.
func (c *CPU) tilePanels(w *matrix) int {
	return tilePanels(w.Layout, w.Rows, w.Cols, len(c.scratch))
}

func tilePanels(l kernel.Layout, rows, cols, threads int) int {
	most := max(1, tileBytes/l.PanelBytes(cols))
	return min(most, max(1, kernel.Panels(rows)/(8*threads)))
}

// tileBytes bounds the weights of a task: about 10 µs of streaming.
const tileBytes = 256 << 10

// tiles is the number of tasks of a product with w.
func (c *CPU) tiles(w *matrix) int {
	n := c.tilePanels(w)
	return (kernel.Panels(w.Rows) + n - 1) / n
}

func (j *mulJob) run(worker, task int) {
	if j.gate != nil {
		j.gated(&j.c.scratch[worker], task)
		return
	}
	i := len(j.first) - 1
	for j.first[i] > task {
		i--
	}
	p := j.products[i]
	j.tile(p.Dst.Data[p.Col:], p.Dst.Cols, p.W.(*matrix), task-j.first[i])
}

// gated computes one tile of GeGLU or GateMul.
func (j *mulJob) gated(s *scratch, task int) {
	from, n := j.tile(j.dst.Data[j.at:], j.dst.Cols, j.gate, task)
	if j.up != nil {
		s.up = grow(s.up, j.x.Rows*n)
		up := j.up.tile(from/panelRows, kernel.Panels(from+n))
		a := j.c.acts(j.up)
		kernel.MatMul(s.up, n, &up, 0, kernel.Panels(n), &a.Acts, 0, j.x.Rows)
	}
	for t := range j.x.Rows {
		var mul []float32
		if j.up != nil {
			mul = s.up[t*n:]
		} else {
			mul = j.by.Row(t)[j.col+from:]
		}
		kernel.GeGLU(j.dst.Row(t)[j.at+from:][:n], mul[:n])
	}
}

// tile sets tile number task of y [row, stride] to the product of x and w, and
// returns which output rows it holds.
func (j *mulJob) tile(y []float32, stride int, w *matrix, task int) (from, n int) {
	step := j.c.tilePanels(w)
	p0 := task * step
	p1 := min(p0+step, kernel.Panels(w.Rows))
	a := j.c.acts(w)
	kernel.MatMul(y, stride, &w.Matrix, p0, p1, &a.Acts, 0, j.x.Rows)
	return p0 * panelRows, min(w.Rows, p1*panelRows) - p0*panelRows
}
