package kernel

import (
	"hash/crc32"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/plume-run/plume/internal/quant"
)

// TestSameEverywhere pins the bits of results, so that amd64, arm64 and plain Go (and every
// later version of this package) give one answer. A new number here means that every model's
// output has changed.
func TestSameEverywhere(t *testing.T) {
	const want = 0x56250d6d
	r := rand.New(rand.NewPCG(11, 13))
	uniform := func(n int) []float32 { // without the libraries' normal distribution
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(int32(r.Uint32())) * 0x1p-30
		}
		return x
	}
	sum := crc32.NewIEEE()
	add := func(x []float32) {
		for _, v := range x {
			bits := math.Float32bits(v)
			sum.Write([]byte{byte(bits), byte(bits >> 8), byte(bits >> 16), byte(bits >> 24)})
		}
	}
	const rows, cols, tokens = 24, 512, 3
	for _, typ := range weightTypes {
		if typ == quant.Q2_0 {
			continue // kept as Q4_0, and later than the number
		}
		n, _ := typ.Bytes(rows * cols)
		src := make([]byte, n)
		for i := range src {
			src[i] = byte(r.Uint32())
		}
		if typ.BlockLen() == 1 {
			if err := quant.Encode(typ, src, uniform(rows*cols)); err != nil {
				t.Fatal(err)
			}
		}
		for o := 0; o < len(src) && typ.BlockLen() > 1; o += typ.BlockBytes() {
			for _, at := range scaleAt[typ] {
				le.PutUint16(src[o+at:], uint16(0x1c00+r.IntN(0x400))) // 2^-8 … 2^-7
			}
		}
		m := packed(t, typ, src, rows, cols)
		var a Acts
		a.Reset(m.Layout, tokens, cols)
		for tok := range tokens {
			a.Set(tok, uniform(cols))
		}
		y := make([]float32, rows*tokens)
		MatMul(y, rows, m, 0, Panels(rows), &a, 0, tokens)
		add(y)
	}
	x, u := uniform(512), uniform(512)
	GeGLU(x, u)
	add(x)
	add([]float32{ExpSum(u, 1), Dot(x, u)})
	SoftCap(x, 3)
	RMSNorm(x, x, u, 1e-6)
	Rope(x[:256], x[256:], u[:256], u[256:])
	add(x)
	if got := sum.Sum32(); got != want {
		t.Errorf("checksum %#08x, want %#08x", got, want)
	}
}
