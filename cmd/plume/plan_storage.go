package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/plot"
)

const planStorageLong = `Replay look-ups of a model's per-layer table on simulated storage: read by the
host, row by row, and gathered by a device that cuts rows out of its pages
itself, so that only useful bytes cross the bus. For each: time until a step's
rows are there, how long the step stands still for them, bytes on the bus and
energy for each row, how many tokens per second the storage could keep up, and
from how many computed per second, by all users together, steps wait for it.

Rows are those of tokens that do not repeat, the worst case, or of a text: --text
reads one and cuts it into tokens as MODEL or --tokenizer does, --ids takes token
ids. Users read on from places of their own in the text. A row that several of
them need in the same step is read once, and the host keeps rows that may come
again in memory, by the policy that plume runs with (--ple-cache). No product
gathers rows yet: those lines are what could be gained.

--fit measures random reads of the storage under a file of 64 MiB or more, or
under a folder, past the system's memory of it, twice; fits a simulated device to
what was alike both times, and prints how far off it is. Reads of 8 KiB are not
shown to the fit. With --json
comes the device's profile, which --storage and --ple-emulate take as a file.`

// storageFlags are the command line of `plume plan storage`.
type storageFlags struct {
	spec     plume.ModelSpec
	o        plume.StorageOptions
	ids      streamFlags
	cache    cacheFlag
	compute  float64 // ms
	hide     float64 // ms
	json     bool
	svg, png string
	fit      string
}

func newPlanStorage() *cobra.Command {
	f := &storageFlags{}
	cmd := &cobra.Command{
		Use:   "storage [MODEL]",
		Short: "Simulate look-ups by the host and inside the device",
		Long:  planStorageLong,
		Example: `  plume plan storage --shape e2b
  plume plan storage --shape e2b --storage ufs-3.1,nvme --users 1,1024 --compute-ms 100
  plume plan storage demo --text book.txt --users 1,64
  plume plan storage --shape e2b --text book.txt --tokenizer e2b.gguf --ple-cache 16MiB
  plume tokenize demo <lines.json | plume plan storage demo --ids -
  plume plan storage --fit .`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: f.run,
	}
	fs := cmd.Flags()
	fs.StringVar(&f.spec.Shape, "shape", "", "a model that need not exist: e2b or e4b")
	fs.StringVar(&f.spec.Type, "type", "q4_0", "type of the shape's weights")
	fs.StringVar(&f.spec.PLE, "ple-type", "", "type of the shape's table (default: as convert chooses)")
	fs.StringSliceVar(&f.o.Storage, "storage", nil, "storage profiles: files, or "+strings.Join(plume.StorageNames(), ", ")+" (default: all)")
	fs.IntSliceVar(&f.o.Users, "users", nil, "sequences that need a row in the same step (default 1,16,256,4096)")
	fs.Float64Var(&f.compute, "compute-ms", 25, "what a step computes")
	fs.Float64Var(&f.hide, "hide-ms", 0, "of that, what passes before rows are used (default: the first layer's share)")
	fs.IntVar(&f.o.Depth, "depth", 0, "most reads that the host keeps under way (default: as many as the storage takes)")
	fs.StringVar(&f.ids.ids, "ids", "", "`FILE` of token ids to look up, - for standard input")
	fs.StringVar(&f.ids.text, "text", "", "`FILE` of text whose tokens are looked up, - for standard input")
	fs.StringVar(&f.ids.tokenizer, "tokenizer", "", "model, or tokenizer.json, that cuts --text into tokens (default: MODEL)")
	fs.Var(&f.cache, "ple-cache", "memory for rows that may come again, as 8MiB; 0: none (default: 2MiB)")
	fs.StringVar(&f.fit, "fit", "", "hold the model against the storage under this `FILE` or folder")
	fs.StringVar(&f.svg, "svg", "", "write plots against the number of users as SVG files into `FOLDER`")
	fs.StringVar(&f.png, "png", "", "write these plots as PNG files into `FOLDER`")
	fs.BoolVar(&f.json, "json", false, "print JSON")
	complete(cmd, "shape", gemma.Shapes()...)
	complete(cmd, "storage", plume.StorageNames()...)
	return cmd
}

func (f *storageFlags) run(cmd *cobra.Command, args []string) (err error) {
	if err := f.check(cmd, args); err != nil {
		return usageError{err, cmd}
	}
	if f.fit != "" {
		return f.runFit(cmd)
	}
	if len(args) > 0 {
		if f.spec.Path, err = modelPath(cmd, args[0]); err != nil {
			return err
		}
	}
	if f.o.IDs, err = f.ids.stream(cmd, args); err != nil {
		return err
	}
	f.o.Cache = int64(f.cache)
	f.o.Compute, f.o.Hide = time.Duration(f.compute*float64(time.Millisecond)), time.Duration(f.hide*float64(time.Millisecond))
	list, err := plume.ForecastStorage(f.spec, f.o)
	if err != nil {
		return err
	}
	if err := writePlots(storagePlots(list), f.svg, f.png); err != nil {
		return fmt.Errorf("write plots: %w", err)
	}
	if f.json {
		return printJSON(cmd.OutOrStdout(), list)
	}
	return printStorage(cmd.OutOrStdout(), list)
}

// mostCompute is a step of a quarter of an hour: more is a slip, and would not fit a clock.
const mostCompute = 1e6

// check refuses what would be ignored or taken for a default.
func (f *storageFlags) check(cmd *cobra.Command, args []string) error {
	if f.fit != "" {
		return onlyFit(cmd, args)
	}
	if (len(args) > 0) == (f.spec.Shape != "") {
		return errors.New("want a MODEL, a --shape or --fit")
	}
	if !(f.compute > 0 && f.compute <= mostCompute) { // NaN too
		return fmt.Errorf("--compute-ms %g, want more than 0 and at most %g", f.compute, mostCompute)
	}
	if cmd.Flags().Changed("hide-ms") && !(f.hide > 0 && f.hide <= f.compute) {
		return fmt.Errorf("--hide-ms %g, want more than 0 and at most --compute-ms, which is %g", f.hide, f.compute)
	}
	if cmd.Flags().Changed("depth") && f.o.Depth < 1 {
		return fmt.Errorf("--depth %d, want at least 1", f.o.Depth)
	}
	if len(args) > 0 {
		return onlyShapes(cmd)
	}
	return nil
}

// onlyFit refuses with --fit what it does not look at.
func onlyFit(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return errors.New("--fit looks at storage alone: leave MODEL out")
	}
	for _, name := range []string{
		"shape", "type", "ple-type", "storage", "users", "compute-ms", "hide-ms", "depth", "ids", "text", "tokenizer", "ple-cache", "svg", "png",
	} {
		if cmd.Flags().Changed(name) {
			return fmt.Errorf("--fit looks at storage alone: leave --%s out", name)
		}
	}
	return nil
}

func printStorage(w io.Writer, list []plume.StorageOutcome) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "storage\tusers\tway\tmean ms\tp99 ms\twait ms\trows read/token\tbus B/token\tµJ/token\tpages/token\ttokens/s\twaits from\t")
	for _, s := range list {
		rate, from := "any", "any"
		if s.Rate > 0 {
			rate, from = fmt.Sprintf("%.0f", s.Rate), fmt.Sprintf("%.0f", s.WaitsFrom)
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%.2f\t%.2f\t%.2f\t%.3f\t%.0f\t%.1f\t%.2f\t%s\t%s\t\n",
			s.Storage, s.Users, s.Mode, s.Mean/1000, s.P99/1000, s.Wait/1000, s.Read, s.Bus, s.Energy, s.Sensed, rate, from)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, storage := range storages(list) {
		if _, err := fmt.Fprintf(w, "\n%s: %s", storage, verdict(storage, list)); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w)
	return err
}

// storages lists the storage profiles of a list in order.
func storages(list []plume.StorageOutcome) []string {
	var names []string
	for _, s := range list {
		if !slices.Contains(names, s.Storage) {
			names = append(names, s.Storage)
		}
	}
	return names
}

// pays is how much shorter a wait must be before a device that does not exist is worth a word.
const pays = 0.95

// verdict says from how many users on gathering shortens a step.
func verdict(storage string, list []plume.StorageOutcome) string {
	var from, host, gather *plume.StorageOutcome
	waits := false
	for i := range list {
		s := &list[i]
		switch {
		case s.Storage != storage:
		case s.Mode == plume.ModeHost:
			host = s
		case s.Mode == plume.ModeGather:
			gather = s
			waits = waits || host.Wait > 0
			if gather.Wait >= pays*host.Wait {
				from = nil
			} else if from == nil {
				from = s
			}
		}
	}
	switch {
	case !waits:
		return "rows are there in time for every number of users looked at; gathering them in the device saves no time"
	case from == nil:
		return "gathering rows in the device does not shorten the wait"
	}
	return fmt.Sprintf("gathering rows in the device begins to shorten the wait at %d users; at %d from %.2f to %.2f ms",
		from.Users, host.Users, host.Wait/1000, gather.Wait/1000)
}

// storagePlots draws what a step and a token cost against the number of users.
func storagePlots(list []plume.StorageOutcome) []namedPlot {
	var out []namedPlot
	for _, p := range []struct {
		name, title, y string
		value          func(s *plume.StorageOutcome) float64
	}{
		{"latency", "until a step's rows are there", "ms", func(s *plume.StorageOutcome) float64 { return s.Mean / 1000 }},
		{"energy", "energy of looking rows up", "µJ a token", func(s *plume.StorageOutcome) float64 { return s.Energy }},
		{"bus", "bytes on the bus", "bytes a token", func(s *plume.StorageOutcome) float64 { return s.Bus }},
	} {
		lines := &plot.Lines{Title: p.title, X: "users at once", Y: p.y, LogX: true, LogY: p.name == "latency"}
		for _, storage := range storages(list) {
			for _, mode := range []string{plume.ModeHost, plume.ModeGather, plume.ModeDecode} {
				line := plot.Line{Name: storage + ", " + map[string]string{
					plume.ModeHost: "host reads", plume.ModeGather: "gathers", plume.ModeDecode: "decodes",
				}[mode]}
				for i := range list {
					if s := &list[i]; s.Storage == storage && s.Mode == mode {
						line.Points = append(line.Points, plot.Point{X: float64(s.Users), Y: p.value(s)})
					}
				}
				if mode != plume.ModeDecode || p.name == "bus" {
					lines.Series = append(lines.Series, line)
				}
			}
		}
		out = append(out, namedPlot{p.name, lines})
	}
	return out
}

// maxStream bounds the text of --ids and --text: far more tokens than change anything.
const maxStream = 64 << 20

// streamFlags say which tokens are looked up.
type streamFlags struct{ ids, text, tokenizer string }

// stream returns the tokens that the flags name; nil when they name none.
func (f *streamFlags) stream(cmd *cobra.Command, args []string) ([]int32, error) {
	switch {
	case f.ids != "" && f.text != "":
		return nil, usageError{errors.New("--ids and --text exclude one another"), cmd}
	case f.tokenizer != "" && f.text == "":
		return nil, usageError{errors.New("--tokenizer is of use with --text only"), cmd}
	case f.ids != "":
		text, err := readStream(cmd, f.ids)
		if err != nil {
			return nil, err
		}
		ids, err := parseIDs(strings.NewReplacer("[", " ", "]", " ", "\n", " ", "\r", " ").Replace(string(text)))
		return ids, some(ids, f.ids, err)
	case f.text == "":
		return nil, nil
	case f.tokenizer == "" && len(args) == 0:
		return nil, usageError{errors.New("--text with a --shape needs a --tokenizer: a shape has no vocabulary"), cmd}
	}
	name := f.tokenizer
	if name == "" {
		name = args[0]
	}
	tok, err := openTokenizer(cmd, name)
	if err != nil {
		return nil, err
	}
	text, err := readStream(cmd, f.text)
	if err != nil {
		return nil, err
	}
	ids := tok.Encode(string(text), false)
	return ids, some(ids, f.text, nil)
}

// some refuses a file without tokens.
func some(ids []int32, path string, err error) error {
	if err == nil && len(ids) == 0 {
		err = fmt.Errorf("read tokens: %s has none", path)
	}
	return err
}

// readStream reads a file or standard input.
func readStream(cmd *cobra.Command, path string) ([]byte, error) {
	in := cmd.InOrStdin()
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxStream+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxStream {
		return nil, fmt.Errorf("read tokens: %s is longer than %d bytes", path, maxStream)
	}
	return text, nil
}
