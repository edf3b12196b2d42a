package quant

import (
	"math"
	"testing"
)

// f16Value is the definition of binary16 in float64, exact for every finite h.
func f16Value(h uint16) float64 {
	exp, frac := int(h>>10&31), float64(h&0x3ff)
	v := math.Ldexp(1+frac/1024, exp-15)
	if exp == 0 {
		v = math.Ldexp(frac/1024, -14)
	}
	if h>>15 != 0 {
		v = -v
	}
	return v
}

func TestF16All(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		f := F16ToF32(h)
		var row [1]float32
		decodeF16(row[:], []byte{byte(h), byte(h >> 8)})
		if math.Float32bits(row[0]) != math.Float32bits(f) {
			t.Fatalf("%04x: %g from Decode, %g from F16ToF32", h, row[0], f)
		}
		switch {
		case h&0x7fff > 0x7c00:
			if f == f || math.Signbit(float64(f)) != (h>>15 != 0) {
				t.Fatalf("%04x: %g, want a NaN of the same sign", h, f)
			}
			if got := F32ToF16(f); got != h&0x8000|0x7e00 {
				t.Fatalf("%04x: NaN comes back as %04x", h, got)
			}
			continue
		case h&0x7fff == 0x7c00:
			if !math.IsInf(float64(f), 1-int(h>>15)*2) {
				t.Fatalf("%04x: %g, want infinity", h, f)
			}
		default:
			if want := f16Value(h); float64(f) != want || math.Signbit(float64(f)) != math.Signbit(want) {
				t.Fatalf("%04x: %g, want %g", h, f, want)
			}
		}
		if got := F32ToF16(f); got != h {
			t.Fatalf("%04x comes back as %04x", h, got)
		}
	}
}

// TestF16Rounding looks at the point halfway between any two neighbours, and
// at the float32 values next to it.
func TestF16Rounding(t *testing.T) {
	for h := uint16(0); h < 0x7bff; h++ {
		// 13 bits more than binary16 has, so the midpoint is a float32.
		mid := float32((f16Value(h) + f16Value(h+1)) / 2)
		even := h + h&1
		for _, c := range []struct {
			x    float32
			want uint16
		}{
			{mid, even},
			{math.Nextafter32(mid, 0), h},
			{math.Nextafter32(mid, 1e9), h + 1},
		} {
			if got := F32ToF16(c.x); got != c.want {
				t.Fatalf("%g gives %04x, want %04x", c.x, got, c.want)
			}
			if got := F32ToF16(-c.x); got != c.want|0x8000 {
				t.Fatalf("%g gives %04x, want %04x", -c.x, got, c.want|0x8000)
			}
		}
	}
	for x, want := range map[float32]uint16{
		65519.996: 0x7bff, 65520: 0x7c00, math.MaxFloat32: 0x7c00,
		0x1p-25: 0, 0x1.000002p-25: 1, 1e-45: 0,
	} {
		if got := F32ToF16(x); got != want {
			t.Errorf("%g gives %04x, want %04x", x, got, want)
		}
	}
}

func TestBF16(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		f := BF16ToF32(h)
		want := h
		if f != f {
			want |= 0x40
		}
		if got := F32ToBF16(f); got != want {
			t.Fatalf("%04x comes back as %04x", h, got)
		}
		if h&0x7fff >= 0x7f80 {
			continue
		}
		// Halfway to the next: bit 15 of the lower half.
		mid := math.Float32bits(f) | 0x8000
		for d, want := range map[uint32]uint16{mid: h + h&1, mid - 1: h, mid + 1: h + 1} {
			if got := F32ToBF16(math.Float32frombits(d)); got != want {
				t.Fatalf("%08x gives %04x, want %04x", d, got, want)
			}
		}
	}
	if got := F32ToBF16(math.MaxFloat32); got != 0x7f80 {
		t.Errorf("the largest float32 gives %04x", got)
	}
	// A NaN whose payload is in the lower half only must not become infinite.
	if got := F32ToBF16(math.Float32frombits(0x7f800001)); got != 0x7fc0 {
		t.Errorf("NaN gives %04x", got)
	}
}

func TestLevel(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, c := range []struct {
		v    float32
		want int32
	}{
		{0, 0}, {0.5, 0}, {1.5, 2}, {2.5, 2}, {-0.5, 0}, {-1.5, -2}, {-2.50001, -3}, {6.49, 6},
		{7.6, 7}, {-9, -8}, {1e6, 7}, {-1e6, -8}, {5e6, 7}, {-5e6, -8}, {1e7, 7}, {-1e7, -8},
		{1.2e7, 7}, {-1.2e7, -8}, {1.3e7, 7}, {-1.3e7, -8}, {1e9, 7}, {-1e9, -8},
		{1e38, 7}, {-1e38, -8}, {inf, 7}, {-inf, -8},
	} {
		if got := level(c.v, -8, 7); got != c.want {
			t.Errorf("level(%g) = %d, want %d", c.v, got, c.want)
		}
	}
}
