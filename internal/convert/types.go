package convert

import (
	"fmt"

	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/quant"
)

// Types says which types the output's tensors get. Whatever is chosen, norms,
// scalars and the router stay F32 and the PLE projection of the hidden state
// stays BF16 (F16 in a source that has it so): they are small, and quantising
// them costs far more than it saves.
type Types struct {
	// Type is for the matrices of the layers. It must be one that package quant
	// encodes; note that the zero value is F32.
	Type quant.Type
	// PLE is for the per-layer table and Embed for the token embedding, which
	// is also the output matrix. nil means Q6_K when Type is Q4_0, Q4_K, Q5_K
	// or Q6_K, and Type itself otherwise.
	PLE, Embed *quant.Type
}

// Fallback is a tensor that could not have the type chosen for it, because its
// rows are not whole blocks of that type.
type Fallback struct {
	Tensor    string // GGUF name
	Want, Got quant.Type
}

// check fails for types that nothing can be encoded as.
func (t Types) check() error {
	for _, typ := range []quant.Type{t.Type, t.ple(), t.embed()} {
		if !typ.Encodable() {
			return fmt.Errorf("type %s cannot be encoded", typ)
		}
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
	switch t.Type {
	case quant.Q4_0, quant.Q4_K, quant.Q5_K, quant.Q6_K:
		return quant.Q6_K
	}
	return t.Type
}

// of returns the type of one tensor whose source has type src, and the type
// that was wanted, which differs when rows are not whole blocks of it.
func (t Types) of(spec gemma.TensorSpec, src quant.Type) (got, want quant.Type) {
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
		want = t.Type
	}
	return fit(want, spec.RowLen(), src), want
}

// fit is want, or the next better type whose blocks divide a row: Q8_0 for the
// types of 256 values, and for rows that are not even multiples of 32 the
// source's plain type (BF16 when it has none).
func fit(want quant.Type, rowLen int, src quant.Type) quant.Type {
	switch {
	case rowLen%want.BlockLen() == 0:
		return want
	case rowLen%quant.Q8_0.BlockLen() == 0:
		return quant.Q8_0
	case src == quant.F32 || src == quant.F16:
		return src
	}
	return quant.BF16
}

// fileTypes are llama.cpp's numbers for general.file_type: what most matrices
// of a file are.
var fileTypes = map[quant.Type]uint32{
	quant.F32: 0, quant.F16: 1, quant.Q4_0: 2, quant.Q8_0: 7,
	quant.Q4_K: 14, quant.Q5_K: 16, quant.Q6_K: 18, quant.BF16: 32,
}
