package checkpoint

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/plume-run/plume/internal/quant"
)

func TestReadGGUF(t *testing.T) {
	for _, version := range []uint32{2, 3} {
		c, err := openBytes(smallGGUF(version))
		if err != nil {
			t.Fatal(err)
		}
		m := c.Meta()
		if s, ok := m.String("general.architecture"); s != "gemma4" || !ok || c.Format() != "gguf" {
			t.Errorf("architecture %q %v, format %s", s, ok, c.Format())
		}
		if v, ok := m.Uint("n"); v != 7 || !ok {
			t.Errorf("n = %d %v", v, ok)
		}
		if v, ok := m.Float("f"); v != 1 || !ok {
			t.Errorf("f = %v %v", v, ok)
		}
		if v, ok := m.Bool("b"); !v || !ok {
			t.Errorf("b = %v %v", v, ok)
		}
		if v, ok := m.Ints("list"); !slices.Equal(v, []int64{5, -1}) || !ok {
			t.Errorf("list = %v %v", v, ok)
		}
		if v, ok := m.Strings("words"); !slices.Equal(v, []string{"a", "", "▁bc"}) || !ok {
			t.Errorf("words = %q %v", v, ok)
		}
		if v, ok := m.Bools("flags"); !slices.Equal(v, []bool{true, false}) || !ok {
			t.Errorf("flags = %v %v", v, ok)
		}
		if kind := m.Kind("words"); kind != "[]string" || m.Kind("absent") != "" || len(m.Keys()) != 7 {
			t.Errorf("kind %q, keys %q", kind, m.Keys())
		}
		one, two, three := c.Lookup("one"), c.Lookup("two"), c.Lookup("three")
		if !slices.Equal(one.Shape, []int{2, 3}) || one.Values() != 6 || one.Bytes != 24 || one.Type != quant.F32 {
			t.Errorf("one: %+v", one)
		}
		if two.Bytes != 34 || two.TypeName != "Q8_0" || !slices.Equal(three.Shape, []int{4, 3, 2, 1}) {
			t.Errorf("two: %+v, three: %+v", two, three)
		}
		for _, x := range c.Tensors() {
			if want := (&raw{}).data(int(x.Bytes)).b; !bytes.Equal(tensorBytes(t, x), want) {
				t.Errorf("%s: wrong bytes", x.Name)
			}
		}
		if c.Lookup("four") != nil || len(c.Tensors()) != 3 {
			t.Error("tensor list is wrong")
		}
	}
}

func TestMetaConversions(t *testing.T) {
	m := Meta{values: map[string]any{
		"u8": uint8(200), "i8": int8(-3), "u16": uint16(9), "i16": int16(-9), "u32": uint32(math.MaxUint32),
		"i32": int32(-1), "u64": uint64(math.MaxUint64), "i64": int64(-5), "f64": 2.5, "s": "x", "b": true,
		"a8": []uint8{1, 0}, "ai8": []int8{-1}, "a16": []uint16{2}, "ai16": []int16{-2}, "a32": []uint32{3},
		"a64": []uint64{math.MaxUint64}, "ok64": []uint64{4}, "ai64": []int64{-4}, "af": []float32{0.5}, "ad": []float64{0.25},
	}}
	for key, want := range map[string]int64{"u8": 200, "i8": -3, "u16": 9, "i16": -9, "u32": math.MaxUint32, "i32": -1, "i64": -5} {
		if v, ok := m.Int(key); v != want || !ok {
			t.Errorf("Int(%s) = %d %v", key, v, ok)
		}
		if v, ok := m.Uint(key); ok != (want >= 0) || ok && v != uint64(want) {
			t.Errorf("Uint(%s) = %d %v", key, v, ok)
		}
		if v, ok := m.Float(key); v != float64(want) || !ok {
			t.Errorf("Float(%s) = %v %v", key, v, ok)
		}
	}
	if v, ok := m.Uint("u64"); v != math.MaxUint64 || !ok {
		t.Errorf("Uint(u64) = %d %v", v, ok)
	}
	for _, key := range []string{"u64", "f64", "s", "b", "a8", "absent"} {
		if v, ok := m.Int(key); ok {
			t.Errorf("Int(%s) = %d, want none", key, v)
		}
	}
	for key, want := range map[string][]int64{"a8": {1, 0}, "ai8": {-1}, "a16": {2}, "ai16": {-2}, "a32": {3}, "ok64": {4}, "ai64": {-4}} {
		if v, ok := m.Ints(key); !slices.Equal(v, want) || !ok {
			t.Errorf("Ints(%s) = %v %v", key, v, ok)
		}
	}
	for _, key := range []string{"a64", "af", "u8", "absent"} {
		if v, ok := m.Ints(key); ok {
			t.Errorf("Ints(%s) = %v, want none", key, v)
		}
	}
	if v, ok := m.Bools("a8"); !slices.Equal(v, []bool{true, false}) || !ok {
		t.Errorf("Bools(a8) = %v %v", v, ok)
	}
	for key, want := range map[string]float64{"af": 0.5, "ad": 0.25, "a16": 2, "a64": math.MaxUint64} {
		if v, ok := m.Floats(key); !ok || v[0] != want {
			t.Errorf("Floats(%s) = %v %v", key, v, ok)
		}
	}
	if _, ok := (Meta{}).String("s"); ok || len((Meta{}).Keys()) != 0 {
		t.Error("zero Meta has keys")
	}
}

// TestHostileGGUF gives one broken rule per file, and the place and words that
// the error must have.
func TestHostileGGUF(t *testing.T) {
	one := func(typ uint32, off uint64, dims ...uint64) []byte {
		return (&raw{}).head(3, 1, 0).tensor("w", typ, off, dims...).align(32).data(64).b
	}
	key := func() *raw { return (&raw{}).head(3, 0, 1).text("k") }
	pair := func(offA, offB uint64) []byte {
		return (&raw{}).head(3, 2, 0).tensor("a", 0, offA, 8).tensor("b", 0, offB, 8).align(32).data(96).b
	}
	cases := []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "file is empty"},
		{"magic", []byte("GGUFF"), "version of 4 bytes"},
		{"no magic", []byte("GGML----------------"), "neither GGUF nor safetensors"},
		{"lfs pointer", []byte("version https://git-lfs.github.com/spec/v1\noid sha256:00\n"), "git lfs pull"},
		{"version 0", (&raw{}).head(0, 0, 0).b, "version 0"},
		{"version 1", (&raw{}).head(1, 0, 0).b, "version 1"},
		{"version 4", (&raw{}).head(4, 0, 0).b, "version 4"},
		{"big endian", (&raw{}).head(0x03000000, 0, 0).b, "big-endian GGUF version 3"},
		{"tensor count 2^63", (&raw{}).head(3, 1<<63, 0).b, "tensor count 9223372036854775808"},
		{"key count 2^63", (&raw{}).head(3, 0, 1<<63).b, "key count 9223372036854775808"},
		{"count just too big", (&raw{}).head(3, 2, 0).data(41).b, "tensor count 2, but only 49 bytes"},
		{"key length 2^63", (&raw{}).head(3, 0, 1).u64(1 << 63).data(64).b, "key of 9223372036854775808 bytes"},
		{"key past end", (&raw{}).head(3, 0, 1).u64(1000).data(64).b, "key of 1000 bytes"},
		{"key empty", (&raw{}).head(3, 0, 1).text("").data(64).b, "is empty"},
		{"key not UTF-8", (&raw{}).head(3, 0, 1).text("\xff").data(64).b, "is not UTF-8"},
		{"key with newline", (&raw{}).head(3, 0, 1).text("a\nb").data(64).b, "control character"},
		{"key twice", (&raw{}).head(3, 0, 2).text("k").u32(0).u8(1).text("k").u32(0).u8(1).b, `key "k" occurs twice`},
		{"kind 13", key().u32(13).data(8).b, "kind of value 13"},
		{"element kind 13", key().u32(kindArray).u32(13).u64(0).b, "kind of elements 13"},
		{"nested array", key().u32(kindArray).u32(kindArray).u64(1).u32(0).u64(0).b, "arrays in arrays"},
		{"array count 2^63", key().u32(kindArray).u32(kindUint32).u64(1 << 63).data(8).b, "k count 9223372036854775808"},
		{"array count 2^62", key().u32(kindArray).u32(kindUint32).u64(1 << 62).data(8).b, "k count"},
		{"strings count 2^61", key().u32(kindArray).u32(kindString).u64(1 << 61).data(8).b, "k count"},
		{"string in array past end", key().u32(kindArray).u32(kindString).u64(1).u64(9).data(8).b, "k of 9 bytes"},
		{"string past end", key().u32(kindString).u64(9).data(8).b, "k of 9 bytes"},
		{"string 2^64-1", key().u32(kindString).u64(math.MaxUint64).data(8).b, "want at most"},
		{"bool 2", key().u32(kindBool).u8(2).b, "bool is 2"},
		{"bool 2 in array", key().u32(kindArray).u32(kindBool).u64(2).u8(1).u8(2).b, "byte 50: k: bool is 2"},
		{"alignment 0", (&raw{}).head(3, 0, 1).text(ggufAlignmentKey).u32(kindUint32).u32(0).b, "is 0, want a power of two"},
		{"alignment 48", (&raw{}).head(3, 0, 1).text(ggufAlignmentKey).u32(kindUint32).u32(48).b, "is 48, want a power of two"},
		{"alignment text", (&raw{}).head(3, 0, 1).text(ggufAlignmentKey).u32(kindString).text("32").b, "want uint32"},
		{"name twice", (&raw{}).head(3, 2, 0).tensor("a", 0, 0, 8).tensor("a", 0, 32, 8).align(32).data(64).b, `"a": byte 128: name occurs twice`},
		{"name empty", (&raw{}).head(3, 1, 0).tensor("", 0, 0, 8).align(32).data(64).b, "is empty"},
		{"five dimensions", one(0, 0, 1, 1, 1, 1, 1), "5 dimensions"},
		{"2^32-1 dimensions", (&raw{}).head(3, 1, 0).text("w").u32(math.MaxUint32).data(64).b, "4294967295 dimensions"},
		{"dimension 0", one(0, 0, 4, 0), "dimension 1 is 0"},
		{"dimension 2^63", one(0, 0, 1<<63), "dimension 0 is"},
		{"product overflow", one(0, 0, 1<<32, 1<<32), "dimension 1 is"},
		{"product wraps to small", one(0, 0, 1<<33, 1<<33, 1<<62), "dimension 1 is"},
		{"bytes overflow", one(0, 0, 1<<62), "2^63 bytes"},
		{"type 4", one(4, 0, 16), `tensor "w": byte 45: type 4 is not a GGUF type`},
		{"type -1", one(math.MaxUint32, 0, 16), "type 4294967295"},
		{"rows in part of a block", one(uint32(quant.Q8_0), 0, 16, 2), "rows of 16 values"},
		{"unaligned offset", one(0, 4, 8), "offset 4 is not a multiple of 32"},
		{"offset 2^63", one(0, 1<<63, 8), "offset 9223372036854775808"},
		{"offset near 2^63", one(0, 1<<63-32, 8), "past the end"},
		{"offset past end", one(0, 1<<40, 8), "end after the file"},
		{"extent past end", one(0, 0, 17), "68 bytes of data end after the file"},
		{"gap", one(0, 32, 8), "begins 32 bytes after"},
		{"overlap", pair(0, 0), "overlaps"},
		{"trailing data", pair(32, 0), "32 bytes follow the last tensor"},
		{"split no out of range", (&raw{}).head(3, 0, 2).text(splitNoKey).u32(kindUint8).u8(3).text(splitCountKey).u32(kindUint8).u8(3).b, "split.no is 3"},
		{"split count negative", (&raw{}).head(3, 0, 1).text(splitCountKey).u32(kindInt8).u8(255).b, "split.count is -1"},
		{"one part by itself", (&raw{}).head(3, 0, 2).text(splitNoKey).u32(kindUint8).u8(1).text(splitCountKey).u32(kindUint8).u8(3).b, "part 2 of 3"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var err error
			used := allocated(func() { _, err = openBytes(c.file) })
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q in it", err, c.want)
			}
			wantMarked(t, err)
			if used > 1<<20 {
				t.Errorf("%d bytes allocated", used)
			}
		})
	}
}

// TestForeignTypes: formats without a decoder are listed, with their size.
func TestForeignTypes(t *testing.T) {
	r := (&raw{}).head(3, 1, 0).tensor("w", 16, 0, 256, 3).align(32).data(3 * 66)
	c, err := openBytes(r.b)
	if err != nil {
		t.Fatal(err)
	}
	if x := c.Lookup("w"); x.TypeName != "IQ2_XXS" || x.Bytes != 198 || x.Type.Known() {
		t.Errorf("%+v", x)
	}
}

// TestLayouts compares the table with the bits per value that these formats
// are known by.
func TestLayouts(t *testing.T) {
	bits := map[string]float64{"Q8_1": 9, "Q8_K": 9.125, "IQ2_XXS": 2.0625, "IQ2_XS": 2.3125, "IQ3_XXS": 3.0625, "IQ1_S": 1.5625,
		"IQ3_S": 3.4375, "IQ2_S": 2.5625, "IQ1_M": 1.75, "TQ1_0": 1.6875, "TQ2_0": 2.0625, "MXFP4": 4.25, "NVFP4": 4.5}
	for typ, l := range foreignTypes {
		if got := float64(8*l.blockBytes) / float64(l.blockLen); got != bits[l.name] || typ.Known() {
			t.Errorf("%s (%d): %v bits, want %v; known to quant: %v", l.name, typ, got, bits[l.name], typ.Known())
		}
	}
}

// TestScalarAndNoTensors: rank 0 and files of keys alone occur.
func TestScalarAndNoTensors(t *testing.T) {
	c, err := openBytes((&raw{}).head(3, 1, 0).tensor("s", 0, 0).align(32).data(4).b)
	if err != nil {
		t.Fatal(err)
	}
	if s := c.Lookup("s"); len(s.Shape) != 0 || s.Values() != 1 || s.Bytes != 4 {
		t.Errorf("%+v", s)
	}
	if _, err := openBytes((&raw{}).head(3, 0, 1).text("k").u32(kindUint8).u8(1).b); err != nil {
		t.Error(err)
	}
}

// TestAlignment: another alignment moves the data.
func TestAlignment(t *testing.T) {
	b := (&raw{}).head(3, 2, 1).text(ggufAlignmentKey).u32(kindUint32).u32(64).
		tensor("a", 0, 0, 1).tensor("b", 0, 64, 1).align(64).data(4).align(64).data(4).b
	c, err := openBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, off := c.Lookup("b").Location(); off%64 != 0 || off != int64(len(b)-4) {
		t.Errorf("b at %d of %d", off, len(b))
	}
}

// TestOrderOfOffsets: descriptions need not be in the order of the data.
func TestOrderOfOffsets(t *testing.T) {
	c, err := openBytes((&raw{}).head(3, 2, 0).tensor("late", 0, 32, 8).tensor("early", 0, 0, 8).align(32).data(64).b)
	if err != nil {
		t.Fatal(err)
	}
	if got := tensorBytes(t, c.Lookup("late"))[0]; got != 32 || c.Tensors()[0].Name != "late" {
		t.Errorf("late begins with %d, first is %s", got, c.Tensors()[0].Name)
	}
}

func TestReadAtBounds(t *testing.T) {
	c, err := openBytes(smallGGUF(3))
	if err != nil {
		t.Fatal(err)
	}
	x := c.Lookup("one")
	p := make([]byte, 8)
	if n, err := x.ReadAt(p, 16); n != 8 || err != nil || p[0] != 16 {
		t.Errorf("%d %v %v", n, err, p)
	}
	for _, off := range []int64{-1, 17, 24, 25, math.MaxInt64, math.MinInt64} {
		if n, err := x.ReadAt(p, off); n != 0 || err == nil || errors.Is(err, ErrCorrupt) {
			t.Errorf("at %d: %d %v", off, n, err)
		}
	}
	if n, err := x.ReadAt(nil, 24); n != 0 || err != nil {
		t.Errorf("nothing at the end: %d %v", n, err)
	}
}
