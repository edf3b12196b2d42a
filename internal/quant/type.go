package quant

import (
	"fmt"
	"math"
	"strings"
)

// Type is the number by which GGUF names a storage format. Any uint32 read
// from a file is a valid Type value; [Type.Known] tells whether this package
// knows its size.
type Type uint32

// The formats whose sizes are known. The numbers are GGUF's; those missing in
// between belong to retired or unsupported formats.
const (
	F32    Type = 0  // IEEE binary32
	F16    Type = 1  // IEEE binary16
	Q4_0   Type = 2  // 32 values: 4 bits, scale
	Q4_1   Type = 3  // 32 values: 4 bits, scale and minimum
	Q5_0   Type = 6  // 32 values: 5 bits, scale
	Q5_1   Type = 7  // 32 values: 5 bits, scale and minimum
	Q8_0   Type = 8  // 32 values: 8 bits, scale
	Q2_K   Type = 10 // 256 values: 2 bits, 4-bit scales and minima per 16
	Q3_K   Type = 11 // 256 values: 3 bits, 6-bit scales per 16
	Q4_K   Type = 12 // 256 values: 4 bits, 6-bit scales and minima per 32
	Q5_K   Type = 13 // 256 values: 5 bits, 6-bit scales and minima per 32
	Q6_K   Type = 14 // 256 values: 6 bits, 8-bit scales per 16
	IQ4_NL Type = 20 // 32 values: 4-bit index into a fixed curve, scale
	IQ4_XS Type = 23 // 256 values: the same curve, 6-bit scales per 32
	I8     Type = 24 // two's complement integers, little-endian
	I16    Type = 25
	I32    Type = 26
	I64    Type = 27
	F64    Type = 28 // IEEE binary64
	BF16   Type = 30 // upper half of an IEEE binary32
	Q2_0   Type = 42 // 64 values: 2 bits (-1, 0, 1, 2), scale
)

// Values per block of the families of quantised formats.
const (
	smallBlock = 32
	wideBlock  = 64 // Q2_0 alone
	superBlock = 256
)

type typeInfo struct {
	name       string
	blockLen   int // values
	blockBytes int
	decode     bool
	encode     bool
}

// infoOf returns the zero typeInfo for unknown types.
func infoOf(t Type) typeInfo {
	if t < Type(len(types)) {
		return types[t]
	}
	return typeInfo{}
}

var types = [...]typeInfo{
	F32:    {"F32", 1, 4, true, true},
	F16:    {"F16", 1, 2, true, true},
	Q4_0:   {"Q4_0", smallBlock, 18, true, true},
	Q4_1:   {"Q4_1", smallBlock, 20, true, true},
	Q5_0:   {"Q5_0", smallBlock, 22, true, true},
	Q5_1:   {"Q5_1", smallBlock, 24, true, true},
	Q8_0:   {"Q8_0", smallBlock, 34, true, true},
	Q2_K:   {"Q2_K", superBlock, 84, true, true},
	Q3_K:   {"Q3_K", superBlock, 110, true, true},
	Q4_K:   {"Q4_K", superBlock, 144, true, true},
	Q5_K:   {"Q5_K", superBlock, 176, true, true},
	Q6_K:   {"Q6_K", superBlock, 210, true, true},
	IQ4_NL: {"IQ4_NL", smallBlock, 18, true, true},
	IQ4_XS: {"IQ4_XS", superBlock, 136, true, true},
	I8:     {"I8", 1, 1, false, false},
	I16:    {"I16", 1, 2, false, false},
	I32:    {"I32", 1, 4, false, false},
	I64:    {"I64", 1, 8, false, false},
	F64:    {"F64", 1, 8, false, false},
	BF16:   {"BF16", 1, 2, true, true},
	Q2_0:   {"Q2_0", wideBlock, 18, true, true},
}

// ParseType finds the type called s, ignoring case. The error for any other
// string lists the names there are.
func ParseType(s string) (Type, error) {
	var names []string
	for i, info := range types {
		if info.name == "" {
			continue
		}
		if strings.EqualFold(info.name, s) {
			return Type(i), nil
		}
		names = append(names, strings.ToLower(info.name))
	}
	return 0, fmt.Errorf("unknown type %q, want one of %s", s, strings.Join(names, ", "))
}

// String returns the name GGUF tools use ("Q4_0", "BF16"), or "type(n)" for a
// type that is not known.
func (t Type) String() string {
	if info := infoOf(t); info.name != "" {
		return info.name
	}
	return fmt.Sprintf("type(%d)", uint32(t))
}

// Known reports whether the type's block size is known.
func (t Type) Known() bool { return infoOf(t).blockLen != 0 }

// Decodable reports whether [Decode] accepts the type.
func (t Type) Decodable() bool { return infoOf(t).decode }

// Encodable reports whether [Encode] accepts the type.
func (t Type) Encodable() bool { return infoOf(t).encode }

// BlockLen returns the number of values in a block: 1 for plain types, 0 for
// unknown ones.
func (t Type) BlockLen() int { return infoOf(t).blockLen }

// BlockBytes returns the length of a block in bytes, 0 for unknown types.
func (t Type) BlockBytes() int { return infoOf(t).blockBytes }

// Bytes returns the number of bytes that n values take. It fails for unknown
// types, for an n that is negative or not a whole number of blocks, and when
// the result does not fit in an int64.
func (t Type) Bytes(n int64) (int64, error) {
	info := infoOf(t)
	switch {
	case info.blockLen == 0:
		return 0, fmt.Errorf("size %d values: unknown type %d", n, uint32(t))
	case n < 0:
		return 0, fmt.Errorf("size %d values of %s: negative count", n, t)
	case n%int64(info.blockLen) != 0:
		return 0, fmt.Errorf("size %d values of %s: not a multiple of %d", n, t, info.blockLen)
	}
	blocks := n / int64(info.blockLen)
	if blocks > math.MaxInt64/int64(info.blockBytes) {
		return 0, fmt.Errorf("size %d values of %s: more than 2^63 bytes", n, t)
	}
	return blocks * int64(info.blockBytes), nil
}
