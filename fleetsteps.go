package plume

import (
	"cmp"
	"time"

	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/plan/flash"
	"github.com/plume-run/plume/internal/plan/fleet"
	"github.com/plume-run/plume/internal/plan/forecast"
)

// fleetSteps says how long a replica's steps take. It belongs to one goroutine.
type fleetSteps struct {
	machine           *Machine
	model             *forecast.Model
	store             *flash.Profile
	decodeAt, fillAt  int // positions that tokens are decoded at, and prompts computed, on average
	computed          map[fleet.Work]stepTime
	arrived           map[int]float64 // seconds until so many rows have come from the storage
	tableRows, values int
}

// fleetDepth is how many rows a replica is reading at once, at most.
const fleetDepth = 64

// stepTime is what a step computes, and of that what comes before it needs its rows.
type stepTime struct{ all, hide time.Duration }

func newFleetSteps(f *Forecast, o *FleetOptions) *fleetSteps {
	w, context := f.model.Weights, f.Plan.Context()
	chunk := float64(cmp.Or(o.ChunkTokens, defaultBusyChunk))
	return &fleetSteps{
		machine: o.Machine, model: f.model, store: f.store,
		decodeAt:  min(context-1, int(o.Load.Prompt.Mean+o.Load.Answer.Mean/2)),
		fillAt:    min(context-1, int(max(0, o.Load.Prompt.Mean-chunk)/2)),
		computed:  map[fleet.Work]stepTime{},
		arrived:   map[int]float64{},
		tableRows: w.PLERows, values: w.PLEValues(),
	}
}

// with is the time of a step whose rows are on their way for as many seconds as latency says of
// their number: they are asked for when it begins, and it stands still for what it cannot hide.
func (s *fleetSteps) with(latency func(rows int) float64) func(fleet.Work) time.Duration {
	return func(w fleet.Work) time.Duration {
		t := s.compute(w)
		if s.tableRows > 0 {
			wait := time.Duration(latency(w.Decoding+w.Prompt)*1e9) - t.hide
			return t.all + max(0, wait)
		}
		return t.all
	}
}

// compute is what a step takes without waiting. Decoded tokens and those of prompts go through
// the same products, whose weights are read once; each has its attention.
func (s *fleetSteps) compute(w fleet.Work) stepTime {
	if t, ok := s.computed[w]; ok {
		return t
	}
	kv := s.model.KVType
	decode := gemma.StepWork{Sequences: w.Decoding, Rows: 1, Wanted: 1, Position: s.decodeAt, KVType: kv}
	fill := gemma.StepWork{Sequences: 1, Rows: w.Prompt, Wanted: w.Ending, Position: s.fillAt, KVType: kv}
	work := decode
	var attention time.Duration
	switch {
	case w.Decoding == 0:
		work = fill
	case w.Prompt > 0:
		work = gemma.StepWork{Sequences: 1, Rows: w.Decoding + w.Prompt, Wanted: w.Decoding + w.Ending, KVType: kv}
		attention = s.machine.Compute(s.model, decode).Attention + s.machine.Compute(s.model, fill).Attention -
			s.machine.Compute(s.model, work).Attention
	}
	t := stepTime{s.machine.Compute(s.model, work).Total() + attention, s.machine.Hide(s.model, work)}
	s.computed[w] = t
	return t
}

// stored is how many seconds rows that do not repeat take from the replica's own storage.
func (s *fleetSteps) stored(rows int) float64 {
	if t, ok := s.arrived[rows]; ok {
		return t
	}
	r := flash.Replay{
		Table: flash.Table{Rows: s.tableRows, RowBytes: int(s.model.Weights.PLERow), Values: s.values},
		Every: time.Minute, Depth: fleetDepth,
	}
	out, err := r.Run(s.store, flash.Distinct(s.tableRows, rows, max(3, 200/rows)))
	if err != nil {
		panic("plume: internal error: " + err.Error())
	}
	s.arrived[rows] = out.Mean / 1e6
	return s.arrived[rows]
}
