package kernel

import (
	"math"

	"github.com/plume-run/plume/internal/quant"
)

// rowBlock is 32 columns of one row of a panel: value = d·s·q - m, s by halves; with halfMin
// it is d·s·q - m·ms, ms by halves too.
type rowBlock struct {
	q               [32]int32 // offset taken off
	s, ms           [2]int32
	d, m            float32
	hasMin, halfMin bool
}

func f16At(b []byte) float32 { return quant.F16ToF32(le.Uint16(b)) }

// readBlock decodes block blk of row r of a panel: the layouts of Layout's comment, spelled out.
func readBlock(l Layout, panel []byte, blk, r int, o *rowBlock) {
	info := &layouts[l]
	head := panel[blk/info.super*(info.head+info.super*info.block):]
	b := head[info.head+blk%info.super*info.block:][:info.block]
	o.s, o.d, o.m, o.hasMin, o.halfMin = [2]int32{1, 1}, f16At(head[2*r:]), 0, false, false
	if info.super == 1 {
		o.d = f16At(b[2*r:])
	}
	switch l {
	case LayoutQ4_0:
		o.nibbles(b[32:], r, -8)
	case LayoutQ4_1:
		o.m, o.hasMin = f16At(b[32+2*r:]), true
		o.nibbles(b[64:], r, 0)
	case LayoutQ5_1:
		o.m, o.hasMin = f16At(b[32+2*r:]), true
		o.nibbles(b[128:], r, 0)
		o.fifth(b[64:], r)
	case LayoutQ8_0:
		for k := range o.q {
			o.q[k] = int32(int8(b[32+64*(k/4)+4*r+k%4]))
		}
	case LayoutQ4_K, LayoutQ5_K:
		o.d *= float32(b[r]) // exact: 11 by 6 bits
		o.m, o.hasMin = f16At(head[32+2*r:])*float32(b[16+r]), true
		if l == LayoutQ4_K {
			o.nibbles(b[32:], r, 0)
			return
		}
		o.nibbles(b[96:], r, 0)
		o.fifth(b[32:], r)
	case LayoutQ6_K:
		o.s = [2]int32{int32(int8(b[2*r])), int32(int8(b[2*r+1]))}
		o.nibbles(b[160:], r, -32)
		o.twoBits(b[32:], r, 4)
	case LayoutQ2_K:
		o.m, o.hasMin, o.halfMin = f16At(head[32+2*r:]), true, true
		for c, v := range b[2*r : 2*r+2] {
			o.s[c], o.ms[c] = int32(v&15), int32(v>>4)
		}
		o.q = [32]int32{}
		o.twoBits(b[32:], r, 0)
	case LayoutQ3_K:
		o.s = [2]int32{int32(int8(b[2*r])), int32(int8(b[2*r+1]))}
		for k := range o.q {
			o.q[k] = int32(b[32+4*r+k%4]>>(k/4)&1)<<2 - 4
		}
		o.twoBits(b[96:], r, 0)
	case LayoutIQ4_NL:
		o.curve(b[32:], r)
	case LayoutIQ4_XS:
		o.d *= float32(int16(le.Uint16(b[2*r:]))) // exact
		o.curve(b[32:], r)
	}
}

// curve reads nibbles that stand for values of curve4.
func (o *rowBlock) curve(q []byte, r int) {
	o.nibbles(q, r, 0)
	for k, v := range o.q {
		o.q[k] = int32(curve4[v])
	}
}

func (o *rowBlock) nibbles(q []byte, r int, offset int32) {
	for k := range 16 {
		v := q[64*(k/4)+4*r+k%4]
		o.q[k], o.q[16+k] = int32(v&15)+offset, int32(v>>4)+offset
	}
}

// twoBits adds the columns of a field p, shifted to the left.
func (o *rowBlock) twoBits(p []byte, r, shift int) {
	for k := range o.q {
		o.q[k] += int32(p[64*(k/16)+4*r+k%4]>>(k/4%4*2)&3) << shift
	}
}

func (o *rowBlock) fifth(h []byte, r int) {
	for k := range o.q {
		o.q[k] += int32(h[4*r+k%4]>>(k/4)&1) << 4
	}
}

// mulTileGeneric is the specification of MatMul for quantised layouts.
func mulTileGeneric(l Layout, y []float32, yStride int, w []byte, panels int, x []byte, xStride, nblk, tokens int) {
	size := len(w) / panels
	var b rowBlock
	for row := 0; row < panels*PanelRows; row++ {
		panel := w[row/PanelRows*size:][:size]
		var acc [maxTile]float32
		for blk := 0; blk < nblk; blk++ {
			readBlock(l, panel, blk, row%PanelRows, &b)
			for t := 0; t < tokens; t++ {
				acc[t] = b.madd(x[t*xStride+blk*actBlock:][:actBlock], acc[t])
			}
		}
		for t := 0; t < tokens; t++ {
			y[t*yStride+row] = acc[t]
		}
	}
}

// madd adds the block's product with a block of activations to acc.
func (b *rowBlock) madd(x []byte, acc float32) float32 {
	var sum [2]int32
	for k, q := range b.q {
		sum[k/16] += q * int32(int8(x[k]))
	}
	d := math.Float32frombits(le.Uint32(x[32:]))
	acc = fma32(float32(b.d*d), float32(b.s[0]*sum[0]+b.s[1]*sum[1]), acc)
	if b.halfMin {
		m := b.ms[0]*int32(int16(le.Uint16(x[40:]))) + b.ms[1]*int32(int16(le.Uint16(x[42:])))
		return fma32(float32(b.m/8*d), float32(m), acc)
	}
	if b.hasMin {
		acc = fma32(-b.m, math.Float32frombits(le.Uint32(x[44:])), acc)
	}
	return acc
}

// floatTileGeneric is the specification of MatMul for float layouts, over runs of four rows.
func floatTileGeneric(kind Kind, y []float32, yStride int, w []byte, x []float32, pad, tokens int) {
	run := 4 * pad * kind.Size()
	for row := 0; row < len(w)/run*4; row++ {
		b := w[row/4*run:][:run]
		for t := 0; t < tokens; t++ {
			var lanes [16]float32
			for i, v := range x[t*pad:][:pad] {
				lanes[i%16] = fma32(v, elementAt(kind, b, i/16*64+row%4*16+i%16), lanes[i%16])
			}
			y[t*yStride+row] = sum16(&lanes)
		}
	}
}

// DecodeRow writes the values of row row of a packed matrix to dst, len(dst) == w.Cols. They
// are the values that package quant decodes from the checkpoint's bytes (but see LayoutFor), so a
// packed matrix can serve as an embedding table too.
func DecodeRow(dst []float32, w *Matrix, row int) {
	p := row / PanelRows
	w.check(p, p+1)
	dst = dst[:w.Cols]
	panel, r := w.panels(p, p+1), row%PanelRows
	if size := layouts[w.Layout].float; size > 0 {
		kind := [...]Kind{LayoutF32: F32, LayoutF16: F16, LayoutBF16: BF16}[w.Layout]
		run := panel[r/4*4*padded(w.Cols)*size:]
		for i := range dst {
			dst[i] = elementAt(kind, run, i/16*64+r%4*16+i%16)
		}
		return
	}
	var b rowBlock
	for blk := 0; blk < w.Cols/32; blk++ {
		readBlock(w.Layout, panel, blk, r, &b)
		out := dst[32*blk:][:32]
		for k := range out {
			v := float32(b.d*float32(b.s[k/16])) * float32(b.q[k])
			if b.halfMin {
				v = float32(v) - float32(b.m*float32(b.ms[k/16]))
			} else if b.hasMin {
				v = float32(v) - b.m
			}
			out[k] = v
		}
	}
}
