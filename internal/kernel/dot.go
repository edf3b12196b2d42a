package kernel

import (
	"fmt"
	"unsafe"
)

// Kind is the element type of the rows that Dots and Mix read.
type Kind uint8

// The row kinds. I8 rows are int8 values without their scale, for [DotInts] and [MixInts] alone:
// the caller multiplies or premultiplies by the row's scale.
const (
	F32 Kind = iota
	F16
	BF16
	I8
)

// Size is the bytes of one element.
func (k Kind) Size() int { return [...]int{4, 2, 2, 1}[k] }

// String is the name of the kind: f32, f16, bf16 or i8.
func (k Kind) String() string { return [...]string{"f32", "f16", "bf16", "i8"}[k] }

// Rows is a view of N rows of Cols elements each, row r at Data[r*Stride:] (Stride in
// bytes). Cols must be a multiple of 8. Elements are little-endian; no alignment is needed.
type Rows struct {
	Kind    Kind
	Data    []byte
	N, Cols int
	Stride  int

	// Next is what will be read after the rows, at most about as many bytes: Dots and Mix
	// ask for it while they compute, a little at a time. nil asks for nothing.
	Next []byte
}

// Vecs is a view of N float vectors, vector t at Data[t*Stride:] (Stride in elements).
type Vecs struct {
	Data      []float32
	N, Stride int
}

// Dot is Σ a[i]·b[i] with 16 partial sums: lane i%16 takes fma(b[i], a[i], lane) in order
// of i, then lanes are added l+8, l+4, l+2, l+1.
//
//go:noinline
func Dot(a, b []float32) float32 {
	b = b[:len(a)]
	n := len(a) &^ 7
	var y [1]float32
	var lanes [16]float32
	if n == len(a) && n > 0 {
		args := dotArgs{
			w: unsafe.Pointer(&a[0]), x: unsafe.Pointer(&b[0]), y: unsafe.Pointer(&y[0]),
			cstep: 64, groups: 1, chunks: n / 16, tail: n / 8 % 2,
		}
		if dotTileSIMD(F32, 1, 1, &args) {
			return y[0]
		}
	}
	for i := range a {
		lanes[i%16] = fma32(b[i], a[i], lanes[i%16])
	}
	return sum16(&lanes)
}

// sum16 adds sixteen lanes in the order l+8, l+4, l+2, l+1.
func sum16(l *[16]float32) float32 {
	var h [8]float32
	for i := range h {
		h[i] = l[i] + l[i+8]
	}
	return sum8(&h)
}

// blockBytes is of the rows that all vectors pass before the next rows are read: a quarter of the
// smallest second-level cache that is common (256 KiB), which holds the vectors, the results and
// what is asked for ahead as well.
const blockBytes = 64 << 10

// Dots does y[r*rowStep+t*vecStep] = w_r · x_t for all rows of w and vectors of x, each with
// the order of summation of Dot, so a result depends on its row and vector alone.
// y must not overlap x. It panics when the views do not fit their slices.
func Dots(y []float32, rowStep, vecStep int, w Rows, x Vecs) {
	w.check()
	x.check(w.Cols)
	if w.N == 0 || x.N == 0 {
		return
	}
	_ = y[(w.N-1)*rowStep+(x.N-1)*vecStep]
	// Rows in blocks that stay cached while the vectors pass, and at most about 1M multiply-adds
	// (20–50 µs) a call.
	block := max(2, blockBytes/(w.Cols*w.Kind.Size())&^1)
	block = max(2, min(block, 1<<20/(w.Cols*x.N)&^1))
	for r := 0; r < w.N; r += block {
		part := w
		part.N = min(block, w.N-r)
		part.Data, part.Next = w.Data[r*w.Stride:], w.next(r, part.N)
		dotsBlock(y[r*rowStep:], rowStep, vecStep, part, x)
	}
}

func (w *Rows) check() {
	if w.Cols%8 != 0 || w.Cols <= 0 || w.N > 0 && (w.N-1)*w.Stride+w.Cols*w.Kind.Size() > len(w.Data) {
		panic(fmt.Sprintf("kernel: internal error: %d rows of %d %v at stride %d in %d bytes", w.N, w.Cols, w.Kind, w.Stride, len(w.Data)))
	}
}

// next is the share of w.Next that n rows from r on ask for.
func (w *Rows) next(r, n int) []byte {
	return w.Next[len(w.Next)*r/w.N : len(w.Next)*(r+n)/w.N]
}

// ahead says where from w.Data a pass asks for memory first and how far apart after that, when it
// begins after done of the all products with 16 columns of a row and does step of them each time.
func (w *Rows) ahead(done, step, all int) (first, next int) {
	if len(w.Next) == 0 {
		return 0, 0
	}
	n := len(w.Next)
	first = int(uintptr(unsafe.Pointer(&w.Next[0]))) - int(uintptr(unsafe.Pointer(&w.Data[0])))
	return first + n*done/all, n * step / all
}

func (x *Vecs) check(cols int) {
	if x.N > 0 && (x.N-1)*x.Stride+cols > len(x.Data) {
		panic(fmt.Sprintf("kernel: internal error: %d vectors of %d at stride %d in %d floats", x.N, cols, x.Stride, len(x.Data)))
	}
}

//go:noinline
func dotsBlock(y []float32, rowStep, vecStep int, w Rows, x Vecs) {
	if raceEnabled {
		for r := range w.N {
			raceRead(w.Data[r*w.Stride:][:w.Cols*w.Kind.Size()])
			for t := range x.N {
				raceWrite(y[r*rowStep+t*vecStep:][:1])
			}
		}
		for t := range x.N {
			raceRead(x.Data[t*x.Stride:][:w.Cols])
		}
	}
	a := dotArgs{
		rstep: w.Stride, cstep: 16 * w.Kind.Size(), xstep: 4 * x.Stride,
		yrow: 4 * rowStep, yvec: 4 * vecStep,
		chunks: w.Cols / 16, tail: w.Cols / 8 % 2,
	}
	for t, nt := 0, 0; t < x.N; t += nt {
		a.x = unsafe.Pointer(&x.Data[t*x.Stride])
		for r := 0; r < w.N; {
			var tile int
			tile, nt = dotShape(w.N-r, x.N-t)
			groups := (w.N - r) / tile
			a.w = unsafe.Pointer(&w.Data[r*w.Stride])
			a.y = unsafe.Pointer(&y[r*rowStep+t*vecStep])
			a.gstep, a.groups = tile*w.Stride, groups
			chunks := max(1, a.chunks)
			a.ahead, a.astep = w.ahead((t*w.N+r*nt)*chunks, tile*nt, x.N*w.N*chunks)
			a.ahead -= r * w.Stride
			if !dotTileSIMD(w.Kind, tile, nt, &a) {
				dotsGeneric(y, rowStep, vecStep, w, x)
				return
			}
			r += tile * groups
		}
	}
}

// Mix does y_t[c] = fma(p_t[i], v_i[c], y_t[c]) for i = 0, 1, … v.N-1 in this order, for the
// first v.Cols elements of every vector of y; p_t has v.N weights. The order makes the
// result independent of how the rows are cut into calls. fresh sums start at zero, whatever y holds.
// y must not overlap p.
func Mix(y, p Vecs, v Rows, fresh bool) {
	v.check()
	y.check(v.Cols)
	p.N = y.N
	p.check(v.N)
	if y.N == 0 || v.N == 0 && !fresh {
		return
	}
	if v.N == 0 {
		clearVecs(y, v.Cols)
		return
	}
	// Rows in blocks that stay cached while column strips and vectors pass, large enough for a strip's
	// sums to be fetched and stored seldom.
	block := max(1, min(blockBytes/(v.Cols*v.Kind.Size()), 1<<20/(v.Cols*y.N)))
	for r := 0; r < v.N; r += block {
		part := v
		part.N = min(block, v.N-r)
		part.Data, part.Next = v.Data[r*v.Stride:], v.next(r, part.N)
		mixBlock(y, Vecs{Data: p.Data[r:], N: p.N, Stride: p.Stride}, part, fresh && r == 0)
	}
}

// clearVecs sets the first cols elements of every vector to zero.
func clearVecs(y Vecs, cols int) {
	for t := range y.N {
		clear(y.Data[t*y.Stride:][:cols])
	}
}

//go:noinline
func mixBlock(y, p Vecs, v Rows, fresh bool) {
	if raceEnabled {
		for r := range v.N {
			raceRead(v.Data[r*v.Stride:][:v.Cols*v.Kind.Size()])
		}
		for t := range y.N {
			raceRead(p.Data[t*p.Stride:][:v.N])
			raceWrite(y.Data[t*y.Stride:][:v.Cols])
		}
	}
	for t, nt := 0, 0; t < y.N; t += nt {
		nt = evenly(y.N-t, mixWidth())
		a := mixArgs{
			v: unsafe.Pointer(&v.Data[0]), p: unsafe.Pointer(&p.Data[t*p.Stride]), y: unsafe.Pointer(&y.Data[t*y.Stride]),
			vstep: v.Stride, pstep: 4 * p.Stride, ystep: 4 * y.Stride,
			n: v.N, chunks: v.Cols / 16, tail: v.Cols / 8 % 2,
		}
		if fresh {
			a.fresh = 1
		}
		chunks := max(1, a.chunks)
		a.ahead, a.astep = v.ahead(t*v.N*chunks, nt, y.N*v.N*chunks)
		if !mixTileSIMD(v.Kind, nt, &a) {
			if fresh {
				clearVecs(y, v.Cols)
			}
			mixGeneric(y, p, v)
			return
		}
	}
}

// evenly is the first of the fewest parts, each at most most, that n is cut into without leaving a small one.
func evenly(n, most int) int {
	parts := (n + most - 1) / most
	return (n + parts - 1) / parts
}

// dotArgs is what a dot tile reads (and uses up: groups and chunks count down). Steps are bytes.
type dotArgs struct {
	w, x, y unsafe.Pointer
	rstep   int // to the next row of the tile
	cstep   int // to the next 16 columns of a row
	gstep   int // to the next tile of rows
	xstep   int // to the next vector
	yrow    int
	yvec    int
	groups  int // tiles of rows, at least 1
	chunks  int // columns / 16
	tail    int // 1: 8 columns more
	ahead   int // from w to what is prefetched first
	astep   int // to what is prefetched next: after 16 columns of the tile
}

// mixArgs is what a mix tile reads (and uses up). Steps are bytes.
type mixArgs struct {
	v, p, y unsafe.Pointer
	vstep   int
	pstep   int
	ystep   int
	n       int // rows, at least 1
	chunks  int // columns / 16
	tail    int // 1: 8 columns more
	ahead   int // from v to what is prefetched first
	astep   int // to what is prefetched next: after 16 columns of a row
	fresh   int // 1: the sums start at zero
}
