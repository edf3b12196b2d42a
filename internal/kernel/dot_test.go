package kernel

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/plume-run/plume/internal/quant"
)

// rowsOf stores n rows of cols random values at a stride with a gap, off bytes into a buffer.
func rowsOf(r *rand.Rand, k Kind, n, cols, off int) Rows {
	x := make([]float32, n*cols)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return rowsFrom(r, k, x, n, cols, off)
}

// rowsFrom is rowsOf for given values, which I8 rows have at random.
func rowsFrom(r *rand.Rand, k Kind, x []float32, n, cols, off int) Rows {
	stride := cols*k.Size() + 6*k.Size()
	data := make([]byte, off+n*stride)[off:]
	for i := 0; i < n; i++ {
		for c := 0; c < cols; c++ {
			p := data[i*stride+c*k.Size():]
			v := x[i*cols+c]
			switch k {
			case F32:
				binary.LittleEndian.PutUint32(p, math.Float32bits(v))
			case F16:
				binary.LittleEndian.PutUint16(p, quant.F32ToF16(v))
			case BF16:
				binary.LittleEndian.PutUint16(p, quant.F32ToBF16(v))
			case I8:
				p[0] = byte(r.IntN(256))
			}
		}
	}
	return Rows{Kind: k, Data: data, N: n, Cols: cols, Stride: stride, Next: data[:len(data)*(n%3)/2]}
}

func TestDotsVariants(t *testing.T) {
	eachVariant(t, func(t *testing.T, level string) {
		for _, k := range []Kind{F32, F16, BF16} {
			t.Run(k.String(), func(t *testing.T) {
				for _, cols := range []int{8, 16, 24, 64, 88, 256, 512} {
					for rows := 1; rows <= 9; rows++ {
						testDots(t, level, k, rows, 1+(rows+cols/8)%8, cols, false)
						testDots(t, level, k, rows, 1+(rows+cols/8)%8, cols, true)
					}
				}
				testDots(t, level, k, 133, 1, 64, false)
			})
		}
	})
}

func testDots(t *testing.T, level string, k Kind, rows, vecs, cols int, wild bool) {
	r := rand.New(rand.NewPCG(uint64(rows), uint64(cols)))
	w := rowsFrom(r, k, values(r, rows*cols, wild), rows, cols, rows%3)
	x := Vecs{Data: values(r, vecs*(cols+3), wild && rows%2 == 1), N: vecs, Stride: cols + 3}
	rowStep, vecStep := 1, rows+2
	if rows%2 == 0 {
		rowStep, vecStep = vecs+1, 1
	}
	size := (rows-1)*rowStep + (vecs-1)*vecStep + 1
	want := make([]float32, size)
	atLevel(t, levelGeneric, func() { Dots(want, rowStep, vecStep, w, x) })
	got, check := guarded(t, size, 3)
	clear(got)
	atLevel(t, level, func() { Dots(got, rowStep, vecStep, w, x) })
	check()
	checkSame(t, fmt.Sprintf("%d rows %d vecs %d cols, extremes %v", rows, vecs, cols, wild), got, want)
}

func TestMixVariants(t *testing.T) {
	eachVariant(t, func(t *testing.T, level string) {
		for _, k := range []Kind{F32, F16, BF16} {
			t.Run(k.String(), func(t *testing.T) {
				for _, cols := range []int{8, 16, 24, 64, 72, 120, 256, 512} {
					for vecs := 1; vecs <= 11; vecs++ {
						testMix(t, level, k, 1+vecs*cols%7, vecs, cols, false)
						testMix(t, level, k, 1+vecs*cols%7, vecs, cols, true)
					}
				}
				testMix(t, level, k, 150, 8, 64, false)
			})
		}
	})
}

func testMix(t *testing.T, level string, k Kind, rows, vecs, cols int, wild bool) {
	r := rand.New(rand.NewPCG(uint64(vecs), uint64(cols)))
	v := rowsFrom(r, k, values(r, rows*cols, wild), rows, cols, vecs%3)
	p := Vecs{Data: values(r, vecs*(rows+1), wild && vecs%2 == 1), N: vecs, Stride: rows + 1}
	start, fresh := values(r, vecs*(cols+5), wild), (rows+vecs)%2 == 0
	want := Vecs{Data: append([]float32(nil), start...), N: vecs, Stride: cols + 5}
	atLevel(t, levelGeneric, func() { Mix(want, p, v, fresh) })
	buf, check := guarded(t, len(start), 1)
	copy(buf, start)
	atLevel(t, level, func() { Mix(Vecs{Data: buf, N: vecs, Stride: cols + 5}, p, v, fresh) })
	check()
	checkSame(t, fmt.Sprintf("%d rows %d vecs %d cols, extremes %v, fresh %v", rows, vecs, cols, wild, fresh), buf, want.Data)
	// Cut in two calls: the same bits.
	if rows > 1 {
		cut := Vecs{Data: append([]float32(nil), start...), N: vecs, Stride: cols + 5}
		h := rows / 2
		a, b := v, v
		a.N, b.N, b.Data = h, rows-h, v.Data[h*v.Stride:]
		atLevel(t, level, func() {
			Mix(cut, p, a, fresh)
			Mix(cut, Vecs{Data: p.Data[h:], N: vecs, Stride: p.Stride}, b, false)
		})
		checkSame(t, "cut", cut.Data, want.Data)
	}
}

func TestDotsRefusesBadViews(t *testing.T) {
	for _, w := range []Rows{
		{Kind: F32, Data: make([]byte, 100), N: 4, Cols: 8, Stride: 32},
		{Kind: F16, Data: make([]byte, 100), N: 1, Cols: 12, Stride: 32},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("no panic for %d rows of %d %v", w.N, w.Cols, w.Kind)
				}
			}()
			Dots(make([]float32, 8), 1, 1, w, Vecs{Data: make([]float32, 16), N: 1, Stride: 16})
		}()
	}
}
