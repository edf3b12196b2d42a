package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
)

// sessionReport is what `plume bench --session --json` prints: one session of one
// process, from its start to its end, as `plume run` would have it.
type sessionReport struct {
	Plume  string            `json:"plume"`
	CPU    string            `json:"cpu"`
	Model  benchModel        `json:"model"`
	Plan   *plume.MemoryPlan `json:"plan"`
	Prompt int               `json:"prompt_tokens"`
	Tokens int               `json:"tokens"`

	Started    time.Time `json:"started"`     // of the process, as far as it can tell
	FirstToken time.Time `json:"first_token"` // of the first answer
	Prefill    spread    `json:"prefill_tok_s"`
	Decode     spread    `json:"decode_tok_s"`
	Rates      []float64 `json:"decode_tok_s_answers"`
	// Pages that came from the disk in a fault: until the first answer ended, and after.
	FaultsFirst int64       `json:"major_faults_first"`
	FaultsLater int64       `json:"major_faults_later"`
	Stats       plume.Stats `json:"model_stats"`
}

// started is when the program's own code began to run.
var started = time.Now()

// sessionFlags are the command line of `plume bench session`.
type sessionFlags struct {
	open                         modelFlags
	ctx, chunk                   int
	prompt, tokens, repeat, seed int
	json                         bool
}

const sessionLong = `Measure one session as plume run would have it, in a fresh process: the memory
plan beside what the process takes, time to the first token, speed, and page
faults that had to read. Prompts are token ids that do not repeat, so a model
without a vocabulary will do; answers are sampled.

scripts/cgroup-run.sh runs it inside a memory limit, scripts/ram-sweep.sh inside many.`

func newBenchSession() *cobra.Command {
	var f sessionFlags
	cmd := &cobra.Command{
		Use:   "session MODEL",
		Short: "Measure one session of a fresh process, within a memory budget",
		Long:  sessionLong,
		Example: `  plume bench session e2b.gguf --ram 1500MiB --ctx 4096
  scripts/cgroup-run.sh 1500M plume bench session e2b.gguf --ram 1500MiB --json`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	fs := cmd.Flags()
	fs.IntVar(&f.ctx, "ctx", 0, "tokens of context (default: the model's, at most 4096, less where memory is short)")
	fs.IntVar(&f.chunk, "chunk", 0, "prompt tokens per step (default 256, less where memory is short)")
	fs.IntVar(&f.prompt, "prompt", 300, "tokens of a prompt")
	fs.IntVar(&f.tokens, "tokens", 65, "tokens of an answer")
	fs.IntVar(&f.repeat, "repeat", 3, "answers")
	fs.IntVar(&f.seed, "seed", 1, "of the prompts and of sampling")
	fs.BoolVar(&f.json, "json", false, "print one JSON object")
	f.open.add(cmd, "f16")
	return cmd
}

func (f *sessionFlags) run(cmd *cobra.Command, name string) error {
	if f.prompt < 1 || f.tokens < 1 || f.repeat < 1 || f.seed < 1 {
		return usageError{errors.New("--prompt, --tokens, --repeat and --seed want at least 1"), cmd}
	}
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	f.open.context, f.open.chunk, f.open.background = f.ctx, f.chunk, true
	begin := time.Now()
	m, err := f.open.open(cmd, name)
	if err != nil {
		return err
	}
	defer m.Close()
	out := sessionReport{
		Plume: version(), CPU: cpuName(), Plan: m.Plan(), Tokens: f.tokens, Started: started,
		Model: benchModel{Path: m.Path(), Name: m.Name(), Layers: m.Layers(), Resident: m.ResidentBytes(), Load: time.Since(begin).Seconds()},
	}
	s, err := m.NewSession(plume.SessionOptions{NoDraft: true})
	if err != nil {
		return err
	}
	defer s.Close()
	if out.Prompt = min(f.prompt, s.Context()-f.tokens); out.Prompt < 1 {
		return usageError{fmt.Errorf("--tokens %d leaves no room for a prompt in a context of %d", f.tokens, s.Context()), cmd}
	}
	if err := f.answers(ctx, m, s, &out); err != nil {
		return err
	}
	out.Stats = m.Stats()
	if f.json {
		return printJSON(cmd.OutOrStdout(), &out)
	}
	return out.print(cmd.OutOrStdout())
}

// answers lets s answer, and fills in what that took.
func (f *sessionFlags) answers(ctx context.Context, m *plume.Model, s *plume.Session, out *sessionReport) error {
	var prefill []float64
	sampling := plume.Sampling{Temperature: 1, TopK: 64, Seed: uint64(f.seed)} // not the same token again and again
	ids := make([]int32, out.Prompt)
	draw := rand.New(rand.NewPCG(uint64(f.seed), 0))
	for i := range f.repeat {
		for k := range ids {
			ids[k] = draw.Int32N(int32(m.VocabSize()))
		}
		for ev, err := range f.open.loaded(s.Generate(ctx, plume.Request{Tokens: ids, Sampling: &sampling, MaxTokens: f.tokens})) {
			if err != nil {
				return err
			}
			if ev.Kind == plume.EventDone {
				r := ev.Result
				if prefill = append(prefill, r.PrefillRate()); len(r.IDs) > 1 {
					out.Rates = append(out.Rates, r.DecodeRate())
				}
				if i == 0 {
					out.FirstToken = time.Now().Add(-r.Timings.Decode)
				}
			}
		}
		if i == 0 {
			out.FaultsFirst = majorFaults()
		}
	}
	out.Prefill, out.Decode = newSpread(prefill), newSpread(out.Rates)
	out.FaultsLater = majorFaults() - out.FaultsFirst
	return nil
}

// print writes the report for people.
func (r *sessionReport) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	mem := r.Stats.Memory
	fmt.Fprintf(w, "model\t%s, %s of weights in memory\n", r.Model.Path, sizeText(r.Model.Resident))
	fmt.Fprintf(w, "plan\t%.1f MiB of %.1f; the process held at most %.1f MiB\n", mib(r.Plan.Total()), mib(r.Plan.Budget()), mib(mem.ProcessPeak))
	fmt.Fprintf(w, "start\topen after %.2f s, first token after %.2f s\n", r.Model.Load, r.FirstToken.Sub(r.Started).Seconds())
	fmt.Fprintf(w, "prompt\t%d tokens, %s tok/s\n", r.Prompt, r.Prefill)
	fmt.Fprintf(w, "decode\t%d tokens, %s tok/s\n", r.Tokens, r.Decode)
	fmt.Fprintf(w, "major faults\t%d until the first answer's end, %d later\n", r.FaultsFirst, r.FaultsLater)
	printWeights(w, "weights\t", r.Stats.Weights)
	fmt.Fprintf(w, "\tfrom %s\n", r.Stats.From)
	if err := w.Flush(); err != nil {
		return err
	}
	printTable(out, "table", r.Stats.PLE)
	if r.Stats.Place != "" {
		fmt.Fprintf(out, "         %s\n", r.Stats.Place)
	}
	return nil
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// majorFaults returns how many page faults of the program had to read, 0 when unknown.
func majorFaults() int64 {
	program, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0
	}
	return parseFaults(program)
}
