package main

import (
	"math"
	"testing"

	"github.com/plume-run/plume"
)

func TestCheckLines(t *testing.T) {
	fc, err := plume.MakeForecast(plume.ModelSpec{Shape: "e2b"}, plume.ForecastOptions{Machine: laptop(t), Contexts: []int{16, 1000}})
	if err != nil {
		t.Fatal(err)
	}
	var speed benchReport
	var session sessionReport
	session.Stats.Memory.ProcessPeak = fc.Plan.Total() * 100 / 102
	speed.Prefill = []prefillResult{{Prompt: fc.Prefill.Tokens}}
	speed.Prefill[0].Rate.Median = fc.Prefill.Rate / 1.2
	for i, at := range []int{0, 1000 - benchTokens} {
		d := decodeResult{Context: at, Batch: 1}
		d.Rate.Median, d.PLEWait = fc.Decode[i].Rate*1.1, 0.0001
		speed.Decode = append(speed.Decode, d)
	}
	got := checkLines(fc, &speed, &session)
	want := []struct {
		err    float64
		within bool
	}{{0.02, true}, {0.2, false}, {1/1.1 - 1, true}, {-1, true}, {1/1.1 - 1, true}, {-1, true}}
	if len(got) != len(want) {
		t.Fatalf("%d lines: %+v", len(got), got)
	}
	for i, w := range want {
		if math.Abs(got[i].Error-w.err) > 1e-3 || got[i].Within != w.within {
			t.Errorf("%s: %+v, want an error of %.3f, within %v", got[i].What, got[i], w.err, w.within)
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
