package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
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

// checkTime is how long the machine is measured before and after each block.
const checkTime = 500 * time.Millisecond

// leastAgain is of how many bytes at least the disk's rate is measured.
const leastAgain = 32 << 20

// A block of decoding: enough tokens to last about runTime, within these bounds. Memory that
// others share gives 28 GB/s in one second and 61 in another (2026-11-23), so a block is no
// longer than that.
const (
	runTime     = time.Second
	leastTokens = 4
	mostTokens  = 32
)

// checkSpeed measures prefill and decoding at the forecast's points, in this process.
func (f *planFlags) checkSpeed(cmd *cobra.Command, ctx context.Context, m *plume.Machine, c *candidate) (lines []checkLine, err error) {
	fc := c.Forecast
	o := plume.Options{
		RAM: int64(f.ram), Context: fc.Plan.Context(), Chunk: fc.Plan.Chunk(), KVType: fc.Plan.KVType(), Threads: fc.Plan.Threads(),
		PLE: f.checkPlace(), PLECacheBytes: int64(f.rows), PLEEmulate: f.storage,
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

// checkPlace is where rows of a model that is checked come from: not what auto would choose, which
// holds the table in memory while the storage is slow, and the forecast is of one on storage.
func (f *planFlags) checkPlace() string {
	switch {
	case f.ple != "auto":
		return f.ple
	case f.storage != "":
		return "disk"
	}
	return "direct" // as the storage was measured
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

// point measures blocks of something and forecasts each on the mean of the machine before and
// after it. Of a block in which the machine became another one that mean says little: it is
// done again, up to twice as many blocks as asked for in all.
func (k *checker) point(ctx context.Context, what string, forecast func(*plume.Machine) (plume.StepForecast, error), run func() (plume.BenchRun, error)) error {
	k.status.show("%s", what)
	if _, err := run(); err != nil { // fills caches and buffers
		return err
	}
	p := checkPoint{watts: k.base.BusyWatts}
	before, err := k.machine()
	if err != nil {
		return err
	}
	for p.steady() < k.repeat && len(p.blocks) < 2*k.repeat {
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
		p.blocks = append(p.blocks, newCheckBlock(s, &r, before, after))
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

// checkBlock is one run and what was forecast for it.
type checkBlock struct {
	forecast              plume.StepForecast
	measured              float64 // tokens per second
	tokens, joules        float64 // joules of the whole block; 0: not counted
	predictedWait, waited float64 // milliseconds of a step
	before, after         float64 // what memory gave, in GB/s
}

func newCheckBlock(s plume.StepForecast, r *plume.BenchRun, before, after *plume.Machine) checkBlock {
	tokens := float64(r.Tokens)
	steps := math.Ceil(float64(s.Tokens) * float64(r.Steps) / tokens) // of a forecast: a prompt's chunks, or one
	return checkBlock{
		forecast: s, measured: tokens / r.Time.Seconds(), tokens: tokens, joules: r.Joules,
		predictedWait: 1000 * time.Duration(s.Wait).Seconds() / steps, waited: 1000 * r.PLE.Wait.Seconds() / float64(r.Steps),
		before: before.Best().Stream, after: after.Best().Stream,
	}
}

// moved reports whether memory became another one meanwhile.
func (b *checkBlock) moved() bool {
	return max(b.before, b.after) > drifted*min(b.before, b.after)
}

// checkPoint is the blocks of a point.
type checkPoint struct {
	blocks []checkBlock
	watts  float64 // of the machine when it computes
}

func (p *checkPoint) steady() (n int) {
	for i := range p.blocks {
		if !p.blocks[i].moved() {
			n++
		}
	}
	return n
}

// taken are the blocks that count, those in which the machine stayed the same, and the others;
// all count where there is none.
func (p *checkPoint) taken() (taken, left []checkBlock) {
	for _, b := range p.blocks {
		if b.moved() {
			left = append(left, b)
		} else {
			taken = append(taken, b)
		}
	}
	if taken == nil {
		return left, nil
	}
	return taken, left
}

// middle is the line of the block whose error is in the middle, with the least and the greatest
// error; of an even number the worse one of both middles.
func middle(lines []checkLine) checkLine {
	slices.SortFunc(lines, func(a, b checkLine) int { return cmp.Compare(a.order(), b.order()) })
	n := len(lines)
	l := lines[n/2]
	if m := lines[(n-1)/2]; math.Abs(m.order()) > math.Abs(l.order()) {
		l = m
	}
	l.LeastError, l.MostError = lines[0].Error, lines[n-1].Error
	return l
}

// order is what lines are ordered by: the error, or where nothing was measured, which has none,
// what was predicted.
func (l *checkLine) order() float64 {
	if l.Measured == 0 {
		return l.Predicted
	}
	return l.Error
}

// energyMark is the error that a power measured beforehand may lead to.
const energyMark = 0.25

// lines are the point's speed, its energy where that was counted and, of models with a table,
// its wait.
func (p *checkPoint) lines(what string, table bool) []checkLine {
	var speeds, energies, waits []checkLine
	taken, left := p.taken()
	for _, b := range taken {
		speed := newCheckLine(what, "tok/s", b.forecast.Rate, b.measured, speedMark)
		speed.Low, speed.High = b.forecast.Low, b.forecast.High
		speeds = append(speeds, speed)
		if b.joules > 0 {
			energies = append(energies, newCheckLine("energy, "+what, "J/token", p.watts/b.forecast.Rate, b.joules/b.tokens, energyMark))
		}
		wait := newCheckLine("wait for rows, "+what, "ms/step", b.predictedWait, b.waited, waitMark)
		wait.Within = wait.Within || wait.Predicted < waitFloor && wait.Measured < waitFloor
		waits = append(waits, wait)
	}
	speed := middle(speeds)
	speed.Blocks, speed.Moved = len(taken), p.steady() == 0
	for _, b := range left {
		speed.LeftOut = append(speed.LeftOut, b.forecast.Rate/b.measured-1)
	}
	speed.SlowestMemory = math.Inf(1)
	for _, b := range p.blocks {
		speed.SlowestMemory, speed.FastestMemory = min(speed.SlowestMemory, b.before, b.after), max(speed.FastestMemory, b.before, b.after)
	}
	lines := []checkLine{speed}
	if energies != nil {
		lines = append(lines, middle(energies))
	}
	if table {
		lines = append(lines, middle(waits))
	}
	return lines
}
