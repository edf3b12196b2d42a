package kernel

import (
	"fmt"
	"math"
	"unsafe"
)

// Products of int8 rows (keys and values) with vectors of int16: exact integer sums, so their
// order is free. Sixteen bits because eight would cost the vector as much accuracy as the rows
// have lost; int16 pairs still go twice as fast as floats.

// Ints is a view of N vectors of int16, vector t at Data[t*Stride:], which stand for Scale[t]
// times themselves. Functions that read vectors of n may read one more when n is odd.
type Ints struct {
	Data      []int16
	Scale     []float32
	N, Stride int
}

// MostInt is the largest value that QuantizeInts may use for sums over n products with int8 in
// an int32: |Σ| ≤ n·127·most.
func MostInt(n int) int { return min(math.MaxInt16, math.MaxInt32/(127*max(n, 1))) }

// QuantizeInts rounds x to whole numbers of at most most, x[i] ≈ scale·dst[i], ties to even.
// len(dst) == len(x). dst may be the memory that x begins with. A vector that is not finite gets
// a scale that is not finite.
//
//go:noinline
func QuantizeInts(dst []int16, x []float32, most int) (scale float32) {
	dst = dst[:len(x)]
	raceRead(x)
	top := absTop(x)
	inv := float32(most) / max(top, 1e-30)
	n := quantIntsSIMD(dst, x, inv)
	for i, v := range x[n:] {
		dst[n+i] = roundInt16(v * inv)
	}
	return top / float32(most)
}

// absTop is max |x|; a NaN wins.
func absTop(x []float32) float32 {
	top, n := absTopSIMD(x)
	for _, v := range x[n:] {
		top = max(top, math.Float32bits(v)&0x7fffffff)
	}
	return math.Float32frombits(top)
}

// roundInt16 rounds to nearest even; what is not a number or out of range becomes -32768 or 32767.
func roundInt16(v float32) int16 {
	r := math.RoundToEven(float64(v))
	if !(r >= math.MinInt16) {
		return math.MinInt16
	}
	return int16(min(r, math.MaxInt16))
}

// ScaleInts does dst[i] = float32(src[i])·s. dst may be the memory of src.
//
//go:noinline
func ScaleInts(dst []float32, src []int32, s float32) {
	src = src[:len(dst)]
	raceWrite(dst)
	n := scaleIntsSIMD(dst, src, s)
	for i, v := range src[n:] {
		dst[n+i] = float32(v) * s
	}
}

// DotInts does y[t*vecStep+r] = float32(w_r · x_t)·Scale[t] for all rows of w, which must be I8, and
// vectors of x; the sum wraps around like an int32.
func DotInts(y []float32, vecStep int, w Rows, x Ints) {
	w.check()
	x.check(w)
	if w.N == 0 || x.N == 0 {
		return
	}
	_ = y[(x.N-1)*vecStep+w.N-1]
	block := max(4, min(8<<10/w.Cols, 1<<20/(w.Cols*x.N))&^3)
	for r := 0; r < w.N; r += block {
		part := w
		part.N = min(block, w.N-r)
		part.Data = w.Data[r*w.Stride:]
		dotIntsBlock(y[r:], vecStep, part, x)
	}
}

// check panics when there are fewer vectors of as many elements as w has columns.
func (x *Ints) check(w Rows) {
	if w.Kind != I8 || len(x.Scale) < x.N || x.N > 0 && (x.N-1)*x.Stride+w.Cols > len(x.Data) {
		panic(fmt.Sprintf("kernel: internal error: %d vectors at stride %d in %d int16 with %d scales for %d columns of %v",
			x.N, x.Stride, len(x.Data), len(x.Scale), w.Cols, w.Kind))
	}
}

//go:noinline
func dotIntsBlock(y []float32, vecStep int, w Rows, x Ints) {
	if raceEnabled {
		raceRead(w.Data[:(w.N-1)*w.Stride+w.Cols])
		for t := range x.N {
			raceRead(x.Data[t*x.Stride:][:w.Cols])
			raceWrite(y[t*vecStep:][:w.N])
		}
	}
	a := intArgs{
		rstep: w.Stride, xstep: 2 * x.Stride, yvec: 4 * vecStep,
		chunks: w.Cols / 16, tail: w.Cols / 8 % 2,
	}
	for t, nt := 0, 0; t < x.N; t += nt {
		nt = evenly(x.N-t, intWidth())
		a.x, a.scale = unsafe.Pointer(&x.Data[t*x.Stride]), unsafe.Pointer(&x.Scale[t])
		for r := 0; r < w.N; {
			tile := 4
			if w.N-r < 4 {
				tile = 1
			}
			groups := (w.N - r) / tile
			a.groups = groups
			a.w, a.y = unsafe.Pointer(&w.Data[r*w.Stride]), unsafe.Pointer(&y[t*vecStep+r])
			a.gstep = tile * w.Stride
			// The next block of rows, spread over the passes of the vectors.
			a.ahead = (w.N-r)*w.Stride + (t*w.N+r*nt)*w.Stride/x.N
			a.astep = tile * 16 * nt / x.N
			if !dotIntsSIMD(tile, nt, &a) {
				dotIntsGeneric(y, vecStep, w, x)
				return
			}
			r += tile * groups
		}
	}
}

// MixInts does acc[t*accStep+c] += Σ_i p_t[i]·v_i[c] for the first v.Cols elements of every vector
// of acc; p_t has v.N weights (one more is read when that is odd), their scales are not used. v
// must be I8.
func MixInts(acc []int32, accStep int, p Ints, v Rows) {
	v.check()
	even := (v.N + 1) &^ 1
	if v.Kind != I8 || p.N > 0 && ((p.N-1)*p.Stride+even > len(p.Data) || (p.N-1)*accStep+v.Cols > len(acc)) {
		panic(fmt.Sprintf("kernel: internal error: %d vectors of %d weights at stride %d in %d int16, sums of %d at stride %d in %d int32, values %v",
			p.N, v.N, p.Stride, len(p.Data), v.Cols, accStep, len(acc), v.Kind))
	}
	if v.N == 0 || p.N == 0 {
		return
	}
	block := max(2, min(16<<10/v.Cols, 1<<20/(v.Cols*p.N))&^1)
	for r := 0; r < v.N; r += block {
		part := v
		part.N = min(block, v.N-r)
		part.Data = v.Data[r*v.Stride:]
		mixIntsBlock(acc, accStep, Ints{Data: p.Data[r:], N: p.N, Stride: p.Stride}, part)
	}
}

//go:noinline
func mixIntsBlock(acc []int32, accStep int, p Ints, v Rows) {
	if raceEnabled {
		raceRead(v.Data[:(v.N-1)*v.Stride+v.Cols])
		for t := range p.N {
			raceRead(p.Data[t*p.Stride:][:v.N])
			raceWrite(acc[t*accStep:][:v.Cols])
		}
	}
	for t, nt := 0, 0; t < p.N; t += nt {
		nt = evenly(p.N-t, mixIntWidth())
		a := mixArgs{
			v: unsafe.Pointer(&v.Data[0]), p: unsafe.Pointer(&p.Data[t*p.Stride]), y: unsafe.Pointer(&acc[t*accStep]),
			vstep: v.Stride, pstep: 2 * p.Stride, ystep: 4 * accStep,
			n: v.N, chunks: v.Cols / 16, tail: v.Cols / 8 % 2,
			ahead: v.N*v.Stride + t*v.N*v.Stride/p.N, astep: 16 * nt / p.N,
		}
		if !mixIntsSIMD(nt, &a) {
			mixIntsGeneric(acc, accStep, p, v)
			return
		}
	}
}

// intArgs is what a tile of DotInts reads (and uses up). Steps are bytes.
type intArgs struct {
	w, x, y, scale unsafe.Pointer
	rstep          int // to the next row of the tile
	gstep          int // to the next tile of rows
	xstep          int // to the next vector
	yvec           int
	groups         int // tiles of rows, at least 1
	chunks         int // columns / 16
	tail           int // 1: 8 columns more
	ahead          int // from w to what is prefetched first
	astep          int // to what is prefetched next: after 16 columns of the tile
}

// dotIntsGeneric is the specification of DotInts.
func dotIntsGeneric(y []float32, vecStep int, w Rows, x Ints) {
	for r := range w.N {
		row := w.Data[r*w.Stride:][:w.Cols]
		for t := range x.N {
			var sum int32
			for i, v := range x.Data[t*x.Stride:][:w.Cols] {
				sum += int32(v) * int32(int8(row[i]))
			}
			y[t*vecStep+r] = float32(sum) * x.Scale[t]
		}
	}
}

// mixIntsGeneric is the specification of MixInts.
func mixIntsGeneric(acc []int32, accStep int, p Ints, v Rows) {
	for t := range p.N {
		out := acc[t*accStep:][:v.Cols]
		for i := range v.N {
			s := int32(p.Data[t*p.Stride+i])
			for c, b := range v.Data[i*v.Stride:][:v.Cols] {
				out[c] += s * int32(int8(b))
			}
		}
	}
}
