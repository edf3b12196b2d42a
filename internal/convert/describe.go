package convert

import (
	"errors"
	"fmt"
	"slices"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/quant"
)

// Describe returns the catalog of the file that [Synth] or [Convert] would write for a
// model of cfg's sizes, without writing it.
func Describe(cfg *gemma.Config, types Types) (*checkpoint.Catalog, error) {
	if err := errors.Join(types.check(), cfg.Validate()); err != nil {
		return nil, fmt.Errorf("describe model: %w", err)
	}
	specs := slices.DeleteFunc(cfg.Tensors(), func(s gemma.TensorSpec) bool { return s.Optional })
	c := newChooser(types, cfg.NumLayers, specs)
	var tensors []checkpoint.Described
	for _, spec := range specs {
		typ, _ := c.of(spec, quant.BF16)
		tensors = append(tensors, checkpoint.Described{Name: spec.GGUF, Type: typ, Shape: spec.Shape})
	}
	return checkpoint.Describe(fmt.Sprintf("%s in %s", cfg.Name, types.Type), tensors)
}
