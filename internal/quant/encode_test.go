package quant

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

var encodable = []Type{F32, F16, BF16, Q8_0, Q5_1, Q5_0, Q4_1, Q4_0, IQ4_NL, Q2_0,
	Q6_K, Q5_K, Q4_K, IQ4_XS, Q3_K, Q2_K}

// normalSample returns 1,024 rows of 256 values from N(0,1).
func normalSample() []float32 {
	rng := rand.New(rand.NewPCG(2, 4))
	x := make([]float32, 256*1024)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// bellSample returns n values that look much like N(0,1) but are sums of
// integers, hence the same on every machine.
func bellSample(n int) []float32 {
	rng := rand.New(rand.NewPCG(3, 5))
	x := make([]float32, n)
	for i := range x {
		var sum int32
		for range 12 {
			sum += rng.Int32N(1 << 16)
		}
		x[i] = float32(sum-6*(1<<16)) / (1 << 16)
	}
	return x
}

func encode(t testing.TB, typ Type, x []float32) []byte {
	t.Helper()
	size, err := typ.Bytes(int64(len(x)))
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, size)
	if err := Encode(typ, b, x); err != nil {
		t.Fatal(err)
	}
	return b
}

func decode(t testing.TB, typ Type, b []byte) []float32 {
	t.Helper()
	y := make([]float32, len(b)/typ.BlockBytes()*typ.BlockLen())
	if err := Decode(typ, y, b); err != nil {
		t.Fatal(err)
	}
	return y
}

// relativeRMS returns sqrt(Σ(x-y)² / Σx²).
func relativeRMS(x, y []float32) float64 {
	var e, s float64
	for i := range x {
		d := float64(x[i]) - float64(y[i])
		e += d * d
		s += float64(x[i]) * float64(x[i])
	}
	return math.Sqrt(e / s)
}

// TestEncodeError compares the error on normal weights with what the public
// quantisers leave on the very same values: public is their plain row
// quantiser, weighted the one that takes importances, with all of them equal.
func TestEncodeError(t *testing.T) {
	x := normalSample()
	for _, c := range []struct {
		typ                    Type
		public, weighted, ours float64
	}{
		{Q8_0, 0.005340, 0.005340, 0.004964},
		{Q5_1, 0.037728, 0.033786, 0.033366},
		{Q5_0, 0.042581, 0.040282, 0.039987},
		{Q4_1, 0.078211, 0.069879, 0.068812},
		{Q4_0, 0.085793, 0.081480, 0.080814},
		{IQ4_NL, 0.078559, 0.074777, 0.073191},
		{Q2_0, 0.716359, 0.716359, 0.350842},
		{Q6_K, 0.017669, 0.017243, 0.016766},
		{Q5_K, 0.036104, 0.035348, 0.034483},
		{Q4_K, 0.071313, 0.070709, 0.069528},
		{IQ4_XS, 0.076551, 0.075482, 0.073674},
		{Q3_K, 0.150636, 0.144448, 0.143351},
		{Q2_K, 0.296767, 0.267887, 0.259068},
	} {
		got := relativeRMS(x, decode(t, c.typ, encode(t, c.typ, x)))
		if got > c.public || got > c.weighted {
			t.Errorf("%s: relative RMS %.6f, public %.6f, weighted %.6f", c.typ, got, c.public, c.weighted)
		}
		if got > c.ours*1.001 {
			t.Errorf("%s: relative RMS %.6f, was %.6f", c.typ, got, c.ours)
		}
	}
}

// TestEncodeBytes pins the encoders' output: it must not depend on the
// architecture. A better search changes the sums, and the table of
// docs/format-quant.md with them.
func TestEncodeBytes(t *testing.T) {
	x := bellSample(256 * 64)
	for typ, want := range map[Type]string{
		Q8_0:   "7134261fd3cf7a8e",
		Q5_1:   "0b45e7c490ec046d",
		Q5_0:   "553d583110a333ba",
		Q4_1:   "eb89a51ca6368e04",
		Q4_0:   "edbcd9afe2c86bc8",
		IQ4_NL: "7139abae0a463f90",
		Q2_0:   "f444be8513a2b806",
		IQ4_XS: "8dac5b3a2cdb9649",
		Q3_K:   "0d85a23d0c05d54c",
		Q2_K:   "eb2c03fd8c09cb90",
		Q4_K:   "c8bec7b365a1ffa2",
		Q5_K:   "b014166be4c44f0d",
		Q6_K:   "e10bf3a5d57cf6c0",
	} {
		sum := sha256.Sum256(encode(t, typ, x))
		if got := hex.EncodeToString(sum[:8]); got != want {
			t.Errorf("%s: sha256 %s…, want %s…", typ, got, want)
		}
	}
}

// TestEncodeShapes encodes awkward blocks and bounds the error by the step
// that the format's levels must have over the range of the block.
func TestEncodeShapes(t *testing.T) {
	// The widest step of the curve of the IQ4 types is a tenth of its range, and
	// Q2_0 has two levels on one side of zero.
	steps := map[Type]float64{
		Q8_0: 254, Q5_1: 31, Q5_0: 31, Q4_1: 15, Q4_0: 15, IQ4_NL: 10, Q2_0: 2,
		Q6_K: 63, Q5_K: 31, Q4_K: 15, IQ4_XS: 10, Q3_K: 7, Q2_K: 3,
	}
	if len(steps) != len(encodable)-3 {
		t.Error("not all types are tested")
	}
	bell := bellSample(256)
	shapes := map[string]func(i int) float32{
		"normal":      func(i int) float32 { return bell[i] },
		"one outlier": func(i int) float32 { return bell[i] + float32(1000*((i+1)/256)) },
		"all equal":   func(i int) float32 { return 3 },
		"all minus":   func(i int) float32 { return -0.7 },
		"above zero":  func(i int) float32 { return 5 + bell[i] },
		"below zero":  func(i int) float32 { return -5 + bell[i] },
		"mixed signs": func(i int) float32 { return bell[i] + float32(i/32%2*10-5) },
		"ramp":        func(i int) float32 { return float32(i) - 100 },
		"one value":   func(i int) float32 { return float32(i / 255) },
		"alternating": func(i int) float32 { return float32(i%2*2 - 1) },
		"tiny":        func(i int) float32 { return bell[i] * 1e-3 },
		"large":       func(i int) float32 { return bell[i] * 1e4 },
	}
	for name, shape := range shapes {
		x := make([]float32, 256)
		lo, hi := 0., 0. // zero is always a level
		for i := range x {
			x[i] = shape(i)
			lo, hi = min(lo, float64(x[i])), max(hi, float64(x[i]))
		}
		for typ, n := range steps {
			width := hi - lo
			switch typ {
			case Q8_0, Q5_0, Q4_0, IQ4_NL, Q2_0, Q6_K, IQ4_XS, Q3_K:
				width = 2 * max(hi, -lo)
			}
			// Half a step for each value; as much again for the rounding of
			// scales and minima and for values cut off.
			limit := width / n
			var e float64
			y := decode(t, typ, encode(t, typ, x))
			for i := range x {
				e += (float64(x[i]) - float64(y[i])) * (float64(x[i]) - float64(y[i])) / 256
			}
			if e = math.Sqrt(e); !(e <= limit) {
				t.Errorf("%s, %s: RMS error %g, want at most %g", typ, name, e, limit)
			}
		}
	}
}

// TestEncodeSmall: where d has to be one of the few subnormal binary16 numbers,
// the integer scales make up for it.
func TestEncodeSmall(t *testing.T) {
	x := bellSample(256 * 16)
	for i := range x {
		x[i] *= 1e-5
	}
	for typ, limit := range map[Type]float64{Q8_0: 0.01, Q4_K: 0.08, Q5_K: 0.045, Q6_K: 0.06,
		IQ4_XS: 0.09, Q3_K: 0.15, Q2_K: 0.27} {
		if e := relativeRMS(x, decode(t, typ, encode(t, typ, x))); e > limit {
			t.Errorf("%s: relative RMS %.4f, want at most %g", typ, e, limit)
		}
	}
}

// TestEncodeVanishing: values too small for any binary16 scale become zero,
// also where squares and inverses leave the range of float32.
func TestEncodeVanishing(t *testing.T) {
	for _, v := range []float32{0, float32(math.Copysign(0, -1)), 1e-45, -1e-38, 1e-20, -1e-14, 1e-11} {
		for _, typ := range encodable[1:] {
			x := make([]float32, 512)
			for i := range x {
				x[i] = v
			}
			x[3] = -v
			for i, y := range decode(t, typ, encode(t, typ, x)) {
				if !(math.Abs(float64(y)) <= 1e-10) {
					t.Fatalf("%s of %g: value %d is %g", typ, v, i, y)
				}
			}
		}
	}
	centred := map[Type]bool{Q5_0: true, Q4_0: true, IQ4_NL: true, Q2_0: true, Q6_K: true, IQ4_XS: true, Q3_K: true}
	for _, typ := range encodable {
		b := encode(t, typ, make([]float32, 256))
		if !centred[typ] && !bytes.Equal(b, make([]byte, len(b))) {
			t.Errorf("%s: zeros do not give zero bytes: % x", typ, b[:16])
		}
	}
}

// TestEncodeLimits: up to the documented limit all is finite and close, beyond
// it there is an error.
func TestEncodeLimits(t *testing.T) {
	coarse := map[Type]float64{Q2_0: 0.5, Q2_K: 0.34, Q3_K: 0.2, IQ4_NL: 0.1, IQ4_XS: 0.1}
	for _, typ := range encodable {
		limit, within := encodeLimit(typ), max(0.08, coarse[typ])
		x := make([]float32, 512)
		for i := range x {
			x[i] = limit * (float32(i%16)/7.5 - 1)
		}
		for i, y := range decode(t, typ, encode(t, typ, x)) {
			if e := math.Abs(float64(y) - float64(x[i])); !(e <= within*float64(limit)) {
				t.Fatalf("%s: value %d is %g, want about %g", typ, i, y, x[i])
			}
		}
		if typ == F32 {
			continue
		}
		x[77] = math.Nextafter32(-limit, float32(math.Inf(-1)))
		err := Encode(typ, make([]byte, len(x)/typ.BlockLen()*typ.BlockBytes()), x)
		if err == nil || !strings.Contains(err.Error(), "value 77 ") {
			t.Errorf("%s beyond its limit: error %v", typ, err)
		}
	}
}

func TestEncodeNonFinite(t *testing.T) {
	for _, typ := range encodable {
		for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			x := make([]float32, 512)
			x[300] = float32(bad)
			b := bytes.Repeat([]byte{0xa5}, 512/typ.BlockLen()*typ.BlockBytes())
			err := Encode(typ, b, x)
			if err == nil || !strings.Contains(err.Error(), "value 300 ") {
				t.Errorf("%s of %v: error %v", typ, bad, err)
			}
			if bytes.Count(b, []byte{0xa5}) != len(b) {
				t.Errorf("%s of %v: dst was written", typ, bad)
			}
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		typ    Type
		values int
		bytes  int
	}{
		{"no encoder", F64, 4, 32},
		{"unknown type", 99, 32, 32},
		{"integers", I8, 32, 32},
		{"dst short", Q8_0, 64, 67},
		{"dst long", Q8_0, 64, 69},
		{"part of a block", Q4_K, 128, 72},
		{"empty dst", F32, 1, 0},
	} {
		if err := Encode(c.typ, make([]byte, c.bytes), make([]float32, c.values)); err == nil {
			t.Errorf("%s: no error", c.name)
		}
	}
	for _, typ := range encodable {
		if err := Encode(typ, nil, nil); err != nil {
			t.Errorf("%s of nothing: %v", typ, err)
		}
	}
}

// TestEncodePlain: every binary16 and bfloat16 value, NaNs and infinities
// apart, survives the round trip, and so does any float32.
func TestEncodePlain(t *testing.T) {
	for _, typ := range []Type{F16, BF16} {
		for h := range 1 << 16 {
			b := []byte{byte(h), byte(h >> 8)}
			v := decode(t, typ, b)
			if x := float64(v[0]); math.IsNaN(x) || math.IsInf(x, 0) {
				continue
			}
			if got := encode(t, typ, v); !bytes.Equal(got, b) {
				t.Fatalf("%s %04x comes back as %x", typ, h, got)
			}
		}
	}
	x := []float32{0, 1, -1, math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, math.Pi}
	for i, y := range decode(t, F32, encode(t, F32, x)) {
		if y != x[i] {
			t.Errorf("F32 %g comes back as %g", x[i], y)
		}
	}
}

// TestEncodeAgain: what came out of a Q8_0 block goes back without any error.
func TestEncodeAgain(t *testing.T) {
	x := decode(t, Q8_0, encode(t, Q8_0, bellSample(256*64)))
	for i, y := range decode(t, Q8_0, encode(t, Q8_0, x)) {
		if y != x[i] {
			t.Fatalf("value %d: %g, was %g", i, y, x[i])
		}
	}
}

// FuzzEncode: whatever the values, there is an error or a finite encoding, and
// the same one again.
func FuzzEncode(f *testing.F) {
	f.Add(uint32(Q4_K), []byte{0, 0, 0x80, 0x3f, 0xff, 0xff, 0x7f, 0x4a})
	f.Add(uint32(Q6_K), []byte{1, 0, 0, 0, 0, 0, 0x80, 0x33, 0, 0, 0, 0x80})
	f.Add(uint32(Q4_0), []byte{0, 0, 0x80, 0x7f})
	f.Fuzz(func(t *testing.T, n uint32, bits []byte) {
		typ := Type(n)
		if !typ.Encodable() || len(bits) < 4 {
			return
		}
		// The values repeat to fill a super-block.
		x := make([]float32, 256)
		for i := range x {
			x[i] = math.Float32frombits(binary.LittleEndian.Uint32(bits[i%(len(bits)/4)*4:]))
		}
		b := make([]byte, 256/typ.BlockLen()*typ.BlockBytes())
		if Encode(typ, b, x) != nil {
			return
		}
		again := bytes.Repeat([]byte{0xff}, len(b))
		if err := Encode(typ, again, x); err != nil || !bytes.Equal(b, again) {
			t.Fatalf("%s: encodings differ (%v)", typ, err)
		}
		for i, v := range decode(t, typ, b) {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				t.Fatalf("%s: value %d is %g, was %g", typ, i, v, x[i])
			}
		}
	})
}

func TestNoAllocation(t *testing.T) {
	x := bellSample(512)
	for _, typ := range encodable {
		b := encode(t, typ, x)
		if n := testing.AllocsPerRun(10, func() {
			_ = Encode(typ, b, x)
			_ = Decode(typ, x, b)
		}); n != 0 {
			t.Errorf("%s: %v allocations", typ, n)
		}
	}
}
