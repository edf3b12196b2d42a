package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"
)

// intsOf draws n vectors of cols values up to most, at a stride with a gap.
func intsOf(r *rand.Rand, n, cols, most int) Ints {
	x := Ints{N: n, Stride: cols + 3, Data: make([]int16, n*(cols+3)), Scale: values(r, n, false)}
	for i := range x.Data {
		x.Data[i] = int16(r.IntN(2*most+1) - most)
	}
	return x
}

func TestDotIntsVariants(t *testing.T) {
	eachVariant(t, func(t *testing.T, level string) {
		for _, cols := range []int{8, 16, 24, 32, 40, 64, 88, 256, 512} {
			for rows := 1; rows <= 9; rows++ {
				vecs := 1 + (rows+cols/8)%9
				r := rand.New(rand.NewPCG(uint64(rows), uint64(cols)))
				w := rowsOf(r, I8, rows, cols, rows%3)
				x := intsOf(r, vecs, cols, MostInt(cols))
				if rows == 3 { // the largest sums there are
					for i := range w.Data {
						w.Data[i] = 127
					}
					for i := range x.Data {
						x.Data[i] = int16(MostInt(cols))
					}
				}
				step := rows + 2
				want := make([]float32, (vecs-1)*step+rows)
				atLevel(t, levelGeneric, func() { DotInts(want, step, w, x) })
				if rows == 3 && want[0]*x.Scale[0] < 0 {
					t.Fatal("the sum has wrapped around")
				}
				got, check := guarded(t, len(want), 3)
				clear(got)
				atLevel(t, level, func() { DotInts(got, step, w, x) })
				check()
				checkSame(t, fmt.Sprintf("%d rows %d vecs %d cols", rows, vecs, cols), got, want)
			}
		}
	})
}

func TestMixIntsVariants(t *testing.T) {
	eachVariant(t, func(t *testing.T, level string) {
		for _, cols := range []int{8, 16, 24, 32, 40, 64, 88, 256, 512} {
			for vecs := 1; vecs <= 9; vecs++ {
				for _, rows := range []int{1, 2, 3 + cols%5, 150} {
					testMixInts(t, level, rows, vecs, cols)
				}
			}
		}
	})
}

func testMixInts(t *testing.T, level string, rows, vecs, cols int) {
	r := rand.New(rand.NewPCG(uint64(vecs), uint64(cols)))
	v := rowsOf(r, I8, rows, cols, vecs%3)
	p := intsOf(r, vecs, rows, math.MaxInt16)
	if rows == 2 { // pairs of the largest products there are
		for i := range v.Data {
			v.Data[i] = 0x80
		}
		for i := range p.Data {
			p.Data[i] = math.MinInt16
		}
	}
	start := make([]int32, vecs*(cols+5))
	for i := range start {
		start[i] = int32(r.Uint32())
	}
	want := slices.Clone(start)
	atLevel(t, levelGeneric, func() { MixInts(want, cols+5, p, v) })
	const guard, margin = 0x5a5a5a5a, 16
	buf := slices.Repeat([]int32{guard}, margin+len(start)+margin)
	got := buf[margin:][:len(start):len(start)]
	copy(got, start)
	atLevel(t, level, func() { MixInts(got, cols+5, p, v) })
	if !slices.Equal(got, want) {
		t.Fatalf("%d rows %d vecs %d cols: differs from the generic version", rows, vecs, cols)
	}
	for _, v := range append(slices.Clone(buf[:margin]), buf[margin+len(start):]...) {
		if v != guard {
			t.Fatalf("%d rows %d vecs %d cols: wrote outside the sums", rows, vecs, cols)
		}
	}
	if rows > 2 { // in two calls, the first of an even number of rows
		h := rows / 2 &^ 1
		a, b := v, v
		a.N, b.N, b.Data = h, rows-h, v.Data[h*v.Stride:]
		cut := slices.Clone(start)
		atLevel(t, level, func() {
			MixInts(cut, cols+5, p, a)
			MixInts(cut, cols+5, Ints{Data: p.Data[h:], N: vecs, Stride: p.Stride}, b)
		})
		if !slices.Equal(cut, want) {
			t.Fatalf("%d rows %d vecs %d cols: differs when cut", rows, vecs, cols)
		}
	}
}

func TestQuantizeIntsVariants(t *testing.T) {
	eachVariant(t, func(t *testing.T, level string) {
		for round := range 200 {
			r := rand.New(rand.NewPCG(5, uint64(round)))
			x := values(r, 8+round%40, false)
			for i := range x {
				switch round % 4 {
				case 1:
					x[i] *= 1e-38
				case 2:
					x[i] = float32(int(x[i] * 8)) // many ties
				case 3:
					x[i] *= 1e36
				}
			}
			most := MostInt(512)
			want, got := make([]int16, len(x)), make([]int16, len(x))
			var s, s2 float32
			atLevel(t, levelGeneric, func() { s = QuantizeInts(want, x, most) })
			atLevel(t, level, func() { s2 = QuantizeInts(got, x, most) })
			if s != s2 || !slices.Equal(got, want) {
				t.Fatalf("round %d: differs from the generic version", round)
			}
			for i, v := range x {
				if d := math.Abs(float64(v) - float64(s)*float64(got[i])); d > float64(s)*0.51+1e-30 {
					t.Fatalf("round %d: %v became %v·%d", round, v, s, got[i])
				}
			}
			// In the memory of x itself.
			own := unsafe.Slice((*int16)(unsafe.Pointer(&x[0])), len(x))
			atLevel(t, level, func() { QuantizeInts(own, x, most) })
			if !slices.Equal(own, want) {
				t.Fatalf("round %d: differs in place", round)
			}
		}
	})
}

// TestQuantizeIntsKeepsNonFinite: a NaN or an infinity must reach the scale.
func TestQuantizeIntsKeepsNonFinite(t *testing.T) {
	for _, level := range Levels() {
		for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
			for at := range 19 {
				x := make([]float32, 19)
				x[at] = bad
				atLevel(t, level, func() {
					if s := QuantizeInts(make([]int16, len(x)), x, 100); s-s == 0 {
						t.Errorf("%s: %v at %d gives the scale %v", level, bad, at, s)
					}
				})
			}
		}
	}
}

func TestScaleIntsVariants(t *testing.T) {
	eachVariant(t, func(t *testing.T, level string) {
		for n := range 40 {
			src := make([]int32, n)
			for i := range src {
				src[i] = int32(rand.New(rand.NewPCG(uint64(n), uint64(i))).Uint32())
			}
			want := make([]float32, n)
			atLevel(t, levelGeneric, func() { ScaleInts(want, src, 1.7e-5) })
			got, check := guarded(t, n, 1)
			atLevel(t, level, func() { ScaleInts(got, src, 1.7e-5) })
			check()
			checkSame(t, fmt.Sprint(n), got, want)
		}
	})
}
