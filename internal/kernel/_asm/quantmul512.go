package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// maxTokens512 is the widest AVX-512 tile; formats with two sums per token stop at 8.
func (f format) maxTokens512() int {
	if f.halves {
		return 8
	}
	return 12
}

func quantMul512Unit() {
	for _, f := range formats {
		for t := 1; t <= f.maxTokens512(); t++ {
			(&tile512{f: f, T: t}).emit()
		}
	}
	peakVNNI()
}

func peakVNNI() {
	TEXT("peakInt8VNNI", NOSPLIT, "func(n int)")
	Doc("peakInt8VNNI does n*768 int8 multiply-adds on 12 chains: the exact int8 limit. AVX-512 F, VNNI.", "")
	n := Load(Param("n"), GP64())
	x := ZMM()
	VPXORD(x, x, x)
	var s []VecVirtual
	for i := 0; i < 12; i++ {
		s = append(s, ZMM())
		VPXORD(s[i], s[i], s[i])
	}
	Label("loop")
	for i := range s {
		VPDPBUSD(x, x, s[i])
	}
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// tile512 writes one function: panels of 16 rows, both halves side by side, against T tokens.
// The activations come as embedded broadcasts, the integer sums from VPDPBUSD.
type tile512 struct {
	f format
	T int

	w       GPVirtual  // current block
	d, dmin VecVirtual // factors of the super-block
	ahead   GPVirtual
	x       rows
	acc     []VecVirtual
	masks   map[uint32]VecVirtual
	table   VecVirtual // curve4 plus 128
}

func zero512() VecVirtual {
	v := ZMM()
	VPXORD(v, v, v)
	return v
}

// mask is a constant kept in a register.
func (k *tile512) mask(v uint32) VecVirtual { return k.masks[v] }

func (k *tile512) loadMasks() {
	k.masks = map[uint32]VecVirtual{}
	need := map[int][]uint32{2: {low2, low16, low4}, 3: {low2, low16, bit2}, 4: {nib}, 5: {nib, bit4}, 6: {nib, bits45}, 8: {sign}}
	for _, v := range need[k.f.bits] {
		z := ZMM()
		VPBROADCASTD(constU32(fmt.Sprintf("m%x", v), 1, v), z)
		k.masks[v] = z
	}
	if k.f.table {
		k.table = ZMM()
		VBROADCASTI32X4(constBytes("curve4", curve4(128)), k.table)
	}
}

const (
	nib    = 0x0f0f0f0f
	bit4   = 0x10101010
	bits45 = 0x30303030
	sign   = 0x80808080
	low2   = 0x03030303
	bit2   = 0x04040404
	low4   = 0x000f000f
	low16  = 0x0000ffff
)

func (k *tile512) emit() {
	name := fmt.Sprintf("mul%sx%dVNNI", k.f.name, k.T)
	TEXT(name, NOSPLIT, "func(a *byte)")
	Doc(fmt.Sprintf("%s: panels of 16 %s rows against %d tokens, see mulArgs and MatMul. AVX-512 F, BW, VL, DQ, VNNI.", name, k.f.name, k.T), "")
	Pragma("noescape")
	a := Load(Param("a"), GP64())
	k.w = field(a, 0)
	if k.T == 1 {
		k.ahead = field(a, 7)
	}
	k.x = newRows(k.T, field(a, 3))
	y := field(a, 2) // not counted up in a: the garbage collector may look at the pointer there
	k.loadMasks()
	n, inner := GP64(), GP64()
	Label("panel")
	k.acc = make([]VecVirtual, k.T)
	for t := range k.acc {
		k.acc[t] = zero512()
	}
	k.x.reset(Mem{Base: a, Disp: 8})
	MOVQ(Mem{Base: a, Disp: 8 * 6}, n)
	Label("super")
	if k.f.super > 1 {
		k.prefetch(k.f.head)
		k.d = widenF16Z(k.w, 0)
		if k.f.kScale || k.f.halfMin {
			k.dmin = widenF16Z(k.w, 32)
		}
		if k.f.halfMin {
			VMULPS_BCST(constU32("eighth", 1, math.Float32bits(0.125)), k.dmin, k.dmin)
		}
		ADDQ(Imm(uint64(k.f.head)), k.w)
		MOVQ(U32(uint32(k.f.super)), inner)
		Label("block")
	}
	k.prefetch(k.f.block)
	k.body()
	k.x.advance(Imm(actBytes))
	ADDQ(U32(uint32(k.f.block)), k.w)
	if k.f.super > 1 {
		DECQ(inner)
		JNZ(LabelRef("block"))
	}
	DECQ(n)
	JNZ(LabelRef("super"))
	yt := GP64()
	MOVQ(y, yt)
	for t := range k.acc {
		VMOVUPS(k.acc[t], Mem{Base: yt})
		if t < k.T-1 {
			ADDQ(Mem{Base: a, Disp: 32}, yt)
		}
	}
	ADDQ(Imm(64), y)
	DECQ(Mem{Base: a, Disp: 8 * 5})
	JNZ(LabelRef("panel"))
	VZEROUPPER()
	RET()
}

func (k *tile512) prefetch(size int) {
	for o := 0; o < size; o += 64 {
		if k.T == 1 {
			PREFETCHNTA(Mem{Base: k.w, Index: k.ahead, Scale: 1, Disp: o})
		} else {
			PREFETCHT0(Mem{Base: k.w, Disp: 2048 + o}) // fixed: no register left for a distance
		}
	}
}

// load reads the 64 bytes at disp of the block.
func (k *tile512) load(disp int) VecVirtual {
	v := ZMM()
	VMOVDQU64(Mem{Base: k.w, Disp: disp}, v)
	return v
}

// widenF16Z widens the 16 half floats at disp.
func widenF16Z(p GPVirtual, disp int) VecVirtual {
	v := ZMM()
	VCVTPH2PS(Mem{Base: p, Disp: disp}, v)
	return v
}

func (k *tile512) body() {
	s := k.start()
	var high VecVirtual
	if k.f.bits == 5 || k.f.bits == 3 {
		high = k.load(k.f.high)
	}
	second := s // sums of columns 16 … 31
	if k.f.halves {
		second = make([]VecVirtual, k.T)
		for t := range second {
			second[t] = zero512()
		}
	}
	switch k.f.bits {
	case 2, 3:
		for g := 0; g < 8; g++ {
			to, w := s, k.load(k.f.nibs+64*(g/4))
			if g >= 4 {
				to = second
			}
			if g%4 > 0 {
				VPSRLW(U8(uint8(2*(g%4))), w, w)
			}
			VPANDD(k.mask(low2), w, w)
			if k.f.bits == 3 {
				k.orBits(w, high, 2-g, bit2)
			}
			k.dot(to, w, g)
		}
	case 4, 5, 6:
		for i := 0; i < 4; i++ {
			lo, hi := ZMM(), k.load(k.f.nibs+64*i)
			VPANDD(k.mask(nib), hi, lo)
			VPSRLW(U8(4), hi, hi)
			VPANDD(k.mask(nib), hi, hi)
			switch k.f.bits {
			case 5:
				k.orBits(lo, high, 4-i, bit4)
				k.orBits(hi, high, -i, bit4)
			case 6:
				k.orBits(lo, k.load(k.f.high), 4-2*i, bits45)
				k.orBits(hi, k.load(k.f.high+64), 4-2*i, bits45)
			}
			if k.f.table {
				VPSHUFB(lo, k.table, lo)
				VPSHUFB(hi, k.table, hi)
			}
			k.dot(s, lo, i)
			k.dot(second, hi, 4+i)
		}
	case 8:
		for g := 0; g < 8; g++ {
			w := k.load(k.f.nibs + 64*g)
			VPXORD(k.mask(sign), w, w) // w+128, unsigned
			k.dot(s, w, g)
		}
	}
	switch {
	case k.f.twos():
		k.scaleWords(s, second)
	case k.f.halves:
		k.scaleHalves(s, second)
	}
	k.finish(s)
}

// start begins the sums with what the offset of the weights takes off.
func (k *tile512) start() []VecVirtual {
	s := make([]VecVirtual, k.T)
	for t := range s {
		s[t] = ZMM()
		switch {
		case k.f.bits == 8, k.f.table:
			VPSLLD_BCST(U8(4), k.x.at(t, actC), s[t]) // -128·Σx
		case k.f.offset():
			VPBROADCASTD(k.x.at(t, actC), s[t]) // -8·Σx
		default:
			VPXORD(s[t], s[t], s[t])
		}
	}
	return s
}

func (k *tile512) dot(s []VecVirtual, w VecVirtual, g int) {
	for t := range s {
		VPDPBUSD_BCST(k.x.at(t, 4*g), w, s[t])
	}
}

// orBits does w |= (high << shift) & mask; a negative shift goes right.
func (k *tile512) orBits(w, high VecVirtual, shift int, mask uint32) {
	h := ZMM()
	switch {
	case shift > 0:
		VPSLLW(U8(uint8(shift)), high, h)
	case shift < 0:
		VPSRLW(U8(uint8(-shift)), high, h)
	default:
		h = high
	}
	VPTERNLOGD(U8(0xf8), k.mask(mask), h, w)
}

// scaleHalves does s = s·s0 + second·s1 + (4s)·(-8·Σx), see Q6_K.
func (k *tile512) scaleHalves(s, second []VecVirtual) {
	pairs, s0, s1 := ZMM(), ZMM(), ZMM()
	VPMOVSXBW(Mem{Base: k.w}, pairs)
	VPSLLD(U8(16), pairs, s0)
	VPSRAD(U8(16), s0, s0)
	VPSRAD(U8(16), pairs, s1)
	VPSLLW(U8(2), pairs, pairs)
	for t := range s {
		c := ZMM()
		VPBROADCASTD(k.x.at(t, actC2), c)
		VPMADDWD(pairs, c, c)
		VPMULLD(s0, s[t], s[t])
		VPMULLD(s1, second[t], second[t])
		VPADDD(c, s[t], s[t])
		VPADDD(second[t], s[t], s[t])
	}
}

// scaleWords is scaleHalves for two and three bits, whose sums (at most 16·7·127 = 14224, less an
// offset of 4·Σx) fit into 16 bits: both beside each other, one VPMADDWD applies the scales.
func (k *tile512) scaleWords(s, second []VecVirtual) {
	pairs := ZMM()
	if k.f.halfMin {
		VPMOVZXBW(Mem{Base: k.w}, pairs)
		VPANDD(k.mask(low4), pairs, pairs)
	} else {
		VPMOVSXBW(Mem{Base: k.w}, pairs)
	}
	for t := range s {
		VPSLLD(U8(16), second[t], second[t])
		VPTERNLOGD(U8(0xe4), k.mask(low16), second[t], s[t]) // by the mask: s, else second
		if k.f.bits == 3 {
			c := ZMM()
			VPBROADCASTD(k.x.at(t, actC2), c)
			VPSRAW(U8(1), c, c)
			VPADDW(c, s[t], s[t])
		}
		VPMADDWD(pairs, s[t], s[t])
	}
}

// takeHalfMins is tile.takeHalfMins.
func (k *tile512) takeHalfMins() {
	m := ZMM()
	VPMOVZXBW(Mem{Base: k.w}, m)
	VPSRLW(U8(4), m, m)
	for t := range k.acc {
		c, f := ZMM(), ZMM()
		VPBROADCASTD(k.x.at(t, actC2), c)
		VPMADDWD(m, c, c)
		VCVTDQ2PS(c, c)
		VMULPS_BCST(k.x.at(t, actD), k.dmin, f)
		VFMADD231PS(f, c, k.acc[t])
	}
}

// finish adds the block's float terms.
func (k *tile512) finish(s []VecVirtual) {
	var d, m VecVirtual
	switch {
	case k.f.kScale:
		d, m = ZMM(), ZMM()
		VPMOVZXBD(Mem{Base: k.w}, d)
		VPMOVZXBD(Mem{Base: k.w, Disp: 16}, m)
		VCVTDQ2PS(d, d)
		VCVTDQ2PS(m, m)
		VMULPS(k.d, d, d)
		VMULPS(k.dmin, m, m)
	case k.f.wScale:
		d = ZMM()
		VPMOVSXWD(Mem{Base: k.w}, d)
		VCVTDQ2PS(d, d)
		VMULPS(k.d, d, d)
	case k.f.f16Min:
		d, m = widenF16Z(k.w, 0), widenF16Z(k.w, 32)
	case k.f.super > 1:
		d = k.d
	default:
		d = widenF16Z(k.w, 0)
	}
	for t := range s {
		VCVTDQ2PS(s[t], s[t])
		f := ZMM()
		VMULPS_BCST(k.x.at(t, actD), d, f)
		VFMADD231PS(f, s[t], k.acc[t])
		if k.f.hasMin() {
			VFNMADD231PS_BCST(k.x.at(t, actE), m, k.acc[t])
		}
	}
	if k.f.halfMin {
		k.takeHalfMins()
	}
}
