package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
)

// checker measures a model and, right before and after each run of it, the machine: a forecast
// is about a machine, and a shared one is another in the next minute.
type checker struct {
	fc     *plume.Forecast
	spec   plume.ModelSpec
	base   *plume.Machine // what is not measured again
	meter  *plume.MachineMeter
	bench  *plume.Bench
	limit  int // positions that the model has
	repeat int
	status *status
	stderr io.Writer
	told   bool // that streaming is not measured
	lines  []checkLine
}

// checkTime is how long the machine is measured before and after each run.
const checkTime = time.Second

// leastAgain is of how many bytes at least the disk's rate is measured.
const leastAgain = 32 << 20

// A run of decoding: enough tokens to last about runTime, within these bounds.
const (
	runTime     = 2 * time.Second
	leastTokens = 4
	mostTokens  = 32
)

// checkSpeed measures prefill and decoding at the forecast's points, in this process.
func (f *planFlags) checkSpeed(cmd *cobra.Command, ctx context.Context, m *plume.Machine, c *candidate) (lines []checkLine, err error) {
	fc := c.Forecast
	o := plume.Options{
		RAM: int64(f.ram), Context: fc.Plan.Context(), Chunk: fc.Plan.Chunk(), KVType: fc.Plan.KVType(), Threads: fc.Plan.Threads(),
		PLE: "direct", // as the storage was measured
	}
	if f.storage != "" {
		o.PLE, o.PLEEmulate = "disk", f.storage
	}
	model, err := plume.Open(fc.Model, o)
	if err != nil {
		return nil, err
	}
	defer model.Close()
	k := &checker{fc: fc, spec: c.spec, base: m, limit: model.MaxContext(), repeat: f.checkRepeat, status: newStatus(cmd.ErrOrStderr()), stderr: cmd.ErrOrStderr()}
	if k.bench, err = model.NewBench(); err != nil {
		return nil, err
	}
	if energy, err := plume.OpenEnergyMeter(); err == nil {
		defer energy.Close()
		k.bench.Meter = energy
	} else {
		fmt.Fprintln(cmd.ErrOrStderr(), "plume: energy is not checked:", err)
	}
	k.meter, err = plume.NewMachineMeter(plume.MeasureOptions{
		Threads: fc.Plan.Threads(), Models: []plume.ModelSpec{c.spec}, KVType: fc.Plan.KVType(),
	})
	if err != nil {
		return nil, err
	}
	defer k.meter.Close()
	defer k.status.clear()
	if err := k.prefill(ctx); err != nil {
		return nil, err
	}
	for _, d := range fc.Decode {
		if err := k.decode(ctx, d); err != nil {
			return nil, err
		}
	}
	return k.lines, nil
}

func (k *checker) prefill(ctx context.Context) error {
	tokens := k.fc.Prefill.Tokens
	return k.point(ctx, fmt.Sprintf("prefill of %d tokens", tokens),
		func(m *plume.Machine) (plume.StepForecast, error) { return k.fc.PrefillOn(m, tokens) },
		func() (plume.BenchRun, error) {
			return k.bench.Prefill(ctx, plume.BenchPrefill{Tokens: tokens, Chunk: k.fc.Plan.Chunk()})
		})
}

func (k *checker) decode(ctx context.Context, d plume.StepForecast) error {
	tokens := int(runTime / max(1, time.Duration(d.Step)))
	tokens = max(leastTokens, min(tokens, mostTokens))
	what := fmt.Sprintf("decode at context %d", d.Context)
	if d.Users > 1 {
		what += fmt.Sprintf(", %d at once", d.Users)
	}
	return k.point(ctx, what,
		func(m *plume.Machine) (plume.StepForecast, error) { return k.fc.DecodeOn(m, d.Context, d.Users) },
		func() (plume.BenchRun, error) {
			return k.bench.Decode(ctx, plume.BenchDecode{Context: k.at(d.Context, tokens), Tokens: tokens, Batch: d.Users})
		})
}

// at is where a run of so many tokens begins whose middle is to be at context, or as near to it
// as the model has positions.
func (k *checker) at(context, tokens int) int {
	return max(0, min(context-tokens/2, k.limit-tokens))
}

// point runs something as often as it is to be repeated and forecasts each run on the mean
// of the machine before and after it.
func (k *checker) point(ctx context.Context, what string, forecast func(*plume.Machine) (plume.StepForecast, error), run func() (plume.BenchRun, error)) error {
	k.status.show("%s", what)
	if _, err := run(); err != nil { // fills caches and buffers
		return err
	}
	var p checkPoint
	before, err := k.machine()
	if err != nil {
		return err
	}
	for range k.repeat {
		r, err := run()
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		after, err := k.machine()
		if err != nil {
			return err
		}
		s, err := forecast(plume.MeanMachine(before, after))
		if err != nil {
			return err
		}
		p.add(s, &r, before, after)
		p.watts = k.base.BusyWatts
		before = after
	}
	k.lines = append(k.lines, p.lines(what, k.fc.TableBytes > 0)...)
	return nil
}

// machine measures the machine again, and how weights stream where some do.
func (k *checker) machine() (*plume.Machine, error) {
	m := *k.base
	k.meter.Measure(checkTime, &m)
	if k.fc.Streamed > 0 {
		again := max(k.fc.Streamed, leastAgain) // as steps do, whatever storage caches of it
		err := k.meter.MeasureStreaming(k.spec, again, checkTime, &m)
		if err != nil && !errors.Is(err, plume.ErrUnsupported) {
			return nil, err
		}
		if err != nil && !k.told {
			k.told = true
			fmt.Fprintln(k.stderr, "plume: streaming is not measured, and forecast as if reading took nothing from computing:", err)
		}
	}
	return &m, nil
}

// checkPoint sums up the runs of a point.
type checkPoint struct {
	runs                  int
	tokens                float64
	predicted, low, high  float64 // seconds of all runs; low is the longest
	measured              float64
	predictedWait, waited float64 // milliseconds of a step, summed over the runs
	slowest, fastest      float64 // of the measured memory
	watts, joules         float64 // of the machine when it computes, and of all runs together; 0: not counted
}

func (p *checkPoint) add(s plume.StepForecast, r *plume.BenchRun, machines ...*plume.Machine) {
	tokens := float64(r.Tokens)
	p.runs++
	p.tokens += tokens
	p.predicted, p.low, p.high = p.predicted+tokens/s.Rate, p.low+tokens/s.Low, p.high+tokens/s.High
	p.measured += r.Time.Seconds()
	p.joules += r.Joules
	steps := math.Ceil(float64(s.Tokens) * float64(r.Steps) / tokens) // of a forecast: a prompt's chunks, or one
	p.predictedWait += 1000 * time.Duration(s.Wait).Seconds() / steps
	p.waited += 1000 * r.PLE.Wait.Seconds() / float64(r.Steps)
	for _, m := range machines {
		x := m.Best().Stream
		if p.slowest == 0 || x < p.slowest {
			p.slowest = x
		}
		p.fastest = max(p.fastest, x)
	}
}

// energyMark is the error that a power measured beforehand may lead to.
const energyMark = 0.25

// lines are the point's speed, its energy where that was counted and, of models with a table,
// its wait.
func (p *checkPoint) lines(what string, table bool) []checkLine {
	speed := newCheckLine(what, "tok/s", p.tokens/p.predicted, p.tokens/p.measured, speedMark)
	speed.Low, speed.High = p.tokens/p.low, p.tokens/p.high
	speed.SlowestMemory, speed.FastestMemory = p.slowest, p.fastest
	lines := []checkLine{speed}
	if p.joules > 0 {
		lines = append(lines, newCheckLine("energy, "+what, "J/token", p.watts*p.predicted/p.tokens, p.joules/p.tokens, energyMark))
	}
	if !table {
		return lines
	}
	n := float64(p.runs)
	wait := newCheckLine("wait for rows, "+what, "ms/step", p.predictedWait/n, p.waited/n, waitMark)
	wait.Within = wait.Within || wait.Predicted < waitFloor && wait.Measured < waitFloor
	return append(lines, wait)
}
