package cpu

import (
	"math"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/kernel"
)

// rowOp names an operation that turns each row into another row by itself.
type rowOp uint8

const (
	opEmbed rowOp = iota
	opGather
	opNorm
	opAddNorm
	opAdd
	opHeadNorm
	opMixPLE
	opSoftcap
)

// rowJob is one such operation; the fields mean what the arguments of the
// backend.Backend method mean.
type rowJob struct {
	op              rowOp
	dst, x, y       *backend.Tensor
	w               []float32
	eps, scale, tok float32
	matrix          *matrix
	ids             []int32
	from            []int
	dim             int
	rope            *backend.Rope
}

// each runs j over n rows. A row costs a few µs at most, so few rows are done by
// the caller alone: waking others would cost more.
func (c *CPU) each(j rowJob, n int) {
	begin := c.prof.begin()
	defer c.prof.endRows(&c.rows, begin)
	c.rows = j
	if n < 4 {
		for i := range n {
			c.rows.run(0, i)
		}
		return
	}
	c.pool.do(jobRows, n)
}

// Embed implements backend.Backend.
func (c *CPU) Embed(dst *backend.Tensor, w backend.Matrix, ids []int32, scale float32) {
	c.each(rowJob{op: opEmbed, dst: dst, matrix: w.(*matrix), ids: ids, scale: scale}, len(ids))
}

// Gather implements backend.Backend.
func (c *CPU) Gather(dst, x *backend.Tensor, rows []int) {
	c.each(rowJob{op: opGather, dst: dst, x: x, from: rows}, len(rows))
}

// Norm implements backend.Backend.
func (c *CPU) Norm(dst, x *backend.Tensor, w []float32, eps float32) {
	c.each(rowJob{op: opNorm, dst: dst, x: x, w: w, eps: eps}, x.Rows)
}

// AddNorm implements backend.Backend.
func (c *CPU) AddNorm(x, y *backend.Tensor, w []float32, eps, scale float32) {
	c.each(rowJob{op: opAddNorm, dst: x, x: y, w: w, eps: eps, scale: scale}, x.Rows)
}

// Add implements backend.Backend.
func (c *CPU) Add(x, y *backend.Tensor) {
	c.each(rowJob{op: opAdd, dst: x, x: y}, x.Rows)
}

// HeadNorm implements backend.Backend.
func (c *CPU) HeadNorm(x *backend.Tensor, dim int, w []float32, eps float32, rope *backend.Rope) {
	c.each(rowJob{op: opHeadNorm, dst: x, dim: dim, w: w, eps: eps, rope: rope}, x.Rows)
}

// MixPLE implements backend.Backend.
func (c *CPU) MixPLE(ctx, tok *backend.Tensor, w []float32, eps, ctxScale, tokScale float32) {
	c.each(rowJob{op: opMixPLE, dst: ctx, y: tok, w: w, eps: eps, scale: ctxScale, tok: tokScale}, ctx.Rows)
}

// Softcap implements backend.Backend.
func (c *CPU) Softcap(x *backend.Tensor, limit float32) {
	c.each(rowJob{op: opSoftcap, dst: x, scale: limit}, x.Rows)
}

func (j *rowJob) run(_, i int) {
	dst := j.dst.Row(i)
	switch j.op {
	case opEmbed:
		j.matrix.embedRow(dst, int(j.ids[i]), j.scale)
	case opGather:
		copy(dst, j.x.Row(j.from[i]))
	case opNorm:
		kernel.RMSNorm(dst, j.x.Row(i), j.w, j.eps)
	case opAddNorm:
		y := j.x.Row(i) // becomes its norm: the contract leaves it to us
		kernel.RMSNorm(y, y, j.w, j.eps)
		kernel.Add(dst, y)
		if j.scale != 1 {
			kernel.Scale(dst, j.scale)
		}
	case opAdd:
		kernel.Add(dst, j.x.Row(i))
	case opHeadNorm:
		for h := 0; h < len(dst); h += j.dim {
			j.head(dst[h:h+j.dim], i)
		}
	case opMixPLE:
		mixPLE(dst, j.y.Row(i), j)
	case opSoftcap:
		kernel.SoftCap(dst, j.scale)
	}
}

// head normalises and rotates one head x [dim] of row i.
func (j *rowJob) head(x []float32, i int) {
	kernel.RMSNorm(x, x, j.w, j.eps)
	if j.rope == nil {
		return
	}
	n, half := j.rope.Pairs, len(x)/2
	kernel.Rope(x[:n], x[half:half+n], j.rope.Cos[i*n:(i+1)*n], j.rope.Sin[i*n:(i+1)*n])
}

// mixPLE is MixPLE for one row.
func mixPLE(ctx, tok []float32, j *rowJob) {
	for off := 0; off < len(ctx); off += len(j.w) {
		c, t := ctx[off:off+len(j.w)], tok[off:off+len(j.w)]
		kernel.Scale(c, j.scale)
		kernel.RMSNorm(c, c, j.w, j.eps)
		kernel.Axpy(c, t, j.tok)
		kernel.Scale(c, 1/math.Sqrt2)
	}
}
