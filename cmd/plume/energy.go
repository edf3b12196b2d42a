package main

import (
	"fmt"
	"io"
	"iter"

	"github.com/plume-run/plume"
)

// energyUse is what an answer took, by the machine's own counters.
type energyUse struct {
	Counter string  `json:"counter"` // what counts, or why nothing does
	Prompt  float64 `json:"prompt_joules,omitempty"`
	Answer  float64 `json:"answer_joules,omitempty"`

	meter *plume.EnergyMeter // nil: not counted
}

// openEnergy looks for counters; close must be called.
func openEnergy() *energyUse {
	meter, err := plume.OpenEnergyMeter()
	if err != nil {
		return &energyUse{Counter: err.Error()}
	}
	return &energyUse{Counter: meter.String(), meter: meter}
}

func (u *energyUse) close() {
	if u.meter != nil {
		u.meter.Close()
	}
}

// count passes events on: what is used until the first one is the prompt's.
func (u *energyUse) count(events iter.Seq2[plume.Event, error]) iter.Seq2[plume.Event, error] {
	if u.meter == nil {
		return events
	}
	return func(yield func(plume.Event, error) bool) {
		span, first := u.meter.Begin(), true
		defer func() {
			joules, err := span.End()
			u.add(&u.Answer, joules, err)
		}()
		for ev, err := range events {
			if first {
				joules, lapErr := span.Lap()
				u.add(&u.Prompt, joules, lapErr)
				first = false
			}
			if !yield(ev, err) {
				return
			}
		}
	}
}

// add notes joules, or why there are none.
func (u *energyUse) add(to *float64, joules float64, err error) {
	if err != nil {
		u.Counter, u.Prompt, u.Answer = err.Error(), 0, 0
		return
	}
	*to += joules
}

// print writes a line of statistics.
func (u *energyUse) print(w io.Writer, r *plume.Result) {
	if u.Prompt+u.Answer == 0 {
		fmt.Fprintf(w, "energy   %s\n", u.Counter)
		return
	}
	each := func(joules float64, tokens int) float64 { return joules / float64(max(1, tokens)) }
	fmt.Fprintf(w, "energy   prompt %.1f J, %.2f J a token; answer %.1f J, %.2f J a token (%s; others' work included)\n",
		u.Prompt, each(u.Prompt, r.Usage.Prompt-r.Usage.Cached), u.Answer, each(u.Answer, r.Usage.Generated), u.Counter)
}
