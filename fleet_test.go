package plume

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/plan/fleet"
)

// aFleet is of laptops that serve prompts of 400 tokens and answers of 200.
func aFleet(t *testing.T) (FleetOptions, *FleetForecast) {
	t.Helper()
	m, err := LoadMachine("laptop")
	if err != nil {
		t.Fatal(err)
	}
	o := FleetOptions{
		ForecastOptions: ForecastOptions{Machine: m},
		Load:            Load{Rate: 0.2, Prompt: Lengths{Mean: 400, P95: 400}, Answer: Lengths{Mean: 200, P95: 200}, Requests: 1000, Seed: 1},
		Target:          Target{FirstP99: 10},
		Network:         Network{RTT: 1000, Rate: 1250},
	}
	f, err := ForecastFleet(ModelSpec{Shape: "e2b", Layers: 20}, o)
	if err != nil {
		t.Fatal(err)
	}
	return o, f
}

func TestFleetCountsItsTable(t *testing.T) {
	o, f := aFleet(t)
	w := f.Replica.Plan.p.Weights()
	row, part := float64(w.PLERow), float64(w.PLEPart)
	if part >= row || part <= 0 {
		t.Fatalf("%g bytes of a row are read in part, of %g", part, row)
	}
	if want := int64(w.PLERows) * w.PLERow * int64(f.Result.Replicas); f.CopyBytes != want || f.Shared.Bytes*int64(f.Result.Replicas) != want {
		t.Errorf("%d bytes of copies, want %d", f.CopyBytes, want)
	}
	// A row for each token of an answer, a part for each of a prompt: two to one.
	if want := f.Result.Tokens * (row + 2*part); math.Abs(f.Shared.NetworkRate/want-1) > 1e-9 {
		t.Errorf("%g bytes a second over the network, want %g", f.Shared.NetworkRate, want)
	}
	if want := f.Shared.NetworkRate / 1.25e9; math.Abs(f.Shared.Utilisation-want) > 1e-12 {
		t.Errorf("the network is %g busy, want %g", f.Shared.Utilisation, want)
	}
	if got, want := f.Shared.latency(1e6), 1e-3+1e6/(1.25e9*(1-f.Shared.Utilisation)); math.Abs(got/want-1) > 1e-12 {
		t.Errorf("a million bytes take %g s, want %g", got, want)
	}
	// What the fleet costs: its machines over their life and their power, and copies.
	p, m, life := DefaultPrices(), o.Machine, 4*8766*3600.0
	n, busy := float64(f.Result.Replicas), f.Result.Busy
	watts := m.BusyWatts*busy + m.IdleWatts*(1-busy)
	want := n * (m.Price/life + watts*p.Power*p.Overhead/3.6e6) / f.Result.Tokens * 1e6
	if math.Abs(f.Cost/want-1) > 1e-9 {
		t.Errorf("a million tokens cost %g, want %g", f.Cost, want)
	}
	server := (m.Price/life + m.IdleWatts*p.Power*p.Overhead/3.6e6) / f.Shared.Result.Tokens * 1e6
	if f.Shared.Replicas != f.Result.Replicas {
		t.Fatalf("%d replicas share a table, %d have copies: the costs cannot be compared", f.Shared.Replicas, f.Result.Replicas)
	}
	if math.Abs((f.Shared.Cost-server)/f.Cost-1) > 0.05 {
		t.Errorf("with one table %g, %g of it for its server; %g with copies", f.Shared.Cost, server, f.Cost)
	}
}

func TestSlowNetworksShow(t *testing.T) {
	o, near := aFleet(t)
	o.Network = Network{RTT: 30_000, Rate: 1250}
	far, err := ForecastFleet(ModelSpec{Shape: "e2b", Layers: 20}, o)
	if err != nil {
		t.Fatal(err)
	}
	if far.Result != near.Result {
		t.Error("the network changes a fleet with copies")
	}
	// Every step waits 29 ms longer, less what was hidden of the first millisecond.
	if d := far.Shared.Result.TokenP50 - near.Shared.Result.TokenP50; d < 0.027 || d > 0.04 {
		t.Errorf("tokens come %.1f ms later", 1000*d)
	}
	if far.Shared.Result.TokenP99 <= near.Result.TokenP99 || far.Shared.Result.FirstP99 <= near.Result.FirstP99 {
		t.Errorf("p99 %+v near, %+v far, %+v with copies", near.Shared.Result, far.Shared.Result, near.Result)
	}
	o.Network.Rate = 0.1
	if thin, err := ForecastFleet(ModelSpec{Shape: "e2b", Layers: 20}, o); err != nil || thin.Shared.Utilisation < 1 || thin.Shared.Replicas != 0 {
		t.Errorf("rows over a tenth of a MB a second: %+v, %v", thin.Shared, err)
	}
}

// A step takes its products once for all of its tokens, and each kind's attention; it waits for
// what rows take beyond what comes before them.
func TestFleetSteps(t *testing.T) {
	o, f := aFleet(t)
	s := newFleetSteps(f.Replica, &o)
	if s.decodeAt != 500 || s.fillAt != 184 {
		t.Errorf("decodes at %d, computes prompts at %d", s.decodeAt, s.fillAt)
	}
	m, mod := o.Machine, f.Replica.model
	of := func(w gemma.StepWork) (all, attention time.Duration) {
		w.KVType = mod.KVType
		c := m.Compute(mod, w)
		return c.Total(), c.Attention
	}
	decode, decodeAttention := of(gemma.StepWork{Sequences: 4, Rows: 1, Wanted: 1, Position: 500})
	fill, fillAttention := of(gemma.StepWork{Sequences: 1, Rows: 32, Wanted: 1, Position: 184})
	both, bothAttention := of(gemma.StepWork{Sequences: 1, Rows: 36, Wanted: 5})
	for _, c := range []struct {
		work fleet.Work
		want time.Duration
		rows fleetRows
	}{
		{fleet.Work{Decoding: 4}, decode, fleetRows{4, 0}},
		{fleet.Work{Prompt: 32, Ending: 1}, fill, fleetRows{1, 31}},
		{fleet.Work{Decoding: 4, Prompt: 32, Ending: 1}, both - bothAttention + decodeAttention + fillAttention, fleetRows{5, 31}},
	} {
		got := s.compute(c.work)
		if got.all != c.want || got.hide <= 0 || got.hide >= got.all/4 {
			t.Errorf("%+v: %+v, want %v", c.work, got, c.want)
		}
		var asked fleetRows
		late := s.with(func(r fleetRows) float64 { asked = r; return 1 })(c.work)
		if late != c.want+time.Second-got.hide || asked != c.rows {
			t.Errorf("%+v with %+v a second late: %v, want %v and %+v", c.work, asked, late, c.want+time.Second-got.hide, c.rows)
		}
		if soon := s.with(func(fleetRows) float64 { return 0 })(c.work); soon != c.want {
			t.Errorf("%+v: %v without a wait, want %v", c.work, soon, c.want)
		}
	}
	if sum := decode + fill; both-bothAttention+decodeAttention+fillAttention >= sum {
		t.Error("weights are read twice for one step")
	}
	held, heldSteps := *mod, *s
	held.Held, heldSteps.model = true, &held
	if got := heldSteps.with(func(fleetRows) float64 { return 1 })(fleet.Work{Decoding: 4}); got != decode {
		t.Errorf("a step with the table in memory takes %v, want %v", got, decode)
	}
	// A row takes what one read does, a page on NVMe; a hundred less than a hundred times that.
	one, many, parts := s.stored(fleetRows{1, 0}), s.stored(fleetRows{100, 0}), s.stored(fleetRows{0, 100})
	if one < 40e-6 || one > 150e-6 || many <= one || many > 50*one || parts > many {
		t.Errorf("a row takes %g s, a hundred %g, parts of a hundred %g", one, many, parts)
	}
	w := f.Replica.Plan.p.Weights()
	if got, want := s.bytes(fleetRows{2, 3}), 2*int(w.PLERow)+3*int(w.PLEPart); got != want {
		t.Errorf("two rows and three parts are %d bytes, want %d", got, want)
	}
}

func TestFleetSequencesFitIntoMemory(t *testing.T) {
	m, err := LoadMachine("laptop")
	if err != nil {
		t.Fatal(err)
	}
	f, err := MakeForecast(ModelSpec{Shape: "e2b", Layers: 20}, ForecastOptions{Machine: m, Options: Options{Context: 4096}})
	if err != nil {
		t.Fatal(err)
	}
	p := f.Plan.p
	room := func(budget int64, asked int) int {
		p.Budget = budget
		n, err := f.Plan.room(asked)
		if err != nil && !errors.Is(err, ErrMemory) {
			t.Error(err)
		}
		return n
	}
	if n := room(0, 0); n != mostSequences {
		t.Errorf("%d sequences where memory is not known, want %d", n, mostSequences)
	}
	if n := room(0, 40); n != 40 {
		t.Errorf("%d sequences, 40 were asked for", n)
	}
	// Room for five caches, and for the logits of five rows beside the session's own.
	cache, step := p.Session(p.Context, p.Chunk)
	_, logits := p.Evaluation(p.Context, 5)
	five := p.TotalWith(5*cache, max(step, logits))
	for _, c := range []struct {
		budget      int64
		asked, want int
	}{{five, 0, 5}, {five - 1, 0, 4}, {five, 5, 5}, {five, 6, 0}, {1, 0, 1}} {
		if n := room(c.budget, c.asked); n != c.want {
			t.Errorf("%d bytes, %d asked for: room for %d, want %d", c.budget, c.asked, n, c.want)
		}
	}
}
