package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
)

// tableFlags are the command line of `plume bench table`.
type tableFlags struct {
	open                   modelFlags
	places, caches         []string
	latency                time.Duration
	ids, serverBy          string
	prompt, tokens, repeat int
	json                   bool
}

const tableLong = `Measure what it costs to have the per-layer table somewhere else than in memory.
One model computes with its table in each of the places in turn, step by step,
so that all of them meet the same machine. Each place is set against the same
rounds with the table in RAM, a web server against the local disk: the ratio is
that of the speeds, median (least–greatest) over --repeat rounds, beside the mark
that the project has set itself. "Wait" is the time that a step's computation
stands still for rows, "read" that of one read of the device, "hidden" the part
of the reads' time that was computed through.

Places are ram, disk, direct, mmap, http (a web server of plume's own on this
machine, a process of its own, that answers --latency later) and any URL of a copy
of the model's file. disk-drop keeps nothing in the page cache; disk-pool and
direct-pool read by goroutines, as where io_uring is not allowed. The first place
is what others are set against.

With --ids distinct no row comes twice. Decoding is then measured cold, without
row cache, the file dropped from the page cache before every step; and warm, once
for each --cache: with tokens going round whose rows the row cache holds. A prompt
of --prompt tokens is measured cold. With --ids zipf, or tokens from a file, every
place computes the same tokens, once for each --cache, which has seen up to 4096
tokens before them; a file holds numbers as plume tokenize prints them, or text.`

func newBenchTable() *cobra.Command {
	var f tableFlags
	cmd := &cobra.Command{
		Use:   "table MODEL",
		Short: "Measure the per-layer table in several places, in turn",
		Long:  tableLong,
		Example: `  plume bench table e2b.gguf
  plume bench table e2b.gguf --places disk,http --latency 1ms --prompt 0
  plume bench table e2b.gguf --places disk,http --ids zipf --cache 0,2MiB,16MiB
  plume bench table e2b.gguf --places ram,direct --ple-emulate microsd-a1 --prompt 0`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	fs := cmd.Flags()
	fs.StringSliceVar(&f.places, "places", []string{"ram", "disk", "direct"}, "where the table is, see above")
	fs.StringSliceVar(&f.caches, "cache", []string{"2MiB"}, "sizes of the row cache; 0: none")
	fs.DurationVar(&f.latency, "latency", time.Millisecond, "added to each answer of the web server")
	fs.StringVar(&f.ids, "ids", "distinct", "the tokens: distinct, zipf (about as frequent as words are), or a `FILE`")
	fs.IntVar(&f.prompt, "prompt", 512, "tokens of the prompt; 0: none")
	fs.IntVar(&f.tokens, "tokens", 32, "tokens decoded per round and place; 0: none")
	fs.IntVar(&f.repeat, "repeat", 5, "rounds")
	fs.StringVar(&f.serverBy, "server-by", "", "`command` in front of the web server's, as 'chrt -r 30': then it does\nnot queue for our processors, as if it were elsewhere")
	fs.IntVar(&f.open.threads, "threads", 0, "threads that compute (default: one per physical core)")
	fs.StringArrayVar(&f.open.headers, "ple-header", nil, "`header` for requests to a URL in --places")
	fs.StringVar(&f.open.emulate, "ple-emulate", "", "make reads of all places but ram as slow as on this storage: a profile's file,\nor one of "+strings.Join(plume.StorageNames(), ", "))
	complete(cmd, "ple-emulate", plume.StorageNames()...)
	fs.Var(&f.open.ram, "ram", "memory that the process may take, a table in ram included (default: what is free)")
	fs.BoolVar(&f.json, "json", false, "print one JSON object")
	cmd.AddCommand(newTableServer())
	return cmd
}

// check refuses what cannot be measured.
func (f *tableFlags) check() error {
	switch {
	case len(f.places) < 2:
		return errors.New("--places wants two at least, the first to set others against")
	case f.prompt < 0 || f.tokens < 0 || f.prompt+f.tokens == 0:
		return errors.New("--prompt and --tokens want one number above 0, and none below")
	case f.repeat < 1:
		return fmt.Errorf("--repeat %d, want at least 1", f.repeat)
	case f.latency < 0:
		return fmt.Errorf("--latency %v, want 0 or more", f.latency)
	case f.ids != "distinct" && f.tokens == 0:
		return errors.New("--ids other than distinct are for decoding, which --tokens 0 leaves out")
	case len(f.caches) == 0:
		return errors.New("--cache is empty")
	}
	for i, p := range f.places {
		if slices.Contains(f.places[:i], p) {
			return fmt.Errorf("--places has %s twice", p)
		}
	}
	return nil
}

// cacheSizes are the values of --cache in bytes.
func (f *tableFlags) cacheSizes() ([]int64, error) {
	var sizes []int64
	for _, text := range f.caches {
		var c cacheFlag
		if err := c.Set(text); err != nil {
			return nil, fmt.Errorf("--cache: %w", err)
		}
		sizes = append(sizes, max(0, int64(c)))
	}
	return sizes, nil
}

// place is what a name in --places stands for; file is on the web server at url.
func (f *tableFlags) place(name, url string) (plume.TablePlace, error) {
	kind, way, _ := strings.Cut(name, "-")
	switch {
	case strings.Contains(name, "://"):
		return plume.TablePlace{PLE: name}, nil
	case name == "http":
		return plume.TablePlace{PLE: url}, nil
	case kind == "auto" || !slices.Contains(plume.PLEPlaces(), kind),
		way != "" && way != "drop" && way != "pool",
		way == "drop" && kind != "disk", way == "pool" && kind != "disk" && kind != "direct":
		return plume.TablePlace{}, fmt.Errorf("--places %q, want ram, disk, disk-drop, disk-pool, direct, direct-pool, mmap, http or a URL", name)
	}
	return plume.TablePlace{PLE: kind, Drop: way == "drop", Goroutines: way == "pool"}, nil
}

func (f *tableFlags) run(cmd *cobra.Command, name string) error {
	if err := f.check(); err != nil {
		return usageError{err, cmd}
	}
	caches, err := f.cacheSizes()
	if err != nil {
		return usageError{err, cmd}
	}
	if _, err := f.homes("", 0); err != nil {
		return usageError{err, cmd}
	}
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	f.open.backend, f.open.kvType, f.open.ple = "cpu", "f16", "disk"
	f.open.rows = -1
	f.open.context, f.open.chunk = f.prompt+f.tokens+64, 0
	m, err := f.open.open(cmd, name)
	if err != nil {
		return err
	}
	defer m.Close()
	r := tableRunner{f: f, m: m, status: newStatus(cmd.ErrOrStderr()), out: f.report(m)}
	if r.out.File == "" {
		return fmt.Errorf("%s has no per-layer table in one piece, so there is nothing to compare: take E2B or E4B in one file", m.Path())
	}
	if f.ids == "distinct" {
		noteUndropped(cmd.ErrOrStderr(), "what is called cold is not")
	}
	if slices.Contains(f.places, "http") {
		server, err := startTableServer(ctx, r.out.File, f)
		if err != nil {
			return err
		}
		defer server.stop()
		r.url = server.url
	}
	err = r.all(ctx, caches)
	r.status.clear()
	if err != nil {
		return err
	}
	if f.json {
		return printJSON(cmd.OutOrStdout(), &r.out)
	}
	return r.out.print(cmd.OutOrStdout())
}

// homes are the places with a row cache of so many bytes.
func (f *tableFlags) homes(url string, cacheBytes int64) ([]plume.TablePlace, error) {
	var homes []plume.TablePlace
	for _, name := range f.places {
		p, err := f.place(name, url)
		if err != nil {
			return nil, err
		}
		p.CacheBytes = cacheBytes
		homes = append(homes, p)
	}
	return homes, nil
}

// report is what is known before anything is measured.
func (f *tableFlags) report(m *plume.Model) tableReport {
	return tableReport{
		Plume: version(), CPU: cpuName(), Model: m.Path(), File: m.TableFile(), Threads: m.Options().Threads,
		Repeat: f.repeat, Latency: f.latency.Seconds(), ServerBy: f.serverBy, Emulated: f.open.emulate,
	}
}

// tableRunner measures and fills in the report.
type tableRunner struct {
	f      *tableFlags
	m      *plume.Model
	url    string
	status *status
	out    tableReport
}

// all measures everything.
func (r *tableRunner) all(ctx context.Context, caches []int64) error {
	f := r.f
	if f.ids != "distinct" {
		ids, err := r.sequence()
		if err != nil {
			return err
		}
		for _, c := range caches {
			what := fmt.Sprintf("decode, tokens of %s, %s", f.ids, cacheText(c))
			if err := r.block(ctx, c, f.tokens, tableBlock{What: what, Decode: true, tokens: 1}, tokensOf(ids, f.tokens*f.repeat)); err != nil {
				return err
			}
		}
		return nil
	}
	if f.tokens > 0 {
		cold := tableBlock{What: "decode cold: no row comes twice, nothing cached", Decode: true, tokens: 1}
		if err := r.block(ctx, 0, f.tokens, cold, freshTokens(1)); err != nil {
			return err
		}
		for _, c := range caches {
			if c == 0 {
				continue
			}
			warm := tableBlock{What: "decode warm: rows in " + cacheText(c), Decode: true, tokens: 1}
			if err := r.block(ctx, c, f.tokens, warm, fewTokens(c)); err != nil {
				return err
			}
		}
	}
	if f.prompt > 0 {
		cold := tableBlock{What: fmt.Sprintf("prompt of %d different tokens, cold", f.prompt), tokens: f.prompt}
		return r.block(ctx, 0, 1, cold, freshTokens(f.prompt))
	}
	return nil
}

func cacheText(bytes int64) string {
	if bytes == 0 {
		return "no row cache"
	}
	return "a row cache of " + sizeText(bytes)
}

// block measures --repeat rounds of steps in all places, which take turns with
// every step.
func (r *tableRunner) block(ctx context.Context, cacheBytes int64, steps int, out tableBlock, choose chooser) error {
	homes, err := r.f.homes(r.url, cacheBytes)
	if err != nil {
		return err
	}
	b, err := r.m.NewBenchTable(ctx, out.tokens, homes...)
	if err != nil {
		return err
	}
	defer b.Close()
	r.out.Bytes, r.out.RowBytes = b.Bytes(), b.RowBytes()
	r.status.show("%s", out.What)
	draw, err := choose(ctx, b, len(homes))
	if err != nil {
		return err
	}
	before := make([]plume.PLEStats, len(homes))
	for i := range homes { // buffers grow, connections are made
		if _, err := b.Step(ctx, i, draw(i)); err != nil {
			return fmt.Errorf("table in %s: %w", r.f.places[i], err)
		}
		before[i] = b.Stats(i)
	}
	times := make([][]float64, len(homes)) // [place][step] s
	for step := range r.f.repeat * steps {
		for k := range homes {
			i := (k + step) % len(homes)
			took, err := b.Step(ctx, i, draw(i))
			if err != nil {
				return fmt.Errorf("table in %s: %w", r.f.places[i], err)
			}
			times[i] = append(times[i], took.Seconds())
		}
	}
	for i, name := range r.f.places {
		p := placeResult{Place: name, About: b.About(i), Stats: b.Stats(i).Since(before[i])}
		p.Read = p.Stats.ReadTime().Seconds()
		base := r.f.baseOf(i)
		p.rate(times[i], times[base], steps, out.tokens)
		p.Of, p.Mark = r.f.places[base], r.f.mark(i, base, out.Decode)
		out.Places = append(out.Places, p)
	}
	r.out.Blocks = append(r.out.Blocks, out)
	return nil
}
