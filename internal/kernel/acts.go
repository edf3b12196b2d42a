package kernel

import (
	"fmt"
	"math"
)

// Acts holds the activations of a matrix product, x [tok, cols], in the form that the
// weights' layout takes: rounded to int8 in blocks of 32, or float.
//
// A block of 32 quantised activations is 48 bytes, little-endian:
//
//	 0  q   [32]int8   round(x·127/max|x|), ties to even
//	32  d   f32        max|x|/127: x ≈ d·q
//	36  c   i32        -8·(s0+s1), where s0, s1 are the sums of q[0:16] and q[16:32]
//	40  c2  [2]i16     -8·s0, -8·s1
//	44  e   f32        d·(s0+s1)
//
// Sums are there for the formats with an offset or a minimum. A token is a run of blocks.
//
// The zero value is ready for Reset. Different tokens (or parts) may be set by different
// goroutines at once.
type Acts struct {
	cols   int
	tokens int
	float  bool
	stride int // bytes or floats from token to token
	q      []byte
	f      []float32
}

const actBlock = 48

// Reset prepares a for tokens rows of cols values for weights of layout l; what it held is
// lost. The buffers grow and are kept. Quantised layouts need cols to be a multiple of 32.
func (a *Acts) Reset(l Layout, tokens, cols int) {
	a.cols, a.tokens, a.float = cols, tokens, l.Float()
	if a.float {
		a.stride = padded(cols)
		if n := tokens * a.stride; n > cap(a.f) {
			a.f = make([]float32, n)
		}
		a.f = a.f[:tokens*a.stride]
		return
	}
	if cols%32 != 0 {
		panic(fmt.Sprintf("kernel: internal error: %d columns for %v weights", cols, l))
	}
	a.stride = cols / 32 * actBlock
	if a.stride%4096 == 0 {
		a.stride += 4 * actBlock // or all tokens fall on the same cache sets
	}
	if n := tokens * a.stride; n > cap(a.q) {
		a.q = make([]byte, n)
	}
	a.q = a.q[:tokens*a.stride]
}

// Tokens is the number of rows.
func (a *Acts) Tokens() int { return a.tokens }

// Cols is the values of a row.
func (a *Acts) Cols() int { return a.cols }

// Float says that the rows are float, for float layouts.
func (a *Acts) Float() bool { return a.float }

// Set stores row tok, len(x) == Cols. It copies; x is not kept.
func (a *Acts) Set(tok int, x []float32) {
	if len(x) != a.cols {
		panic(fmt.Sprintf("kernel: internal error: %d values for a row of %d", len(x), a.cols))
	}
	a.SetPart(tok, 0, x)
}

// SetPart stores x at columns off … of row tok; off and, except at the end of the row,
// len(x) must be multiples of 32.
//
//go:noinline
func (a *Acts) SetPart(tok, off int, x []float32) {
	end := off + len(x)
	if off%32 != 0 || end > a.cols || len(x)%32 != 0 && end != a.cols {
		panic(fmt.Sprintf("kernel: internal error: set columns %d to %d of %d", off, end, a.cols))
	}
	if a.float {
		row := a.f[tok*a.stride:][:a.stride]
		copy(row[off:], x)
		if end == a.cols {
			clear(row[end:])
		}
		return
	}
	dst := a.q[tok*a.stride+off/32*actBlock:][:len(x)/32*actBlock]
	if raceEnabled {
		raceRead(x)
		raceWrite(dst)
	}
	if len(x) > 0 && !quantizeSIMD(dst, x) {
		quantizeGeneric(dst, x)
	}
}

// CopyRow copies row from of src, which must have the same form and columns, to row tok.
func (a *Acts) CopyRow(tok int, src *Acts, from int) {
	if a.cols != src.cols || a.float != src.float {
		panic("kernel: internal error: copy between different activations")
	}
	if a.float {
		copy(a.f[tok*a.stride:][:a.stride], src.f[from*src.stride:][:src.stride])
		return
	}
	copy(a.q[tok*a.stride:][:a.stride], src.q[from*src.stride:][:src.stride])
}

// quantizeGeneric is the specification of the block above.
func quantizeGeneric(dst []byte, x []float32) {
	for ; len(x) >= 32; dst, x = dst[actBlock:], x[32:] {
		var top uint32 // as bits, so that a NaN wins
		for _, v := range x[:32] {
			top = max(top, math.Float32bits(v)&0x7fffffff)
		}
		m := math.Float32frombits(top)
		d := m / 127
		inv := float32(127)
		if top <= 0x7f800000 {
			inv /= max(m, 1e-30)
		}
		var sum [2]int32
		for i, v := range x[:32] {
			q := roundInt8(v * inv)
			dst[i] = byte(q)
			sum[i/16] += int32(q)
		}
		le.PutUint32(dst[32:], math.Float32bits(d))
		le.PutUint32(dst[36:], uint32(-8*(sum[0]+sum[1])))
		le.PutUint16(dst[40:], uint16(-8*sum[0]))
		le.PutUint16(dst[42:], uint16(-8*sum[1]))
		le.PutUint32(dst[44:], math.Float32bits(float32(sum[0]+sum[1])*d))
	}
}

// roundInt8 rounds to nearest even; what is not a number or out of range becomes -128 or 127.
func roundInt8(v float32) int8 {
	r := math.RoundToEven(float64(v))
	if !(r >= -128) {
		return -128
	}
	return int8(min(r, 127))
}

// QuantizeRow rounds x to int8 with one scale, x[i] ≈ scale·dst[i], for keys and values kept
// as I8 rows. len(dst) == len(x). A row that is not finite gets a scale that is not finite.
//
//go:noinline
func QuantizeRow(dst []int8, x []float32) (scale float32) {
	dst = dst[:len(x)]
	var top uint32
	for _, v := range x {
		top = max(top, math.Float32bits(v)&0x7fffffff)
	}
	m := math.Float32frombits(top)
	inv := float32(127) / max(m, 1e-30)
	n := quantRowSIMD(dst, x, inv)
	for i, v := range x[n:] {
		dst[n+i] = roundInt8(v * inv)
	}
	return m / 127
}
