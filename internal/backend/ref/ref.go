// Package ref is the reference backend: float32 values, float64 sums, one
// thread, one loop per formula. It defines what the other backends must compute
// and is where a newcomer reads the arithmetic of the model.
//
// Weights stay in the form of the file and are decoded row by row while they are
// used, so a large model fits where a float32 copy would not. Used by tests and by
// `plume logits --backend ref`; never when speed matters.
package ref

import (
	"fmt"
	"math"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/quant"
)

// Ref implements backend.Backend.
type Ref struct{}

// New returns the reference backend.
func New() *Ref { return &Ref{} }

// Name is "ref".
func (*Ref) Name() string { return "ref" }

// Close has nothing to free.
func (*Ref) Close() error { return nil }

// matrix is w [out, in] as in the file.
type matrix struct {
	typ      quant.Type
	out, in  int
	rowBytes int
	data     []byte
}

func (m *matrix) Shape() (out, in int) { return m.out, m.in }
func (m *matrix) Bytes() int64         { return int64(len(m.data)) }

// row decodes row i of the matrix into dst [in].
func (m *matrix) row(i int, dst []float32) {
	if err := quant.Decode(m.typ, dst, m.data[i*m.rowBytes:(i+1)*m.rowBytes]); err != nil {
		panic("ref: internal error: " + err.Error())
	}
}

// slab is memory that matrices are placed in.
type slab []byte

func (s slab) Bytes() int64 { return int64(len(s)) }

// NewSlab implements backend.Backend.
func (*Ref) NewSlab(bytes int64) (backend.Slab, error) { return make(slab, bytes), nil }

// MatrixBytes implements backend.Backend.
func (*Ref) MatrixBytes(t quant.Type, out, in int) int64 { return Sizer{}.MatrixBytes(t, out, in) }

// Place implements backend.Backend.
func (*Ref) Place(s backend.Slab, off int64, spec backend.MatrixSpec) (backend.Matrix, error) {
	if !spec.Type.Decodable() {
		return nil, fmt.Errorf("type %s cannot be decoded", spec.Type)
	}
	rowBytes, err := spec.Type.Bytes(int64(spec.In))
	if err != nil {
		return nil, err
	}
	n := rowBytes * int64(spec.Out)
	return &matrix{spec.Type, spec.Out, spec.In, int(rowBytes), s.(slab)[off : off+n : off+n]}, nil
}

// Fill implements backend.Backend.
func (*Ref) Fill(w backend.Matrix, row int, raw []byte) error {
	m := w.(*matrix)
	copy(m.data[row*m.rowBytes:][:len(raw)], raw)
	return nil
}

// Packed is none: what is as in the file needs no copy.
func (*Ref) Packed() string { return "" }

// Memory implements backend.Backend.
func (*Ref) Memory(w backend.Matrix) []byte { return w.(*matrix).data }

// Embed implements backend.Backend.
func (*Ref) Embed(dst *backend.Tensor, w backend.Matrix, ids []int32, scale float32) {
	for i, id := range ids {
		row := dst.Row(i)
		w.(*matrix).row(int(id), row)
		for j := range row {
			row[j] *= scale
		}
	}
}

// Gather implements backend.Backend.
func (*Ref) Gather(dst, x *backend.Tensor, rows []int) {
	for i, r := range rows {
		copy(dst.Row(i), x.Row(r))
	}
}

// rms returns (mean(x²)+eps)^(−1/2).
func rms(x []float32, eps float32) float64 {
	var sum float64
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return 1 / math.Sqrt(sum/float64(len(x))+float64(eps))
}

// Norm implements backend.Backend.
func (*Ref) Norm(dst, x *backend.Tensor, w []float32, eps float32) {
	for i := range x.Rows {
		row, out := x.Row(i), dst.Row(i)
		s := rms(row, eps)
		for j, v := range row {
			out[j] = float32(float64(v) * s * float64(w[j]))
		}
	}
}

// AddNorm implements backend.Backend.
func (*Ref) AddNorm(x, y *backend.Tensor, w []float32, eps, scale float32) {
	for i := range x.Rows {
		row, add := x.Row(i), y.Row(i)
		s := rms(add, eps)
		for j, v := range add {
			row[j] = float32((float64(row[j]) + float64(v)*s*float64(w[j])) * float64(scale))
		}
	}
}

// Add implements backend.Backend.
func (*Ref) Add(x, y *backend.Tensor) {
	for i, v := range y.Data {
		x.Data[i] += v
	}
}

// HeadNorm implements backend.Backend.
func (*Ref) HeadNorm(x *backend.Tensor, dim int, w []float32, eps float32, rope *backend.Rope) {
	for i := range x.Rows {
		row := x.Row(i)
		for h := 0; h < len(row); h += dim {
			head := row[h : h+dim]
			s := rms(head, eps)
			for j, v := range head {
				f := float64(v) * s
				if w != nil {
					f *= float64(w[j])
				}
				head[j] = float32(f)
			}
			if rope != nil {
				rotate(head, rope.Cos[i*rope.Pairs:], rope.Sin[i*rope.Pairs:], rope.Pairs)
			}
		}
	}
}

// rotate turns the pairs (i, i+d/2), i < pairs, of a head x [d].
func rotate(x, cos, sin []float32, pairs int) {
	half := len(x) / 2
	for i := range pairs {
		a, b := float64(x[i]), float64(x[i+half])
		c, s := float64(cos[i]), float64(sin[i])
		x[i] = float32(a*c - b*s)
		x[i+half] = float32(b*c + a*s)
	}
}

// Linear implements backend.Backend.
func (*Ref) Linear(x *backend.Tensor, products []backend.Product) {
	for _, p := range products {
		linear(p.Dst, p.Col, x, p.W.(*matrix))
	}
}

// linear sets dst [row, col:col+out] = x [row, in] · wᵀ.
func linear(dst *backend.Tensor, col int, x *backend.Tensor, w *matrix) {
	row := make([]float32, w.in)
	for o := range w.out {
		w.row(o, row)
		for i := range x.Rows {
			dst.Row(i)[col+o] = float32(dot(row, x.Row(i)))
		}
	}
}

func dot(a, b []float32) float64 {
	var sum float64
	for i, v := range a {
		sum += float64(v) * float64(b[i])
	}
	return sum
}

// gelu is 0.5x(1+tanh(√(2/π)(x+0.044715x³))).
func gelu(x float64) float64 {
	return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
}

// GeGLU implements backend.Backend.
func (*Ref) GeGLU(dst, x *backend.Tensor, gate, up backend.Matrix, col int) {
	w := up.(*matrix)
	u := backend.NewTensor(dst.Rows, w.out)
	linear(dst, col, x, gate.(*matrix))
	linear(u, 0, x, w)
	for i := range dst.Rows {
		row := dst.Row(i)[col:]
		for j, v := range u.Row(i) {
			row[j] = float32(gelu(float64(row[j])) * float64(v))
		}
	}
}

// GateMul implements backend.Backend.
func (*Ref) GateMul(dst, x *backend.Tensor, w backend.Matrix, by *backend.Tensor, col int) {
	linear(dst, 0, x, w.(*matrix))
	for i := range dst.Rows {
		row, mul := dst.Row(i), by.Row(i)[col:]
		for j, g := range row {
			row[j] = float32(gelu(float64(g)) * float64(mul[j]))
		}
	}
}

// MixPLE implements backend.Backend.
func (*Ref) MixPLE(ctx, tok *backend.Tensor, w []float32, eps, ctxScale, tokScale float32) {
	for off := 0; off < len(ctx.Data); off += len(w) {
		c, t := ctx.Data[off:off+len(w)], tok.Data[off:off+len(w)]
		for j := range c {
			c[j] *= ctxScale
		}
		s := rms(c, eps)
		for j := range c {
			c[j] = float32((float64(c[j])*s*float64(w[j]) + float64(t[j])*float64(tokScale)) / math.Sqrt2)
		}
	}
}

// AddExpert implements backend.Backend.
func (r *Ref) AddExpert(dst, x *backend.Tensor, rows []int, weights []float32, e backend.Expert) {
	ffn, _ := e.Gate.Shape()
	act, y := backend.NewTensor(1, ffn), backend.NewTensor(1, dst.Cols)
	for i, row := range rows {
		r.GeGLU(act, &backend.Tensor{Rows: 1, Cols: x.Cols, Data: x.Row(row)}, e.Gate, e.Up, 0)
		linear(y, 0, act, e.Down.(*matrix))
		out := dst.Row(row)
		for j, v := range y.Data {
			out[j] += v * weights[i]
		}
	}
}

// Softcap implements backend.Backend.
func (*Ref) Softcap(x *backend.Tensor, c float32) {
	for i, v := range x.Data {
		x.Data[i] = c * float32(math.Tanh(float64(v)/float64(c)))
	}
}
