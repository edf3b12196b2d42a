package kernel

import (
	"encoding/binary"
	"fmt"

	"github.com/plume-run/plume/internal/quant"
)

var le = binary.LittleEndian

// PackRows packs rows rows of cols weights of type t, as a checkpoint stores them, into
// panels. A large matrix is packed piece by piece: every piece but the last must have a
// multiple of PanelRows rows, and its panels follow those of the piece before. dst must have
// PackedBytes(t, rows, cols) bytes and src exactly the rows. Runs on one goroutine and
// allocates nothing.
func PackRows(t quant.Type, dst, src []byte, rows, cols int) error {
	l, ok := LayoutFor(t)
	if !ok {
		return fmt.Errorf("pack %v weights: no layout", t)
	}
	rowBytes, err := t.Bytes(int64(cols))
	if err != nil {
		return fmt.Errorf("pack %v weights: %w", t, err)
	}
	if rows < 0 || cols <= 0 || int64(len(src)) != int64(rows)*rowBytes {
		return fmt.Errorf("pack %v weights [%d, %d]: have %d bytes, want %d", t, rows, cols, len(src), int64(rows)*rowBytes)
	}
	if want := PackedBytes(t, rows, cols); len(dst) != want {
		return fmt.Errorf("pack %v weights [%d, %d]: room for %d bytes, want %d", t, rows, cols, len(dst), want)
	}
	p := packer{src: t, layout: l, cols: cols, rowBytes: int(rowBytes)}
	n := l.PanelBytes(cols)
	for r := 0; r < rows; r += PanelRows {
		k := min(PanelRows, rows-r)
		panel := dst[r/PanelRows*n:][:n]
		if k < PanelRows {
			clear(panel)
		}
		p.panel(panel, src[r*p.rowBytes:(r+k)*p.rowBytes], k)
	}
	return nil
}

type packer struct {
	src            quant.Type
	layout         Layout
	cols, rowBytes int
}

// panel packs k ≤ 16 rows.
func (p *packer) panel(dst, src []byte, k int) {
	if p.layout.Float() {
		p.floatPanel(dst, src, k)
		return
	}
	if k == PanelRows && packPanelSIMD(p.src, dst, src, p.rowBytes) {
		return
	}
	info := &layouts[p.layout]
	for r := 0; r < k; r++ {
		row := src[r*p.rowBytes:][:p.rowBytes]
		if info.super > 1 {
			p.kRow(dst, row, r)
			continue
		}
		switch p.src {
		case quant.Q4_0, quant.IQ4_NL:
			packQ4_0(dst, row, r)
		case quant.Q4_1:
			packQ4_1(dst, row, r)
		case quant.Q5_0:
			packQ5_0(dst, row, r)
		case quant.Q5_1:
			packQ5_1(dst, row, r)
		case quant.Q8_0:
			packQ8_0(dst, row, r)
		case quant.Q2_0:
			packQ2_0(dst, row, r)
		}
	}
}

// kRow packs row r of a panel with super-blocks.
func (p *packer) kRow(dst, row []byte, r int) {
	switch p.src {
	case quant.Q2_K:
		packQ2K(dst, row, r)
	case quant.Q3_K:
		packQ3K(dst, row, r)
	case quant.Q4_K:
		packQ4K(dst, row, r)
	case quant.Q5_K:
		packQ5K(dst, row, r)
	case quant.Q6_K:
		packQ6K(dst, row, r)
	case quant.IQ4_XS:
		packIQ4XS(dst, row, r)
	}
}

// floatPanel copies rows in pieces of 16 columns.
func (p *packer) floatPanel(dst, src []byte, k int) {
	size := layouts[p.layout].float
	chunk, pad := 16*size, padded(p.cols)
	if pad != p.cols {
		clear(dst)
	}
	for r := 0; r < k; r++ {
		row := src[r*p.rowBytes:][:p.rowBytes]
		// Run r/4, place r%4 within each group of four chunks.
		out := dst[r/4*4*pad*size+r%4*chunk:]
		for len(row) >= chunk {
			copy(out[:chunk], row[:chunk])
			row = row[chunk:]
			if len(out) <= 4*chunk {
				break
			}
			out = out[4*chunk:]
		}
		copy(out, row)
	}
}

// The functions below place row r of a panel, whose first block dst begins with.

// putNibbles stores 16 bytes that have columns j and 16+j in their nibbles.
func putNibbles(dst *[256]byte, r int, a, b, c, d uint32) {
	q := dst[4*r : 4*r+196]
	le.PutUint32(q, a)
	le.PutUint32(q[64:], b)
	le.PutUint32(q[128:], c)
	le.PutUint32(q[192:], d)
}

func packQ4_0(dst, row []byte, r int) {
	for len(row) >= 18 && len(dst) >= 288 {
		o, b := (*[288]byte)(dst), (*[18]byte)(row)
		le.PutUint16(o[2*r:], le.Uint16(b[:]))
		putNibbles((*[256]byte)(o[32:]), r, le.Uint32(b[2:]), le.Uint32(b[6:]), le.Uint32(b[10:]), le.Uint32(b[14:]))
		dst, row = dst[min(288, len(dst)):], row[18:]
	}
}

func packQ4_1(dst, row []byte, r int) {
	for len(row) >= 20 && len(dst) >= 320 {
		o, b := (*[320]byte)(dst), (*[20]byte)(row)
		le.PutUint16(o[2*r:], le.Uint16(b[:]))
		le.PutUint16(o[32+2*r:], le.Uint16(b[2:])^0x8000)
		putNibbles((*[256]byte)(o[64:]), r, le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:]), le.Uint32(b[16:]))
		dst, row = dst[min(320, len(dst)):], row[20:]
	}
}

func packQ5_1(dst, row []byte, r int) {
	for len(row) >= 24 && len(dst) >= 384 {
		o, b := (*[384]byte)(dst), (*[24]byte)(row)
		le.PutUint16(o[2*r:], le.Uint16(b[:]))
		le.PutUint16(o[32+2*r:], le.Uint16(b[2:])^0x8000)
		le.PutUint32(o[64+4*r:], transposeBits(le.Uint32(b[4:])))
		putNibbles((*[256]byte)(o[128:]), r, le.Uint32(b[8:]), le.Uint32(b[12:]), le.Uint32(b[16:]), le.Uint32(b[20:]))
		dst, row = dst[min(384, len(dst)):], row[24:]
	}
}

// transposeBits moves bit 4g+j to bit 8j+g.
func transposeBits(h uint32) uint32 {
	var out uint32
	for g := 0; g < 8; g++ {
		nib := h >> (4 * g) & 15
		out |= (nib | nib<<7 | nib<<14 | nib<<21) & 0x01010101 << g
	}
	return out
}

func packQ8_0(dst, row []byte, r int) {
	for len(row) >= 34 && len(dst) >= 544 {
		o, b := (*[544]byte)(dst), (*[34]byte)(row)
		le.PutUint16(o[2*r:], le.Uint16(b[:]))
		q := o[32+4*r : 32+4*r+452]
		for g := 0; g < 8; g++ {
			le.PutUint32(q[64*g:], le.Uint32(b[2+4*g:]))
		}
		dst, row = dst[min(544, len(dst)):], row[34:]
	}
}

// packQ2_0 stores d·(q-1) as d·(q+7-8), two Q4_0 blocks of 32 weights.
func packQ2_0(dst, row []byte, r int) {
	spread := func(q byte) uint32 {
		x := uint32(q)
		return x&3 | x<<6&0x300 | x<<12&0x30000 | x<<18&0x3000000
	}
	for len(row) >= 18 && len(dst) >= 2*288 {
		for half := range 2 {
			o, q := (*[288]byte)(dst[288*half:]), (*[8]byte)(row[2+8*half:])
			copy(o[2*r:2*r+2], row)
			var w [4]uint32
			for i := range w {
				w[i] = spread(q[i]) + spread(q[4+i])<<4 + 0x77777777
			}
			putNibbles((*[256]byte)(o[32:]), r, w[0], w[1], w[2], w[3])
		}
		dst, row = dst[2*288:], row[18:]
	}
}

// packQ5_0 stores d·(q-16) as d·q - 16·d, a Q5_1 weight.
func packQ5_0(dst, row []byte, r int) {
	for len(row) >= 22 && len(dst) >= 384 {
		o, b := (*[384]byte)(dst), (*[22]byte)(row)
		le.PutUint16(o[2*r:], le.Uint16(b[:]))
		le.PutUint16(o[32+2*r:], quant.F32ToF16(16*quant.F16ToF32(le.Uint16(b[:]))))
		le.PutUint32(o[64+4*r:], transposeBits(le.Uint32(b[2:])))
		putNibbles((*[256]byte)(o[128:]), r, le.Uint32(b[6:]), le.Uint32(b[10:]), le.Uint32(b[14:]), le.Uint32(b[18:]))
		dst, row = dst[min(384, len(dst)):], row[22:]
	}
}

// curve4 is what nibbles of the IQ4 types stand for; the test of exactness holds it to package quant's.
var curve4 = [16]int8{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}
