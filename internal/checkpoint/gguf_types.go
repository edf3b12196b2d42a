package checkpoint

import "github.com/plume-run/plume/internal/quant"

// layout is what it takes to know a stored tensor's length.
type layout struct {
	name       string
	blockLen   int // values
	blockBytes int
}

// foreignTypes are block formats that occur in GGUF files and that package
// quant neither decodes nor sizes. Their tensors are listed, so that a file
// can be inspected and its layout checked; using one is the caller's error.
var foreignTypes = map[quant.Type]layout{
	9:  {"Q8_1", 32, 36},
	15: {"Q8_K", 256, 292},
	16: {"IQ2_XXS", 256, 66},
	17: {"IQ2_XS", 256, 74},
	18: {"IQ3_XXS", 256, 98},
	19: {"IQ1_S", 256, 50},
	21: {"IQ3_S", 256, 110},
	22: {"IQ2_S", 256, 82},
	29: {"IQ1_M", 256, 56},
	34: {"TQ1_0", 256, 54},
	35: {"TQ2_0", 256, 66},
	39: {"MXFP4", 32, 17},
	40: {"NVFP4", 64, 36},
}

// layoutOf returns the layout of t, false for a number that names no format.
func layoutOf(t quant.Type) (layout, bool) {
	if t.Known() {
		return layout{t.String(), t.BlockLen(), t.BlockBytes()}, true
	}
	l, ok := foreignTypes[t]
	return l, ok
}
