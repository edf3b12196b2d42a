package convert

import (
	"fmt"
	"slices"

	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/quant"
)

// Types says which types the output's tensors get. Whatever is chosen, norms,
// scalars and the router stay F32 and the PLE projection of the hidden state
// stays BF16 (F16 in a source that has it so): they are small, and quantising
// them costs far more than it saves.
type Types struct {
	// Type is for the matrices of the layers. It must be one of [LayerNames];
	// note that the zero value is F32.
	Type quant.Type
	// Mix gives some of these matrices more bits: the mix "q4_k_m" is Q4_K with
	// Mix. Only for the types that have one.
	Mix bool
	// PLE is for the per-layer table and Embed for the token embedding, which
	// is also the output matrix. nil means Q6_K when Type is a quantised one
	// other than Q8_0, and Type itself otherwise.
	PLE, Embed *quant.Type
}

// Fallback is a tensor that could not have the type chosen for it, because its
// rows are not whole blocks of that type.
type Fallback struct {
	Tensor    string // GGUF name
	Want, Got quant.Type
}

// check fails for types that nothing can be encoded as, or that no backend
// multiplies.
func (t Types) check() error {
	for _, typ := range []quant.Type{t.Type, t.ple(), t.embed()} {
		if !typ.Encodable() {
			return fmt.Errorf("type %s cannot be encoded", typ)
		}
	}
	for _, typ := range []quant.Type{t.Type, t.embed()} {
		if !multiplied(typ) {
			return fmt.Errorf("type %s cannot be multiplied: it is for the per-layer table alone", typ)
		}
	}
	if t.Mix && !slices.Contains(mixes, t.Type) {
		return fmt.Errorf("type %s has no mix", t.Type)
	}
	return nil
}

func (t Types) ple() quant.Type   { return t.table(t.PLE) }
func (t Types) embed() quant.Type { return t.table(t.Embed) }

// table resolves the type of a matrix that is looked up by token. It is treated
// as other quantisers treat an output matrix: errors in it are not averaged
// over a long sum, so it gets more bits than the layers.
func (t Types) table(chosen *quant.Type) quant.Type {
	if chosen != nil {
		return *chosen
	}
	if t.Type.BlockLen() > 1 && t.Type != quant.Q8_0 {
		return quant.Q6_K
	}
	return t.Type
}

// of returns the type of one tensor whose source has type src, and the type
// that was wanted, which differs when rows are not whole blocks of it.
func (c *chooser) of(spec gemma.TensorSpec, src quant.Type) (got, want quant.Type) {
	t := c.types
	switch {
	case len(spec.Shape) == 1 || spec.Role == gemma.RoleNorm || spec.Role == gemma.RoleRouter:
		return quant.F32, quant.F32
	case spec.Key == gemma.KeyPLEProj:
		switch {
		case src == quant.F16, src == quant.F32 && t.Type == quant.F32:
			return src, src
		}
		return quant.BF16, quant.BF16
	case spec.Key == gemma.KeyPLETable:
		want = t.ple()
	case spec.Key == gemma.KeyEmbed:
		want = t.embed()
	default:
		want = c.matrix(spec)
	}
	return fit(want, spec.RowLen(), src), want
}

// fit is want, or where a row is not whole blocks of it the type that llama.cpp
// falls back on too: one of blocks of 32 with about as many bits, or more. For
// rows that are not even multiples of 32 it is the source's plain type (BF16
// when it has none).
func fit(want quant.Type, rowLen int, src quant.Type) quant.Type {
	if rowLen%want.BlockLen() == 0 {
		return want
	}
	if other, ok := smaller[want]; ok && rowLen%other.BlockLen() == 0 {
		return other
	}
	if src == quant.F32 || src == quant.F16 {
		return src
	}
	return quant.BF16
}

// smaller has, for the types of large blocks, one of blocks of 32.
var smaller = map[quant.Type]quant.Type{
	quant.Q2_0: quant.Q4_0, quant.Q2_K: quant.Q4_0, quant.Q3_K: quant.Q4_0,
	quant.IQ4_XS: quant.IQ4_NL, quant.Q4_K: quant.Q5_0, quant.Q5_K: quant.Q5_1, quant.Q6_K: quant.Q8_0,
}

// fileTypes are llama.cpp's numbers for general.file_type: what most matrices
// of a file are. Its files with K types come in several mixes; the pure ones
// here have the number of the smallest ("S").
var fileTypes = map[quant.Type]uint32{
	quant.F32: 0, quant.F16: 1, quant.Q4_0: 2, quant.Q4_1: 3, quant.Q8_0: 7, quant.Q5_0: 8, quant.Q5_1: 9,
	quant.Q3_K: 11, quant.Q4_K: 14, quant.Q5_K: 16, quant.Q6_K: 18, quant.Q2_K: 21,
	quant.IQ4_NL: 25, quant.IQ4_XS: 30, quant.BF16: 32,
}

// fileType is the number for the file; that of a mix ("M") is one more than that
// of its type.
func (t Types) fileType() uint32 {
	n := fileTypes[t.Type]
	if t.Mix {
		n++
	}
	return n
}
