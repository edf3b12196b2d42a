package kernel

import (
	"fmt"

	"github.com/plume-run/plume/internal/quant"
)

// Layout names how a weight matrix is stored for the matrix products. Rows are grouped in
// panels of 16; the last panel is filled up with zero rows. One layout serves single vectors
// (decode) and batches (prefill).
//
// Quantised layouts cut the columns in blocks of 32. A block is field after field, each with
// all 16 rows of the panel:
//
//	Q4_0   d [16]f16 · q [256]                            288 B   value = d·(q-8)
//	Q4_1   d [16]f16 · m [16]f16 · q [256]                320 B   value = d·q - m
//	Q5_1   d [16]f16 · m [16]f16 · h [64] · q [256]       384 B   value = d·q - m
//	Q8_0   d [16]f16 · b [512]                            544 B   value = d·b
//	Q4_K   s [16]u8 · m [16]u8 · q [256]                  288 B   value = d·s·q - dmin·m
//	Q5_K   s [16]u8 · m [16]u8 · h [64] · q [256]         352 B   value = d·s·q - dmin·m
//	Q6_K   s [16][2]i8 · h [128] · q [256]                416 B   value = d·s·(q-32)
//	Q2_K   s [16][2]u8 · p [128]                          160 B   value = d·(s&15)·p - dmin·(s>>4)
//	Q3_K   s [16][2]i8 · h [64] · p [128]                 224 B   value = d·s·(p+4h-4)
//	IQ4_NL d [16]f16 · q [256]                            288 B   value = d·curve4[q]
//	IQ4_XS s [16]i16 · q [256]                            288 B   value = d·s·curve4[q]
//
// The K layouts and IQ4_XS put the factors of 8 blocks before them, a head d [16]f16 · dmin [16]f16,
// in Q3_K, Q6_K and IQ4_XS d [16]f16.
//
// All little-endian. In q, byte 64i+4r+j holds column 4i+j of row r in its low nibble and
// column 16+4i+j in its high one (i < 4, j < 4). In b, byte 64g+4r+j is column 4g+j of row
// r (g < 8). In the h of five-bit formats, bit g of byte 4r+j is the fifth bit of column
// 4g+j, in that of Q3_K the third. In p, bits 2(g%4), 2(g%4)+1 of byte 64(g/4)+4r+j are the bits of
// column 4g+j, in the h of Q6_K its bits 4 and 5. s[r][c] belongs to columns 16c … 16c+15.
//
// Four bytes of one row beside each other are what the 8-bit dot instructions take, eight
// rows fill a 256-bit register and sixteen a 512-bit one, every field begins at a multiple of
// 16 bytes and the wide ones at one of 32, so that 256-bit loads cross no cache line, and a
// panel is read front to back, once. Sixteen rows rather
// than eight because activations of long rows (12,288 columns: 18 KiB) do not stay in a first-level
// cache of 32 KiB while weights stream past: with eight they are fetched twice as often.
//
// Float layouts fill the columns up to a multiple of 16 and hold a panel as four runs of four
// rows each: for every 16 columns, 16 values of each of the four rows.
type Layout uint8

// The layouts.
const (
	LayoutNone Layout = iota // no layout: the zero value
	LayoutF32
	LayoutF16
	LayoutBF16
	LayoutQ4_0
	LayoutQ4_1
	LayoutQ5_1
	LayoutQ8_0
	LayoutQ4_K
	LayoutQ5_K
	LayoutQ6_K
	LayoutIQ4_NL
	LayoutIQ4_XS
	LayoutQ2_K
	LayoutQ3_K
	layoutCount
)

// PanelRows is the rows of a panel in every layout, and so what pieces of a matrix that are
// packed or multiplied apart must be multiples of.
const PanelRows = 16

// layoutInfo describes a layout's bytes: a panel of nblk blocks of 32 columns is
// nblk/super times (head + super blocks of block bytes). Float layouts have block 0.
type layoutInfo struct {
	name               string
	block, super, head int
	float              int // bytes of a value in float layouts
}

var layouts = [layoutCount]layoutInfo{
	LayoutNone: {name: "none"},
	LayoutF32:  {name: "f32", float: 4},
	LayoutF16:  {name: "f16", float: 2},
	LayoutBF16: {name: "bf16", float: 2},
	LayoutQ4_0: {name: "q4_0", block: 288, super: 1},
	LayoutQ4_1: {name: "q4_1", block: 320, super: 1},
	LayoutQ5_1: {name: "q5_1", block: 384, super: 1},
	LayoutQ8_0: {name: "q8_0", block: 544, super: 1},
	LayoutQ4_K: {name: "q4_k", block: 288, super: 8, head: 64},
	LayoutQ5_K: {name: "q5_k", block: 352, super: 8, head: 64},
	LayoutQ6_K: {name: "q6_k", block: 416, super: 8, head: 32},

	LayoutIQ4_NL: {name: "iq4_nl", block: 288, super: 1},
	LayoutIQ4_XS: {name: "iq4_xs", block: 288, super: 8, head: 32},

	LayoutQ2_K: {name: "q2_k", block: 160, super: 8, head: 64},
	LayoutQ3_K: {name: "q3_k", block: 224, super: 8, head: 32},
}

// String is the layout's name in lower case.
func (l Layout) String() string { return layouts[l].name }

// Float says that the layout takes float activations rather than quantised ones.
func (l Layout) Float() bool { return layouts[l].float > 0 }

// halfScales says that half blocks have scales of their own.
func halfScales(l Layout) bool { return l == LayoutQ2_K || l == LayoutQ3_K || l == LayoutQ6_K }

// LayoutFor is the layout in which weights of type t are kept; false when there is none.
//
// Every value is kept exactly, with one exception: Q5_0 becomes Q5_1 with a minimum of 16 times
// its scale, which is infinite for scales of 4096 and more. No layout takes more than a tenth more
// memory than the file, apart from rows that fill up the last panel and Q2_0, which becomes Q4_0
// and doubles.
func LayoutFor(t quant.Type) (Layout, bool) {
	switch t {
	case quant.F32:
		return LayoutF32, true
	case quant.F16:
		return LayoutF16, true
	case quant.BF16:
		return LayoutBF16, true
	case quant.Q4_0, quant.Q2_0:
		return LayoutQ4_0, true
	case quant.Q4_1:
		return LayoutQ4_1, true
	case quant.Q5_1, quant.Q5_0:
		return LayoutQ5_1, true
	case quant.Q8_0:
		return LayoutQ8_0, true
	case quant.Q4_K:
		return LayoutQ4_K, true
	case quant.Q5_K:
		return LayoutQ5_K, true
	case quant.Q6_K:
		return LayoutQ6_K, true
	case quant.Q2_K:
		return LayoutQ2_K, true
	case quant.Q3_K:
		return LayoutQ3_K, true
	case quant.IQ4_NL:
		return LayoutIQ4_NL, true
	case quant.IQ4_XS:
		return LayoutIQ4_XS, true
	}
	return LayoutNone, false
}

// PanelBytes is the bytes of one panel of 16 rows by cols columns.
func (l Layout) PanelBytes(cols int) int {
	i := &layouts[l]
	if i.float > 0 {
		return PanelRows * padded(cols) * i.float
	}
	if i.super == 0 {
		return 0
	}
	n := (cols + 31) / 32
	return n / i.super * (i.head + i.super*i.block)
}

// padded is cols filled up to a multiple of 16.
func padded(cols int) int { return (cols + 15) &^ 15 }

// Panels is the number of panels that hold rows rows.
func Panels(rows int) int { return (rows + PanelRows - 1) / PanelRows }

// PackedBytes is the bytes of a packed matrix of type t; 0 when t has no layout.
func PackedBytes(t quant.Type, rows, cols int) int {
	l, _ := LayoutFor(t)
	return Panels(rows) * l.PanelBytes(cols)
}

// Matrix is a packed weight matrix, w [Rows, Cols]. Data has Panels(Rows) panels; it may lie
// outside the Go heap and needs no alignment (64 bytes is best).
type Matrix struct {
	Layout     Layout
	Rows, Cols int
	Data       []byte
}

// Bytes is what a product with one vector reads: all panels.
func (m *Matrix) Bytes() int { return Panels(m.Rows) * m.Layout.PanelBytes(m.Cols) }

// panels is the bytes of panels p0 … p1-1.
func (m *Matrix) panels(p0, p1 int) []byte {
	n := m.Layout.PanelBytes(m.Cols)
	return m.Data[p0*n : p1*n : p1*n]
}

func (m *Matrix) check(p0, p1 int) {
	if m.Layout == LayoutNone || m.Layout >= layoutCount || p0 < 0 || p1 < p0 || p1 > Panels(m.Rows) || len(m.Data) < m.Bytes() {
		panic(fmt.Sprintf("kernel: internal error: panels %d to %d of a %v matrix [%d, %d] in %d bytes", p0, p1, m.Layout, m.Rows, m.Cols, len(m.Data)))
	}
}
