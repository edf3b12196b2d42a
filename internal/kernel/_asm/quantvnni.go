package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The tiles of 256 bits with AVX-VNNI: VPDPBUSD sums four products of unsigned weights and signed
// activations in one instruction, where AVX2 needs three.
//
// avo and the Go assembler know VPDPBUSD in its EVEX form only, which processors without AVX-512
// do not have. So the line that avo prints is replaced by a macro of vnni_amd64.h (see the
// go:generate line) that spells the bytes of the VEX form.

func quantVNNIUnit() {
	eachTile(true)
	peakAVXVNNI()
}

func peakAVXVNNI() {
	TEXT("peakInt8AVXVNNI", NOSPLIT, "func(n int)")
	Doc("peakInt8AVXVNNI does n*384 int8 multiply-adds on 12 chains: the exact int8 limit. AVX2, AVX-VNNI.", "")
	n := Load(Param("n"), GP64())
	x := zero(YMM())
	var s []VecVirtual
	for range 12 {
		s = append(s, zero(YMM()))
	}
	Label("loop")
	for _, v := range s {
		VPDPBUSD(x, x, v)
	}
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// sumVNNI is the integer sums of a block, for Q6_K already as floats.
func (k *tile) sumVNNI() []VecVirtual {
	s := k.startVNNI()
	second := s // sums of columns 16 … 31
	if k.f.halves {
		second = make([]VecVirtual, k.T*k.H)
		for i := range second {
			second[i] = zero(YMM())
		}
	}
	k.masks()
	switch {
	case k.f.bits == 8:
		for g := 0; g < 8; g++ {
			k.dot(s, g, k.each(func(h int) VecVirtual { return k.biased(h, g) }))
		}
	case k.f.twos():
		for g := 0; g < 8; g++ {
			to := s
			if g >= 4 {
				to = second
			}
			k.dot(to, g, k.each(func(h int) VecVirtual { return k.twoBitGroup(h, g) }))
		}
	default:
		for i := 0; i < 4; i++ {
			lo, hi := make([]VecVirtual, k.H), make([]VecVirtual, k.H)
			for h := range lo {
				lo[h], hi[h] = k.nibbles(h, i)
			}
			k.dot(s, i, lo)
			k.dot(second, 4+i, hi)
		}
	}
	for h := 0; h < k.H; h++ {
		switch {
		case k.f.twos():
			k.scaleWords(s, second, h)
		case k.f.halves:
			k.scaleHalves(s, second, h)
		}
	}
	return s
}

// startVNNI begins the sums with what the offset of the weights takes off.
func (k *tile) startVNNI() []VecVirtual {
	s := make([]VecVirtual, k.T*k.H)
	for t := 0; t < k.T; t++ {
		for h := 0; h < k.H; h++ {
			v := YMM()
			switch {
			case k.f.bits == 8, k.f.table:
				VPBROADCASTD(k.x.at(t, actC), v)
				VPSLLD(U8(4), v, v) // -128·Σx
			case k.f.offset():
				VPBROADCASTD(k.x.at(t, actC), v) // -8·Σx
			default:
				zero(v)
			}
			s[t*k.H+h] = v
		}
	}
	return s
}

// dot adds group g of the weights of every half to the sums.
func (k *tile) dot(s []VecVirtual, g int, w []VecVirtual) {
	for t := 0; t < k.T; t++ {
		x := bcast(k.x.at(t, 4*g))
		for h := range w {
			VPDPBUSD(x, w[h], s[t*k.H+h])
		}
	}
}

// biased is the int8 weights of group g plus 128.
func (k *tile) biased(h, g int) VecVirtual {
	w := YMM()
	VMOVDQU(k.at(h, k.f.nibs+64*g), w)
	VPXOR(constU32("sign", 8, sign), w, w)
	return w
}

// nibbles is the weights of groups i and 4+i of formats that begin with four bits.
func (k *tile) nibbles(h, i int) (lo, hi VecVirtual) {
	lo, hi = YMM(), YMM()
	VMOVDQU(k.at(h, k.f.nibs+64*i), hi)
	VPAND(k.nib, hi, lo)
	VPSRLW(U8(4), hi, hi)
	VPAND(k.nib, hi, hi)
	switch {
	case k.f.bits == 5:
		k.orBits(lo, k.at(h, k.f.high), 4-i)
		k.orBits(hi, k.at(h, k.f.high), -i)
	case k.f.bits == 6:
		k.orBits(lo, k.at(h, k.f.high), 4-2*i)
		k.orBits(hi, k.at(h, k.f.high+64), 4-2*i)
	case k.f.table:
		for _, q := range []*VecVirtual{&lo, &hi} {
			w := YMM()
			VMOVDQU(constBytes("curve4", append(curve4(128), curve4(128)...)), w)
			VPSHUFB(*q, w, w)
			*q = w
		}
	}
	return lo, hi
}

// twoBitGroup is the weights of group g of formats with fields p.
func (k *tile) twoBitGroup(h, g int) VecVirtual {
	w := YMM()
	VMOVDQU(k.at(h, k.f.nibs+64*(g/4)), w)
	if g%4 > 0 {
		VPSRLW(U8(uint8(2*(g%4))), w, w)
	}
	VPAND(k.nib, w, w)
	if k.f.bits == 3 {
		k.orBits(w, k.at(h, k.f.high), 2-g)
	}
	return w
}

// scaleWords is tile512.scaleWords for half h of the rows.
func (k *tile) scaleWords(s, second []VecVirtual, h int) {
	pairs := k.pairs(h)
	for t := 0; t < k.T; t++ {
		a, b := s[t*k.H+h], second[t*k.H+h]
		VPSLLD(U8(16), b, b)
		VPBLENDW(U8(0xaa), b, a, a)
		if k.f.bits == 3 {
			c := bcast(k.x.at(t, actC2))
			VPSRAW(U8(1), c, c)
			VPADDW(c, a, a)
		}
		VPMADDWD(pairs, a, a)
	}
}

// scaleHalves turns the sums of half h of the rows into s0·s + s1·second + (4s)·(-8·Σx) as floats.
// Every term and every partial sum is a whole number below 2^24 (at most 128·32·127·32), so floats hold it
// exactly, and VPMULLD, two slow operations on Intel's processors, is not needed.
func (k *tile) scaleHalves(s, second []VecVirtual, h int) {
	pairs, s0, s1 := k.pairs(h), YMM(), YMM()
	VPSLLD(U8(16), pairs, s0)
	VPSRAD(U8(16), s0, s0)
	VCVTDQ2PS(s0, s0)
	VPSRAD(U8(16), pairs, s1)
	VCVTDQ2PS(s1, s1)
	VPSLLW(U8(2), pairs, pairs)
	for t := 0; t < k.T; t++ {
		a, b, c := s[t*k.H+h], second[t*k.H+h], bcast(k.x.at(t, actC2))
		VPMADDWD(pairs, c, c)
		VCVTDQ2PS(a, a)
		VCVTDQ2PS(b, b)
		VCVTDQ2PS(c, c)
		VFMADD213PS(c, s0, a)
		VFMADD231PS(b, s1, a)
	}
}
