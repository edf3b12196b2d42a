package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/plume-run/plume/internal/quant"
)

var weightTypes = []quant.Type{quant.F32, quant.F16, quant.BF16, quant.Q4_0, quant.Q4_1, quant.Q5_0, quant.Q5_1, quant.Q8_0,
	quant.Q2_K, quant.Q3_K, quant.Q4_K, quant.Q5_K, quant.Q6_K, quant.IQ4_NL, quant.IQ4_XS, quant.Q2_0}

// scaleAt says where a type's blocks hold f16 factors, which random bytes would make huge or NaN.
var scaleAt = map[quant.Type][]int{quant.Q4_0: {0}, quant.Q4_1: {0, 2}, quant.Q5_0: {0}, quant.Q5_1: {0, 2}, quant.Q8_0: {0}, quant.Q2_K: {80, 82},
	quant.Q3_K: {108}, quant.Q4_K: {0, 2}, quant.Q5_K: {0, 2}, quant.Q6_K: {208}, quant.IQ4_NL: {0}, quant.IQ4_XS: {0}, quant.Q2_0: {0}}

// edgeFactors are 0, -0, the ends of the subnormal and of the normal numbers: f16 bits.
var edgeFactors = []uint16{0, 0x8000, 0x0001, 0x83ff, 0x0400, 0x7bff, 0xfbff}

// edgeWeights is weights with such factors, one in four of them sane; float types get finite extremes.
func edgeWeights(r *rand.Rand, t quant.Type, rows, cols, fill int) []byte {
	b := weights(r, t, rows, cols, fill)
	if t.BlockLen() == 1 {
		most := float32(3e38)
		if t == quant.F16 {
			most = 65504
		}
		if err := quant.Encode(t, b, finiteEdges(r, rows*cols, most)); err != nil {
			panic(err)
		}
	}
	for o := 0; o < len(b); o += t.BlockBytes() {
		for _, at := range scaleAt[t] {
			if r.IntN(4) > 0 {
				f := edgeFactors[r.IntN(len(edgeFactors))]
				if t == quant.Q5_0 && f&0x7fff == 0x7bff {
					f = f&0x8000 | 0x6bff // of more, LayoutFor says, 16 times is infinite
				}
				le.PutUint16(b[o+at:], f)
			}
		}
	}
	return b
}

// finiteEdges are values of at most most, extremes among them.
func finiteEdges(r *rand.Rand, n int, most float32) []float32 {
	x := values(r, n, true)
	for i, v := range x {
		if v != v {
			v = most
		}
		x[i] = max(-most, min(v, most))
	}
	return x
}

// weights makes rows of random bytes with sane factors; fill 0x00 or 0xff gives the extremes, -1 random.
func weights(r *rand.Rand, t quant.Type, rows, cols, fill int) []byte {
	n, err := t.Bytes(int64(rows * cols))
	if err != nil {
		panic(err)
	}
	b := make([]byte, n)
	if t.BlockLen() == 1 {
		if err := quant.Encode(t, b, values(r, rows*cols, false)); err != nil {
			panic(err)
		}
		return b
	}
	for i := range b {
		b[i] = byte(r.Uint32())
		if fill >= 0 {
			b[i] = byte(fill)
		}
	}
	for o := 0; o < len(b); o += t.BlockBytes() {
		for _, at := range scaleAt[t] {
			le.PutUint16(b[o+at:], quant.F32ToF16(float32(r.NormFloat64()*0.02)))
		}
	}
	return b
}

func packed(t testing.TB, typ quant.Type, src []byte, rows, cols int) *Matrix {
	t.Helper()
	l, ok := LayoutFor(typ)
	if !ok {
		t.Fatalf("no layout for %v", typ)
	}
	m := &Matrix{Layout: l, Rows: rows, Cols: cols, Data: make([]byte, PackedBytes(typ, rows, cols))}
	if err := PackRows(typ, m.Data, src, rows, cols); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestPackExact: what a packed row decodes to is what package quant decodes, bit for bit.
func TestPackExact(t *testing.T) {
	for _, typ := range weightTypes {
		t.Run(typ.String(), func(t *testing.T) {
			for _, rows := range []int{1, 7, 16, 35} {
				cols := 512
				if n := typ.BlockLen(); n == 1 {
					cols = 500 + rows
				} else if n < 256 {
					cols = 3*n + n*(rows%3)
				}
				testPackExact(t, typ, weights, rows, cols)
				testPackExact(t, typ, edgeWeights, rows, cols)
			}
		})
	}
}

func testPackExact(t *testing.T, typ quant.Type, fill func(*rand.Rand, quant.Type, int, int, int) []byte, rows, cols int) {
	r := rand.New(rand.NewPCG(uint64(rows), uint64(typ)))
	src := fill(r, typ, rows, cols, -1)
	m := packed(t, typ, src, rows, cols)
	want := make([]float32, rows*cols)
	if err := quant.Decode(typ, want, src); err != nil {
		t.Fatal(err)
	}
	got := make([]float32, cols)
	for row := 0; row < rows; row++ {
		exact := want[row*cols:][:cols]
		for i, v := range exact {
			if typ == quant.Q5_0 {
				exact[i] = v + 0 // a difference of equals is never -0
			}
		}
		DecodeRow(got, m, row)
		checkSame(t, fmt.Sprintf("row %d of [%d, %d]", row, rows, cols), got, exact)
	}
	// Piece by piece gives the same panels.
	if rows > PanelRows {
		half := make([]byte, len(m.Data))
		cut := PackedBytes(typ, PanelRows, cols)
		bytes := len(src) / rows * PanelRows
		if err := PackRows(typ, half[:cut], src[:bytes], PanelRows, cols); err != nil {
			t.Fatal(err)
		}
		if err := PackRows(typ, half[cut:], src[bytes:], rows-PanelRows, cols); err != nil {
			t.Fatal(err)
		}
		if string(half) != string(m.Data) {
			t.Error("packing in two pieces differs")
		}
	}
}

func TestPackRefuses(t *testing.T) {
	src := make([]byte, 8*18*4)
	dst := make([]byte, PackedBytes(quant.Q4_0, 8, 128))
	for name, err := range map[string]error{
		"type":       PackRows(quant.I32, dst, src, 8, 128),
		"cols":       PackRows(quant.Q4_0, dst, src, 8, 100),
		"short":      PackRows(quant.Q4_0, dst, src[1:], 8, 128),
		"rows":       PackRows(quant.Q4_0, dst, src, 9, 128),
		"small room": PackRows(quant.Q4_0, dst[1:], src, 8, 128),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// activations fills every token; some blocks are zero, some extreme.
func activations(r *rand.Rand, l Layout, tokens, cols int) *Acts {
	a := new(Acts)
	a.Reset(l, tokens, cols)
	for t := 0; t < tokens; t++ {
		x := values(r, cols, false)
		for i := range x {
			switch (i/32 + t) % 5 {
			case 0:
				x[i] = 1 - 2*float32(r.IntN(2)) // all ±127
			case 1:
				if t%2 == 0 {
					x[i] = 0
				}
			case 2:
				x[i] = 1
			}
		}
		a.Set(t, x)
	}
	return a
}

// edgeActivations are rows whose sums are as large as any, whose factors are the least and the
// largest there are, and mixtures.
func edgeActivations(r *rand.Rand, l Layout, tokens, cols int) *Acts {
	a := new(Acts)
	a.Reset(l, tokens, cols)
	for t := range tokens {
		x := finiteEdges(r, cols, math.MaxFloat32)
		for i := range x {
			switch t % 7 {
			case 0:
				x[i] = 1
			case 1:
				x[i] = -1
			case 2:
				x[i] = math.MaxFloat32 * float32(1-2*(i%2))
			case 3:
				x[i] = 1e-45
			case 4:
				x[i] = float32(r.NormFloat64()) * 1e-40
			case 5:
				x[i] = float32(math.Copysign(0, -1))
			}
		}
		a.Set(t, x)
	}
	return a
}

// TestMatMulVariants: every level and every way to cut the work gives the generic bits.
func TestMatMulVariants(t *testing.T) {
	eachVariant(t, func(t *testing.T, level string) {
		for _, typ := range weightTypes {
			t.Run(typ.String(), func(t *testing.T) {
				for _, cols := range testCols(typ) {
					for i, fill := range []int{-1, 0, 0xff, 0x80} {
						for k, rows := range []int{3, 16, 27, 53} {
							c := matCase{typ: typ, rows: rows, cols: cols, tokens: 13, fill: fill}
							if testing.Short() && (i+k)%2 == 1 {
								c.tokens = 5
							}
							c.test(t, level)
							c.edge = true
							c.test(t, level)
						}
					}
				}
			})
		}
	})
}

// testCols is one block, some, and for floats, which are filled up to 16 columns, ends of every kind.
func testCols(t quant.Type) []int {
	switch t.BlockLen() {
	case 1:
		return []int{1, 16, 31, 169}
	case 32, 64:
		return []int{t.BlockLen(), 5 * t.BlockLen()}
	}
	return []int{256, 512}
}

// matCase is a product with some rows, columns and tokens.
type matCase struct {
	typ                      quant.Type
	rows, cols, tokens, fill int
	edge                     bool // factors and activations are extremes
}

func (c matCase) String() string {
	return fmt.Sprintf("%v [%d, %d], fill %d, edges %v", c.typ, c.rows, c.cols, c.fill, c.edge)
}

func (c matCase) make(t *testing.T) (*Matrix, *Acts) {
	r := rand.New(rand.NewPCG(uint64(c.rows), uint64(c.cols+c.fill)))
	src, acts := weights, activations
	if c.edge {
		src, acts = edgeWeights, edgeActivations
	}
	m := packed(t, c.typ, src(r, c.typ, c.rows, c.cols, c.fill), c.rows, c.cols)
	return m, acts(r, m.Layout, c.tokens, c.cols)
}

func (c matCase) test(t *testing.T, level string) {
	rows, tokens := c.rows, c.tokens
	var m *Matrix
	var a *Acts
	want := make([]float32, tokens*rows)
	atLevel(t, levelGeneric, func() {
		m, a = c.make(t)
		MatMul(want, rows, m, 0, Panels(rows), a, 0, tokens)
	})
	atLevel(t, level, func() {
		for n := 1; n <= tokens; n++ {
			stride := rows + 3
			y, check := guarded(t, n*stride, 1)
			MatMul(y[:(n-1)*stride+rows], stride, m, 0, Panels(rows), a, 0, n)
			check()
			for i := 0; i < n; i++ {
				checkSame(t, fmt.Sprintf("%v: token %d of %d", c, i, n), y[i*stride:][:rows], want[i*rows:][:rows])
				checkCanary(t, y[i*stride+rows:][:3])
			}
		}
		y := make([]float32, tokens*rows)
		for p := 0; p < Panels(rows); p++ {
			for tok := 0; tok < tokens; tok += 2 {
				MatMul(y[tok*rows:], rows, m, p, p+1, a, tok, min(tok+2, tokens))
			}
		}
		checkSame(t, c.String()+": cut in pieces", y, want)
	})
}

// TestMatMulTruth holds the specification itself to decoded weights times the rounded
// activations in float64, with an error bound of c·eps·Σ|w·x|.
func TestMatMulTruth(t *testing.T) {
	const rows, cols, tokens = 11, 512, 3
	for _, typ := range weightTypes {
		r := rand.New(rand.NewPCG(3, uint64(typ)))
		m := packed(t, typ, weights(r, typ, rows, cols, -1), rows, cols)
		a := activations(r, m.Layout, tokens, cols)
		y := make([]float32, rows*tokens)
		MatMul(y, rows, m, 0, Panels(rows), a, 0, tokens)
		w, x := make([]float32, cols), make([]float32, cols)
		for row := 0; row < rows; row++ {
			DecodeRow(w, m, row)
			for tok := 0; tok < tokens; tok++ {
				a.row(tok, x)
				var sum, size float64
				for i := range w {
					sum += float64(w[i]) * float64(x[i])
					size += math.Abs(float64(w[i]) * float64(x[i]))
				}
				// Formats with a minimum subtract d·s·Σqx and m·Σx, each larger than the difference.
				if diff := math.Abs(sum - float64(y[tok*rows+row])); diff > 200*0x1p-24*size+1e-30 {
					t.Errorf("%v row %d token %d: %v, want %v (error %.2g of Σ|wx| %v)", typ, row, tok, y[tok*rows+row], sum, diff/size, size)
				}
			}
		}
	}
}

// row is what the activations of a token stand for.
func (a *Acts) row(tok int, x []float32) {
	if a.float {
		copy(x, a.f[tok*a.stride:])
		return
	}
	for i := range x {
		b := a.q[tok*a.stride+i/32*actBlock:]
		x[i] = math.Float32frombits(le.Uint32(b[32:])) * float32(int8(b[i%32]))
	}
}

func TestQuantizeVariants(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	eachVariant(t, func(t *testing.T, level string) {
		for round := 0; round < 200; round++ {
			x := values(r, 96, false)
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
			want, got := make([]byte, 3*actBlock), make([]byte, 3*actBlock)
			quantizeGeneric(want, x)
			row, row2 := make([]int8, 96), make([]int8, 96)
			var s, s2 float32
			atLevel(t, levelGeneric, func() { s = QuantizeRow(row, x) })
			atLevel(t, level, func() { quantizeSIMD(got, x); s2 = QuantizeRow(row2, x) })
			if string(got) != string(want) {
				t.Fatalf("round %d: blocks differ\n%v\n%v", round, got, want)
			}
			if s != s2 || fmt.Sprint(row) != fmt.Sprint(row2) {
				t.Fatalf("round %d: rows differ", round)
			}
		}
	})
}

// TestQuantizeKeepsNonFinite: a NaN or an infinity must reach the result.
func TestQuantizeKeepsNonFinite(t *testing.T) {
	for _, level := range Levels() {
		atLevel(t, level, func() {
			for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
				for at := 0; at < 32; at += 5 {
					r := rand.New(rand.NewPCG(1, 1))
					x := values(r, 64, false)
					x[at] = bad
					m := packed(t, quant.Q4_0, weights(r, quant.Q4_0, 8, 64, -1), 8, 64)
					a := new(Acts)
					a.Reset(m.Layout, 1, 64)
					a.Set(0, x)
					y := make([]float32, 8)
					MatMul(y, 8, m, 0, 1, a, 0, 1)
					for i, v := range y {
						if v-v == 0 {
							t.Errorf("%s: %v at %d gives y[%d] = %v", level, bad, at, i, v)
						}
					}
				}
			}
		})
	}
}
