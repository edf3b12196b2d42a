package server

import "github.com/plume-run/plume"

// report is what one answer has cost beside tokens, for clients that ask for it with
// "plume_report": true. It stands in the usage of the answer, one for each choice.
type report struct {
	Timings plume.Timings     `json:"timings"`
	PLE     plume.PLEStats    `json:"ple"`     // its own rows of the per-layer table
	Weights plume.WeightStats `json:"weights"` // read while it was computed, for whoever else was too
}

// reports is nil unless they are wanted.
func reports(want bool, answers []answer) []report {
	if !want {
		return nil
	}
	list := make([]report, len(answers))
	for i, a := range answers {
		list[i] = report{a.result.Timings, a.result.PLE, a.result.Weights}
	}
	return list
}
