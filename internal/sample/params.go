package sample

import (
	"fmt"
	"math"
)

// Params are the sampling settings. The zero value is greedy decoding without
// penalties: every field's zero means "off".
type Params struct {
	// Temperature divides the logits. 0 is greedy: the highest logit wins, the
	// lowest id among equals, and TopK, TopP, MinP and Seed have no effect.
	Temperature float32
	// TopK keeps the k highest logits, the lower ids among equals; 0 is off.
	TopK int
	// TopP keeps the shortest run of most probable tokens whose probabilities
	// sum to at least TopP, always one token or more; 0 and 1 are off.
	TopP float32
	// MinP drops tokens less probable than MinP times the most probable; 0 is off.
	MinP float32

	// RepetitionPenalty divides the positive logits of tokens in the window and
	// multiplies the negative ones; 0 and 1 are off. Values other than 1 harm
	// the syntax of tool calls.
	RepetitionPenalty float32
	// PresencePenalty is subtracted once from every token in the window.
	PresencePenalty float32
	// FrequencyPenalty is subtracted once per occurrence in the window.
	FrequencyPenalty float32
	// PenaltyWindow is how many of the last history ids the penalties look at;
	// 0 is all of them.
	PenaltyWindow int

	// Seed starts the generator. 0 is a seed like any other: whoever wants a
	// different answer each time draws one.
	Seed uint64
}

// Validate reports the first setting outside its range.
func (p Params) Validate() error {
	for _, f := range []struct {
		name   string
		value  float32
		lo, hi float32
		want   string
	}{
		{"temperature", p.Temperature, 0, math.MaxFloat32, "a finite number ≥ 0"},
		{"top-p", p.TopP, 0, 1, "a number in (0, 1], or 0 for off"},
		{"min-p", p.MinP, 0, 1, "a number in [0, 1]"},
		{"repetition penalty", p.RepetitionPenalty, 0, math.MaxFloat32, "a finite number > 0, or 0 for off"},
		{"presence penalty", p.PresencePenalty, -math.MaxFloat32, math.MaxFloat32, "a finite number"},
		{"frequency penalty", p.FrequencyPenalty, -math.MaxFloat32, math.MaxFloat32, "a finite number"},
	} {
		if !(f.value >= f.lo && f.value <= f.hi) { // written so that NaN fails
			return fmt.Errorf("check sampling: %s %v, want %s", f.name, f.value, f.want)
		}
	}
	if p.TopK < 0 {
		return fmt.Errorf("check sampling: top-k %d, want a number ≥ 0 (0 is off)", p.TopK)
	}
	if p.PenaltyWindow < 0 {
		return fmt.Errorf("check sampling: penalty window %d, want a number ≥ 0 (0 is all)", p.PenaltyWindow)
	}
	return nil
}

// penalised reports whether any penalty changes a logit.
func (p Params) penalised() bool {
	return p.RepetitionPenalty != 0 && p.RepetitionPenalty != 1 ||
		p.PresencePenalty != 0 || p.FrequencyPenalty != 0
}

// nucleus reports whether top-p can drop anything.
func (p Params) nucleus() bool { return p.TopP > 0 && p.TopP < 1 }
