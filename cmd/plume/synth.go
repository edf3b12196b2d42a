package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume/internal/convert"
	"github.com/plume-run/plume/internal/gemma"
)

// shapes are the names that --shape takes.
var shapes = []string{"e2b", "e4b", "26b-a4b", "31b", "12b"}

func newSynth() *cobra.Command {
	var f makeFlags
	var shape, tokenizer string
	var layers int
	cmd := &cobra.Command{
		Use:   "synth --shape SHAPE -o OUT",
		Short: "Make a full-size model of weights that follow from a rule",
		Long: `Write a model with the sizes of a published one and weights that any engine can
rebuild from a rule, for benchmarks and for checking numbers. It knows nothing,
and has no vocabulary unless --tokenizer gives it one: then a server can be
measured with it.

OUT is a folder or .safetensors file for plain types and a .gguf file for any.`,
		Example: `  plume synth --shape e2b -o ./e2b-synth
  plume synth --shape 26b-a4b --layers 4 --type q4_0 -o moe.gguf
  plume synth --shape e2b --type q4_0 --tokenizer tokenizer.json -o e2b.gguf`,
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
			var vocabulary []byte
			if tokenizer != "" {
				if vocabulary, err = os.ReadFile(tokenizer); err != nil {
					return err
				}
			}
			return f.make(cmd, "writing", func(ctx context.Context, progress func(done, total int64)) (*convert.Report, error) {
				return convert.Synth(ctx, cfg, f.out, convert.SynthOptions{Types: types, SplitPLE: f.splitPLE, Threads: f.threads, Progress: progress, Tokenizer: vocabulary})
			})
		},
	}
	f.add(cmd, "bf16")
	cmd.Flags().StringVar(&shape, "shape", "", "e2b, e4b, 26b-a4b, 31b or 12b (required)")
	cmd.Flags().IntVar(&layers, "layers", 0, "only this many layers (default: all)")
	cmd.Flags().StringVar(&tokenizer, "tokenizer", "", "`file` tokenizer.json for the vocabulary of a .gguf")
	complete(cmd, "shape", shapes...)
	return cmd
}
