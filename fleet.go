package plume

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/plume-run/plume/internal/plan/fleet"
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
	ChunkTokens     int // prompt tokens of a step in which others decode, as [ServiceOptions] has it; 0: 32
	Most            int // replicas to try; 0: 4096

	Network      Network
	StoragePrice float64 // of 10⁹ bytes of a replica's storage, in the currency of all prices; 0: not counted
}

// Network is what one table for all replicas is asked over.
type Network struct {
	RTT  float64 `json:"round_trip_us"` // from a replica's question to the first byte of the answer
	Rate float64 `json:"mbps"`          // 10⁶ bytes per second of the table's server, shared by all; 0: 1250
}

// FleetForecast is how many replicas a load takes, and what the table costs them.
type FleetForecast struct {
	Replica   *Forecast    `json:"replica"`
	Found     bool         `json:"found"`  // false: even the most replicas miss the target
	Result    fleet.Result `json:"result"` // with a copy of the table on every replica's storage
	Sequences int          `json:"sequences"`
	Cost      float64      `json:"cost_per_mtok"` // of the fleet, for a million generated tokens

	CopyBytes int64        `json:"table_copies_bytes"`
	Shared    *SharedTable `json:"shared_table,omitempty"` // nil of models without a table
}

// SharedTable is a fleet whose replicas ask one server for rows, which holds them in memory.
type SharedTable struct {
	Bytes       int64   `json:"bytes"`
	Network     Network `json:"network"`
	NetworkRate float64 `json:"network_bytes_per_second"` // no row remembered
	Utilisation float64 `json:"network_utilisation"`      // from 1 on it cannot be: nothing below is said

	Result   fleet.Result `json:"result"`   // of as many replicas as have copies
	Replicas int          `json:"replicas"` // that the target takes; 0: not found
	Cost     float64      `json:"cost_per_mtok"`
}

// mostSequences is how many answers at once are assumed where memory would allow more.
const mostSequences = 16

// admitTime is what a service spends on a request before it is part of a step: mostly copying what
// the slot's last answer has left to the known prefixes, of 91 tokens in 1 to 1.5 ms (2026-11-23,
// 2 processors, `plume bench serve` on E2B; 0.2 ms where a slot holds nothing).
const admitTime = time.Millisecond

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
	o.Network.Rate, o.Most = cmp.Or(o.Network.Rate, 1250), cmp.Or(o.Most, 4096)
	if err := o.validateFleet(); err != nil {
		return nil, requestError{err}
	}
	out := &FleetForecast{Replica: f}
	if out.Sequences, err = f.Plan.room(o.Sequences); err != nil {
		return nil, err
	}
	p := f.Plan.p
	steps := newFleetSteps(f, &o)
	replica := fleet.Replica{
		Sequences: out.Sequences, Context: p.Context, Chunk: p.Chunk, BusyChunk: cmp.Or(o.ChunkTokens, defaultBusyChunk),
		Admit: admitTime, Step: steps.with(steps.stored),
	}
	if out.Result, out.Found, err = fleet.Size(o.Load, replica, o.Target, o.Most); err != nil {
		return nil, requestError{err}
	}
	prices := o.ForecastOptions.withDefaults().Prices
	out.CopyBytes = f.TableBytes * int64(out.Result.Replicas)
	if out.Cost, err = fleetCost(o.Machine, &out.Result, prices); err != nil {
		return nil, requestError{err}
	}
	out.Cost += perToken(float64(out.CopyBytes)/1e9*o.StoragePrice, &out.Result, prices)
	if f.TableBytes > 0 {
		out.Shared, err = out.share(&o, replica, steps, prices)
	}
	return out, err
}

func (o *FleetOptions) validateFleet() error {
	switch n := o.Network; {
	case !(n.RTT >= 0 && n.RTT <= 1e7) || !(n.Rate > 0 && n.Rate <= 1e7):
		return fmt.Errorf("forecast fleet: a network of %g µs and %g MB/s, want 0 or more and more than 0", n.RTT, n.Rate)
	case !(o.StoragePrice >= 0 && o.StoragePrice <= 1e9):
		return fmt.Errorf("forecast fleet: a storage price of %g, want 0 or more", o.StoragePrice)
	case o.Sequences < 0 || o.Sequences > maxSequences || o.ChunkTokens < 0:
		return fmt.Errorf("forecast fleet: %d sequences, %d prompt tokens of a step, want 0 to %d, and 0 or more", o.Sequences, o.ChunkTokens, maxSequences)
	}
	return nil
}

// room is how many sequences a replica answers at once: asked, if there is memory for them, or
// without being asked as many as there is memory for, at most mostSequences.
func (p *MemoryPlan) room(asked int) (int, error) {
	q, want := p.p, cmp.Or(asked, mostSequences)
	if q.Budget == 0 {
		return want, nil
	}
	cache, _ := q.Session(q.Context, q.Chunk)
	for n := 1; n <= want; n++ { // steps as a Service has them
		_, prompt := q.Session(q.Context, min(max(q.Chunk, n), q.Context))
		_, logits := q.Evaluation(q.Context, n)
		if q.TotalWith(int64(n)*cache, max(prompt, logits)) <= q.Budget {
			continue
		}
		if asked > 0 {
			return 0, memoryError{fmt.Errorf("forecast fleet: %d sequences of %d tokens: a replica's memory has room for %d", asked, q.Context, n-1)}
		}
		return max(1, n-1), nil // one has been planned for
	}
	return want, nil
}

// share is the fleet with one table for all.
func (f *FleetForecast) share(o *FleetOptions, r fleet.Replica, steps *fleetSteps, prices Prices) (*SharedTable, error) {
	s := &SharedTable{
		Bytes: f.Replica.TableBytes, Network: o.Network,
		NetworkRate: f.Result.Tokens*float64(steps.row) + f.Result.Prompts*float64(steps.part),
	}
	if s.Utilisation = s.NetworkRate / (o.Network.Rate * 1e6); s.Utilisation >= 1 {
		return s, nil
	}
	r.Step = steps.with(func(r fleetRows) float64 { return s.latency(steps.bytes(r)) })
	var err error
	if s.Result, err = fleet.Simulate(o.Load, r, f.Result.Replicas); err != nil {
		return nil, requestError{err}
	}
	served := s.Result
	if !o.Target.Met(o.Load, r, served) {
		found := false
		if served, found, err = fleet.Size(o.Load, r, o.Target, o.Most); err != nil || !found {
			return s, err
		}
	}
	s.Replicas = served.Replicas
	if s.Cost, err = fleetCost(o.Machine, &served, prices); err != nil {
		return nil, requestError{err}
	}
	kWh := o.Machine.IdleWatts * prices.Life * secondsPerYear / 3.6e6 // of the table's server, which computes nothing
	s.Cost += perToken(o.Machine.Price+kWh*prices.Overhead*prices.Power, &served, prices)
	return s, nil
}

// latency is how many seconds so many bytes of rows are on their way. The server's link is
// shared by all replicas: while a part of it is taken, a transfer goes on at the rest.
func (s *SharedTable) latency(bytes int) float64 {
	return s.Network.RTT/1e6 + float64(bytes)/(s.Network.Rate*1e6*(1-s.Utilisation))
}

// fleetCost is what a million tokens cost of replicas that are busy as a result says.
func fleetCost(m *Machine, r *fleet.Result, p Prices) (float64, error) {
	p.Utilisation = min(1, max(r.Busy, 1e-9))
	c, err := m.Cost(r.Tokens/(float64(r.Replicas)*p.Utilisation), 0, p)
	return c.Total, err
}

const secondsPerYear = 8766 * 3600

// perToken spreads money that is spent once over the tokens of a machine's life, a million each.
func perToken(money float64, r *fleet.Result, p Prices) float64 {
	return money / (p.Life * secondsPerYear * r.Tokens) * 1e6
}

// String is the forecast in a few lines.
func (f *FleetForecast) String() string {
	var b strings.Builder
	r := f.Result
	if f.Found {
		fmt.Fprintf(&b, "replicas  %8d of %s, %d sequences each\n", r.Replicas, f.Replica.Machine, f.Sequences)
	} else {
		more := ""
		if r.Most == 1 {
			more = ", with one request at a time on each"
		}
		fmt.Fprintf(&b, "replicas  even %d of %s miss the target%s\n", r.Replicas, f.Replica.Machine, more)
	}
	fmt.Fprintf(&b, "clients   first token after %.2f s (p50), %.2f s (p99); a token every %.0f ms (p50), %.0f ms (p99); between any two %.0f ms (p50), %.0f ms (p99)\n",
		r.FirstP50, r.FirstP99, 1000*r.TokenP50, 1000*r.TokenP99, 1000*r.GapP50, 1000*r.GapP99)
	fmt.Fprintf(&b, "load      %8.1f tokens/s generated, replicas busy %.0f %% of the time with %.1f sequences, at most %d waited\n",
		r.Tokens, 100*r.Busy, r.Sequences, r.MostQueued)
	fmt.Fprintf(&b, "cost      %8.2f for a million tokens\n", f.Cost)
	if f.Shared != nil {
		fmt.Fprintf(&b, "table     %8.0f MiB in copies, or %.0f MiB once %s\n", mibs(f.CopyBytes), mibs(f.Shared.Bytes), f.Shared.words())
	}
	return b.String()
}

// words say what becomes of a fleet that asks one server for rows.
func (s *SharedTable) words() string {
	net := fmt.Sprintf("and %.2f MB/s over the network, %.1f %% of what it carries", s.NetworkRate/1e6, 100*s.Utilisation)
	r := s.Result
	clients := fmt.Sprintf("first token after %.2f s (p99), a token every %.0f ms (p99)", r.FirstP99, 1000*r.TokenP99)
	switch {
	case s.Utilisation >= 1:
		return net + ": too much"
	case s.Replicas == 0:
		return fmt.Sprintf("%s: %s, and no number of replicas meets the target", net, clients)
	case s.Replicas > r.Replicas:
		return fmt.Sprintf("%s: %s; %d replicas for the target; a million tokens cost %.2f, the table's server included", net, clients, s.Replicas, s.Cost)
	}
	return fmt.Sprintf("%s: %s; a million tokens cost %.2f, the table's server included", net, clients, s.Cost)
}
