package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

// atLevel runs f with a forced level and restores the level after it.
func atLevel(t testing.TB, level string, f func()) {
	t.Helper()
	old := Level()
	defer func() {
		if err := SetLevel(old); err != nil {
			t.Fatal(err)
		}
	}()
	if err := SetLevel(level); err != nil {
		t.Fatal(err)
	}
	f()
}

// eachVariant runs f as a subtest at every level above generic.
func eachVariant(t *testing.T, f func(t *testing.T, level string)) {
	for _, level := range Levels() {
		if level != levelGeneric {
			t.Run(level, func(t *testing.T) { f(t, level) })
		}
	}
}

func sameBits(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

func checkSame(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range want {
		if !sameBits(got[i], want[i]) {
			t.Fatalf("%s: [%d] = %v (%#x), generic gives %v (%#x)", what, i, got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
		}
	}
}

// values fills a slice with normal values, and with extremes where wild.
func values(r *rand.Rand, n int, wild bool) []float32 {
	edge := []float32{0, float32(math.Copysign(0, -1)), 1e-45, -1e-45, 1e-38, 3e-39, 6e-8, -3e-6, 1, -1, 88, -88, 87.3, -87.3, -87.4, 1e4, -1e4, 1e30, -1e30, math.MaxFloat32,
		float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN())}
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64() * 3)
		if wild && r.IntN(3) == 0 {
			x[i] = edge[r.IntN(len(edge))]
		}
	}
	return x
}

// canary is the bits of floats that nothing may write to.
const canary = 0x7fa5a5a5

// checkCanary holds a gap between results to what guarded has put there.
func checkCanary(t *testing.T, gap []float32) {
	t.Helper()
	for _, v := range gap {
		if math.Float32bits(v) != canary {
			t.Fatal("wrote between the results")
		}
	}
}

// guarded returns a slice of n floats that starts off bytes away from an aligned address
// and a function that checks that nothing around it was written.
func guarded(t *testing.T, n, off int) ([]float32, func()) {
	buf := make([]float32, n+off+16)
	for i := range buf {
		buf[i] = math.Float32frombits(canary)
	}
	return buf[off : off+n : off+n], func() {
		t.Helper()
		for i, v := range buf {
			if (i < off || i >= off+n) && math.Float32bits(v) != canary {
				t.Fatalf("wrote outside the slice at %d (slice is %d..%d)", i, off, off+n)
			}
		}
	}
}

func TestFMA32(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	// Cases where rounding twice is wrong: the exact sum lies just beside a midpoint.
	for _, c := range []struct{ a, b, c, want float32 }{
		{1, 1 + 0x1p-23, 0x1p-24 + 0x1p-47, 1 + 0x1p-22},
		{1 + 0x1p-12, 1 + 0x1p-12, 0x1p-60, 1 + 0x1p-11 + 0x1p-23},
		{1 + 0x1p-12, 1 + 0x1p-12, -0x1p-60, 1 + 0x1p-11},
		{0x1p-75, 0x1p-75, 0, 0},
		{0x1p-75, 0x1.8p-75, 0x1p-149, 0x1p-148},
	} {
		if got := fma32(c.a, c.b, c.c); got != c.want {
			t.Errorf("fma32(%x, %x, %x) = %x, want %x", c.a, c.b, c.c, got, c.want)
		}
	}
	if Level() == levelGeneric {
		return
	}
	// Against the instruction, through Axpy.
	n := 1 << 14
	a := make([]float32, n)
	dst := make([]float32, n)
	for i := range a {
		a[i] = math.Float32frombits(r.Uint32())
		dst[i] = math.Float32frombits(r.Uint32())
		if i%2 == 0 { // exponents close together, so that rounding matters
			a[i] = math.Float32frombits(r.Uint32()&0x80ffffff | 0x3f000000)
			dst[i] = math.Float32frombits(r.Uint32()&0x8fffffff | 0x30000000)
		}
	}
	for _, s := range []float32{1.2345678, 1 + 0x1p-12, -0x1.fffffep-1, 1e-30, 3e-39} {
		got := append([]float32(nil), dst...)
		want := append([]float32(nil), dst...)
		Axpy(got, a, s)
		axpyGeneric(want, a, s)
		checkSame(t, "axpy", got, want)
	}
}

// vecOps are the element-wise operations: f works on dst and up to three operands.
var vecOps = []struct {
	name string
	f    func(dst, a, b, c []float32) float32
}{
	{"Add", func(d, a, _, _ []float32) float32 { Add(d, a); return 0 }},
	{"Mul", func(d, a, _, _ []float32) float32 { Mul(d, a); return 0 }},
	{"Scale", func(d, _, _, _ []float32) float32 { Scale(d, 1.7); return 0 }},
	{"Axpy", func(d, a, _, _ []float32) float32 { Axpy(d, a, -0.3); return 0 }},
	{"ScaleMul", func(d, a, b, _ []float32) float32 { ScaleMul(d, a, b, 0.7); return 0 }},
	{"ScaleMulNil", func(d, a, _, _ []float32) float32 { ScaleMul(d, a, nil, 0.7); return 0 }},
	{"RMSNorm", func(d, a, b, _ []float32) float32 { RMSNorm(d, a, b, 1e-6); return 0 }},
	{"GeGLU", func(d, a, _, _ []float32) float32 { GeGLU(d, a); return 0 }},
	{"SoftCap", func(d, _, _, _ []float32) float32 { SoftCap(d, 30); return 0 }},
	{"Rope", func(d, a, b, c []float32) float32 { Rope(d, a, b, c); return 0 }},
	{"ExpSum", func(d, _, _, _ []float32) float32 { return ExpSum(d, 2.5) }},
	{"Dot", func(d, a, _, _ []float32) float32 { return Dot(d, a) }},
	{"BF16", func(d, a, _, _ []float32) float32 { BF16ToF32(d, halves(a)); return 0 }},
	{"F16", func(d, a, _, _ []float32) float32 { F16ToF32(d, halves(a)); return 0 }},
	{"ToF16", func(d, a, _, _ []float32) float32 {
		h := make([]uint16, len(a))
		F32ToF16(h, a)
		for i := range h {
			if d[i] = float32(h[i]); a[i] != a[i] {
				d[i] = 0
			}
		}
		return 0
	}},
}

// halves takes the upper half of each float's bits.
func halves(a []float32) []uint16 {
	h := make([]uint16, len(a))
	for i := range h {
		h[i] = uint16(math.Float32bits(a[i]) >> 16)
	}
	return h
}

func TestVecVariants(t *testing.T) {
	eachVariant(t, func(t *testing.T, level string) {
		for _, op := range vecOps {
			t.Run(op.name, func(t *testing.T) {
				for n := 0; n <= 67; n++ {
					testVecOp(t, level, op.f, n, n%2 == 1)
				}
				testVecOp(t, level, op.f, 1536, false)
			})
		}
	})
}

func testVecOp(t *testing.T, level string, f func(d, a, b, c []float32) float32, n int, wild bool) {
	r := rand.New(rand.NewPCG(uint64(n), 7))
	d, a, b, c := values(r, n, wild), values(r, n, wild), values(r, n, wild), values(r, n, wild)
	want := append([]float32(nil), d...)
	var wantRet, gotRet float32
	a2 := append([]float32(nil), a...) // Rope writes to its second operand
	atLevel(t, levelGeneric, func() { wantRet = f(want, a2, b, c) })
	got, check := guarded(t, n, n%5)
	copy(got, d)
	atLevel(t, level, func() { gotRet = f(got, a, b, c) })
	check()
	checkSame(t, "dst", got, want)
	checkSame(t, "second operand", a, a2)
	checkSame(t, "result", []float32{gotRet}, []float32{wantRet})
}

// TestVecAccuracy holds the operations to math's results.
func TestVecAccuracy(t *testing.T) {
	var x, up []float32
	for v := -90.0; v < 60; v += 0.0371 {
		x, up = append(x, float32(v)), append(up, 1)
	}
	e := append([]float32(nil), x...)
	sum := ExpSum(e, 0)
	total := 0.0
	for i, v := range x {
		want := math.Exp(float64(v))
		if v < -87.3 {
			want = 0
		}
		total += want
		if diff := math.Abs(float64(e[i]) - want); diff > 3e-6*want {
			t.Fatalf("exp(%v) = %v, want %v", v, e[i], want)
		}
	}
	if math.Abs(float64(sum)-total) > 1e-5*total {
		t.Errorf("sum %v, want %v", sum, total)
	}
	g := append([]float32(nil), x...)
	GeGLU(g, up)
	c := append([]float32(nil), x...)
	SoftCap(c, 30)
	for i, v := range x {
		f := float64(v)
		gelu := f / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(f+0.044715*f*f*f)))
		if math.Abs(float64(g[i])-gelu) > 2e-6*max(1, math.Abs(f)) {
			t.Fatalf("gelu(%v) = %v, want %v", v, g[i], gelu)
		}
		if want := 30 * math.Tanh(f/30); math.Abs(float64(c[i])-want) > 3e-5 {
			t.Fatalf("softcap(%v) = %v, want %v", v, c[i], want)
		}
	}
	if m := Max(x); m != x[len(x)-1] {
		t.Errorf("Max = %v, want %v", m, x[len(x)-1])
	}
	if m := Max(nil); !math.IsInf(float64(m), -1) {
		t.Errorf("Max of nothing = %v", m)
	}
}
