package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
)

type perplexityFlags struct {
	open          modelFlags
	file, kl      string
	window, chunk int
	json          bool
}

func newPerplexity() *cobra.Command {
	var f perplexityFlags
	cmd := &cobra.Command{
		Use:   "perplexity MODEL --file FILE",
		Short: "Score a text",
		Long: `Score a text with the model: the mean of -log p over its tokens, in nats. The
text, with BOS in front, is cut into pieces of --window tokens, and each piece
after the first gets a BOS of its own; every token is scored once. Texts of special tokens ("<|turn>") count as these.

With --kl, a second model is scored in step, and the mean Kullback-Leibler
divergence of the model's predictions from its predictions is printed: what a
smaller type has changed, on any text, without the noise of what the text says.`,
		Example: `  plume perplexity demo --file heldout.txt
  plume perplexity e2b-q4_0.gguf --kl ./gemma-4-E2B-it --file book.txt
  plume perplexity e2b.gguf --file book.txt --json`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.file, "file", "", `text to score, "-" for stdin (required)`)
	fs.StringVar(&f.kl, "kl", "", "reference `model` to compare with")
	fs.IntVar(&f.window, "window", 512, "tokens per piece")
	fs.IntVar(&f.chunk, "chunk", 0, "tokens per step (default: one that keeps memory small)")
	fs.BoolVar(&f.json, "json", false, `print {"mean_nll", "tokens"}, with --kl also "kl", "kl_error", "kl_max", "agreement", "reference_nll"`)
	f.open.add(cmd, "f32")
	return cmd
}

// maxText bounds the text that is scored.
const maxText = 1 << 30

func (f *perplexityFlags) run(cmd *cobra.Command, name string) error {
	if f.file == "" {
		return usageError{errors.New("--file is missing"), cmd}
	}
	if f.window < 2 {
		return usageError{fmt.Errorf("--window %d, want at least 2", f.window), cmd}
	}
	text, err := readText(f.file, cmd.InOrStdin())
	if err != nil {
		return err
	}
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	f.open.context = f.window + 1
	m, err := f.open.open(cmd, name)
	if err != nil {
		return err
	}
	defer m.Close()
	ids, err := m.Tokenize(text)
	if err != nil {
		return err
	}
	if f.kl != "" {
		return f.compare(ctx, cmd, m, text, ids)
	}
	bar := newBar(cmd.ErrOrStderr(), "scoring", unitTokens)
	defer bar.end()
	ev, err := m.Perplexity(ctx, ids, plume.PerplexityOptions{
		Window: f.window, Chunk: f.chunk,
		Progress: func(done, total int) { bar.set(int64(done), int64(total)) },
	})
	bar.end()
	if err != nil {
		return err
	}
	if math.IsNaN(ev.MeanNLL) || math.IsInf(ev.MeanNLL, 0) {
		return fmt.Errorf("score text: mean_nll is %v: the weights give no usable numbers", ev.MeanNLL)
	}
	if f.json {
		return printJSON(cmd.OutOrStdout(), struct {
			MeanNLL float64 `json:"mean_nll"`
			Tokens  int     `json:"tokens"`
		}{ev.MeanNLL, ev.Scored})
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%.4f nats per token, perplexity %.3f, %d tokens\n",
		ev.MeanNLL, math.Exp(ev.MeanNLL), ev.Scored)
	return err
}

// readText reads a text file, or stdin for "-".
func readText(name string, stdin io.Reader) (string, error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxText+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("read %s: %w", name, err)
	case len(data) > maxText:
		return "", fmt.Errorf("read %s: more than %d bytes", name, maxText)
	case len(data) == 0:
		return "", fmt.Errorf("read %s: no text", name)
	}
	return string(data), nil
}
