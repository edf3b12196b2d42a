package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/convert"
	"github.com/plume-run/plume/internal/quant"
)

// makeFlags are the flags of the commands that write models.
type makeFlags struct {
	out, typ, ple, embed string
	splitPLE             bool
	threads              int
}

func (f *makeFlags) add(cmd *cobra.Command, typ string) {
	fs := cmd.Flags()
	fs.StringVarP(&f.out, "output", "o", "", "`file` to write (required)")
	fs.StringVar(&f.typ, "type", typ, "type of the layers' matrices: "+strings.Join(convert.LayerNames(), ", "))
	fs.StringVar(&f.ple, "ple-type", "", "type of the per-layer table, also q2_0 (default: q6_k for types under 8 bits, else --type)")
	fs.StringVar(&f.embed, "embed-type", "", "type of the token embedding (default: the same)")
	fs.BoolVar(&f.splitPLE, "split-ple", false, "write the per-layer table to a file of its own, the second part of a split model,\nwhich may then be left on a web server (see --ple of plume run)")
	fs.IntVar(&f.threads, "threads", 0, "threads that encode (default: one per processor)")
	complete(cmd, "type", convert.LayerNames()...)
	complete(cmd, "ple-type", convert.PLENames()...)
	complete(cmd, "embed-type", convert.EmbedNames()...)
}

// types reads the type flags.
func (f *makeFlags) types() (convert.Types, error) {
	var t convert.Types
	var err error
	if f.out == "" {
		return t, errors.New("-o is missing")
	}
	if f.threads < 0 {
		return t, fmt.Errorf("--threads %d, want 0 or more", f.threads)
	}
	if t.Type, t.Mix, err = convert.ParseLayers(f.typ); err != nil {
		return t, fmt.Errorf("--type: %w", err)
	}
	if t.PLE, err = parseTable("ple-type", f.ple, convert.PLENames()); err != nil {
		return t, err
	}
	t.Embed, err = parseTable("embed-type", f.embed, convert.EmbedNames())
	return t, err
}

// parseTable reads the type of a table; nil when the flag is not set.
func parseTable(flag, name string, names []string) (*quant.Type, error) {
	if name == "" {
		return nil, nil
	}
	t, err := quant.ParseType(name)
	if err != nil || !slices.Contains(names, strings.ToLower(name)) {
		return nil, fmt.Errorf("--%s: unknown type %q, want one of %s", flag, name, strings.Join(names, ", "))
	}
	return &t, nil
}

func newConvert() *cobra.Command {
	var f makeFlags
	var name string
	cmd := &cobra.Command{
		Use:   "convert SRC -o OUT.gguf",
		Short: "Make a GGUF file of a checkpoint",
		Long: `Convert a folder of safetensors, as Gemma 4 is released, or another GGUF file
into one GGUF file with the weights in the wanted types. Weights stream through:
memory stays under 1 GiB for any model. OUT appears when it is complete.

The types that end in _m give attn_v and ffn_down of some layers more bits, as
llama.cpp's files of these names do. Rows that are not whole blocks of a type get
the next better one of smaller blocks; the note at the end says so.`,
		Example: `  plume convert ./gemma-4-E2B-it -o e2b-q4_0.gguf --type q4_0
  plume convert ./gemma-4-E2B-it -o e2b.gguf --type q4_k_m --ple-type q4_0 --embed-type q8_0
  plume convert e2b-q4_0.gguf -o e2b.gguf --type q4_0 --split-ple`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			types, err := f.types()
			if err != nil {
				return usageError{err, cmd}
			}
			return f.convert(cmd, args[0], convert.Options{Types: types, Name: name, SplitPLE: f.splitPLE, Threads: f.threads})
		},
	}
	f.add(cmd, "q4_0")
	cmd.Flags().StringVar(&name, "name", "", "name of the model in the file (default: from SRC)")
	return cmd
}

func (f *makeFlags) convert(cmd *cobra.Command, src string, o convert.Options) error {
	path, err := modelPath(cmd, src)
	if err != nil {
		return err
	}
	cat, err := checkpoint.Open(path)
	if err != nil {
		return err
	}
	defer cat.Close()
	return f.make(cmd, "converting", func(ctx context.Context, progress func(done, total int64)) (*convert.Report, error) {
		o.Progress = progress
		return convert.Convert(ctx, cat, f.out, o)
	})
}

// make runs work that writes a model, with a progress bar, and reports.
func (f *makeFlags) make(cmd *cobra.Command, verb string,
	work func(ctx context.Context, progress func(done, total int64)) (*convert.Report, error)) error {
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	bar := newBar(cmd.ErrOrStderr(), verb, unitBytes)
	defer bar.end()
	report, err := work(ctx, bar.set)
	bar.end()
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	return printReport(cmd.ErrOrStderr(), strings.Join(report.Files, " and "), report)
}

// printReport says what was written and what was not done as asked.
func printReport(w io.Writer, out string, r *convert.Report) error {
	for _, n := range r.Notes {
		fmt.Fprintf(w, "note: %s\n", n)
	}
	fallbacks := map[string]int{}
	for _, fb := range r.Fallbacks {
		key := fmt.Sprintf("%s instead of %s", fb.Got, fb.Want)
		if fallbacks[key]++; fallbacks[key] == 1 {
			fmt.Fprintf(w, "note: %s for %s and others like it: its rows are not whole blocks\n", key, fb.Tensor)
		}
	}
	_, err := fmt.Fprintf(w, "wrote %s: %d tensors, %s parameters, %s\n", out, r.Tensors, countText(r.Values), sizeText(r.Bytes))
	return err
}
