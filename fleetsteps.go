package plume

import (
	"cmp"
	"time"

	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/plan/flash"
	"github.com/plume-run/plume/internal/plan/fleet"
	"github.com/plume-run/plume/internal/plan/forecast"
	"github.com/plume-run/plume/internal/ple"
)

// fleetSteps says how long a replica's steps take. It belongs to one goroutine.
type fleetSteps struct {
	machine           *Machine
	model             *forecast.Model
	store             *flash.Profile
	decodeAt, fillAt  int // positions that tokens are decoded at, and prompts computed, on average
	computed          map[fleet.Work]stepTime
	arrived           map[fleetRows]float64 // seconds until they have come from the storage
	tableRows, values int
	row, part         int // bytes of a row, and of one that is read in part
}

// fleetRows are what a step reads of the table: whole ones of tokens whose logits are wanted, parts
// of the others.
type fleetRows struct{ whole, parts int }

func rowsOf(w fleet.Work) fleetRows { return fleetRows{w.Decoding + w.Ending, w.Prompt - w.Ending} }

// bytes is how long they are together.
func (s *fleetSteps) bytes(r fleetRows) int { return r.whole*s.row + r.parts*s.part }

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
		arrived:   map[fleetRows]float64{},
		tableRows: w.PLERows, values: w.PLEValues(), row: int(w.PLERow), part: int(w.PLEPart),
	}
}

// with is the time of a step whose rows are on their way for as many seconds as latency says:
// they are asked for when it begins, and it stands still for what it cannot hide. Nothing is
// asked for of a table that memory holds.
func (s *fleetSteps) with(latency func(fleetRows) float64) func(fleet.Work) time.Duration {
	return func(w fleet.Work) time.Duration {
		t := s.compute(w)
		if s.tableRows > 0 && !s.model.Held {
			wait := time.Duration(latency(rowsOf(w))*1e9) - t.hide
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

// stored is how many seconds rows that do not repeat take from the replica's own storage: each
// as long as they are on average.
func (s *fleetSteps) stored(r fleetRows) float64 {
	if t, ok := s.arrived[r]; ok {
		return t
	}
	all := r.whole + r.parts
	replay := flash.Replay{
		Table: flash.Table{Rows: s.tableRows, RowBytes: s.row, Values: s.values, Part: s.bytes(r) / all},
		Every: time.Minute, Depth: ple.Depth,
	}
	out, err := replay.Run(s.store, flash.Distinct(s.tableRows, all, max(3, 200/all)))
	if err != nil {
		panic("plume: internal error: " + err.Error())
	}
	s.arrived[r] = out.Mean / 1e6
	return s.arrived[r]
}
