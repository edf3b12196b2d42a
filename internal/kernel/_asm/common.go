package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

var consts = map[string]Mem{}

// constU32 is a read-only vector of n equal 32-bit words, shared by name.
func constU32(name string, n int, v uint32) Mem {
	name = fmt.Sprintf("%s_%s", *unit, name)
	if m, ok := consts[name]; ok {
		return m
	}
	m := GLOBL(name, RODATA|NOPTR)
	for i := 0; i < n; i++ {
		DATA(4*i, U32(v))
	}
	consts[name] = m
	return m
}

// constF32 is constU32 for the bits of a float.
func constF32(name string, v float32) Mem { return constU32(name, 8, math.Float32bits(v)) }

// constBytes is a read-only table of bytes.
func constBytes(name string, b []byte) Mem {
	name = fmt.Sprintf("%s_%s", *unit, name)
	if m, ok := consts[name]; ok {
		return m
	}
	m := GLOBL(name, RODATA|NOPTR)
	for i, v := range b {
		DATA(i, U8(v))
	}
	consts[name] = m
	return m
}

// field loads the i-th 8-byte field of the argument struct at a.
func field(a Register, i int) GPVirtual {
	r := GP64()
	MOVQ(Mem{Base: a, Disp: 8 * i}, r)
	return r
}

func zero(v VecVirtual) VecVirtual {
	VXORPS(v, v, v)
	return v
}

// rows addresses up to nine rows base + t*stride with one index register and
// one base register for every three of them.
type rows struct {
	base   []GPVirtual
	stride GPVirtual
}

func newRows(n int, stride GPVirtual) rows {
	r := rows{stride: stride}
	for i := 0; i < (n+2)/3; i++ {
		r.base = append(r.base, GP64())
	}
	return r
}

// reset points row 0 at p.
func (r rows) reset(p Op) {
	MOVQ(p, r.base[0])
	for i := 1; i < len(r.base); i++ {
		LEAQ(Mem{Base: r.base[i-1], Index: r.stride, Scale: 2}, r.base[i])
		ADDQ(r.stride, r.base[i])
	}
}

func (r rows) at(t, disp int) Mem {
	m := Mem{Base: r.base[t/3], Disp: disp}
	if t%3 > 0 {
		m.Index, m.Scale = r.stride, uint8(t%3)
	}
	return m
}

func (r rows) advance(n Op) {
	for _, b := range r.base {
		ADDQ(n, b)
	}
}
