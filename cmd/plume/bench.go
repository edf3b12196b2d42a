package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"runtime/pprof"
	"time"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
)

// benchFlags are the command line of `plume bench`.
type benchFlags struct {
	threads, prompts, contexts, batches []int

	tokens, repeat, chunk, streamMiB int
	open                             modelFlags
	kvType, profile                  string
	drafts                           []string
	compare, compareRegex, compareOf string
	greedy, json                     bool
}

const benchLong = `Measure prefill and decoding, each result beside what the machine can do.

The machine's limits come first: how fast the threads read memory, and how many
multiply-adds they do on registers alone. Both are measured again right before
and after every block, since other users of a machine move them by a factor of
two within minutes; shares of a limit use these neighbours in time. Every number
is the median of --repeat blocks, with the least and the greatest beside it. A
block during which other processes used more than 10 % of the processors is
counted as disturbed. The contexts of --ctx are measured in turn, block by block,
and "of first" is their speed against the first one's.

Decoding is measured with token ids that do not repeat, so that every row of the
per-layer table is read anew; --greedy also lets the engine choose them. The
bytes of a step are those of the weights multiplied (the output matrix included,
of experts only the chosen ones), of the keys and values seen, and of the rows
read from the table. The multiply-adds of prefill are those that are done: most
prompt tokens leave after the last layer that owns keys and values.

Energy is that of everything the machine does meanwhile, from its own counters:
those of the processor and its memory, or a battery's. Where there is none, the
report says so.

--drafts decodes a text as if the model said it: its last --tokens tokens after
those before them, at most --prompt of these, with drafts and without in turn every
few tokens. So even a model of random weights shows what drafts gain and cost.

--compare runs a command in turn with ours and reads tokens per second from what
it prints: the last match of --compare-regex.`

const benchExample = `  plume bench
  plume bench e2b.gguf --threads 1,2 --ctx 16,4096 --batch 1,4
  plume bench e2b.gguf --prompt 512 --ctx 16 --json > result.json
  plume bench e2b.gguf --cpuprofile decode.pprof --prompt 0
  plume bench e2b.gguf --prompt 512 --ctx -1 --tokens 256 --drafts main.go
  plume bench e2b.gguf --compare 'llama-bench -m e2b.gguf -t 2 -p 0 -n 64' \
      --compare-regex 'tg64 +\| +([0-9.]+)'

For quiet numbers give the process real-time priority: chrt -r 20 plume bench …`

// rateRegex finds tokens per second in what most programs print.
const rateRegex = `([0-9]+(?:\.[0-9]+)?)\s*(?:tok/s|t/s|tokens/s|tokens per second)`

func newBench() *cobra.Command { return newBenchCommand(new(benchFlags)) }

func newBenchCommand(f *benchFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "bench [MODEL]",
		Short:   "Measure speed beside the machine's limits",
		Long:    benchLong,
		Example: benchExample,
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			model := "demo"
			if len(args) > 0 {
				model = args[0]
			}
			return f.run(cmd, model)
		},
	}
	fs := cmd.Flags()
	fs.IntSliceVar(&f.threads, "threads", nil, "numbers of threads (default: one per physical core)")
	fs.IntSliceVar(&f.prompts, "prompt", []int{128, 512}, "prompt lengths of prefill; 0: none")
	fs.IntSliceVar(&f.contexts, "ctx", []int{16}, "tokens in the context before decoding; -1: none")
	fs.IntSliceVar(&f.batches, "batch", []int{1}, "sequences decoded at once")
	fs.IntVar(&f.tokens, "tokens", 64, "tokens decoded of each sequence")
	fs.IntVar(&f.repeat, "repeat", 5, "blocks per result")
	fs.IntVar(&f.chunk, "chunk", 0, "prompt tokens per step (default: as sessions do)")
	fs.StringVar(&f.kvType, "kv-type", "f16", "number format of the KV cache")
	f.open.addMemory(cmd)
	fs.BoolVar(&f.greedy, "greedy", false, "also generate as plume run does, most likely token first")
	fs.StringSliceVar(&f.drafts, "drafts", nil, "texts (`FILE`s) to decode with drafts and without, in turn")
	fs.StringVar(&f.compare, "compare", "", "`command` of a peer, run by the shell in turn with ours")
	fs.StringVar(&f.compareRegex, "compare-regex", rateRegex, "where the peer prints tokens per second; the first group counts")
	fs.StringVar(&f.compareOf, "compare-of", "decode", "what the peer's number is: decode (our first --ctx) or prefill (our first --prompt)")
	fs.IntVar(&f.streamMiB, "stream-mib", 512, "memory to stream through for the machine's limit")
	fs.StringVar(&f.profile, "cpuprofile", "", "write a pprof profile of the measurements to `FILE`")
	fs.BoolVar(&f.json, "json", false, "print one JSON object")
	complete(cmd, "kv-type", plume.KVTypes()...)
	complete(cmd, "compare-of", "decode", "prefill")
	cmd.AddCommand(newBenchSession(), newBenchCold(), newBenchTable(), newBenchServe())
	return cmd
}

// check refuses what cannot be measured. It takes "none" out of the lists.
func (f *benchFlags) check() error {
	if len(f.prompts) == 1 && f.prompts[0] == 0 {
		f.prompts = []int{}
	}
	if len(f.contexts) == 1 && f.contexts[0] == -1 {
		f.contexts = []int{}
	}
	for _, l := range []struct {
		flag   string
		values []int
		least  int
	}{
		{"threads", f.threads, 1}, {"prompt", f.prompts, 1}, {"ctx", f.contexts, 0}, {"batch", f.batches, 1},
		{"tokens", []int{f.tokens}, 2}, {"repeat", []int{f.repeat}, 1},
		{"chunk", []int{f.chunk}, 0}, {"stream-mib", []int{f.streamMiB}, 1},
	} {
		for _, v := range l.values {
			if v < l.least || v > 1<<24 {
				return fmt.Errorf("--%s %d, want at least %d", l.flag, v, l.least)
			}
		}
	}
	switch {
	case len(f.batches) == 0:
		return errors.New("--batch is empty")
	case len(f.drafts) > 0 && len(f.prompts) == 0:
		return errors.New("--drafts needs a --prompt")
	case f.compareOf != "decode" && f.compareOf != "prefill":
		return fmt.Errorf("--compare-of %q, want decode or prefill", f.compareOf)
	case f.compare != "" && f.compareOf == "decode" && len(f.contexts) == 0:
		return errors.New("--compare needs a --ctx")
	case f.compare != "" && f.compareOf == "prefill" && len(f.prompts) == 0:
		return errors.New("--compare needs a --prompt")
	}
	re, err := regexp.Compile(f.compareRegex)
	if err != nil {
		return fmt.Errorf("--compare-regex: %w", err)
	}
	if re.NumSubexp() < 1 {
		return fmt.Errorf("--compare-regex %q has no group for the number", f.compareRegex)
	}
	return nil
}

func (f *benchFlags) run(cmd *cobra.Command, name string) error {
	if err := f.check(); err != nil {
		return usageError{err, cmd}
	}
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	r := &benchRunner{f: f, out: benchReport{
		Plume: version(), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH,
		CPU: cpuName(), Processors: runtime.NumCPU(), Settings: f.settings(),
		Prefill: []prefillResult{}, Decode: []decodeResult{},
	}}
	limits, err := plume.NewMachineLimits(f.streamMiB << 20)
	if err != nil {
		return err
	}
	defer limits.Close()
	r.limits = limits
	begin := time.Now()
	f.open.backend, f.open.kvType = "cpu", f.kvType
	m, err := f.open.open(cmd, name)
	if err != nil {
		return err
	}
	defer m.Close()
	r.model = m
	r.out.Model = benchModel{
		Path: m.Path(), Name: m.Name(), Layers: m.Layers(), Resident: m.ResidentBytes(),
		Load: time.Since(begin).Seconds(),
	}
	if len(f.threads) == 0 {
		f.threads = []int{m.Options().Threads}
		r.out.Settings.Threads = f.threads
	}
	if r.bench, err = m.NewBench(); err != nil {
		return err
	}
	r.out.Backend = r.bench.Backend()
	defer r.openMeter()()
	r.status = newStatus(cmd.ErrOrStderr())
	err = r.all(ctx)
	r.status.clear()
	if err != nil {
		return err
	}
	if f.json {
		return printJSON(cmd.OutOrStdout(), &r.out)
	}
	return r.out.print(cmd.OutOrStdout())
}

// openMeter lets the bench count energy where the machine can.
func (r *benchRunner) openMeter() (stop func()) {
	meter, err := plume.OpenEnergyMeter()
	if err != nil {
		r.out.Energy = err.Error()
		return func() {}
	}
	r.bench.Meter, r.out.Energy = meter, meter.String()
	return func() { meter.Close() }
}

// all measures everything, in an order that fills the fewest caches.
func (r *benchRunner) all(ctx context.Context) error {
	if err := r.machine(ctx); err != nil {
		return err
	}
	stop, err := r.startProfile()
	if err != nil {
		return err
	}
	defer stop()
	for _, n := range r.f.prompts {
		for _, threads := range r.f.threads {
			if err := r.prefill(ctx, threads, n); err != nil {
				return err
			}
		}
	}
	for _, batch := range r.f.batches {
		for _, threads := range r.f.threads {
			if err := r.decode(ctx, threads, batch); err != nil {
				return err
			}
		}
	}
	for _, context := range r.f.contexts {
		for _, threads := range r.f.threads {
			if err := r.generate(ctx, threads, context); err != nil {
				return err
			}
		}
	}
	for _, file := range r.f.drafts {
		if err := r.drafts(ctx, file); err != nil {
			return err
		}
	}
	stop()
	r.out.PeakMemory = max(0, r.model.Stats().Memory.ProcessPeak-int64(r.limits.Bytes()))
	return r.compare(ctx)
}

// startProfile begins --cpuprofile; stop may be called more than once.
func (r *benchRunner) startProfile() (stop func(), err error) {
	if r.f.profile == "" {
		return func() {}, nil
	}
	file, err := os.Create(r.f.profile)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		file.Close()
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		file.Close()
	}, nil
}
