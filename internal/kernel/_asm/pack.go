package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Packing: sixteen rows as a checkpoint stores them become a panel. What lies beside each other
// in a row is a column of a panel, so nearly all of it is transposing: 32-bit words, eight rows
// at a time, in 16-byte pieces of theirs.

func packUnit() {
	packSimple{name: "packQ4_0AVX2", src: 18, block: 288, halves: 1}.emit()
	packSimple{name: "packQ8_0AVX2", src: 34, block: 544, halves: 2}.emit()
	packQ6K()
}

// panel is the loop over one panel.
type panel struct {
	rows
	dst GPVirtual
}

// packPanel writes a function that packs n blocks of 16 rows; src and dst bytes hold one.
func packPanel(name, doc string, src, dst int, body func(p panel)) {
	TEXT(name, NOSPLIT, "func(dst, src *byte, stride, n int)")
	Doc(name+" packs n > 0 blocks of "+doc+" of 16 rows, which begin stride bytes", "apart. AVX2.")
	Pragma("noescape")
	d, s := Load(Param("dst"), GP64()).(GPVirtual), Load(Param("src"), GP64())
	p := panel{newRows(16, Load(Param("stride"), GP64()).(GPVirtual)), d}
	n := Load(Param("n"), GP64()).(GPVirtual)
	p.reset(s)
	Label("loop")
	body(p)
	p.advance(U32(src))
	ADDQ(U32(dst), d)
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

func (p panel) out(disp int) Mem { return Mem{Base: p.dst, Disp: disp} }

// words gathers the 16-bit words at disp of all rows and stores them at out.
func (p panel) words(disp, out int) {
	for half := range 2 {
		x := XMM()
		VMOVD(p.loadWord(8*half, disp), x)
		for i := 1; i < 8; i++ {
			VPINSRW(Imm(uint64(i)), p.at(8*half+i, disp), x, x)
		}
		VMOVDQU(x, p.out(out+16*half))
	}
}

// loadWord returns a register with a row's word.
func (p panel) loadWord(row, disp int) GPVirtual {
	w := GP32()
	MOVWLZX(p.at(row, disp), w)
	return w
}

// pieces loads the 16 bytes at disp of rows 8·half … 8·half+7, in pairs r and r+4.
func (p panel) pieces(half, disp int) [4]VecVirtual {
	var v [4]VecVirtual
	for r := range v {
		v[r] = YMM()
		VBROADCASTI128(p.at(8*half+r, disp), v[r])
		VINSERTI128(Imm(1), p.at(8*half+r+4, disp), v[r], v[r])
	}
	return v
}

// transpose turns pieces into their words: word i of all eight rows, in order.
func transpose(v [4]VecVirtual) [4]VecVirtual {
	lo, hi := [2]VecVirtual{YMM(), YMM()}, [2]VecVirtual{YMM(), YMM()}
	for i := range 2 {
		VPUNPCKLDQ(v[2*i+1], v[2*i], lo[i])
		VPUNPCKHDQ(v[2*i+1], v[2*i], hi[i])
	}
	var t [4]VecVirtual
	for i, pair := range [2][2]VecVirtual{lo, hi} {
		t[2*i], t[2*i+1] = YMM(), YMM()
		VPUNPCKLQDQ(pair[1], pair[0], t[2*i])
		VPUNPCKHQDQ(pair[1], pair[0], t[2*i+1])
	}
	return t
}

// swapBits exchanges the upper bits of a's fields with the lower ones of b's: a becomes
// a&low | b&low<<shift, b becomes a>>shift&low | b&^low.
func swapBits(a, b VecVirtual, shift uint64, low byte) {
	mask := constBits(low)
	x := YMM()
	VPSRLW(Imm(shift), a, x)
	VPXOR(b, x, x) // what differs
	VPAND(mask, x, x)
	VPXOR(x, b, b)
	VPSLLW(Imm(shift), x, x)
	VPXOR(x, a, a)
}

// constBits is a vector of equal bytes.
func constBits(b byte) Mem {
	names := map[byte]string{0x0f: "nibbles", 0x33: "pairs"}
	return constU32(names[b], 8, uint32(b)*0x01010101)
}

// packSimple packs a format that has a scale and then halves·16 bytes, which go where they
// are.
type packSimple struct {
	name               string
	src, block, halves int
}

func (f packSimple) emit() {
	packPanel(f.name, "32 columns", f.src, f.block, func(p panel) {
		p.words(0, 0)
		for h := range f.halves {
			for half := range 2 {
				for i, w := range transpose(p.pieces(half, 2+16*h)) {
					VMOVDQU(w, p.out(32+64*(4*h+i)+32*half))
				}
			}
		}
	})
}

// packQ6K: the low bits of blocks k and k+2 share bytes, nibble by nibble, the upper bits of
// blocks k to k+3, pair by pair.
func packQ6K() {
	packPanel("packQ6KAVX2", "256 columns", 210, 32+8*416, func(p panel) {
		block := func(b int) int { return 32 + 416*b }
		p.words(208, 0)
		for half := range 2 {
			p.scales(half, 192, block)
			for part := range 2 {
				for k := range 2 {
					lo, hi := p.pieces(half, 64*part+32*k), p.pieces(half, 64*part+32*k+16)
					for r := range lo {
						swapBits(lo[r], hi[r], 4, 0x0f)
					}
					for i, w := range transpose(lo) {
						VMOVDQU(w, p.out(block(4*part+k)+160+64*i+32*half))
					}
					for i, w := range transpose(hi) {
						VMOVDQU(w, p.out(block(4*part+k+2)+160+64*i+32*half))
					}
				}
				for c := range 2 {
					h := transpose(p.pieces(half, 128+32*part+16*c))
					swapBits(h[0], h[2], 4, 0x0f)
					swapBits(h[1], h[3], 4, 0x0f)
					swapBits(h[0], h[1], 2, 0x33)
					swapBits(h[2], h[3], 2, 0x33)
					for k, w := range h {
						VMOVDQU(w, p.out(block(4*part+k)+32+64*c+32*half))
					}
				}
			}
		}
	})
}

// scales transposes eight 16-bit words at disp of eight rows: one word of each for a block.
func (p panel) scales(half, disp int, block func(int) int) {
	var v [8]VecVirtual
	for r := range v {
		v[r] = XMM()
		VMOVDQU(p.at(8*half+r, disp), v[r])
	}
	type unpack func(b, a, dst Op)
	stage := func(apart int, lo, hi unpack) { // of rows r and r+apart: first halves to r, second ones to r+apart
		for r := range v {
			if r&apart == 0 {
				t := XMM()
				hi(v[r+apart], v[r], t)
				lo(v[r+apart], v[r], v[r])
				VMOVDQA(t, v[r+apart])
			}
		}
	}
	stage(1, func(b, a, d Op) { VPUNPCKLWD(b, a, d) }, func(b, a, d Op) { VPUNPCKHWD(b, a, d) })
	stage(2, func(b, a, d Op) { VPUNPCKLDQ(b, a, d) }, func(b, a, d Op) { VPUNPCKHDQ(b, a, d) })
	stage(4, func(b, a, d Op) { VPUNPCKLQDQ(b, a, d) }, func(b, a, d Op) { VPUNPCKHQDQ(b, a, d) })
	for r, x := range v {
		word := r&1<<2 | r&2 | r>>2 // the stages put first what came last
		VMOVDQU(x, p.out(block(word)+16*half))
	}
}
