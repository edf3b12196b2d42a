package main

import (
	"math"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/plume-run/plume"
	"github.com/plume-run/plume/internal/sysinfo"
)

const counterFile = "sys/class/powercap/intel-rapl:0/energy_uj"

func TestEnergyIsSharedBetweenPromptAndAnswer(t *testing.T) {
	files := fstest.MapFS{
		"sys/class/powercap/intel-rapl:0/name": {Data: []byte("package-0\n")},
		counterFile:                            {Data: []byte("0\n")},
	}
	meter, err := (&sysinfo.Host{Files: files}).OpenMeter()
	if err != nil {
		t.Fatal(err)
	}
	u := &energyUse{Counter: meter.String(), meter: meter}
	defer u.close()
	set := func(text string) { files[counterFile].Data = []byte(text) }
	events := func(yield func(plume.Event, error) bool) {
		set("8000000\n") // the prompt
		if !yield(plume.Event{Kind: plume.EventText}, nil) {
			return
		}
		set("9000000\n")
		if !yield(plume.Event{Kind: plume.EventText}, nil) {
			return
		}
		set("11000000\n")
		yield(plume.Event{Kind: plume.EventDone}, nil)
	}
	n := 0
	for range u.count(events) {
		n++
	}
	if n != 3 || u.Prompt != 8 || u.Answer != 3 {
		t.Errorf("%d events, %g J and %g J, want 3, 8 and 3", n, u.Prompt, u.Answer)
	}
	var b strings.Builder
	r := &plume.Result{}
	r.Usage.Prompt, r.Usage.Cached, r.Usage.Generated = 20, 4, 6
	u.print(&b, r)
	if want := "prompt 8.0 J, 0.50 J a token; answer 3.0 J, 0.50 J a token (RAPL: package-0"; !strings.Contains(b.String(), want) {
		t.Errorf("%q, want %q in it", b.String(), want)
	}
}

func TestEnergyThatNothingCounts(t *testing.T) {
	u := &energyUse{Counter: "no energy counter on this machine"}
	n := 0
	for range u.count(func(yield func(plume.Event, error) bool) { yield(plume.Event{}, nil) }) {
		n++
	}
	var b strings.Builder
	if u.print(&b, &plume.Result{}); n != 1 || !strings.Contains(b.String(), u.Counter) {
		t.Errorf("%d events, %q", n, b.String())
	}
}

func TestEnergyOfACheck(t *testing.T) {
	m := laptop(t)
	p := checkPoint{watts: 20, blocks: []checkBlock{newCheckBlock(
		plume.StepForecast{Tokens: 1, Rate: 10, Low: 10, High: 10}, &plume.BenchRun{Tokens: 20, Steps: 20, Time: 2 * time.Second, Joules: 32}, m, m)}}
	lines := p.lines("decode", true)
	if len(lines) != 3 || lines[1].Unit != "J/token" || math.Abs(lines[1].Predicted-2) > 1e-9 || math.Abs(lines[1].Measured-1.6) > 1e-9 || !lines[1].Within {
		t.Errorf("%+v", lines)
	}
	p.blocks[0].joules = 0
	if got := p.lines("decode", true); len(got) != 2 {
		t.Errorf("without a counter: %+v", got)
	}
}
