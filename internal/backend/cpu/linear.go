package cpu

import (
	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/kernel"
)

// mulJob is a matrix product and what happens to its result before it is stored.
// A task is a tile of one product: some output rows for some tokens.
type mulJob struct {
	c        *CPU
	x        *backend.Tensor
	products []backend.Product
	first    []int // first task of each product
	spans    int   // parts that the tokens are cut into

	dst  *backend.Tensor
	at   int     // GeGLU: the result's first column in dst
	gate *matrix // GeGLU and GateMul: the product that goes through the activation
	up   *matrix // GeGLU: what it is multiplied by, another product
	by   *backend.Tensor
	col  int // GateMul: what it is multiplied by, columns of by from col on
}

// Linear implements backend.Backend.
func (c *CPU) Linear(x *backend.Tensor, products []backend.Product) {
	c.mul = mulJob{c: c, x: x, products: products, first: c.mul.first[:0], spans: spans(x.Rows, len(c.scratch))}
	n := 0
	for _, p := range products {
		c.mul.first = append(c.mul.first, n)
		n += c.mul.tiles(p.W.(*matrix))
	}
	for _, p := range products {
		c.prepare(x, p.W.(*matrix))
	}
	c.multiply(n)
}

// GeGLU implements backend.Backend.
func (c *CPU) GeGLU(dst, x *backend.Tensor, gate, up backend.Matrix, col int) {
	g, u := gate.(*matrix), up.(*matrix)
	c.mul = mulJob{c: c, x: x, dst: dst, at: col, gate: g, up: u, first: c.mul.first, spans: spans(x.Rows, len(c.scratch))}
	c.prepare(x, g)
	c.prepare(x, u)
	c.multiply(c.mul.tiles(g))
}

// GateMul implements backend.Backend.
func (c *CPU) GateMul(dst, x *backend.Tensor, w backend.Matrix, by *backend.Tensor, col int) {
	g := w.(*matrix)
	c.mul = mulJob{c: c, x: x, dst: dst, gate: g, by: by, col: col, first: c.mul.first, spans: spans(x.Rows, len(c.scratch))}
	c.prepare(x, g)
	c.multiply(c.mul.tiles(g))
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

// How the products of a prompt are cut. In per cent of the time of one task to a sixteenth of the
// rows and all tokens, GeGLU 6144×1536 and products of 1536×2048 and 1536×6144 with 256 tokens, two threads
// (2-core Zen 4 VM, AVX-512, Q4_0, 2026-11-23, medians of interleaved runs): 4 panels 101, 99 and 99; two
// spans of tokens 96, 97 and 99; both, with gate and up in pieces of 48 tokens, 95, 97 and 99.
const (
	spanTokens   = 128       // at least, of a part of the tokens
	promptPanels = 4         // of a task with so many: with GeGLU, twice as many stay in a second-level cache
	gateTokens   = 48        // that gate and up are multiplied for at once, in a first-level cache
	tileBytes    = 256 << 10 // bounds the weights of a task: about 10 µs of streaming
)

// spans is how many parts the tokens of a prompt are cut into: as many as there are threads, so
// that each goes on with activations that its caches hold and tasks at the end are short.
func spans(tokens, threads int) int { return max(1, min(tokens/spanTokens, threads)) }

// tilePanels is how many panels of a matrix a task multiplies: enough tasks for the threads
// to share evenly, few enough that handing them out costs nothing.
func tilePanels(l kernel.Layout, rows, cols, tokens, threads int) int {
	most := max(1, tileBytes/l.PanelBytes(cols))
	if tokens >= spanTokens {
		most = min(most, promptPanels)
	}
	return min(most, max(1, kernel.Panels(rows)*spans(tokens, threads)/(8*threads)))
}

// tilePanels is how many panels of w a task of the job multiplies.
func (j *mulJob) tilePanels(w *matrix) int {
	return tilePanels(w.Layout, w.Rows, w.Cols, j.x.Rows, len(j.c.scratch))
}

// tiles is the number of tasks of a product with w.
func (j *mulJob) tiles(w *matrix) int {
	n := j.tilePanels(w)
	return (kernel.Panels(w.Rows) + n - 1) / n * j.spans
}

// tile is what a task computes: panels [p0, p1) of a product for tokens [t0, t1).
type tile struct{ p0, p1, t0, t1 int }

// tile returns a task of a product with w.
func (j *mulJob) tile(w *matrix, task int) tile {
	step, span := j.tilePanels(w), task%j.spans
	p0 := task / j.spans * step
	return tile{
		p0: p0, p1: min(p0+step, kernel.Panels(w.Rows)),
		t0: j.x.Rows * span / j.spans, t1: j.x.Rows * (span + 1) / j.spans,
	}
}

func (j *mulJob) run(worker, task int) {
	if j.gate != nil {
		j.gated(&j.c.scratch[worker], j.tile(j.gate, task))
		return
	}
	i := len(j.first) - 1
	for j.first[i] > task {
		i--
	}
	p := j.products[i]
	w := p.W.(*matrix)
	k := j.tile(w, task-j.first[i])
	y := p.Dst.Data[k.t0*p.Dst.Cols+p.Col:]
	kernel.MatMul(y, p.Dst.Cols, &w.Matrix, k.p0, k.p1, &j.c.acts(w).Acts, k.t0, k.t1)
}

// gated computes one tile of GeGLU or GateMul, few tokens at a time, so that what was
// multiplied goes through the activation while a first-level cache holds it.
func (j *mulJob) gated(s *scratch, k tile) {
	from := k.p0 * panelRows
	n := min(j.gate.Rows, k.p1*panelRows) - from
	end := k.t1
	for ; k.t0 < end; k.t0 = k.t1 {
		k.t1 = min(end, k.t0+gateTokens)
		s.gate = j.product(s.gate, j.gate, k)
		if j.up != nil {
			s.up = j.product(s.up, j.up, k)
		}
		for i := range k.t1 - k.t0 {
			t, gate := k.t0+i, s.gate[i*n:][:n]
			if j.up != nil {
				kernel.GeGLU(gate, s.up[i*n:][:n])
			} else {
				kernel.GeGLU(gate, j.by.Row(t)[j.col+from:][:n])
			}
			copy(j.dst.Row(t)[j.at+from:], gate)
		}
	}
}

// product returns y [token, row], a tile of the product with w by itself, in the memory of y if it is enough.
func (j *mulJob) product(y []float32, w *matrix, k tile) []float32 {
	rows := w.tile(k.p0, k.p1)
	y = grow(y, (k.t1-k.t0)*rows.Rows)
	kernel.MatMul(y, rows.Rows, &rows, 0, k.p1-k.p0, &j.c.acts(w).Acts, k.t0, k.t1)
	return y
}
