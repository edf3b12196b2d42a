package main

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plume-run/plume"
)

// Of blocks the one with the middle error is shown, and those count alone in which memory
// stayed as it was.
func TestCheckPointsShowTheMiddle(t *testing.T) {
	machine := func(stream float64) *plume.Machine {
		m := laptop(t)
		m.Threads[len(m.Threads)-1].Stream = stream
		return m
	}
	run := plume.BenchRun{Tokens: 20, Steps: 10, Time: 2 * time.Second, Joules: 40}
	run.PLE.Wait = 30 * time.Millisecond
	p := checkPoint{watts: 20}
	add := func(rate float64, wait int, before, after float64) {
		s := plume.StepForecast{Tokens: 2, Rate: rate, Low: rate / 2, High: 2 * rate, Wait: 1e6}
		for range wait - 1 {
			s.Wait += 1e6
		}
		p.blocks = append(p.blocks, newCheckBlock(s, &run, machine(before), machine(after)))
	}
	add(8, 2, 40, 40)
	add(30, 60, 40, 20) // moved
	add(12, 4, 40, 36)
	add(11, 3, 36, 36)
	lines := p.lines("decode", true)
	if len(lines) != 3 || p.steady() != 3 {
		t.Fatalf("%d lines, %d steady", len(lines), p.steady())
	}
	speed, energy, wait := lines[0], lines[1], lines[2]
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"predicted", speed.Predicted, 11}, {"low", speed.Low, 5.5}, {"high", speed.High, 22}, {"measured", speed.Measured, 10},
		{"error", speed.Error, 0.1}, {"least", speed.LeastError, -0.2}, {"most", speed.MostError, 0.2},
		{"blocks", float64(speed.Blocks), 3}, {"left out", float64(len(speed.LeftOut)), 1}, {"its error", speed.LeftOut[0], 2},
		{"least memory", speed.SlowestMemory, 20}, {"most memory", speed.FastestMemory, 40},
		{"predicted energy", energy.Predicted, 20.0 / 11}, {"energy", energy.Measured, 2},
		{"predicted wait", wait.Predicted, 3}, {"measured wait", wait.Measured, 3},
	} {
		if math.Abs(c.got-c.want) > 1e-9 {
			t.Errorf("%s %g, want %g", c.name, c.got, c.want)
		}
	}
	if speed.Moved || !speed.Within || !wait.Within || !energy.Within {
		t.Errorf("not within the marks: %+v", lines)
	}
	// Of two the worse, and of none that stayed all.
	p.blocks = p.blocks[:2]
	p.blocks[0].after = 80
	if l := p.lines("decode", false)[0]; l.Predicted != 30 || l.Blocks != 2 || l.LeftOut != nil || !l.Moved {
		t.Errorf("%+v", l)
	}
	// A prompt of two chunks: what is forecast of both is half as much for each.
	run = plume.BenchRun{Tokens: 100, Steps: 2, Time: time.Second}
	run.PLE.Wait = 20 * time.Millisecond
	s := plume.StepForecast{Tokens: 100, Rate: 80, Low: 80, High: 80, Wait: 30e6}
	p = checkPoint{blocks: []checkBlock{newCheckBlock(s, &run, machine(1), machine(1))}}
	lines = p.lines("prefill", true)
	if lines[0].Within || math.Abs(lines[1].Error-0.5) > 1e-9 || lines[1].Within || len(p.lines("prefill", false)) != 1 {
		t.Errorf("%+v", lines)
	}
}

// A wait that was not there has no error to be within, unless none was predicted.
func TestNothingMeasuredIsNotWithin(t *testing.T) {
	if l := newCheckLine("wait", "ms", 3, 0, waitMark); l.Within {
		t.Errorf("%+v", l)
	}
	if l := newCheckLine("wait", "ms", 0, 0, waitMark); !l.Within {
		t.Errorf("%+v", l)
	}
	m := laptop(t)
	p := checkPoint{blocks: []checkBlock{newCheckBlock(
		plume.StepForecast{Tokens: 1, Rate: 10, Low: 10, High: 10, Wait: 1e5}, &plume.BenchRun{Tokens: 10, Steps: 10, Time: time.Second}, m, m)}}
	if l := p.lines("decode", true)[1]; !l.Within { // a tenth of a millisecond is as good as none
		t.Errorf("%+v", l)
	}
}

// A run at the end of the model's positions begins early enough to end there.
func TestCheckStaysInsideTheModel(t *testing.T) {
	k := checker{limit: 4096}
	for _, c := range []struct{ context, tokens, want int }{{100, 32, 84}, {4095, 32, 4064}, {4, 32, 0}} {
		if got := k.at(c.context, c.tokens); got != c.want {
			t.Errorf("%d tokens around %d begin at %d, want %d", c.tokens, c.context, got, c.want)
		}
	}
}

// A check measures what was forecast, wherever auto would put the table.
func TestCheckPlace(t *testing.T) {
	for _, c := range []struct{ ple, storage, want string }{
		{"auto", "", "direct"}, {"auto", "microsd-a1", "disk"}, {"mmap", "", "mmap"}, {"ram", "microsd-a1", "ram"},
	} {
		f := planFlags{ple: c.ple, storage: c.storage}
		if got := f.checkPlace(); got != c.want {
			t.Errorf("--ple %s --storage %q: rows come from %s, want %s", c.ple, c.storage, got, c.want)
		}
	}
}

func TestMemoryLines(t *testing.T) {
	fc, err := plume.MakeForecast(plume.ModelSpec{Shape: "e2b"}, plume.ForecastOptions{Machine: laptop(t)})
	if err != nil {
		t.Fatal(err)
	}
	s := sessionReport{Prompt: 1000, Tokens: 24}
	if lines := memoryLines(fc.Plan, &s); lines != nil {
		t.Errorf("nothing was measured: %+v", lines)
	}
	expected := fc.Plan.Expected(1024)
	for _, c := range []struct {
		peak       int64
		most, near bool
	}{{expected, true, true}, {expected * 100 / 105, true, false}, {fc.Plan.Total() + 1, false, false}} {
		s.Stats.Memory.ProcessPeak = c.peak
		lines := memoryLines(fc.Plan, &s)
		if len(lines) != 2 || lines[0].Within != c.most || lines[1].Within != c.near {
			t.Errorf("a peak of %d, %d planned, %d expected: %+v", c.peak, fc.Plan.Total(), expected, lines)
		}
	}
}

func laptop(t *testing.T) *plume.Machine {
	t.Helper()
	m, err := plume.LoadMachine("laptop")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestBetterPutsKeepersFirst(t *testing.T) {
	c := func(keeps, fits bool, bytes int64) candidate {
		return candidate{Keeps: keeps, Forecast: &plume.Forecast{Fits: fits, FileBytes: bytes, Decode: []plume.StepForecast{{Rate: 1}}}}
	}
	if better(c(true, true, 1), c(false, true, 9)) >= 0 || better(c(true, true, 9), c(true, true, 1)) >= 0 || better(c(false, false, 1), c(true, true, 1)) <= 0 {
		t.Error("the order is wrong")
	}
}

func TestVerdictOnGathering(t *testing.T) {
	at := func(users int, host, gather float64) []plume.StorageOutcome {
		h, g := plume.StorageOutcome{Storage: "s", Users: users}, plume.StorageOutcome{Storage: "s", Users: users}
		h.Mode, h.Wait, g.Mode, g.Wait = plume.ModeHost, host, plume.ModeGather, gather
		return []plume.StorageOutcome{h, g}
	}
	for _, c := range []struct {
		name, want string
		list       [][]plume.StorageOutcome
	}{
		{"never waits", "in time for every number", [][]plume.StorageOutcome{at(1, 0, 0), at(16, 0, 0)}},
		{"always slower", "does not shorten", [][]plume.StorageOutcome{at(1, 0, 0), at(16, 1000, 1100)}},
		{"once by chance", "does not shorten", [][]plume.StorageOutcome{at(1, 1000, 500), at(16, 1000, 1000)}},
		{"pays", "at 16 users; at 64 from 4.00 to 3.00 ms", [][]plume.StorageOutcome{at(1, 0, 0), at(16, 1000, 500), at(64, 4000, 3000)}},
	} {
		list := slices.Concat(c.list...)
		if got := verdict("s", list); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if plots := storagePlots(slices.Concat(at(1, 1, 1), at(2, 2, 2))); len(plots) != 3 {
		t.Errorf("%d plots", len(plots))
	}
}

func TestBetterPutsFasterStreamersFirst(t *testing.T) {
	c := func(bytes, streamed int64, rate float64) candidate {
		return candidate{Keeps: true, Forecast: &plume.Forecast{Fits: true, FileBytes: bytes, Streamed: streamed, Decode: []plume.StepForecast{{Rate: rate}}}}
	}
	if better(c(9, 5, 0.4), c(3, 1, 6)) <= 0 || better(c(9, 5, 0.4), c(1, 0, 0.1)) <= 0 || better(c(9, 0, 3), c(1, 0, 30)) >= 0 {
		t.Error("the order is wrong")
	}
}
