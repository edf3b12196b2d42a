package main

import (
	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
)

// sampleFlags are the sampling flags; those not given leave the model's own
// settings alone.
type sampleFlags struct {
	plume.Sampling
}

func (f *sampleFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.Float32Var(&f.Temperature, "temperature", 0, "0: always the most likely token (default: the model's)")
	fs.IntVar(&f.TopK, "top-k", 0, "draw from this many tokens, 0: all (default: the model's)")
	fs.Float32Var(&f.TopP, "top-p", 0, "draw from the most likely tokens up to this probability (default: the model's)")
	fs.Float32Var(&f.MinP, "min-p", 0, "draw from tokens at least this likely, relative to the most likely")
	fs.Float32Var(&f.RepetitionPenalty, "repetition-penalty", 0, "make tokens seen before less likely; 1: off")
	fs.Float32Var(&f.PresencePenalty, "presence-penalty", 0, "subtracted from the logits of tokens seen before")
	fs.Float32Var(&f.FrequencyPenalty, "frequency-penalty", 0, "the same, for each time they were seen")
	fs.Uint64Var(&f.Seed, "seed", 0, "makes an answer repeatable (default 0: chosen at random)")
}

// apply puts the flags that were given over s.
func (f *sampleFlags) apply(cmd *cobra.Command, s plume.Sampling) plume.Sampling {
	for name, set := range map[string]func(){
		"temperature":        func() { s.Temperature = f.Temperature },
		"top-k":              func() { s.TopK = f.TopK },
		"top-p":              func() { s.TopP = f.TopP },
		"min-p":              func() { s.MinP = f.MinP },
		"repetition-penalty": func() { s.RepetitionPenalty = f.RepetitionPenalty },
		"presence-penalty":   func() { s.PresencePenalty = f.PresencePenalty },
		"frequency-penalty":  func() { s.FrequencyPenalty = f.FrequencyPenalty },
		"seed":               func() { s.Seed = f.Seed },
	} {
		if cmd.Flags().Changed(name) {
			set()
		}
	}
	return s
}
