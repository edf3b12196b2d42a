package quant

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var quantised = []Type{
	Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, Q2_0,
}

// readGolden returns the blocks of a testdata file and the bits they decode
// to; see testdata/README.md.
func readGolden(t testing.TB, typ Type) (blocks []byte, want []uint32) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", strings.ToLower(typ.String())+".bin"))
	if err != nil {
		t.Fatal(err)
	}
	n := int(binary.LittleEndian.Uint32(b))
	blocks, b = b[4:4+n*typ.BlockBytes()], b[4+n*typ.BlockBytes():]
	if len(b) != 4*n*typ.BlockLen() {
		t.Fatalf("%s: golden file has %d bytes of values for %d blocks", typ, len(b), n)
	}
	for len(b) > 0 {
		want = append(want, binary.LittleEndian.Uint32(b))
		b = b[4:]
	}
	return blocks, want
}

// TestDecodeGolden compares every bit with the public reference on random
// blocks whose scales run from subnormal to the largest.
func TestDecodeGolden(t *testing.T) {
	for _, typ := range quantised {
		blocks, want := readGolden(t, typ)
		for i, v := range decode(t, typ, blocks) {
			if got := math.Float32bits(v); got != want[i] {
				t.Fatalf("%s: value %d is %g (%08x), want %g (%08x)", typ, i,
					v, got, math.Float32frombits(want[i]), want[i])
			}
		}
	}
}

// TestDecodeBlocks decodes the golden blocks one by one and in one piece, into
// the middle of a larger slice.
func TestDecodeBlocks(t *testing.T) {
	for _, typ := range quantised {
		blocks, want := readGolden(t, typ)
		n, size := typ.BlockLen(), typ.BlockBytes()
		buf := make([]float32, n+2)
		for i := 0; i < len(blocks)/size; i++ {
			buf[0], buf[n+1] = 77, 77
			if err := Decode(typ, buf[1:n+1], blocks[i*size:][:size]); err != nil {
				t.Fatal(err)
			}
			if buf[0] != 77 || buf[n+1] != 77 {
				t.Fatalf("%s: block %d: wrote beside dst", typ, i)
			}
			for j, v := range buf[1 : n+1] {
				if math.Float32bits(v) != want[i*n+j] {
					t.Fatalf("%s: block %d, value %d differs from the row's", typ, i, j)
				}
			}
		}
	}
}

// TestDecodeZero: zero bytes are zeros in every format.
func TestDecodeZero(t *testing.T) {
	for i := range types {
		typ := Type(i)
		if !typ.Decodable() {
			continue
		}
		for j, v := range decode(t, typ, make([]byte, 3*typ.BlockBytes())) {
			if v != 0 {
				t.Fatalf("%s: value %d is %g", typ, j, v)
			}
		}
	}
}

// TestDecodeSpecialScale: infinite and NaN scales pass through as such.
func TestDecodeSpecialScale(t *testing.T) {
	b := make([]byte, 34)
	binary.LittleEndian.PutUint16(b, 0xfc00)
	b[2], b[3] = 1, 0xff
	y := decode(t, Q8_0, b)
	if !math.IsInf(float64(y[0]), -1) || !math.IsInf(float64(y[1]), 1) || y[2] == y[2] {
		t.Errorf("infinite scale: %v", y[:3])
	}
	binary.LittleEndian.PutUint16(b, 0x7e01)
	for i, v := range decode(t, Q8_0, b) {
		if v == v {
			t.Fatalf("NaN scale: value %d is %g", i, v)
		}
	}
}

func TestDecodePlain(t *testing.T) {
	want := []float32{1, -2, 0.5, float32(math.Inf(1)), 65504, -0x1p-24}
	f16 := []byte{0, 0x3c, 0, 0xc0, 0, 0x38, 0, 0x7c, 0xff, 0x7b, 1, 0x80}
	for i, v := range decode(t, F16, f16) {
		if v != want[i] {
			t.Errorf("F16 value %d is %g, want %g", i, v, want[i])
		}
	}
	bf16 := []byte{0x80, 0x3f, 0, 0xc0, 0, 0x3f, 0x80, 0x7f}
	for i, v := range decode(t, BF16, bf16) {
		if v != want[i] {
			t.Errorf("BF16 value %d is %g, want %g", i, v, want[i])
		}
	}
	f32 := []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0}
	for i, v := range decode(t, F32, f32) {
		if v != want[i] {
			t.Errorf("F32 value %d is %g, want %g", i, v, want[i])
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		typ    Type
		values int
		bytes  int
	}{
		{"unknown type", 9, 32, 36},
		{"huge type", math.MaxUint32, 1, 1},
		{"integers", I32, 2, 8},
		{"src short", Q4_0, 32, 17},
		{"src long", Q4_0, 32, 19},
		{"block too many", Q4_0, 32, 36},
		{"part of a block", Q6_K, 255, 210},
		{"empty src", F32, 1, 0},
		{"empty dst", F32, 0, 4},
	} {
		dst := make([]float32, c.values)
		for i := range dst {
			dst[i] = 5
		}
		if err := Decode(c.typ, dst, make([]byte, c.bytes)); err == nil {
			t.Errorf("%s: no error", c.name)
		}
		for i, v := range dst {
			if v != 5 {
				t.Fatalf("%s: dst[%d] was written", c.name, i)
			}
		}
	}
}

// FuzzDecode: no bytes make a decoder panic, and each block decodes alone as
// it does in a row.
func FuzzDecode(f *testing.F) {
	for _, typ := range quantised {
		blocks, _ := readGolden(f, typ)
		f.Add(uint32(typ), blocks[:2*typ.BlockBytes()])
	}
	f.Add(uint32(F16), []byte{0, 0x7c, 1, 0x7c, 0xff})
	f.Add(uint32(31), []byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, n uint32, src []byte) {
		typ := Type(n)
		if !typ.Decodable() {
			if Decode(typ, make([]float32, 256), src) == nil {
				t.Fatalf("%s was decoded", typ)
			}
			return
		}
		blocks := len(src) / typ.BlockBytes()
		dst := make([]float32, blocks*typ.BlockLen())
		whole := len(src) == blocks*typ.BlockBytes()
		if err := Decode(typ, dst, src); (err == nil) != whole {
			t.Fatalf("%s from %d bytes: %v", typ, len(src), err)
		}
		if blocks == 0 || !whole {
			return
		}
		last := make([]float32, typ.BlockLen())
		if err := Decode(typ, last, src[len(src)-typ.BlockBytes():]); err != nil {
			t.Fatal(err)
		}
		for i, v := range last {
			w := dst[len(dst)-len(last)+i]
			if math.Float32bits(v) != math.Float32bits(w) {
				t.Fatalf("%s: value %d of the last block: %g alone, %g in the row", typ, i, v, w)
			}
		}
	})
}

// TestUnpackScales packs all the values that 6-bit scales can have, with
// putHeader, and unpacks them.
func TestUnpackScales(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		var a affineBlock
		for j := range 8 {
			a.s[j], a.m[j] = rng.Int32N(64), rng.Int32N(64)
		}
		var header [16]byte
		a.putHeader(&header)
		var s, m [8]uint8
		unpackScales((*[12]byte)(header[4:]), &s, &m)
		for j := range 8 {
			if int32(s[j]) != a.s[j] || int32(m[j]) != a.m[j] {
				t.Fatalf("s %v, m %v came back as %v, %v", a.s, a.m, s, m)
			}
		}
		if !bytes.Equal(header[:4], make([]byte, 4)) {
			t.Fatal("scales spill into d or dmin")
		}
	}
}
