package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/plume-run/plume"
)

// benchRunner measures and fills in the report.
type benchRunner struct {
	f      *benchFlags
	model  *plume.Model
	bench  *plume.Bench
	limits *plume.MachineLimits
	status *status
	out    benchReport
}

const (
	peakTime  = 50 * time.Millisecond
	disturbed = 0.10 // of all processors; real-time priority leaves others 5 % (sched_rt_runtime_us)
)

// stream is the median of three passes through memory, in bytes per second.
func (r *benchRunner) stream(threads int) float64 {
	var s [3]float64
	for i := range s {
		s[i] = r.limits.StreamRead(threads)
	}
	return newSpread(s[:]).Median
}

// peak is the limit of prefill.
func (r *benchRunner) peak(threads int) float64 { return plume.PeakInt8(threads, peakTime) }

// machine measures the limits, --repeat times for each number of threads.
func (r *benchRunner) machine(ctx context.Context) error {
	for _, threads := range r.f.threads {
		r.status.show("the machine, %d threads", threads)
		var stream, i8, f32 []float64
		for range r.f.repeat {
			stream = append(stream, r.stream(threads)/1e9)
			i8 = append(i8, r.peak(threads)/1e9)
			f32 = append(f32, plume.PeakF32(threads, peakTime)/1e9)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
		r.out.Machine = append(r.out.Machine, machineResult{threads, newSpread(stream), newSpread(i8), newSpread(f32)})
	}
	return nil
}

// block is one run between two measurements of its limit.
type block struct {
	run    plume.BenchRun
	limit  float64 // per second, mean of before and after
	others float64
}

// series is the blocks of one thing that is measured.
type series struct {
	plain    []block
	profiled block // one more, with a clock around every operation
}

// blocks measures things --repeat times, one after the other, so that all of them meet
// the same machine, and then once more with a profile.
func (r *benchRunner) blocks(threads int, limit func(int) float64, things ...func(profile bool) (plume.BenchRun, error)) ([]series, error) {
	if err := r.bench.SetThreads(threads); err != nil {
		return nil, err
	}
	for _, once := range things { // fills caches and buffers
		if _, err := once(false); err != nil {
			return nil, err
		}
	}
	out := make([]series, len(things))
	for i := range r.f.repeat + 1 {
		for k, once := range things {
			load, b := readTimes(), block{limit: limit(threads)}
			var err error
			if b.run, err = once(i == r.f.repeat); err != nil {
				return nil, err
			}
			b.limit = (b.limit + limit(threads)) / 2
			b.others = readTimes().others(load)
			if i < r.f.repeat {
				out[k].plain = append(out[k].plain, b)
			} else {
				out[k].profiled = b
			}
		}
	}
	return out, nil
}

// result is what every measurement has.
func (r *benchRunner) result(threads int, s series) benchResult {
	plain := s.plain
	out := benchResult{
		Threads: threads,
		Rate:    spreadOf(plain, func(b block) float64 { return b.run.Rate() }),
		Blocks:  len(plain), Others: -1,
	}
	for _, b := range plain {
		out.Rates = append(out.Rates, b.run.Rate())
		out.Others = max(out.Others, b.others)
		if b.others > disturbed {
			out.Disturbed++
		}
	}
	if joules := spreadOf(plain, func(b block) float64 { return b.run.Joules / float64(b.run.Tokens) }); joules.Min > 0 {
		out.Joules = &joules
	}
	last := plain[len(plain)-1].run
	out.PLEWait = last.PLE.Wait.Seconds() / float64(last.Steps)
	out.PLEBytes = float64(last.PLE.ReadBytes) / float64(last.Tokens)
	for _, c := range s.profiled.run.Classes {
		out.Time = append(out.Time, classShare{c.Name, c.Time.Seconds() / s.profiled.run.Time.Seconds()})
	}
	return out
}

// products are the classes of matrix products that run on int8.
var products = []string{"products", "head"}

func (r *benchRunner) prefill(ctx context.Context, threads, tokens int) error {
	r.status.show("prefill of %d tokens, %d threads", tokens, threads)
	all, err := r.blocks(threads, r.peak, func(bool) (plume.BenchRun, error) {
		// Steps are so long that the profile of all of them costs nothing.
		return r.bench.Prefill(ctx, plume.BenchPrefill{Tokens: tokens, Chunk: r.f.chunk, Profile: true})
	})
	if err != nil {
		return err
	}
	plain, macs := all[0].plain, float64(all[0].profiled.run.Sum().MACs)
	p := prefillResult{
		benchResult: r.result(threads, all[0]), Prompt: tokens, MACs: macs / float64(tokens),
		GMACs:  spreadOf(plain, func(b block) float64 { return macs / b.run.Time.Seconds() / 1e9 }),
		OfPeak: spreadOf(plain, func(b block) float64 { return share(macs/b.run.Time.Seconds(), b.limit) }),
		Peak:   spreadOf(plain, func(b block) float64 { return b.limit / 1e9 }),
	}
	p.Products = spreadOf(plain, func(b block) float64 {
		sum := b.run.Sum(products...)
		return share(float64(sum.MACs), sum.Time.Seconds()*b.limit)
	})
	limits := r.limitsOf(threads)
	prof := &all[0].profiled.run
	p.OfStream = share(float64(prof.Sum().Bytes)/prof.Time.Seconds()/1e9, limits.Stream.Median)
	p.OfF32 = attentionShare(prof, limits)
	r.out.Prefill = append(r.out.Prefill, p)
	return nil
}

// limitsOf is what machine has measured for a number of threads.
func (r *benchRunner) limitsOf(threads int) machineResult {
	for _, m := range r.out.Machine {
		if m.Threads == threads {
			return m
		}
	}
	return machineResult{}
}

// attentionShare is the multiply-adds of attention against the peak of float ones; keys and
// values of int8 may pass it.
func attentionShare(run *plume.BenchRun, limits machineResult) float64 {
	sum := run.Sum("attention")
	return share(float64(sum.MACs), sum.Time.Seconds()*limits.F32.Median*1e9)
}

// decode measures all contexts in turn.
func (r *benchRunner) decode(ctx context.Context, threads, batch int) error {
	r.status.show("decoding after %v tokens, %d sequences, %d threads", r.f.contexts, batch, threads)
	var things []func(bool) (plume.BenchRun, error)
	for _, context := range r.f.contexts {
		b := r.bench.Beside()
		things = append(things, func(profile bool) (plume.BenchRun, error) {
			return b.Decode(ctx, plume.BenchDecode{Context: context, Tokens: r.f.tokens, Batch: batch, Profile: profile})
		})
	}
	all, err := r.blocks(threads, r.stream, things...)
	if err != nil {
		return err
	}
	for i, s := range all {
		d := r.decoded(threads, batch, s)
		if i > 0 {
			ratios := make([]float64, len(s.plain))
			for k := range ratios {
				ratios[k] = s.plain[k].run.Rate() / all[0].plain[k].run.Rate()
			}
			ofFirst := newSpread(ratios)
			d.OfFirst = &ofFirst
		}
		r.out.Decode = append(r.out.Decode, d)
	}
	return nil
}

// decoded is the result of one context.
func (r *benchRunner) decoded(threads, batch int, s series) decodeResult {
	prof, plain := &s.profiled.run, s.plain
	steps := float64(prof.Steps)
	d := decodeResult{
		benchResult: r.result(threads, s), Context: prof.Context, Batch: batch,
		KVBytes: float64(prof.Sum("attention").Bytes) / steps,
	}
	d.WeightBytes = float64(prof.Sum().Bytes)/steps - d.KVBytes
	bytes := d.WeightBytes + d.KVBytes + d.PLEBytes*float64(batch)
	rate := func(b block) float64 { return bytes * float64(b.run.Steps) / b.run.Time.Seconds() }
	d.GBs = spreadOf(plain, func(b block) float64 { return rate(b) / 1e9 })
	d.OfStream = spreadOf(plain, func(b block) float64 { return share(rate(b), b.limit) })
	d.Stream = spreadOf(plain, func(b block) float64 { return b.limit / 1e9 })
	limits := r.limitsOf(threads)
	sum := prof.Sum(products...)
	d.OfPeak = share(float64(sum.MACs), sum.Time.Seconds()*limits.Int8.Median*1e9)
	d.OfF32 = attentionShare(prof, limits)
	var mallocs, tokens float64
	for _, b := range plain {
		mallocs, tokens = mallocs+float64(b.run.Mallocs), tokens+float64(b.run.Tokens)
	}
	d.Mallocs = mallocs / tokens
	return d
}

// generate measures the engine's own loop, when --greedy asks for it.
func (r *benchRunner) generate(ctx context.Context, threads, context int) error {
	if !r.f.greedy {
		return nil
	}
	r.status.show("generating after %d tokens, %d threads", context, threads)
	if err := r.bench.SetThreads(threads); err != nil {
		return err
	}
	g := greedyResult{Threads: threads, Context: context}
	bytes := r.stepBytes(threads, context)
	var mallocs, tokens float64
	var shares []float64
	for range r.f.repeat {
		stream := r.stream(threads)
		run, err := r.bench.Greedy(ctx, max(1, context), r.f.tokens)
		if err != nil {
			return err
		}
		g.Rates = append(g.Rates, run.Rate())
		shares = append(shares, share(run.Rate()*bytes, (stream+r.stream(threads))/2))
		g.Drafted, g.Accepted = g.Drafted+run.Drafted, g.Accepted+run.Accepted
		mallocs, tokens = mallocs+float64(run.Mallocs), tokens+float64(run.Tokens)
	}
	g.Rate, g.Mallocs = newSpread(g.Rates), mallocs/tokens
	if bytes > 0 {
		ofLimit := newSpread(shares)
		g.OfLimit = &ofLimit
	}
	r.out.Greedy = append(r.out.Greedy, g)
	return nil
}

// stepBytes is what a step of one sequence reads, as decode has counted it; 0 when it has not.
func (r *benchRunner) stepBytes(threads, context int) float64 {
	for _, d := range r.out.Decode {
		if d.Threads == threads && d.Context == context && d.Batch == 1 {
			return d.WeightBytes + d.KVBytes + d.PLEBytes
		}
	}
	return 0
}

// share is a of b, 0 when b is unknown.
func share(a, b float64) float64 {
	if b <= 0 {
		return 0
	}
	return a / b
}

func spreadOf(blocks []block, f func(block) float64) spread {
	v := make([]float64, len(blocks))
	for i, b := range blocks {
		v[i] = f(b)
	}
	return newSpread(v)
}

// status tells people what is being measured, on one line of a terminal.
type status struct{ out io.Writer }

func newStatus(out io.Writer) *status {
	if !isTerminal(out) {
		out = io.Discard
	}
	return &status{out}
}

func (s *status) show(format string, args ...any) {
	fmt.Fprintf(s.out, "\r\x1b[Kmeasuring "+format+" …", args...)
}

func (s *status) clear() { fmt.Fprint(s.out, "\r\x1b[K") }
