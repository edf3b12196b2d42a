package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// format is a quantised layout as a tile sees it; see kernel.Layout for the bytes.
type format struct {
	name  string
	block int // bytes of a block of 32 columns by 8 rows
	super int // blocks of a super-block
	head  int // bytes before its blocks

	bits   int
	nibs   int  // offset of the nibbles (or bytes) in a block
	high   int  // offset of the upper bits in a block
	f16Min bool // minimum in f16 in the block, scale before it
	kScale bool // scale and minimum as u8 in the block, factors in f16 in the head
	halves bool // i8 scales per 16 columns, factor in the head
}

func (f format) hasMin() bool { return f.f16Min || f.kScale }

var formats = []format{
	{name: "Q4_0", block: 144, super: 1, bits: 4, nibs: 16},
	{name: "Q4_1", block: 160, super: 1, bits: 4, nibs: 32, f16Min: true},
	{name: "Q5_1", block: 192, super: 1, bits: 5, nibs: 64, high: 32, f16Min: true},
	{name: "Q8_0", block: 272, super: 1, bits: 8, nibs: 16},
	{name: "Q4_K", block: 144, super: 8, head: 32, bits: 4, nibs: 16, kScale: true},
	{name: "Q5_K", block: 176, super: 8, head: 32, bits: 5, nibs: 48, high: 16, kScale: true},
	{name: "Q6_K", block: 208, super: 8, head: 16, bits: 6, nibs: 80, high: 16, halves: true},
}

// Offsets in an activation block.
const (
	actD     = 32
	actC     = 36
	actC2    = 40
	actE     = 44
	actBytes = 48
)

// maxTokens is the widest AVX2 tile: 6 float and 6 integer accumulators leave four registers.
const maxTokens = 6

func quantMulUnit() {
	for _, f := range formats {
		for t := 1; t <= maxTokens; t++ {
			(&tile{f: f, T: t}).emit()
		}
	}
}

// tile writes one function: a panel of 8 rows against T tokens, panels times.
type tile struct {
	f format
	T int

	w, head GPVirtual // current block, current super-block
	ahead   GPVirtual
	x       rows
	acc     []VecVirtual
	scratch Mem

	nib, bits Op // masks: in registers where there is room, else in memory
}

// masks sets the masks of a block. With few tokens the loads, not the multiplications, are
// the limit, and there is room to keep masks in registers.
func (k *tile) masks() {
	k.nib, k.bits = nibMask(), constU32("bit4", 8, 0x10101010)
	if k.f.bits == 6 {
		k.bits = constU32("bits45", 8, 0x30303030)
	}
	if k.T <= 3 {
		k.nib, k.bits = inRegister(k.nib), inRegister(k.bits)
	}
}

func inRegister(m Op) Op {
	v := YMM()
	VMOVDQU(m, v)
	return v
}

func (k *tile) emit() {
	name := fmt.Sprintf("mul%sx%dAVX2", k.f.name, k.T)
	TEXT(name, NOSPLIT, "func(a *byte)")
	Doc(fmt.Sprintf("%s: panels of 8 %s rows against %d tokens, see mulArgs and MatMul. AVX2, FMA, F16C.", name, k.f.name, k.T), "")
	Pragma("noescape")
	a := Load(Param("a"), GP64())
	if k.f.halves {
		k.scratch = AllocLocal(64)
	}
	k.w = field(a, 0)
	y, ystep := field(a, 2), field(a, 4)
	k.ahead = field(a, 7)
	k.x = newRows(k.T, field(a, 3))
	n, inner := GP64(), GP64()
	Label("panel")
	k.acc = make([]VecVirtual, k.T)
	for t := range k.acc {
		k.acc[t] = zero(YMM())
	}
	k.x.reset(Mem{Base: a, Disp: 8})
	MOVQ(Mem{Base: a, Disp: 8 * 6}, n)
	Label("super")
	k.head = k.w
	if k.f.super > 1 {
		k.head = GP64()
		MOVQ(k.w, k.head)
		k.prefetch(0, k.f.head)
		ADDQ(Imm(uint64(k.f.head)), k.w)
		MOVQ(U32(uint32(k.f.super)), inner)
		Label("block")
	}
	k.prefetch(0, k.f.block)
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
			ADDQ(ystep, yt)
		}
	}
	ADDQ(Imm(32), y)
	DECQ(Mem{Base: a, Disp: 8 * 5})
	JNZ(LabelRef("panel"))
	VZEROUPPER()
	RET()
}

// prefetch asks for the lines of size bytes, ahead bytes on: past the caches for one token,
// into them when more tiles of tokens will follow.
func (k *tile) prefetch(off, size int) {
	for o := 0; o < size; o += 64 {
		m := Mem{Base: k.w, Index: k.ahead, Scale: 1, Disp: off + o}
		if k.T == 1 {
			PREFETCHNTA(m)
		} else {
			PREFETCHT0(m)
		}
	}
}

func (k *tile) at(disp int) Mem { return Mem{Base: k.w, Disp: disp} }

func ones16() Mem  { return constU32("ones16", 8, 0x00010001) }
func nibMask() Mem { return constU32("nibmask", 8, 0x0f0f0f0f) }

func bcast(m Mem) VecVirtual {
	v := YMM()
	VPBROADCASTD(m, v)
	return v
}

func (k *tile) body() {
	switch {
	case k.f.bits == 4:
		k.finish(k.sum4())
	case k.f.bits == 5:
		k.finish(k.sumPairs())
	case k.f.bits == 8:
		k.finish(k.sum8())
	default:
		k.finish(k.sum6())
	}
}

// sum4: unsigned nibbles times signed bytes. Two products of at most 15·127 share an int16
// lane eight times: 16·15·127 = 30480 fits, so one widening per block is enough.
func (k *tile) sum4() []VecVirtual {
	s := make([]VecVirtual, k.T)
	mask := YMM()
	VMOVDQU(nibMask(), mask)
	step := func(w VecVirtual, g int) {
		for t := range s {
			xv := bcast(k.x.at(t, 4*g))
			if s[t] == nil {
				s[t] = YMM()
				VPMADDUBSW(xv, w, s[t])
				continue
			}
			VPMADDUBSW(xv, w, xv)
			VPADDW(xv, s[t], s[t])
		}
	}
	for i := 0; i < 4; i++ {
		hi, lo := YMM(), YMM()
		VMOVDQU(k.at(k.f.nibs+32*i), hi)
		VPAND(mask, hi, lo)
		VPSRLW(U8(4), hi, hi)
		VPAND(mask, hi, hi)
		step(lo, i)
		step(hi, 4+i)
	}
	for t := range s {
		VPMADDWD(ones16(), s[t], s[t])
	}
	return s
}

// fiveBits builds the weights of groups i and 4+i; high has the fifth bits.
func (k *tile) fiveBits(i int, high Op) (lo, hi VecVirtual) {
	lo, hi = YMM(), YMM()
	VMOVDQU(k.at(k.f.nibs+32*i), hi)
	VPAND(k.nib, hi, lo)
	VPSRLW(U8(4), hi, hi)
	VPAND(k.nib, hi, hi)
	k.orBits(lo, high, 4-i)
	k.orBits(hi, high, -i)
	return lo, hi
}

// orBits does w |= (high << shift) & mask; a negative shift goes right.
func (k *tile) orBits(w VecVirtual, high Op, shift int) {
	h := YMM()
	from := h
	if v, ok := high.(VecVirtual); ok {
		from = v
	} else {
		VMOVDQU(high, h)
	}
	switch {
	case shift > 0:
		VPSLLW(U8(uint8(shift)), from, h)
		from = h
	case shift < 0:
		VPSRLW(U8(uint8(-shift)), from, h)
		from = h
	}
	VPAND(k.bits, from, h)
	VPOR(h, w, w)
}

// high is the upper bits at off, in a register where there is room.
func (k *tile) high(off int) Op {
	if k.T <= 3 {
		return inRegister(k.at(off))
	}
	return k.at(off)
}

// addPair adds two groups' products to int32 sums: 2·2·63·127 = 32004 fits an int16 lane. scale
// is what widens: ones, or the rows' scales.
func (k *tile) addPair(s []VecVirtual, w0, w1 VecVirtual, g0, g1 int, scale Op) {
	for t := range s {
		a := bcast(k.x.at(t, 4*g0))
		VPMADDUBSW(a, w0, a)
		b := bcast(k.x.at(t, 4*g1))
		VPMADDUBSW(b, w1, b)
		VPADDW(b, a, a)
		if s[t] == nil {
			s[t] = YMM()
			VPMADDWD(scale, a, s[t])
			continue
		}
		VPMADDWD(scale, a, a)
		VPADDD(a, s[t], s[t])
	}
}

// sumPairs: five-bit weights, widened after every second product.
func (k *tile) sumPairs() []VecVirtual {
	s := make([]VecVirtual, k.T)
	k.masks()
	high := k.high(k.f.high)
	for i := 0; i < 4; i++ {
		lo, hi := k.fiveBits(i, high)
		k.addPair(s, lo, hi, i, 4+i, ones16())
	}
	return s
}

// sum8: |w| times x with w's sign; 2·128·127 = 32512 fits, one widening per product.
func (k *tile) sum8() []VecVirtual {
	s := make([]VecVirtual, k.T)
	for g := 0; g < 8; g++ {
		w, aw := YMM(), YMM()
		VMOVDQU(k.at(k.f.nibs+32*g), w)
		VPABSB(w, aw)
		for t := range s {
			xv := bcast(k.x.at(t, 4*g))
			VPSIGNB(w, xv, xv)
			VPMADDUBSW(xv, aw, xv)
			if s[t] == nil {
				s[t] = YMM()
				VPMADDWD(ones16(), xv, s[t])
				continue
			}
			VPMADDWD(ones16(), xv, xv)
			VPADDD(xv, s[t], s[t])
		}
	}
	return s
}

// sixBits builds the weights of group g from its nibbles, still in the low or high half of
// the bytes of q, which it overwrites.
func (k *tile) sixBits(q VecVirtual, high Op, g int) VecVirtual {
	if g >= 4 {
		VPSRLW(U8(4), q, q)
	}
	VPAND(k.nib, q, q)
	k.orBits(q, high, 4-2*(g%4))
	return q
}

// sixPairs adds all groups to the sums. With room in registers the nibbles are loaded once.
func (k *tile) sixPairs(s []VecVirtual) {
	load := func(i int) VecVirtual {
		q := YMM()
		VMOVDQU(k.at(k.f.nibs+32*i), q)
		return q
	}
	if k.T > 3 {
		for g := 0; g < 8; g += 2 {
			high := k.high(k.f.high + 32*(g/4))
			k.addPair(s, k.sixBits(load(g%4), high, g), k.sixBits(load(g%4+1), high, g+1), g, g+1, k.scratch.Offset(32*(g/4)))
		}
		return
	}
	h0, h1 := k.high(k.f.high), k.high(k.f.high+32)
	for i := 0; i < 4; i += 2 {
		a, b := load(i), load(i+1)
		a2, b2 := YMM(), YMM()
		VMOVDQA(a, a2)
		VMOVDQA(b, b2)
		k.addPair(s, k.sixBits(a, h0, i), k.sixBits(b, h0, i+1), i, i+1, k.scratch)
		k.addPair(s, k.sixBits(a2, h1, 4+i), k.sixBits(b2, h1, 5+i), 4+i, 5+i, k.scratch.Offset(32))
	}
}

// sum6: the widening multiply applies the scale of the 16 columns, and the offset of 32
// comes off at the end: (4s)·(-8·Σx) for both halves at once.
func (k *tile) sum6() []VecVirtual {
	pairs := YMM()
	VPMOVSXBW(k.at(0), pairs)
	for c := 0; c < 2; c++ {
		lo, hi := byte(4*0+2*c), byte(4*0+2*c+1)
		var sh []byte
		for r := 0; r < 8; r++ {
			o := byte(4 * (r % 4))
			sh = append(sh, o+lo, o+hi, o+lo, o+hi)
		}
		v := YMM()
		VPSHUFB(constBytes(fmt.Sprintf("dup%d", c), sh), pairs, v)
		VMOVDQU(v, k.scratch.Offset(32*c))
	}
	s := make([]VecVirtual, k.T)
	k.masks()
	k.sixPairs(s)
	four := YMM()
	VPMOVSXBW(k.at(0), four)
	VPSLLW(U8(2), four, four)
	for t := range s {
		c := bcast(k.x.at(t, actC2))
		VPMADDWD(four, c, c)
		VPADDD(c, s[t], s[t])
	}
	return s
}

// finish adds the block's float terms.
func (k *tile) finish(s []VecVirtual) {
	d, m := YMM(), YMM()
	switch {
	case k.f.kScale:
		f := YMM()
		VPMOVZXBD(k.at(0), d)
		VCVTDQ2PS(d, d)
		VCVTPH2PS(Mem{Base: k.head}, f)
		VMULPS(f, d, d)
		VPMOVZXBD(k.at(8), m)
		VCVTDQ2PS(m, m)
		VCVTPH2PS(Mem{Base: k.head, Disp: 16}, f)
		VMULPS(f, m, m)
	case k.f.f16Min:
		VCVTPH2PS(k.at(0), d)
		VCVTPH2PS(k.at(16), m)
	default:
		VCVTPH2PS(Mem{Base: k.head}, d)
	}
	for t := range s {
		if k.f.bits == 4 && !k.f.hasMin() {
			VPADDD(bcast(k.x.at(t, actC)), s[t], s[t])
		}
		VCVTDQ2PS(s[t], s[t])
		dx := YMM()
		VBROADCASTSS(k.x.at(t, actD), dx)
		VMULPS(d, dx, dx)
		VFMADD231PS(dx, s[t], k.acc[t])
		if k.f.hasMin() {
			e := YMM()
			VBROADCASTSS(k.x.at(t, actE), e)
			VFNMADD231PS(m, e, k.acc[t])
		}
	}
}
