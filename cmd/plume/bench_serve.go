package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume/internal/load"
)

// benchServeFlags are the flags of `plume bench serve`.
type benchServeFlags struct {
	open      modelFlags
	clients   []int
	duration  time.Duration
	soak      bool
	json      bool
	key       string
	sequences int
	queue     int
	tooLarge  sizeFlag
	ask       load.Options
}

const benchServeLong = `Ask a server as many users at once, and measure what they see.

MODEL starts 'plume serve' with it on this machine, as a process of its own that
takes the flags below, and ends it afterwards; a URL is asked as it is. Any server
with OpenAI's chat completions will do; goroutines, heap, memory (RSS) and open
files come from /metrics, where there are such.

Without --soak each number of --clients runs for --duration: every client streams
an answer, then the next. Prompts begin with different numbers, so that no answer
finds another's prompt in the prefix cache. tok/s counts all tokens that arrived
within the time, prompts included in it; "between" is the time from one token of
an answer to the next.

With --soak the clients are rough: of 20 requests one is JSON that is cut off, one
is too large, one hangs up in the middle; the others are answers of 4 to --tokens
tokens, a quarter of which are left on the way, and an eighth of which follow a JSON
schema that nobody has asked for before. A refused client comes again when the
server has told it to, after a second at most. What must not happen counts as
failed: an answer without its end, another status than the right one. The command
then exits with 1.

The clients take processor time from a server on the same machine.`

func newBenchServe() *cobra.Command {
	var f benchServeFlags
	cmd := &cobra.Command{
		Use:   "serve [URL|MODEL]",
		Short: "Measure a server under many clients, or torture it",
		Long:  benchServeLong,
		Example: `  plume bench serve e2b.gguf --clients 1,2,4,8,16
  plume bench serve http://127.0.0.1:8080 --clients 8 --duration 30s --json
  plume bench serve --soak --duration 5m
  plume bench serve e2b.gguf --ram 3GiB --soak --clients 64 --queue 32`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			target := "demo"
			if len(args) > 0 {
				target = args[0]
			}
			return f.run(cmd, target)
		},
	}
	fs := cmd.Flags()
	fs.IntSliceVar(&f.clients, "clients", nil, "users at once (default: 1,2,4,8,16; with --soak 64)")
	fs.DurationVar(&f.duration, "duration", 0, "time for each number of clients (default: 15s; with --soak 5m)")
	fs.BoolVar(&f.soak, "soak", false, "clients that leave, hang up and send nonsense; look for leaks")
	fs.StringVar(&f.ask.Prompt, "prompt", "Tell me a long story about a fox and the sea.", "what is asked")
	fs.IntVar(&f.ask.Tokens, "tokens", 64, "most tokens of an answer")
	fs.StringVar(&f.ask.Model, "name", "", "`name` of the model at the server (default: none is sent)")
	fs.StringVar(&f.key, "api-key", "", "`key` for the server at URL (default: $"+keyVariable+")")
	f.tooLarge = 5 << 20
	fs.Var(&f.tooLarge, "too-large", "size of a body that the server must refuse")
	fs.IntVar(&f.open.context, "ctx", 512, "for MODEL: tokens of one request, answer included")
	fs.IntVar(&f.sequences, "sequences", 0, "for MODEL: answers computed together (default: the most clients, up to 16; with --soak 8)")
	fs.IntVar(&f.queue, "queue", 64, "for MODEL: requests that may wait")
	fs.BoolVar(&f.json, "json", false, "print one JSON object")
	f.open.add(cmd, "f16")
	return cmd
}

// benchServeReport is what --json prints.
type benchServeReport struct {
	Plume  string         `json:"plume"`
	CPU    string         `json:"cpu"` // of the clients' machine
	Target string         `json:"target"`
	Soak   bool           `json:"soak"`
	Runs   []*load.Result `json:"runs"`
	Before *load.Usage    `json:"before"` // null where the server has no /metrics
	After  *load.Usage    `json:"after"`
}

// finish fills in what depends on other flags and refuses what cannot be.
func (f *benchServeFlags) finish() error {
	most := 16
	if f.soak {
		most = 8
	}
	if len(f.clients) == 0 {
		if f.clients = []int{1, 2, 4, 8, 16}; f.soak {
			f.clients = []int{64}
		}
	}
	if f.duration == 0 {
		if f.duration = 15 * time.Second; f.soak {
			f.duration = 5 * time.Minute
		}
	}
	switch {
	case slices.Min(f.clients) < 1 || slices.Max(f.clients) > 4096:
		return errors.New("--clients wants numbers from 1 to 4096")
	case f.duration < 0:
		return fmt.Errorf("--duration %s, want more than 0", f.duration)
	case f.ask.Tokens < 4:
		return fmt.Errorf("--tokens %d, want 4 or more", f.ask.Tokens)
	case f.tooLarge < 1 || f.tooLarge > 1<<30:
		return errors.New("--too-large wants 1 byte to 1 GiB")
	}
	if f.sequences == 0 {
		f.sequences = min(most, slices.Max(f.clients))
	}
	return nil
}

func (f *benchServeFlags) run(cmd *cobra.Command, target string) error {
	if err := f.finish(); err != nil {
		return usageError{err, cmd}
	}
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	o := f.ask
	o.Duration, o.Rough, o.TooLarge, o.Patience = f.duration, f.soak, int64(f.tooLarge), time.Second
	if strings.HasPrefix(target, "http://") || strings.HasPrefix(target, "https://") {
		o.URL, o.Key = strings.TrimRight(target, "/"), f.key
		if o.Key == "" {
			o.Key = os.Getenv(keyVariable)
		}
	} else {
		s, err := f.start(ctx, cmd, target)
		if err != nil {
			return err
		}
		defer s.stop()
		o.URL = s.url
	}
	out := &benchServeReport{Plume: version(), CPU: cpuName(), Target: target, Soak: f.soak}
	if err := f.measure(ctx, o, out); err != nil {
		return err
	}
	print := func() error { return out.print(cmd.OutOrStdout()) }
	if f.json {
		print = func() error { return printJSON(cmd.OutOrStdout(), out) }
	}
	if err := print(); err != nil {
		return err
	}
	for _, r := range out.Runs {
		if r.Failed > 0 {
			return fmt.Errorf("%d requests of %d clients failed; the first: %s", r.Failed, r.Clients, r.Failures[0])
		}
	}
	return nil
}

// measure runs all numbers of clients, behind a request that wakes everything
// that is made once.
func (f *benchServeFlags) measure(ctx context.Context, o load.Options, out *benchServeReport) error {
	first := o
	first.Clients, first.Rounds, first.Rough = 1, 1, false
	if r := load.Run(ctx, first); r.Failed > 0 {
		return fmt.Errorf("ask %s: %s", o.URL, r.Failures[0])
	}
	out.Before, _ = load.Settle(ctx, o) // a server without metrics is measured without them
	for _, n := range f.clients {
		o.Clients = n
		out.Runs = append(out.Runs, load.Run(ctx, o))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if out.Before != nil {
		var err error
		if out.After, err = load.Settle(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// print writes the report for people.
func (out *benchServeReport) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "clients\ttok/s\tagainst first\ttok/s each\tfirst token p50\tp99\tbetween p50\tp99\tanswers\trefused\tfailed\t")
	for _, r := range out.Runs {
		fmt.Fprintf(t, "%d\t%.1f\t%.2f\t%.1f\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t\n", r.Clients, r.Rate, r.Rate/max(out.Runs[0].Rate, 1e-9), r.Rate/float64(r.Clients),
			ms(r.First.P50), ms(r.First.P99), ms(r.Between.P50), ms(r.Between.P99), r.Ended, r.Refused, r.Failed)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if out.Soak {
		for _, r := range out.Runs {
			fmt.Fprintf(w, "\n%d clients, %.0f s: %d answers ended properly, %d left by their client, %d refused with 429; %d cut-off requests refused with 400, %d too large with 413,\n%d connections hung up by the client; %d failed; whole answer p50 %s, p99 %s\n",
				r.Clients, r.Seconds, r.Ended, r.Left, r.Refused, r.Malformed, r.TooLarge, r.HungUp, r.Failed, ms(r.Answer.P50), ms(r.Answer.P99))
		}
	}
	if out.Before != nil {
		b, a := out.Before, out.After
		fmt.Fprintf(w, "\nserver before → after: goroutines %.0f → %.0f, open files %.0f → %.0f, heap %.0f → %.0f MiB, RSS %.0f → %.0f MiB\n",
			b.Goroutines, a.Goroutines, b.Files, a.Files, b.Heap/(1<<20), a.Heap/(1<<20), b.RSS/(1<<20), a.RSS/(1<<20))
	}
	for _, r := range out.Runs {
		for _, text := range r.Failures {
			fmt.Fprintf(w, "failed: %s\n", text)
		}
	}
	return nil
}

// ms prints seconds as milliseconds.
func ms(seconds float64) string { return fmt.Sprintf("%.4g ms", seconds*1000) }
