package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
)

// compare scores the text with the model and with the one that --kl names.
func (f *perplexityFlags) compare(ctx context.Context, cmd *cobra.Command, m *plume.Model, text string, ids []int32) error {
	ref, err := f.open.open(cmd, f.kl)
	if err != nil {
		return err
	}
	defer ref.Close()
	refIDs, err := ref.Tokenize(text)
	if err != nil {
		return err
	}
	if !slices.Equal(ids, refIDs) {
		return errors.New("compare models: they cut the text into different tokens")
	}
	bar := newBar(cmd.ErrOrStderr(), "comparing", unitTokens)
	defer bar.end()
	c, err := m.Compare(ctx, ref, ids, plume.PerplexityOptions{
		Window: f.window, Chunk: f.chunk,
		Progress: func(done, total int) { bar.set(int64(done), int64(total)) },
	})
	bar.end()
	if err != nil {
		return err
	}
	if math.IsNaN(c.KL) || math.IsInf(c.KL, 0) {
		return fmt.Errorf("compare models: kl is %v: the weights give no usable numbers", c.KL)
	}
	if f.json {
		return printJSON(cmd.OutOrStdout(), struct {
			MeanNLL      float64 `json:"mean_nll"`
			Tokens       int     `json:"tokens"`
			ReferenceNLL float64 `json:"reference_nll"`
			KL           float64 `json:"kl"`
			KLError      float64 `json:"kl_error"`
			KLMax        float64 `json:"kl_max"`
			Agreement    float64 `json:"agreement"`
		}{c.MeanNLL, c.Scored, c.ReferenceNLL, c.KL, c.KLError, c.KLMax, c.Agreement})
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), `%.4f nats per token, perplexity %.3f, %d tokens
%.4f nats per token, perplexity %.3f in the reference
%.5f ± %.5f nats of KL divergence from the reference, at most %.3f; same best token %.2f %%
`, c.MeanNLL, math.Exp(c.MeanNLL), c.Scored, c.ReferenceNLL, math.Exp(c.ReferenceNLL), c.KL, c.KLError, c.KLMax, 100*c.Agreement)
	return err
}
