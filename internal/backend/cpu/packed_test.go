package cpu_test

import (
	"bytes"
	"testing"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/quant"
)

// TestPackedRowsGoAnywhere proves what backend.Memory promises: packed rows can be copied
// into a matrix of those rows alone, wherever it lies.
func TestPackedRowsGoAnywhere(t *testing.T) {
	p := newPair(t, 1)
	const out, in, from, to = 150, 512, 32, 101
	for typ := quant.Type(0); typ < 64; typ++ {
		rowBytes, err := typ.Bytes(in)
		if err != nil || p.cpu.MatrixBytes(typ, out, in) == 0 {
			continue
		}
		raw := make([]byte, out*rowBytes)
		for i := range raw {
			raw[i] = byte(i*2654435761>>16) % 0x58 // as float16, numbers that every layout can hold
		}
		whole := p.load(p.cpu, backend.MatrixSpec{Type: typ, Out: out, In: in}, raw)
		part := p.load(p.cpu, backend.MatrixSpec{Type: typ, Out: to - from, In: in}, raw[from*rowBytes:to*rowBytes])
		at := p.cpu.MatrixBytes(typ, from, in)
		// The last panel of the part is filled up with zeros, where the whole has rows.
		full := p.cpu.MatrixBytes(typ, (to-from)/backend.FillRows*backend.FillRows, in)
		a, b := p.cpu.Memory(whole)[at:][:full], p.cpu.Memory(part)[:full]
		if full == 0 || !bytes.Equal(a, b) {
			t.Errorf("%s: rows %d to %d differ from the same rows of another matrix", typ, from, to)
		}
	}
}

func TestMemoryHasRoomToTheNextMatrix(t *testing.T) {
	p := newPair(t, 1)
	spec := backend.MatrixSpec{Type: quant.Q8_0, Out: 20, In: 96}
	n := int(p.cpu.MatrixBytes(spec.Type, spec.Out, spec.In))
	for name, tc := range map[string]struct{ slab, capacity int }{
		"to the next":    {2 * backend.SlabAlign, backend.SlabAlign},
		"end of slab":    {n, n},
		"short of it":    {n + 100, n + 100},
		"just one place": {backend.SlabAlign, backend.SlabAlign},
	} {
		s, err := p.cpu.NewSlab(int64(tc.slab))
		if err != nil {
			t.Fatal(err)
		}
		m, err := p.cpu.Place(s, 0, spec)
		if err != nil {
			t.Fatal(err)
		}
		if mem := p.cpu.Memory(m); len(mem) != n || cap(mem) != tc.capacity || int64(n) != m.Bytes() {
			t.Errorf("%s: %d bytes of %d, want %d of %d", name, len(mem), cap(mem), n, tc.capacity)
		}
	}
}

func TestPackedNamesTheLayouts(t *testing.T) {
	p := newPair(t, 1)
	other, err := cpu.New(2)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if a, b := p.cpu.Packed(), other.Packed(); a != b || a == "" {
		t.Errorf("two cpu backends name their forms %q and %q", a, b)
	}
	if name := p.ref.Packed(); name != "" {
		t.Errorf("the reference packs nothing and says %q", name)
	}
}
