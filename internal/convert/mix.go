package convert

import (
	"fmt"
	"slices"
	"strings"

	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/quant"
)

// A mix gives some matrices of some layers more bits than the others, by the
// rules of llama.cpp's files of the same names, so that sizes and errors can be
// compared. v is attn_v, numbered among the layers that have one; down is
// ffn_down and, in models with experts, their down projections.
//
//	q3_k_m  v      Q5_K for the first two, Q4_K for the others
//	        down   Q5_K in the first n/16 layers, Q4_K in the others
//	        out    attn_output Q4_K
//	q4_k_m  v, down Q6_K on the layers of moreBits
//	q5_k_m  v, down Q6_K on the layers of moreBits
var mixes = []quant.Type{quant.Q3_K, quant.Q4_K, quant.Q5_K}

const mixSuffix = "_m"

// moreBits is true for the first and last eighth of n layers and for every third
// one between.
func moreBits(i, n int) bool {
	return i < n/8 || i >= 7*n/8 || (i-n/8)%3 == 2
}

// ParseLayers finds the type of the layers' matrices by name: a type that
// matrices can have, or a mix ("q4_k_m"). The error for any other name lists
// those there are.
func ParseLayers(name string) (t quant.Type, mix bool, err error) {
	lower := strings.ToLower(name)
	if !slices.Contains(LayerNames(), lower) {
		return 0, false, fmt.Errorf("unknown type %q, want one of %s", name, strings.Join(LayerNames(), ", "))
	}
	base, mix := strings.CutSuffix(lower, mixSuffix)
	t, err = quant.ParseType(base)
	return t, mix, err
}

// LayerNames lists what [ParseLayers] takes.
func LayerNames() []string {
	names := EmbedNames()
	for _, t := range mixes {
		names = append(names, strings.ToLower(t.String())+mixSuffix)
	}
	return names
}

// EmbedNames lists the types that the token embedding can have: all that can be
// encoded and multiplied.
func EmbedNames() []string { return typeNames(multiplied) }

// PLENames lists the types that the per-layer table can have: all that can be
// encoded.
func PLENames() []string { return typeNames(quant.Type.Encodable) }

func typeNames(ok func(quant.Type) bool) []string {
	var names []string
	for t := range quant.Type(64) {
		if ok(t) {
			names = append(names, strings.ToLower(t.String()))
		}
	}
	return names
}

// multiplied reports whether a type is offered for matrices. Q2_0 is too coarse.
func multiplied(t quant.Type) bool { return t.Encodable() && t != quant.Q2_0 }

// chooser picks the types of one output's tensors.
type chooser struct {
	types  Types
	layers int
	vs     []int // the layers that have an attn_v, ascending
}

// newChooser is for an output of the given tensors.
func newChooser(types Types, layers int, specs []gemma.TensorSpec) *chooser {
	c := &chooser{types: types, layers: layers}
	for _, spec := range specs {
		if spec.Key == gemma.KeyV {
			c.vs = append(c.vs, spec.Layer)
		}
	}
	return c
}

// matrix returns the type for a matrix of a layer.
func (c *chooser) matrix(spec gemma.TensorSpec) quant.Type {
	if !c.types.Mix {
		return c.types.Type
	}
	// The place of v among those there are, or of the layer among all.
	i, n := spec.Layer, c.layers
	v, down := spec.Key == gemma.KeyV, spec.Key == gemma.KeyDown || spec.Key == gemma.KeyExpertsDown
	if v {
		i, n = slices.Index(c.vs, spec.Layer), len(c.vs)
	}
	switch {
	case c.types.Type == quant.Q3_K && (v && i < 2 || down && i < n/16):
		return quant.Q5_K
	case c.types.Type == quant.Q3_K && (v || down || spec.Key == gemma.KeyO):
		return quant.Q4_K
	case c.types.Type != quant.Q3_K && (v || down) && moreBits(i, n):
		return quant.Q6_K
	}
	return c.types.Type
}
