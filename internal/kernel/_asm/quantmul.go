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
	block int // bytes of a block of 32 columns by 16 rows
	super int // blocks of a super-block
	head  int // bytes before its blocks

	bits    int
	nibs    int  // offset of the nibbles (or bytes, or pairs of bits) in a block
	high    int  // offset of the upper bits in a block
	f16Min  bool // minimum in f16 in the block, scale before it
	kScale  bool // scale and minimum as u8 in the block, factors in f16 in the head
	halves  bool // i8 scales per 16 columns, factor in the head
	halfMin bool // scale and minimum per 16 columns as nibbles of a byte, factors in f16 in the head
	wScale  bool // scale as i16 in the block, factor in the head
	table   bool // nibbles are indices into curve4
}

// hasMin says that a block has one minimum for all columns.
func (f format) hasMin() bool { return f.f16Min || f.kScale }

// twos says that the lowest two bits of the weights lie apart, in a field p.
func (f format) twos() bool { return f.bits < 4 }

var formats = []format{
	{name: "Q4_0", block: 288, super: 1, bits: 4, nibs: 32},
	{name: "Q4_1", block: 320, super: 1, bits: 4, nibs: 64, f16Min: true},
	{name: "Q5_1", block: 384, super: 1, bits: 5, nibs: 128, high: 64, f16Min: true},
	{name: "Q8_0", block: 544, super: 1, bits: 8, nibs: 32},
	{name: "Q4_K", block: 288, super: 8, head: 64, bits: 4, nibs: 32, kScale: true},
	{name: "Q5_K", block: 352, super: 8, head: 64, bits: 5, nibs: 96, high: 32, kScale: true},
	{name: "Q6_K", block: 416, super: 8, head: 32, bits: 6, nibs: 160, high: 32, halves: true},
	{name: "IQ4_NL", block: 288, super: 1, bits: 4, nibs: 32, table: true},
	{name: "IQ4_XS", block: 288, super: 8, head: 32, bits: 4, nibs: 32, wScale: true, table: true},
	{name: "Q2_K", block: 160, super: 8, head: 64, bits: 2, nibs: 32, halves: true, halfMin: true},
	{name: "Q3_K", block: 224, super: 8, head: 32, bits: 3, nibs: 96, high: 32, halves: true},
}

// offset says that 8 is to be taken off the nibbles.
func (f format) offset() bool { return f.bits == 4 && !f.hasMin() && !f.table }

// curve4 is kernel.curve4, plus add.
func curve4(add int) []byte {
	var b []byte
	for _, v := range []int{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113} {
		b = append(b, byte(v+add))
	}
	return b
}

// Offsets in an activation block.
const (
	actD     = 32
	actC     = 36
	actC2    = 40
	actE     = 44
	actBytes = 48
)

// maxTokens is the widest tile of 256 bits: 6 float and 6 integer accumulators leave four registers.
// Formats with scales for half blocks need four constants besides or, with VNNI, a second sum; Q6_K
// gains more from keeping the constants in registers (10 %).
func (f format) maxTokens() int {
	if f.halves {
		return 4
	}
	return 6
}

func quantMulUnit() {
	eachTile(false)
}

func eachTile(vnni bool) {
	for _, f := range formats {
		for t := 1; t <= f.maxTokens(); t++ {
			(&tile{f: f, T: t, H: 1 + 1/t, vnni: vnni}).emit()
		}
	}
}

// tile writes one function: half panels of 8 rows against T tokens, panels times; with one token
// both halves at once (H = 2), which reads the weights in one stream and the activations once.
type tile struct {
	f format
	T int
	H int

	vnni bool // sums from VPDPBUSD, see quantvnni.go

	w       GPVirtual // current block
	ahead   GPVirtual
	half8   GPVirtual // of one half: 0 or 8
	x       rows
	acc     []VecVirtual
	scratch Mem // with halves: the scales of 16 columns, doubled
	factors Mem // see widenHead

	nib, bits Op // masks: in registers where there is room, else in memory
}

// masks sets the masks of a block. With few tokens the loads, not the multiplications, are
// the limit, and there is room to keep masks in registers.
func (k *tile) masks() {
	k.nib, k.bits = nibMask(), constU32("bit4", 8, bit4)
	switch {
	case k.f.bits == 6:
		k.bits = constU32("bits45", 8, bits45)
	case k.f.twos():
		k.nib, k.bits = constU32("low2", 8, low2), constU32("bit2", 8, bit2)
	}
	if k.roomy() {
		k.nib, k.bits = inRegister(k.nib), inRegister(k.bits)
	}
}

// roomy says that constants fit into registers beside the sums.
func (k *tile) roomy() bool {
	if k.f.twos() || k.vnni && k.f.halves {
		return k.T <= 2
	}
	return k.T <= 4
}

func inRegister(m Op) Op {
	v := YMM()
	VMOVDQU(m, v)
	return v
}

func (k *tile) emit() {
	name, needs := fmt.Sprintf("mul%sx%dAVX2", k.f.name, k.T), "AVX2, FMA, F16C."
	if k.vnni {
		name, needs = fmt.Sprintf("mul%sx%dAVXVNNI", k.f.name, k.T), "AVX2, FMA, F16C, AVX-VNNI."
	}
	TEXT(name, NOSPLIT, "func(a *byte)")
	Doc(fmt.Sprintf("%s: %d of the 16 rows of %s panels against %d tokens, see mulArgs and MatMul. %s", name, 8*k.H, k.f.name, k.T, needs), "")
	Pragma("noescape")
	a := Load(Param("a"), GP64())
	if k.f.halves && !k.vnni {
		k.scratch = AllocLocal(64 * k.H)
	}
	if k.f.super > 1 {
		k.factors = AllocLocal(64 * k.H)
	}
	k.w = field(a, 0)
	y, ystep := field(a, 2), field(a, 4)
	k.ahead = field(a, 7)
	if k.H == 1 {
		k.half8 = field(a, 9)
	}
	k.x = newRows(k.T, field(a, 3))
	n, inner := GP64(), GP64()
	Label("panel")
	start := GP64()
	MOVQ(k.w, start)
	k.acc = make([]VecVirtual, k.T*k.H)
	for t := range k.acc {
		k.acc[t] = zero(YMM())
	}
	k.x.reset(Mem{Base: a, Disp: 8})
	MOVQ(Mem{Base: a, Disp: 8 * 6}, n)
	Label("super")
	if k.f.super > 1 {
		k.prefetch(k.f.head)
		k.widenHead()
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
	for t := 0; t < k.T; t++ {
		for h := 0; h < k.H; h++ {
			VMOVUPS(k.acc[t*k.H+h], Mem{Base: yt, Disp: 32 * h})
		}
		if t < k.T-1 {
			ADDQ(ystep, yt)
		}
	}
	ADDQ(Imm(64), y)
	MOVQ(start, k.w)
	ADDQ(Mem{Base: a, Disp: 8 * 8}, k.w)
	DECQ(Mem{Base: a, Disp: 8 * 5})
	JNZ(LabelRef("panel"))
	VZEROUPPER()
	RET()
}

// prefetch asks for the lines of size bytes, ahead bytes on: past the caches for one token,
// into them when more tiles of tokens will follow.
func (k *tile) prefetch(size int) {
	for o := 0; o < size; o += 64 {
		m := Mem{Base: k.w, Index: k.ahead, Scale: 1, Disp: o}
		if k.T == 1 {
			PREFETCHNTA(m)
		} else {
			PREFETCHT0(m)
		}
	}
}

// field is the part for half h of the field at disp from base, which has size bytes for
// every row: 1, 2 or 4.
func (k *tile) field(base GPVirtual, h, disp, size int) Mem {
	m := Mem{Base: base, Disp: disp + 8*size*h}
	if k.H == 1 {
		m.Index, m.Scale = k.half8, uint8(size)
	}
	return m
}

// at is field for a register full of weights.
func (k *tile) at(h, disp int) Mem { return k.field(k.w, h, disp, 4) }

// each builds a register for every half.
func (k *tile) each(f func(h int) VecVirtual) []VecVirtual {
	v := make([]VecVirtual, k.H)
	for h := range v {
		v[h] = f(h)
	}
	return v
}

func ones16() Mem  { return constU32("ones16", 8, 0x00010001) }
func nibMask() Mem { return constU32("nibmask", 8, 0x0f0f0f0f) }

func bcast(m Mem) VecVirtual {
	v := YMM()
	VPBROADCASTD(m, v)
	return v
}

func (k *tile) body() {
	switch {
	case k.vnni:
		k.finish(k.sumVNNI())
	case k.f.table:
		k.finish(k.sumTable())
	case k.f.twos():
		k.finish(k.sumTwos())
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
	s := make([]VecVirtual, k.T*k.H)
	mask := YMM()
	VMOVDQU(nibMask(), mask)
	step := func(w []VecVirtual, g int) {
		for t := 0; t < k.T; t++ {
			xv := bcast(k.x.at(t, 4*g))
			for h := range w {
				p := &s[t*k.H+h]
				if *p == nil {
					*p = YMM()
					VPMADDUBSW(xv, w[h], *p)
					continue
				}
				m := xv
				if h < k.H-1 {
					m = YMM()
				}
				VPMADDUBSW(xv, w[h], m)
				VPADDW(m, *p, *p)
			}
		}
	}
	for i := 0; i < 4; i++ {
		hi := k.each(func(h int) VecVirtual {
			v := YMM()
			VMOVDQU(k.at(h, k.f.nibs+64*i), v)
			return v
		})
		lo := k.each(func(h int) VecVirtual {
			v := YMM()
			VPAND(mask, hi[h], v)
			VPSRLW(U8(4), hi[h], hi[h])
			VPAND(mask, hi[h], hi[h])
			return v
		})
		step(lo, i)
		step(hi, 4+i)
	}
	for t := range s {
		VPMADDWD(ones16(), s[t], s[t])
	}
	return s
}

// fiveBits builds the weights of groups i and 4+i; high has the fifth bits.
func (k *tile) fiveBits(h, i int, high Op) (lo, hi VecVirtual) {
	lo, hi = YMM(), YMM()
	VMOVDQU(k.at(h, k.f.nibs+64*i), hi)
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
func (k *tile) high(h, off int) Op {
	if k.roomy() {
		return inRegister(k.at(h, off))
	}
	return k.at(h, off)
}

// addPair adds two groups' products to half h's int32 sums: 2·2·63·127 = 32004 fits an int16
// lane. scale is what widens: ones, or the rows' scales.
func (k *tile) addPair(s []VecVirtual, h int, w0, w1 VecVirtual, g0, g1 int, scale Op) {
	for t := 0; t < k.T; t++ {
		p := &s[t*k.H+h]
		a := bcast(k.x.at(t, 4*g0))
		VPMADDUBSW(a, w0, a)
		b := bcast(k.x.at(t, 4*g1))
		VPMADDUBSW(b, w1, b)
		VPADDW(b, a, a)
		if *p == nil {
			*p = YMM()
			VPMADDWD(scale, a, *p)
			continue
		}
		VPMADDWD(scale, a, a)
		VPADDD(a, *p, *p)
	}
}

// sumPairs: five-bit weights, widened after every second product.
func (k *tile) sumPairs() []VecVirtual {
	s := make([]VecVirtual, k.T*k.H)
	k.masks()
	var ones Op = ones16()
	if k.roomy() {
		ones = inRegister(ones)
	}
	for h := 0; h < k.H; h++ {
		high := k.high(h, k.f.high)
		for i := 0; i < 4; i++ {
			lo, hi := k.fiveBits(h, i, high)
			k.addPair(s, h, lo, hi, i, 4+i, ones)
		}
	}
	return s
}

// sum8: int8 weights.
func (k *tile) sum8() []VecVirtual {
	s := make([]VecVirtual, k.T*k.H)
	ones := inRegister(ones16())
	for g := 0; g < 8; g++ {
		for h := 0; h < k.H; h++ {
			w := YMM()
			VMOVDQU(k.at(h, k.f.nibs+64*g), w)
			k.addSigned(s, h, w, g, ones)
		}
	}
	return s
}

// sumTable: nibbles that stand for the int8 weights of a table.
func (k *tile) sumTable() []VecVirtual {
	s := make([]VecVirtual, k.T*k.H)
	ones := inRegister(ones16())
	table := constBytes("curve4", append(curve4(0), curve4(0)...))
	for g := 0; g < 8; g++ {
		for h := 0; h < k.H; h++ {
			w, q := YMM(), YMM()
			VMOVDQU(k.at(h, k.f.nibs+64*(g%4)), q)
			if g >= 4 {
				VPSRLW(U8(4), q, q)
			}
			VPAND(nibMask(), q, q)
			VMOVDQU(table, w)
			VPSHUFB(q, w, w)
			k.addSigned(s, h, w, g, ones)
		}
	}
	return s
}

// addSigned adds group g's products to half h's int32 sums: |w| times x with w's sign;
// 2·128·127 = 32512 fits an int16 lane, so every product is widened by itself.
func (k *tile) addSigned(s []VecVirtual, h int, w VecVirtual, g int, ones Op) {
	aw := YMM()
	VPABSB(w, aw)
	for t := 0; t < k.T; t++ {
		p := &s[t*k.H+h]
		xv := bcast(k.x.at(t, 4*g))
		VPSIGNB(w, xv, xv)
		VPMADDUBSW(xv, aw, xv)
		if *p == nil {
			*p = YMM()
			VPMADDWD(ones, xv, *p)
			continue
		}
		VPMADDWD(ones, xv, xv)
		VPADDD(xv, *p, *p)
	}
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

// sixPairs adds all groups of half h to the sums. With room in registers the nibbles are
// loaded once.
func (k *tile) sixPairs(s []VecVirtual, h int) {
	load := func(i int) VecVirtual {
		q := YMM()
		VMOVDQU(k.at(h, k.f.nibs+64*i), q)
		return q
	}
	scale := func(c int) Mem { return k.scratch.Offset(64*h + 32*c) }
	if k.T > 3 {
		for c := 0; c < 2; c++ {
			var by Op = scale(c)
			if k.roomy() {
				by = inRegister(by)
			}
			high := k.high(h, k.f.high+64*c)
			for g := 4 * c; g < 4*c+4; g += 2 {
				k.addPair(s, h, k.sixBits(load(g%4), high, g), k.sixBits(load(g%4+1), high, g+1), g, g+1, by)
			}
		}
		return
	}
	h0, h1 := k.high(h, k.f.high), k.high(h, k.f.high+64)
	for i := 0; i < 4; i += 2 {
		a, b := load(i), load(i+1)
		a2, b2 := YMM(), YMM()
		VMOVDQA(a, a2)
		VMOVDQA(b, b2)
		k.addPair(s, h, k.sixBits(a, h0, i), k.sixBits(b, h0, i+1), i, i+1, scale(0))
		k.addPair(s, h, k.sixBits(a2, h1, 4+i), k.sixBits(b2, h1, 5+i), 4+i, 5+i, scale(1))
	}
}

// sum6: the widening multiply applies the scale of the 16 columns, and the offset of 32
// comes off at the end: (4s)·(-8·Σx) for both halves of the columns at once.
func (k *tile) sum6() []VecVirtual {
	s := make([]VecVirtual, k.T*k.H)
	k.masks()
	for h := 0; h < k.H; h++ {
		k.doubleScales(h)
		k.sixPairs(s, h)
		four := YMM()
		VPMOVSXBW(k.field(k.w, h, 0, 2), four)
		VPSLLW(U8(2), four, four)
		for t := 0; t < k.T; t++ {
			c := bcast(k.x.at(t, actC2))
			VPMADDWD(four, c, c)
			VPADDD(c, s[t*k.H+h], s[t*k.H+h])
		}
	}
	return s
}

// pairs is the two scales of every row of half h, beside each other as int16.
func (k *tile) pairs(h int) VecVirtual {
	v := YMM()
	if k.f.halfMin {
		VPMOVZXBW(k.field(k.w, h, 0, 2), v)
		VPAND(constU32("low4", 8, low4), v, v)
		return v
	}
	VPMOVSXBW(k.field(k.w, h, 0, 2), v)
	return v
}

// doubleScales puts the scales of 16 columns twice beside each other, for VPMADDWD to apply to pairs
// of products.
func (k *tile) doubleScales(h int) {
	pairs := k.pairs(h)
	for c := 0; c < 2; c++ {
		lo, hi := byte(2*c), byte(2*c+1)
		var sh []byte
		for r := 0; r < 8; r++ {
			o := byte(4 * (r % 4))
			sh = append(sh, o+lo, o+hi, o+lo, o+hi)
		}
		v := YMM()
		VPSHUFB(constBytes(fmt.Sprintf("dup%d", c), sh), pairs, v)
		VMOVDQU(v, k.scratch.Offset(64*h+32*c))
	}
}

// sumTwos: weights of two or three bits. Four groups' products share an int16 lane: 4·2·7·127 = 7112
// fits, so one widening per half of the columns, which applies its scale, is enough. The offset
// of Q3_K comes off at the end: (s·(-8·Σx))/2 for both halves of the columns at once.
func (k *tile) sumTwos() []VecVirtual {
	s := make([]VecVirtual, k.T*k.H)
	k.masks()
	for h := 0; h < k.H; h++ {
		k.doubleScales(h)
		for c := 0; c < 2; c++ {
			w := k.twoBits(h, c)
			scale := inRegister(k.scratch.Offset(64*h + 32*c))
			for t := 0; t < k.T; t++ {
				k.addFour(&s[t*k.H+h], t, 4*c, w, scale)
			}
		}
		if k.f.bits != 3 {
			continue
		}
		pairs := k.pairs(h)
		for t := 0; t < k.T; t++ {
			c := bcast(k.x.at(t, actC2))
			VPMADDWD(pairs, c, c)
			VPSRAD(U8(1), c, c)
			VPADDD(c, s[t*k.H+h], s[t*k.H+h])
		}
	}
	return s
}

// addFour adds the products of groups g … g+3 with token t to *p.
func (k *tile) addFour(p *VecVirtual, t, g int, w [4]VecVirtual, scale Op) {
	a := bcast(k.x.at(t, 4*g))
	VPMADDUBSW(a, w[0], a)
	for i := 1; i < 4; i++ {
		b := bcast(k.x.at(t, 4*(g+i)))
		VPMADDUBSW(b, w[i], b)
		VPADDW(b, a, a)
	}
	VPMADDWD(scale, a, a)
	if *p == nil {
		*p = a
		return
	}
	VPADDD(a, *p, *p)
}

// twoBits builds the weights of half c of the columns, four groups.
func (k *tile) twoBits(h, c int) (w [4]VecVirtual) {
	w[3] = YMM()
	VMOVDQU(k.at(h, k.f.nibs+64*c), w[3])
	for i := range w {
		if i < 3 {
			w[i] = YMM()
		}
		if i == 0 {
			VPAND(k.nib, w[3], w[0])
		} else {
			VPSRLW(U8(uint8(2*i)), w[3], w[i])
			VPAND(k.nib, w[i], w[i])
		}
		if k.f.bits == 3 {
			k.orBits(w[i], k.at(h, k.f.high), 2-4*c-i)
		}
	}
	return w
}

// widenHead turns the factors of a super-block into floats, kept on the stack: for each half
// d, then dmin (in Q2_K an eighth of it). Converting them in every block costs 6 % in Q4_K and Q5_K.
func (k *tile) widenHead() {
	for h := 0; h < k.H; h++ {
		v := YMM()
		VCVTPH2PS(k.field(k.w, h, 0, 2), v)
		VMOVUPS(v, k.factors.Offset(64*h))
		if k.f.kScale || k.f.halfMin {
			m := YMM()
			VCVTPH2PS(k.field(k.w, h, 32, 2), m)
			if k.f.halfMin {
				VMULPS(constF32("eighth", 0.125), m, m)
			}
			VMOVUPS(m, k.factors.Offset(64*h+32))
		}
	}
}

// finish adds the block's float terms.
func (k *tile) finish(s []VecVirtual) {
	d, m := make([]VecVirtual, k.H), make([]VecVirtual, k.H)
	for h := range d {
		d[h], m[h] = k.factorsOf(h)
	}
	for t := 0; t < k.T; t++ {
		v, acc := s[t*k.H:][:k.H], k.acc[t*k.H:][:k.H]
		if k.f.offset() && !k.vnni {
			c := bcast(k.x.at(t, actC))
			for h := range v {
				VPADDD(c, v[h], v[h])
			}
		}
		dx := YMM()
		VBROADCASTSS(k.x.at(t, actD), dx)
		for h := range v {
			f := dx
			if h < k.H-1 {
				f = YMM()
			}
			if !k.vnni || k.f.bits != 6 { // sums of scaled halves are floats there
				VCVTDQ2PS(v[h], v[h])
			}
			VMULPS(d[h], dx, f)
			VFMADD231PS(f, v[h], acc[h])
		}
		if k.f.hasMin() {
			e := YMM()
			VBROADCASTSS(k.x.at(t, actE), e)
			for h := range v {
				VFNMADD231PS(m[h], e, acc[h])
			}
		}
	}
	if k.f.halfMin {
		k.takeHalfMins()
	}
}

// takeHalfMins adds (dmin/8)·d of the activations times Σ m·(-8·Σx) over the halves of the columns.
func (k *tile) takeHalfMins() {
	for h := 0; h < k.H; h++ {
		m := YMM()
		VPMOVZXBW(k.field(k.w, h, 0, 2), m)
		VPSRLW(U8(4), m, m)
		for t := 0; t < k.T; t++ {
			c, f := bcast(k.x.at(t, actC2)), YMM()
			VPMADDWD(m, c, c)
			VCVTDQ2PS(c, c)
			VBROADCASTSS(k.x.at(t, actD), f)
			VMULPS(k.factors.Offset(64*h+32), f, f)
			VFMADD231PS(f, c, k.acc[t*k.H+h])
		}
	}
}

// factorsOf is the scale and, where the format has one, the minimum of half h's rows.
func (k *tile) factorsOf(h int) (d, m VecVirtual) {
	d = YMM()
	switch {
	case k.f.kScale:
		m = YMM()
		VPMOVZXBD(k.field(k.w, h, 0, 1), d)
		VCVTDQ2PS(d, d)
		VMULPS(k.factors.Offset(64*h), d, d)
		VPMOVZXBD(k.field(k.w, h, 16, 1), m)
		VCVTDQ2PS(m, m)
		VMULPS(k.factors.Offset(64*h+32), m, m)
	case k.f.wScale:
		VPMOVSXWD(k.field(k.w, h, 0, 2), d)
		VCVTDQ2PS(d, d)
		VMULPS(k.factors.Offset(64*h), d, d)
	case k.f.f16Min:
		m = YMM()
		VCVTPH2PS(k.field(k.w, h, 0, 2), d)
		VCVTPH2PS(k.field(k.w, h, 32, 2), m)
	case k.f.super > 1:
		VMOVUPS(k.factors.Offset(64*h), d)
	default:
		VCVTPH2PS(k.field(k.w, h, 0, 2), d)
	}
	return d, m
}
