package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume/internal/convert"
	"github.com/plume-run/plume/internal/gemma"
)

// shapes are the names that --shape takes.
var shapes = []string{"e2b", "e4b", "26b-a4b", "31b", "12b"}

func newSynth() *cobra.Command {
	var f makeFlags
	var shape string
	var layers int
	cmd := &cobra.Command{
		Use:   "synth --shape SHAPE -o OUT",
		Short: "Make a full-size model of weights that follow from a rule",
		Long: `Write a model with the sizes of a published one and weights that any engine can
rebuild from a rule, for benchmarks and for checking numbers. It has no
vocabulary and knows nothing.

OUT is a folder or .safetensors file for plain types and a .gguf file for any.`,
		Example: `  plume synth --shape e2b -o ./e2b-synth
  plume synth --shape 26b-a4b --layers 4 --type q4_0 -o moe.gguf`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			types, err := f.types()
			if err == nil && shape == "" {
				err = fmt.Errorf("--shape is missing")
			}
			if err != nil {
				return usageError{err, cmd}
			}
			cfg, err := gemma.ShapeConfig(shape, layers)
			if err != nil {
				return usageError{err, cmd}
			}
			return f.make(cmd, "writing", func(ctx context.Context, progress func(done, total int64)) (*convert.Report, error) {
				return convert.Synth(ctx, cfg, f.out, convert.SynthOptions{Types: types, Threads: f.threads, Progress: progress})
			})
		},
	}
	f.add(cmd, "bf16")
	cmd.Flags().StringVar(&shape, "shape", "", "e2b, e4b, 26b-a4b, 31b or 12b (required)")
	cmd.Flags().IntVar(&layers, "layers", 0, "only this many layers (default: all)")
	complete(cmd, "shape", shapes...)
	return cmd
}
