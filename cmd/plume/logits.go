package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/quant"
)

type logitsFlags struct {
	open          modelFlags
	ids, out      string
	hidden        bool
	greedy, chunk int
}

func newLogits() *cobra.Command {
	var f logitsFlags
	cmd := &cobra.Command{
		Use:   "logits MODEL --ids IDS",
		Short: "Compute the logits of token ids",
		Long: `Compute every position of a sequence of token ids, to which nothing is added,
and write float32 tensors to a safetensors file: logits [tokens, vocabulary]
and, with --hidden, hidden.0 (the scaled embedding) to hidden.L (after the
final norm) [tokens, hidden size].

On stdout: {"greedy": [ids], "mean_nll": mean of -log p of ids 1, 2, …}. The
greedy continuation has exactly the length asked for; stop tokens do not end it.`,
		Example: `  plume logits demo --ids 2,888,723,366,596 --greedy 20
  plume logits ./e2b --ids 2,17,5 --hidden --backend ref -o expect.safetensors`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.ids, "ids", "", "token ids, separated by commas (required)")
	fs.StringVarP(&f.out, "output", "o", "", "safetensors `file` to write")
	fs.BoolVar(&f.hidden, "hidden", false, "also write the hidden states (needs -o)")
	fs.IntVar(&f.greedy, "greedy", 0, "continue with this many tokens, the most likely one each time")
	fs.IntVar(&f.chunk, "chunk", 0, "tokens per step (default: one that keeps memory small)")
	f.open.add(cmd, "f32")
	return cmd
}

func (f *logitsFlags) run(cmd *cobra.Command, name string) error {
	ids, err := parseIDs(f.ids)
	if err != nil {
		return usageError{fmt.Errorf("--ids: %w", err), cmd}
	}
	switch {
	case f.hidden && f.out == "":
		return usageError{fmt.Errorf("--hidden needs -o"), cmd}
	case f.greedy < 0 || f.chunk < 0:
		return usageError{fmt.Errorf("--greedy and --chunk count tokens, want 0 or more"), cmd}
	}
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	f.open.context = len(ids) + f.greedy
	m, err := f.open.open(cmd, name)
	if err != nil {
		return err
	}
	defer m.Close()
	bar := newBar(cmd.ErrOrStderr(), "computing", unitTokens)
	defer bar.end()
	ev, err := f.evaluate(ctx, m, ids, bar)
	bar.end()
	if err != nil {
		return err
	}
	return printLogits(cmd.OutOrStdout(), ev)
}

// printLogits writes the result line. Without a scored token there is no mean.
func printLogits(w io.Writer, ev plume.Evaluation) error {
	out := struct {
		Greedy  []int32  `json:"greedy"`
		MeanNLL *float64 `json:"mean_nll"`
	}{Greedy: ev.Greedy}
	if out.Greedy == nil {
		out.Greedy = []int32{}
	}
	if ev.Scored > 0 {
		if math.IsNaN(ev.MeanNLL) || math.IsInf(ev.MeanNLL, 0) {
			return fmt.Errorf("score tokens: mean_nll is %v: the weights give no usable numbers", ev.MeanNLL)
		}
		out.MeanNLL = &ev.MeanNLL
	}
	return printJSON(w, out)
}

// evaluate computes, and writes the file as it goes if there is to be one.
func (f *logitsFlags) evaluate(ctx context.Context, m *plume.Model, ids []int32, bar *bar) (ev plume.Evaluation, err error) {
	opt := plume.EvalOptions{Chunk: f.chunk, Greedy: f.greedy}
	if f.out == "" {
		opt.Logits = func(i int, _ []float32) error { bar.set(int64(i)+1, int64(len(ids))); return nil }
		return m.Evaluate(ctx, ids, opt)
	}
	w, err := checkpoint.CreateSafetensors(f.out)
	if err != nil {
		return ev, err
	}
	defer w.Abort()
	if err := w.Declare("logits", quant.F32, []int{len(ids), m.VocabSize()}); err != nil {
		return ev, err
	}
	hidden := &hiddenFile{tokens: len(ids), width: m.HiddenSize(), states: m.Layers() + 1}
	if f.hidden {
		if err := hidden.create(filepath.Dir(f.out)); err != nil {
			return ev, err
		}
		defer hidden.remove()
		for i := range hidden.states {
			if err := w.Declare(hiddenName(i), quant.F32, []int{len(ids), m.HiddenSize()}); err != nil {
				return ev, err
			}
		}
		opt.Hidden = hidden.put
	}
	err = w.WriteFunc("logits", func(out io.Writer) error {
		rows := bufio.NewWriterSize(out, 1<<20)
		var raw []byte
		opt.Logits = func(i int, logits []float32) error {
			raw = appendFloats(raw[:0], logits)
			bar.set(int64(i)+1, int64(len(ids)))
			_, err := rows.Write(raw)
			return err
		}
		if ev, err = m.Evaluate(ctx, ids, opt); err != nil {
			return err
		}
		return rows.Flush()
	})
	if err != nil {
		return ev, err
	}
	for i := 0; f.hidden && i < hidden.states; i++ {
		if err := w.Write(hiddenName(i), hidden.state(i)); err != nil {
			return ev, err
		}
	}
	return ev, w.Close()
}

func hiddenName(i int) string { return fmt.Sprintf("hidden.%d", i) }

// appendFloats appends x as little-endian float32.
func appendFloats(dst []byte, x []float32) []byte {
	for _, v := range x {
		dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(v))
	}
	return dst
}

// hiddenFile keeps hidden states [state, token, width] on disk until the logits
// before them in the output are complete: they come token by token and
// are stored state by state.
type hiddenFile struct {
	tokens, width, states int
	file                  *os.File
	raw                   []byte
}

func (h *hiddenFile) create(dir string) (err error) {
	h.file, err = os.CreateTemp(dir, ".plume-hidden-*.part")
	return err
}

func (h *hiddenFile) remove() {
	h.file.Close()
	os.Remove(h.file.Name())
}

// rowBytes is the length of one token's state.
func (h *hiddenFile) rowBytes() int64 { return 4 * int64(h.width) }

// put stores state index of token i.
func (h *hiddenFile) put(index, i int, x []float32) error {
	h.raw = appendFloats(h.raw[:0], x)
	_, err := h.file.WriteAt(h.raw, (int64(index)*int64(h.tokens)+int64(i))*h.rowBytes())
	return err
}

// state reads one state of all tokens.
func (h *hiddenFile) state(index int) io.Reader {
	n := int64(h.tokens) * h.rowBytes()
	return io.NewSectionReader(h.file, int64(index)*n, n)
}
