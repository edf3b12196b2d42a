package quant

import (
	"math"
	"strings"
	"testing"
)

// TestSizes pins the numbers that files depend on.
func TestSizes(t *testing.T) {
	for _, c := range []struct {
		name              string
		typ               Type
		number            uint32
		values, blockSize int
		bitsPerValue      float64
	}{
		{"F32", F32, 0, 1, 4, 32},
		{"F16", F16, 1, 1, 2, 16},
		{"Q4_0", Q4_0, 2, 32, 18, 4.5},
		{"Q4_1", Q4_1, 3, 32, 20, 5},
		{"Q5_0", Q5_0, 6, 32, 22, 5.5},
		{"Q5_1", Q5_1, 7, 32, 24, 6},
		{"Q8_0", Q8_0, 8, 32, 34, 8.5},
		{"Q2_K", Q2_K, 10, 256, 84, 2.625},
		{"Q3_K", Q3_K, 11, 256, 110, 3.4375},
		{"Q4_K", Q4_K, 12, 256, 144, 4.5},
		{"Q5_K", Q5_K, 13, 256, 176, 5.5},
		{"Q6_K", Q6_K, 14, 256, 210, 6.5625},
		{"IQ4_NL", IQ4_NL, 20, 32, 18, 4.5},
		{"IQ4_XS", IQ4_XS, 23, 256, 136, 4.25},
		{"I8", I8, 24, 1, 1, 8},
		{"I16", I16, 25, 1, 2, 16},
		{"I32", I32, 26, 1, 4, 32},
		{"I64", I64, 27, 1, 8, 64},
		{"F64", F64, 28, 1, 8, 64},
		{"BF16", BF16, 30, 1, 2, 16},
	} {
		if uint32(c.typ) != c.number || !c.typ.Known() || c.typ.String() != c.name {
			t.Errorf("%s: number %d, known %v, name %s", c.name, c.typ, c.typ.Known(), c.typ)
		}
		if c.typ.BlockLen() != c.values || c.typ.BlockBytes() != c.blockSize {
			t.Errorf("%s: %d values in %d bytes", c.name, c.typ.BlockLen(), c.typ.BlockBytes())
		}
		n, err := c.typ.Bytes(2560)
		if err != nil || float64(n)*8 != 2560*c.bitsPerValue {
			t.Errorf("%s: 2560 values in %d bytes, %v", c.name, n, err)
		}
		for _, s := range []string{c.name, strings.ToLower(c.name)} {
			if got, err := ParseType(s); err != nil || got != c.typ {
				t.Errorf("ParseType(%q) = %s, %v", s, got, err)
			}
		}
	}
}

// TestRowBytes checks the sizes of one token's rows in the E2B and E4B tables.
func TestRowBytes(t *testing.T) {
	for typ, want := range map[Type][2]int64{
		Q4_0: {5040, 6048}, Q4_K: {5040, 6048}, Q5_K: {6160, 7392},
		Q6_K: {7350, 8820}, Q8_0: {9520, 11424}, BF16: {17920, 21504},
	} {
		for i, values := range []int64{8960, 10752} {
			if got, err := typ.Bytes(values); err != nil || got != want[i] {
				t.Errorf("%s: %d values in %d bytes (%v), want %d", typ, values, got, err, want[i])
			}
		}
	}
}

func TestBytesRefuses(t *testing.T) {
	for _, c := range []struct {
		typ Type
		n   int64
	}{
		{Q4_0, 31}, {Q4_0, -32}, {Q6_K, 128}, {F32, -1}, {F32, math.MaxInt64},
		{I64, math.MaxInt64 / 8 * 2}, {Q8_0, math.MaxInt64 - 31}, {5, 32}, {29, 1}, {1000, 0},
	} {
		if n, err := c.typ.Bytes(c.n); err == nil {
			t.Errorf("%s.Bytes(%d) = %d, no error", c.typ, c.n, n)
		}
	}
	// The largest counts that do fit.
	if n, err := I8.Bytes(math.MaxInt64); err != nil || n != math.MaxInt64 {
		t.Errorf("I8: %d, %v", n, err)
	}
	if n, err := Q4_0.Bytes(math.MaxInt64 - 31); err != nil || n != (math.MaxInt64-31)/32*18 {
		t.Errorf("Q4_0: %d, %v", n, err)
	}
}

func TestUnknownTypes(t *testing.T) {
	for _, typ := range []Type{4, 5, 9, 15, 16, 19, 22, 29, 31, 39, 1 << 20, math.MaxUint32} {
		if typ.Known() || typ.Decodable() || typ.Encodable() || typ.BlockLen() != 0 || typ.BlockBytes() != 0 {
			t.Errorf("%d counts as known", uint32(typ))
		}
		if !strings.HasPrefix(typ.String(), "type(") {
			t.Errorf("%d is called %s", uint32(typ), typ)
		}
	}
	for _, s := range []string{"", "q4", "q9_0", "type(2)", " q4_0"} {
		if typ, err := ParseType(s); err == nil {
			t.Errorf("ParseType(%q) = %s", s, typ)
		} else if !strings.Contains(err.Error(), "q4_k") || !strings.Contains(err.Error(), "bf16") {
			t.Errorf("ParseType(%q): %v does not list the choices", s, err)
		}
	}
}
