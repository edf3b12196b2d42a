package plume

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/plan/fleet"
	"github.com/plume-run/plume/internal/plan/forecast"
)

// The load of a fleet and what its clients are to get.
type (
	Load    = fleet.Load
	Lengths = fleet.Lengths
	Target  = fleet.Target
)

// FleetOptions say what a fleet is to serve.
type FleetOptions struct {
	ForecastOptions // of one replica
	Load            Load
	Target          Target
	Sequences       int // answered at once by a replica; 0: as many as its memory has room for, at most 16
	Most            int // replicas to try; 0: 4096
}

// FleetForecast is how many replicas a load takes, and what the table costs them.
type FleetForecast struct {
	Replica   *Forecast    `json:"replica"`
	Found     bool         `json:"found"` // false: even the most replicas miss the target
	Result    fleet.Result `json:"result"`
	Sequences int          `json:"sequences"`

	// The table: a copy on every replica's storage, or one that all ask over the network.
	CopyBytes   int64   `json:"table_copies_bytes"`
	SharedBytes int64   `json:"table_shared_bytes"`
	NetworkRate float64 `json:"table_network_bytes_per_second"` // one shared table, no row remembered
}

// mostSequences is how many answers at once are assumed where memory would allow more.
const mostSequences = 16

// ForecastFleet finds the smallest number of replicas that serves a load.
func ForecastFleet(spec ModelSpec, o FleetOptions) (*FleetForecast, error) {
	f, err := MakeForecast(spec, o.ForecastOptions)
	if err != nil {
		return nil, err
	}
	if !f.Fits {
		return nil, memoryError{errors.New(f.Reason)}
	}
	if f.Streamed > 0 {
		return nil, memoryError{fmt.Errorf("forecast fleet: %s does not fit into a replica's memory: %.0f MiB of weights would be read for every token; want replicas with more memory, or a smaller model", f.Model, mibs(f.Streamed))}
	}
	fo := o.ForecastOptions.withDefaults()
	p := f.Plan.p
	out := &FleetForecast{Replica: f, Sequences: o.Sequences}
	cache, _ := p.Session(p.Context, p.Chunk)
	room := 1
	if p.Budget > 0 {
		room += int(min((p.Budget-p.Total)/max(1, cache), mostSequences))
	}
	out.Sequences = cmp.Or(out.Sequences, min(room, mostSequences))
	if out.Sequences > room && p.Budget > 0 {
		return nil, memoryError{fmt.Errorf("forecast fleet: %d sequences of %d tokens, a replica's memory has room for %d", out.Sequences, p.Context, room)}
	}
	replica := fleet.Replica{Sequences: out.Sequences, Context: p.Context, Chunk: p.Chunk, Step: f.stepTimes(fo, out.Sequences)}
	out.Result, out.Found, err = fleet.Size(o.Load, replica, o.Target, cmp.Or(o.Most, 4096))
	if err != nil {
		return nil, requestError{err}
	}
	w := p.Weights()
	out.SharedBytes = int64(w.PLERows) * w.PLERow
	out.CopyBytes = out.SharedBytes * int64(out.Result.Replicas)
	promptShare := o.Load.Prompt.Mean / max(1, o.Load.Answer.Mean)
	out.NetworkRate = out.Result.Tokens * (1 + promptShare) * float64(w.PLERow)
	return out, nil
}

// stepTimes returns the time of a step that decodes and computes a part of a prompt: the
// sum of both alone, a little more than together, since weights are then read once.
func (f *Forecast) stepTimes(o ForecastOptions, sequences int) func(n, prompt int) time.Duration {
	p := f.Plan.p
	m := &forecast.Model{Weights: p.Weights(), Sizer: newSizer(o.Options), KVType: kvTypes[p.KVType], Chunk: p.Chunk}
	decode := make([]time.Duration, sequences+1)
	for n := 1; n <= sequences; n++ {
		decode[n] = o.Machine.Compute(m, gemma.StepWork{Sequences: n, Rows: 1, Wanted: 1, Position: p.Context / 4, KVType: m.KVType}).Total()
	}
	prompts := map[int]time.Duration{}
	return func(n, prompt int) time.Duration {
		t := decode[n]
		if prompt > 0 {
			if _, ok := prompts[prompt]; !ok {
				prompts[prompt] = o.Machine.Compute(m, gemma.StepWork{Sequences: 1, Rows: prompt, Position: p.Context / 8, KVType: m.KVType}).Total()
			}
			t += prompts[prompt]
		}
		return max(t, time.Microsecond)
	}
}

// String is the forecast in a few lines.
func (f *FleetForecast) String() string {
	var b strings.Builder
	r := f.Result
	if f.Found {
		fmt.Fprintf(&b, "replicas  %8d of %s, %d sequences each\n", r.Replicas, f.Replica.Machine, f.Sequences)
	} else {
		fmt.Fprintf(&b, "replicas  even %d of %s miss the target\n", r.Replicas, f.Replica.Machine)
	}
	fmt.Fprintf(&b, "clients   first token after %.2f s (p50), %.2f s (p99); a token every %.0f ms (p50), %.0f ms (p99)\n",
		r.FirstP50, r.FirstP99, 1000*r.TokenP50, 1000*r.TokenP99)
	fmt.Fprintf(&b, "load      %8.1f tokens/s generated, replicas busy %.0f %% of the time with %.1f sequences, at most %d waited\n",
		r.Tokens, 100*r.Busy, r.Sequences, r.MostQueued)
	if f.SharedBytes > 0 {
		fmt.Fprintf(&b, "table     %8.0f MiB in copies, or %.0f MiB once and %.2f MB/s over the network\n", mibs(f.CopyBytes), mibs(f.SharedBytes), f.NetworkRate/1e6)
	}
	return b.String()
}
