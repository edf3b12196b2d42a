package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
	"github.com/plume-run/plume/internal/checkpoint"
)

// coldReport is what `plume bench cold --json` prints. Bytes are those of the weights
// as stored, the per-layer table's left out.
type coldReport struct {
	Plume  string       `json:"plume"`
	CPU    string       `json:"cpu"`
	Model  string       `json:"model"`
	Prompt int          `json:"prompt_tokens"`
	Bytes  int64        `json:"bytes_read"`
	Limit  float64      `json:"ratio_limit"` // what the project wants Ratio to stay within
	Starts []coldStarts `json:"starts"`      // from the model's file, then from its packed copy, if it has one
}

// coldStarts are starts that read their weights from one file.
type coldStarts struct {
	Weights string    `json:"weights"` // "model" or "packed copy"
	Runs    []coldRun `json:"runs"`
	First   spread    `json:"first_token_seconds"`
	Rate    spread    `json:"disk_bytes_s"`
	Ratio   spread    `json:"ratio"` // of the first token's time to Bytes/Rate
	Warm    []float64 `json:"warm_first_token_seconds"`
}

// coldLimit is what a start should stay within: the rest is a process's own start, the
// first computation and the last.
const coldLimit = 1.3

// coldRun is one start. Rate is the mean of the disk's, before and after.
type coldRun struct {
	Memory float64 `json:"memory_seconds"` // what touching the memory that the start takes took, right before
	First  float64 `json:"first_token_seconds"`
	Open   float64 `json:"open_seconds"`
	Rate   float64 `json:"disk_bytes_s"`
	Ratio  float64 `json:"ratio"`
}

type coldFlags struct {
	open           modelFlags
	prompt, repeat int
	json           bool
	memory         int64 // that a start takes, by its plan, within its budget
}

const coldLong = `Measure the time to the first token from a cold start. Before each start the
model's file is dropped from the page cache (no rights are needed for that);
as much memory as the start will take is touched, since a virtual machine may have
lent what nobody used to its host, and getting it back can take seconds: "memory s"
is how long it took, and next to nothing where that is not so. Then a fresh process
is started, and timed from there to the first token; the memory touched is given
back as that process takes its own, lest the host have it again first (on Linux;
elsewhere as soon as the process is there).
Before and after, the file is read by large direct reads, for as many bytes as
the weights have: ratio is the time to the first token over the time that these
bytes take at the mean of both rates. A disk may keep a cache of its own; it
serves both alike. The last column of the table is a start with the file in the
page cache. Where there are no direct reads, rate and ratio are 0; where files
cannot be dropped from the page cache, starts are not cold, and a note says so.

A model that has a packed copy (see plume pack), or that --packed names one for,
is measured with and without it, in turn; with --packed off only without.`

func newBenchCold() *cobra.Command {
	var f coldFlags
	cmd := &cobra.Command{
		Use:     "cold MODEL",
		Short:   "Measure the first token after a cold start",
		Long:    coldLong,
		Example: "  plume bench cold e2b.gguf\n  plume bench cold e2b.gguf --ram 1500MiB --repeat 7 --json",
		Args:    args(cobra.ExactArgs(1)),
		RunE:    func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	fs := cmd.Flags()
	fs.IntVar(&f.prompt, "prompt", 16, "tokens of the prompt")
	fs.IntVar(&f.repeat, "repeat", 5, "starts")
	fs.BoolVar(&f.json, "json", false, "print one JSON object")
	f.open.add(cmd, "f16")
	return cmd
}

func (f *coldFlags) run(cmd *cobra.Command, name string) error {
	if f.prompt < 1 || f.repeat < 1 {
		return usageError{errors.New("--prompt and --repeat want at least 1"), cmd}
	}
	path, err := modelPath(cmd, name)
	if err != nil {
		return err
	}
	in, err := plume.Inspect(path)
	if err != nil {
		return err
	}
	file, err := weightsFile(path)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	out := coldReport{Plume: version(), CPU: cpuName(), Model: path, Prompt: f.prompt, Bytes: in.TierBytes(plume.TierResident), Limit: coldLimit}
	homes := []coldHome{{"model", file, plume.PackedOff}}
	c, err := f.packedCopy(path, in)
	if err != nil {
		return err
	}
	if c != nil {
		homes = append(homes, coldHome{"packed copy", c.Path, c.Path})
	}
	if f.memory, err = f.planned(path); err != nil {
		return err
	}
	noteUndropped(cmd.ErrOrStderr(), "these starts are not cold")
	if err := f.measure(ctx, path, homes, &out); err != nil {
		return err
	}
	if f.json {
		return printJSON(cmd.OutOrStdout(), &out)
	}
	return out.print(cmd.OutOrStdout())
}

// packedCopy is the copy that --packed asks for, nil when it is to be done without.
func (f *coldFlags) packedCopy(path string, in *plume.Inspection) (*plume.PackedCopy, error) {
	switch f.open.packed {
	case plume.PackedOff:
		return nil, nil
	case plume.PackedAuto:
		if c := in.Packed; c != nil && c.Reason == "" {
			return c, nil
		}
		return nil, nil
	}
	c, err := plume.FindPacked(path, f.open.packed)
	switch {
	case err != nil:
		return nil, err
	case c == nil:
		return nil, fmt.Errorf("there is no packed copy %s: plume pack %s -o %s writes it", f.open.packed, path, f.open.packed)
	case c.Reason != "":
		return nil, fmt.Errorf("the packed copy cannot be used: %s", c.Reason)
	}
	return c, nil
}

// noteUndropped says what follows where a system keeps files in the page cache.
func noteUndropped(errOut io.Writer, follows string) {
	if runtime.GOOS != "linux" {
		fmt.Fprintf(errOut, "plume: files cannot be dropped from the page cache on %s: %s\n", runtime.GOOS, follows)
	}
}

// weightsFile is the file that holds most of the weights' bytes, for the disk's rate.
func weightsFile(path string) (string, error) {
	cat, err := checkpoint.Open(path)
	if err != nil {
		return "", err
	}
	defer cat.Close()
	var most int64
	sums := map[string]int64{}
	for _, t := range cat.Tensors() {
		name, _ := t.Location()
		if sums[name] += t.Bytes; sums[name] > most {
			most, path = sums[name], name
		}
	}
	return path, nil
}

// maxRateTime bounds one measurement of the disk.
const maxRateTime = 20 * time.Second

// coldHome is where starts read their weights.
type coldHome struct{ name, file, packed string }

// measure takes --repeat cold starts of each home in turn, and as many warm ones.
func (f *coldFlags) measure(ctx context.Context, path string, homes []coldHome, out *coldReport) error {
	for _, h := range homes {
		out.Starts = append(out.Starts, coldStarts{Weights: h.name})
	}
	for range f.repeat {
		for i, h := range homes {
			r, err := f.cold(ctx, path, h, out.Bytes)
			if err != nil {
				return err
			}
			out.Starts[i].Runs = append(out.Starts[i].Runs, r)
		}
	}
	for i, h := range homes {
		out.Starts[i].sum()
		for range f.repeat {
			if err := warmFile(h.file); err != nil {
				return err
			}
			r, err := f.start(ctx, path, h.packed, func(int) {})
			if err != nil {
				return err
			}
			out.Starts[i].Warm = append(out.Starts[i].Warm, r.First)
		}
	}
	return nil
}

// cold is one start, and the disk's rate before and after it.
func (f *coldFlags) cold(ctx context.Context, path string, h coldHome, bytes int64) (coldRun, error) {
	before, err := diskRate(h.file, bytes)
	if err != nil {
		return coldRun{}, err
	}
	if err := errors.Join(dropFile(path), dropFile(h.file)); err != nil {
		return coldRun{}, err
	}
	begin := time.Now()
	hold := holdMemory(f.memory)
	memory := time.Since(begin).Seconds()
	r, err := f.start(ctx, path, h.packed, hold.lend)
	hold.end()
	if err != nil {
		return coldRun{}, err
	}
	r.Memory = memory
	after, err := diskRate(h.file, bytes)
	r.Rate = (before + after) / 2
	r.Ratio = r.First * r.Rate / float64(bytes)
	return r, err
}

// planned is what a start will hold.
func (f *coldFlags) planned(path string) (int64, error) {
	o, err := f.open.options()
	if err != nil {
		return 0, err
	}
	p, err := plume.Plan(path, o)
	if err != nil {
		return 0, err
	}
	return p.Total(), nil
}

// sum fills in the spreads.
func (s *coldStarts) sum() {
	var first, rates, ratios []float64
	for _, r := range s.Runs {
		first, rates, ratios = append(first, r.First), append(rates, r.Rate), append(ratios, r.Ratio)
	}
	s.First, s.Rate, s.Ratio = newSpread(first), newSpread(rates), newSpread(ratios)
}

// diskRate is plume.ReadRate, 0 where it cannot be measured.
func diskRate(file string, bytes int64) (float64, error) {
	rate, err := plume.ReadRate(file, bytes, maxRateTime)
	if errors.Is(err, errors.ErrUnsupported) {
		return 0, nil
	}
	return rate, err
}

// dropFile takes the model's files out of the page cache.
func dropFile(path string) error {
	cat, err := checkpoint.Open(path)
	if err != nil {
		return err
	}
	cat.DropAll()
	return cat.Close()
}

// warmFile puts a file into the page cache.
func warmFile(path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.Copy(io.Discard, in)
	return err
}

// start runs `plume bench session` in a process of its own, which begun is told of, up to
// the first token.
func (f *coldFlags) start(ctx context.Context, path, packed string, begun func(pid int)) (coldRun, error) {
	args := append([]string{"bench", "session", path, "--json", "--repeat", "1", "--tokens", "1", "--prompt", strconv.Itoa(f.prompt)}, f.open.args()...)
	args = append(args, "--packed", packed)
	var r struct {
		First time.Time  `json:"first_token"`
		Model benchModel `json:"model"`
	}
	begin := time.Now()
	if err := watchPlume(ctx, &r, begun, args...); err != nil {
		return coldRun{}, err
	}
	return coldRun{First: r.First.Sub(begin).Seconds(), Open: r.Model.Load}, nil
}

// print writes the report for people.
func (r *coldReport) print(out io.Writer) error {
	fmt.Fprintf(out, "%s: %s of weights, a prompt of %d tokens\n", r.Model, sizeText(r.Bytes), r.Prompt)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "weights from\tstart\tmemory s\tfirst token s\tdisk MB/s\tbytes/disk s\tratio\twarm start s\t\n")
	for _, s := range r.Starts {
		for i, c := range s.Runs {
			fmt.Fprintf(w, "%s\t%d\t%.2f\t%.2f\t%.0f\t%.2f\t%.2f\t%.2f\t\n", s.Weights, i+1, c.Memory, c.First, c.Rate/1e6, share(float64(r.Bytes), c.Rate), c.Ratio, s.Warm[i])
		}
		fmt.Fprintf(w, "%s\tmedian\t\t%.2f\t%.0f\t%.2f\t%.2f\t%.2f\t\n", s.Weights, s.First.Median, s.Rate.Median/1e6, share(float64(r.Bytes), s.Rate.Median), s.Ratio.Median, newSpread(s.Warm).Median)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, s := range r.Starts {
		if s.Ratio.Median == 0 {
			fmt.Fprintf(out, "%s: no ratio, since this disk cannot be read past the page cache\n", s.Weights)
			continue
		}
		word := "within"
		if s.Ratio.Median > r.Limit {
			word = "above"
		}
		fmt.Fprintf(out, "%s: ratio %.2f, %s the %.1f that is wanted\n", s.Weights, s.Ratio.Median, word, r.Limit)
	}
	if len(r.Starts) == 1 {
		fmt.Fprintf(out, "measured without a packed copy: plume pack %s writes one\n", r.Model)
	}
	return nil
}
