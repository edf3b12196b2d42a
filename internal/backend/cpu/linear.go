package cpu

import (
	"math"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/quant"
)

// tileRows is how many output rows one task of a matrix product computes.
const tileRows = 16

// mulJob is a matrix product and what happens to its result before it is stored.
type mulJob struct {
	c        *CPU
	x        *backend.Tensor
	products []backend.Product // Linear
	tiles    []int             // first task of each product

	gate, up *matrix // GeGLU: two matrices, one result
	by       *backend.Tensor
	col      int // GateMul: the column of by that meets output 0
	dst      *backend.Tensor
}

// Linear implements backend.Backend.
func (c *CPU) Linear(x *backend.Tensor, products []backend.Product) {
	j := &c.mul
	*j = mulJob{c: c, x: x, products: products, tiles: j.tiles[:0]}
	n := 0
	for _, p := range products {
		j.tiles = append(j.tiles, n)
		n += tiles(p.W.(*matrix).out)
	}
	c.pool.do(j, n)
}

// GeGLU implements backend.Backend.
func (c *CPU) GeGLU(dst, x *backend.Tensor, gate, up backend.Matrix) {
	g, u := gate.(*matrix), up.(*matrix)
	c.mul = mulJob{c: c, x: x, dst: dst, gate: g, up: u, tiles: c.mul.tiles}
	c.pool.do(&c.mul, tiles(g.out))
}

// GateMul implements backend.Backend.
func (c *CPU) GateMul(dst, x *backend.Tensor, w backend.Matrix, by *backend.Tensor, col int) {
	g := w.(*matrix)
	c.mul = mulJob{c: c, x: x, dst: dst, gate: g, by: by, col: col, tiles: c.mul.tiles}
	c.pool.do(&c.mul, tiles(g.out))
}

func tiles(rows int) int { return (rows + tileRows - 1) / tileRows }

func (j *mulJob) run(worker, task int) {
	s := &j.c.scratch[worker]
	switch {
	case j.up != nil:
		j.geglu(s, task)
	case j.gate != nil:
		j.gateMul(s, task)
	default:
		i := len(j.tiles) - 1
		for j.tiles[i] > task {
			i--
		}
		p := j.products[i]
		w := p.W.(*matrix)
		for r := (task - j.tiles[i]) * tileRows; r < min(w.out, (task-j.tiles[i]+1)*tileRows); r++ {
			row := s.decode(w, r)
			for t := range j.x.Rows {
				p.Dst.Data[t*p.Dst.Cols+r] = dot(row, j.x.Row(t))
			}
		}
	}
}

func (j *mulJob) geglu(s *scratch, task int) {
	for r := task * tileRows; r < min(j.gate.out, (task+1)*tileRows); r++ {
		row := s.decode(j.gate, r)
		for t := range j.x.Rows {
			j.dst.Data[t*j.dst.Cols+r] = gelu(dot(row, j.x.Row(t)))
		}
		row = s.decode(j.up, r)
		for t := range j.x.Rows {
			j.dst.Data[t*j.dst.Cols+r] *= dot(row, j.x.Row(t))
		}
	}
}

func (j *mulJob) gateMul(s *scratch, task int) {
	for r := task * tileRows; r < min(j.gate.out, (task+1)*tileRows); r++ {
		row := s.decode(j.gate, r)
		for t := range j.x.Rows {
			j.dst.Data[t*j.dst.Cols+r] = gelu(dot(row, j.x.Row(t))) * j.by.Row(t)[j.col+r]
		}
	}
}

// decode returns row r of w in float32, in the thread's scratch memory.
func (s *scratch) decode(w *matrix, r int) []float32 {
	s.weights = grow(s.weights, w.in)
	decodeRow(s.weights, w, r)
	return s.weights
}

func decodeRow(dst []float32, w *matrix, r int) {
	if err := quant.Decode(w.typ, dst, w.row(r)); err != nil {
		panic("cpu: internal error: " + err.Error())
	}
}

// dot sums a·b in eight interleaved parts, always in the same order.
func dot(a, b []float32) float32 {
	b = b[:len(a)]
	var s [8]float32
	n := len(a) &^ 7
	for i := 0; i < n; i += 8 {
		x, y := a[i:i+8:i+8], b[i:i+8:i+8]
		s[0] += x[0] * y[0]
		s[1] += x[1] * y[1]
		s[2] += x[2] * y[2]
		s[3] += x[3] * y[3]
		s[4] += x[4] * y[4]
		s[5] += x[5] * y[5]
		s[6] += x[6] * y[6]
		s[7] += x[7] * y[7]
	}
	for i := n; i < len(a); i++ {
		s[i&7] += a[i] * b[i]
	}
	return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
}

// gelu is 0.5x(1+tanh(√(2/π)(x+0.044715x³))).
func gelu(x float32) float32 {
	v := float64(x)
	return float32(0.5 * v * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(v+0.044715*v*v*v))))
}
