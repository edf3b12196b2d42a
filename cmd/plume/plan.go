package main

import (
	"cmp"
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
	"github.com/plume-run/plume/internal/convert"
	"github.com/plume-run/plume/internal/gemma"
)

// planFlags are the command line of `plume plan`.
type planFlags struct {
	shape, types, table, embed string
	layers                     int
	compare                    []string

	hardware, storage, probe, save string
	ram, vram                      sizeFlag
	context, chunk, prompt         int
	kvType, ple                    string
	rows                           cacheFlag
	threads                        int
	contexts, users                []int
	rowHits, target                float64

	prices            plume.Prices
	price, busy, idle float64
	json, check       bool
	html, svg, png    string
	checkRepeat       int
}

const planLong = `Say what a model would take on a machine, and how fast it would be, before
anything is loaded: bytes in memory and on storage by use, prefill and decode
speed, the wait for per-layer rows, time to the first token warm and cold,
energy, and what a million tokens cost.

The model is a file, of which only headers are read, or a --shape that need not
exist. The machine is this one, measured for some seconds (--probe names a large
file on the storage that rows will come from; a MODEL file serves), or a
--hardware profile. Every figure of a profile names its source; --save-hardware
writes what was measured as a profile to keep or to edit.

Limits are --ram, --vram (a card that does not hold all that a step computes with
is a miss), --ctx, --users (memory is planned for the most of them at once) and
--target-tps. Rows of the per-layer table are assumed never to repeat; --row-hits
is the share of them that memory has.

--compare puts several shapes side by side under the same limits, best first:
those that keep every limit, larger models before smaller ones, and behind them
those whose weights must be read from storage for every token, by speed; then
those that do not, each with its reason.

--check measures MODEL on this machine: the peak of a session that fills its
context, then prefill and decoding in short blocks, and the machine itself right
before and after each. It prints what is predicted from that beside what was
measured: of the blocks that count the one whose error is in the middle (of an even
number the worse of both), with the least and the greatest error. A block during
which memory became faster or slower by over 15 % does not count: it is done again,
up to twice --repeat blocks in all, and its error is named. Where memory never
stayed as it was, all count.
With --users sequences are decoded together (memory is checked with one session),
with --ram weights may be streamed, and with --storage rows come as slowly as from
that device.
docs/planning.md has every formula with its units.`

const planExample = `  plume plan e2b.gguf
  plume plan --shape e2b --hardware pi5-sd --ctx 8192
  plume plan --compare e2b,e4b,26b-a4b,31b --ram 4GiB --hardware laptop
  plume plan --compare e2b,e4b --type q4_0,q8_0 --target-tps 10 --users 4 --html report.html
  plume plan e2b.gguf --check`

func newPlan() *cobra.Command {
	f := &planFlags{prices: plume.DefaultPrices()}
	cmd := &cobra.Command{
		Use:     "plan [MODEL]",
		Short:   "Predict memory, speed, energy and cost",
		Long:    planLong,
		Example: planExample,
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			model := ""
			if len(args) > 0 {
				model = args[0]
			}
			return f.run(cmd, model)
		},
	}
	f.add(cmd)
	cmd.AddCommand(newPlanStorage(), newPlanFleet())
	return cmd
}

func (f *planFlags) add(cmd *cobra.Command) {
	f.addModel(cmd)
	f.addMachine(cmd)
	fs := cmd.Flags()
	fs.StringSliceVar(&f.compare, "compare", nil, "shapes to put side by side")
	complete(cmd, "compare", gemma.Shapes()...)
	fs.IntVar(&f.prompt, "prompt", 512, "tokens of a prompt")
	fs.IntSliceVar(&f.contexts, "at", nil, "positions to forecast decoding at (default: 16 and the end of the context)")
	fs.IntSliceVar(&f.users, "users", []int{1}, "sequences decoded together; memory is planned for the most of them")
	fs.Float64Var(&f.rowHits, "row-hits", 0, "share of per-layer rows that memory has already, 0 to 1 (0: rows never repeat)")
	fs.Float64Var(&f.target, "target-tps", 0, "tokens per second that each user must get")
	fs.Float64Var(&f.prices.Life, "life-years", f.prices.Life, "years after which the machine is worth nothing")
	fs.Float64Var(&f.prices.Utilisation, "utilisation", f.prices.Utilisation, "share of its life in which it generates")
	fs.Float64Var(&f.prices.Power, "power-price", f.prices.Power, "price of a kWh")
	fs.Float64Var(&f.prices.Overhead, "power-overhead", f.prices.Overhead, "power drawn for each watt used: cooling, supply")
	fs.Float64Var(&f.prices.Hosted, "hosted-price", f.prices.Hosted, "hosted price of a million tokens, to compare with; 0: none")
	fs.StringVar(&f.html, "html", "", "write a report with plots to `FILE`")
	fs.StringVar(&f.svg, "svg", "", "write the report's plots as SVG files into `FOLDER`")
	fs.StringVar(&f.png, "png", "", "write the report's plots as PNG files into `FOLDER`")
	fs.BoolVar(&f.check, "check", false, "measure MODEL on this machine and print predicted against measured")
	fs.IntVar(&f.checkRepeat, "repeat", 5, "with --check: blocks per measurement")
}

// addModel adds the flags that say what runs.
func (f *planFlags) addModel(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.shape, "shape", "", "a model that need not exist: "+strings.Join(gemma.Shapes(), ", "))
	fs.StringVar(&f.types, "type", "q4_0", "types of the weights of shapes, separated by commas")
	fs.StringVar(&f.table, "ple-type", "", "type of the per-layer table (default: as convert chooses)")
	fs.StringVar(&f.embed, "embed-type", "", "type of the embedding (default: as convert chooses)")
	fs.IntVar(&f.layers, "layers", 0, "only so many layers of the shape")
	fs.IntVar(&f.context, "ctx", 0, "tokens of context (default: the model's, at most 4096)")
	fs.IntVar(&f.chunk, "chunk", 0, "prompt tokens per step")
	fs.StringVar(&f.kvType, "kv-type", "f16", "number format of the KV cache: "+strings.Join(plume.KVTypes(), ", "))
	fs.StringVar(&f.ple, "ple", "auto", "where rows come from: "+strings.Join(plume.PLEPlaces(), ", ")+"; ram counts the table as memory")
	fs.Var(&f.rows, "ple-cache", "memory for rows that may come again, as 8MiB; 0: none (default: 2MiB,\nless where memory is short)")
	fs.IntVar(&f.threads, "threads", 0, "threads that compute (default: all of the machine's)")
	fs.BoolVar(&f.json, "json", false, "print one JSON object")
	complete(cmd, "ple", plume.PLEPlaces()...)
	complete(cmd, "shape", gemma.Shapes()...)
	complete(cmd, "type", convert.LayerNames()...)
	complete(cmd, "kv-type", plume.KVTypes()...)
}

// addMachine adds the flags that say what it runs on.
func (f *planFlags) addMachine(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.hardware, "hardware", "", "profile of the machine: a file, or one of\n"+strings.Join(plume.MachineNames(), ", ")+"\n(default: measure this one)")
	fs.StringVar(&f.storage, "storage", "", "profile of the storage, in place of the machine's: a file, or one of\n"+strings.Join(plume.StorageNames(), ", "))
	fs.StringVar(&f.probe, "probe", "", "measure the storage under this `FILE` (default: the model's)")
	fs.StringVar(&f.save, "save-hardware", "", "write the machine's profile to `FILE`")
	fs.Var(&f.ram, "ram", "memory that the process may take (default: what the machine has)")
	fs.Var(&f.vram, "vram", "memory of a graphics card that is to hold all that a step computes with\n(default: what the machine has, and no limit)")
	fs.Float64Var(&f.price, "price", -1, "price of the machine (default: the profile's)")
	fs.Float64Var(&f.busy, "watts", -1, "watts while generating (default: the profile's)")
	fs.Float64Var(&f.idle, "idle-watts", -1, "watts while waiting (default: the profile's)")
	complete(cmd, "hardware", plume.MachineNames()...)
	complete(cmd, "storage", plume.StorageNames()...)
}

// specs are the models that the command line asks about.
func (f *planFlags) specs(cmd *cobra.Command, model string) ([]plume.ModelSpec, error) {
	asked := 0
	for _, set := range []bool{model != "", f.shape != "", len(f.compare) > 0} {
		if set {
			asked++
		}
	}
	if asked > 1 {
		return nil, errors.New("MODEL, --shape and --compare exclude one another")
	}
	if f.check && f.shape+strings.Join(f.compare, "") != "" {
		return nil, errors.New("--check measures a MODEL that exists")
	}
	if f.check && f.hardware != "" {
		return nil, errors.New("--check measures this machine: leave --hardware out")
	}
	if f.check && f.rowHits > 0 {
		return nil, errors.New("--check reads rows that do not repeat: leave --row-hits out")
	}
	shapes := f.compare
	if f.shape != "" {
		shapes = []string{f.shape}
	}
	if len(shapes) == 0 {
		if err := onlyShapes(cmd); err != nil {
			return nil, err
		}
		path, err := modelPath(cmd, cmp.Or(model, "demo"))
		return []plume.ModelSpec{{Path: path}}, err
	}
	var specs []plume.ModelSpec
	for _, shape := range shapes {
		for _, t := range strings.Split(f.types, ",") {
			specs = append(specs, plume.ModelSpec{Shape: shape, Layers: f.layers, Type: t, PLE: f.table, Embed: f.embed})
		}
	}
	return specs, nil
}

// onlyShapes refuses flags that say what a shape's weights are where a file says it.
func onlyShapes(cmd *cobra.Command) error {
	for _, name := range []string{"type", "ple-type", "embed-type", "layers"} {
		if cmd.Flags().Changed(name) {
			return fmt.Errorf("--%s is for shapes, not for a MODEL", name)
		}
	}
	return nil
}

// checkNumbers refuses numbers that would be taken for defaults, or mean nothing.
func (f *planFlags) checkNumbers(cmd *cobra.Command) error {
	for _, x := range []struct {
		flag  string
		value float64
		least float64
	}{
		{"prompt", float64(f.prompt), 1}, {"users", float64(slices.Min(append(f.users[:len(f.users):len(f.users)], 1))), 1},
		{"at", float64(slices.Min(append(f.contexts[:len(f.contexts):len(f.contexts)], 0))), 0}, {"layers", float64(f.layers), 0},
		{"row-hits", f.rowHits, 0}, {"threads", float64(f.threads), 1}, {"target-tps", f.target, 0}, {"price", f.price, 0}, {"watts", f.busy, 0}, {"idle-watts", f.idle, 0}, {"repeat", float64(f.checkRepeat), 1},
	} {
		if cmd.Flags().Changed(x.flag) && !(x.value >= x.least) {
			return fmt.Errorf("--%s %g, want at least %g", x.flag, x.value, x.least)
		}
	}
	return nil
}

func (f *planFlags) run(cmd *cobra.Command, model string) error {
	if err := f.checkNumbers(cmd); err != nil {
		return usageError{err, cmd}
	}
	specs, err := f.specs(cmd, model)
	if err != nil {
		return usageError{err, cmd}
	}
	m, err := f.machine(cmd, specs)
	if err != nil {
		return err
	}
	var list []candidate
	for _, spec := range specs {
		fc, err := plume.MakeForecast(spec, f.forecast(m))
		if err != nil {
			return err
		}
		list = append(list, f.judge(spec, fc))
	}
	slices.SortStableFunc(list, better)
	if err := f.writeReports(m, list); err != nil {
		return err
	}
	if f.check {
		return f.runCheck(cmd, m, &list[0])
	}
	if f.json {
		return printJSON(cmd.OutOrStdout(), struct {
			Machine *plume.Machine `json:"machine"`
			Prices  plume.Prices   `json:"prices"`
			Plans   []candidate    `json:"plans"`
		}{m, f.prices, list})
	}
	if len(list) == 1 {
		return f.printForecast(cmd.OutOrStdout(), m, &list[0])
	}
	return f.printCandidates(cmd.OutOrStdout(), m, list)
}

// memory is what models may take, for people.
func (f *planFlags) memory(m *plume.Machine) string {
	if f.ram > 0 {
		return sizeText(int64(f.ram))
	}
	return sizeText(m.RAM)
}

// machine is the profile asked for, or this machine measured.
func (f *planFlags) machine(cmd *cobra.Command, specs []plume.ModelSpec) (*plume.Machine, error) {
	var m *plume.Machine
	var err error
	if f.hardware != "" {
		m, err = plume.LoadMachine(f.hardware)
	} else {
		m, err = f.measure(cmd, specs)
	}
	if err != nil {
		return nil, err
	}
	for _, x := range []struct {
		flag float64
		dst  *float64
	}{{f.price, &m.Price}, {f.busy, &m.BusyWatts}, {f.idle, &m.IdleWatts}} {
		if x.flag >= 0 {
			*x.dst = x.flag
		}
	}
	if f.vram > 0 {
		m.VRAM = int64(f.vram)
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return m, f.saveMachine(m)
}

// saveMachine writes --save-hardware.
func (f *planFlags) saveMachine(m *plume.Machine) error {
	if f.save == "" {
		return nil
	}
	data, err := marshal(m)
	if err == nil {
		err = os.WriteFile(f.save, append(data, '\n'), 0o666)
	}
	if err != nil {
		return fmt.Errorf("save hardware profile: %w", err)
	}
	return nil
}

// measure measures this machine, its storage where there is a file to read.
func (f *planFlags) measure(cmd *cobra.Command, specs []plume.ModelSpec) (*plume.Machine, error) {
	o := plume.MeasureOptions{File: f.probe, Models: specs, KVType: f.kvType, Threads: f.threads}
	if f.save != "" {
		o.Types = plume.CommonTypes()
	}
	o.Progress = func(what string) { fmt.Fprintln(cmd.ErrOrStderr(), "measuring", what+" …") }
	if o.File == "" && f.storage == "" && specs[0].Path != "" && f.large(specs[0].Path) {
		o.File = specs[0].Path
	}
	m, err := plume.MeasureMachine(o)
	if err == nil && o.File == "" && f.storage == "" {
		m.Storage, m.ReadRate = "nvme", 2
		fmt.Fprintln(cmd.ErrOrStderr(), "plume: the storage was not measured, an NVMe drive is assumed; --probe FILE measures the one under a large file, --storage names another")
	}
	return m, err
}

// large reports whether random reads of a file say something about its storage.
func (*planFlags) large(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Size() >= 256<<20
}

func (f *planFlags) forecast(m *plume.Machine) plume.ForecastOptions {
	o := plume.ForecastOptions{
		Options: plume.Options{
			RAM: int64(f.ram), Context: f.context, Chunk: f.chunk, KVType: f.kvType, PLE: f.ple, PLECacheBytes: int64(f.rows), Threads: f.threads,
		},
		Machine: m, Prompt: f.prompt, Contexts: f.contexts, Users: f.users, RowHits: f.rowHits, Prices: f.prices, Storage: f.storage,
	}
	if f.check { // which measures one session
		o.Sessions = 1
	}
	return o
}

// candidate is a model that was asked about, and what speaks against it.
type candidate struct {
	Name   string `json:"name"`
	Keeps  bool   `json:"keeps_limits"`
	Reason string `json:"reason,omitempty"`
	*plume.Forecast

	spec plume.ModelSpec
}

// InVRAM is the share of the model that a graphics card would hold.
func (c *candidate) InVRAM() string {
	if c.Card == nil {
		return "–"
	}
	return fmt.Sprintf("%d %%", 100*c.Card.Held/c.Card.Of) // 100 only when all fits
}

// judge holds a forecast against the limits.
func (f *planFlags) judge(spec plume.ModelSpec, fc *plume.Forecast) candidate {
	c := candidate{Name: fc.Model, Forecast: fc, Keeps: fc.Fits, Reason: fc.Reason, spec: spec}
	if fc.Streamed > 0 {
		c.Reason = "its weights do not fit: " + fc.Streams()
	}
	if fc.Fits {
		for _, what := range fc.Plan.Shrunk() {
			if users := slices.Max(f.users); users > 1 {
				what += fmt.Sprintf(" for %d users", users)
			}
			c.add(what)
		}
	}
	if fc.Card != nil && f.vram > 0 && fc.Card.Held < fc.Card.Of {
		c.Keeps = false
		c.add(fmt.Sprintf("a card of %s does not hold the %s that a step computes with", sizeText(fc.Card.VRAM), sizeText(fc.Card.Of)))
	}
	if !fc.Fits || f.target <= 0 {
		return c
	}
	worst := fc.Decode[0]
	for _, d := range fc.Decode {
		if d.Rate/float64(d.Users) < worst.Rate/float64(worst.Users) {
			worst = d
		}
	}
	if each := worst.Rate / float64(worst.Users); each < f.target {
		c.Keeps = false
		c.add(fmt.Sprintf("%.1f tok/s for each of %d users at context %d, %.1f are asked for", each, worst.Users, worst.Context, f.target))
	}
	return c
}

// add adds to the reasons.
func (c *candidate) add(reason string) {
	if c.Reason != "" {
		c.Reason += "; "
	}
	c.Reason += reason
}

// better orders candidates: those that keep the limits first, then those whose weights stay
// in memory, larger models before smaller ones. Of those whose weights do not, the faster
// come first: a large model at a word in ten seconds is no choice.
func better(a, b candidate) int {
	first := func(a, b bool) int {
		if a == b {
			return 0
		} else if a {
			return -1
		}
		return 1
	}
	if c := cmp.Or(first(a.Keeps, b.Keeps), first(a.Fits, b.Fits)); c != 0 || !a.Fits {
		return c
	}
	if c := first(a.Streamed == 0, b.Streamed == 0); c != 0 {
		return c
	}
	if a.Streamed > 0 {
		return cmp.Compare(b.Typical().Rate, a.Typical().Rate)
	}
	return cmp.Or(cmp.Compare(b.FileBytes, a.FileBytes), cmp.Compare(b.Typical().Rate, a.Typical().Rate))
}

// printForecast prints one model in full.
func (f *planFlags) printForecast(w io.Writer, m *plume.Machine, c *candidate) error {
	fmt.Fprintf(w, "%s\n%s", c.Forecast, machineText(m, int64(f.ram)))
	if !c.Keeps && c.Fits {
		fmt.Fprintf(w, "misses a limit: %s\n", c.Reason)
	}
	if c.Plan == nil {
		return nil
	}
	_, err := fmt.Fprintf(w, "\n%s", c.Plan)
	return err
}

// decodeHead heads the rate of decoding, which is that of all users together.
func decodeHead(list []candidate) string {
	for _, c := range list {
		if c.Fits && c.Typical().Users > 1 {
			return fmt.Sprintf("decode tok/s of %d users", c.Typical().Users)
		}
	}
	return "decode tok/s"
}

// printCandidates prints one line for each model, and the reasons below.
func (f *planFlags) printCandidates(w io.Writer, m *plume.Machine, list []candidate) error {
	fmt.Fprintf(w, "on %s (%s), memory %s\n\n", m.Name, m.About, f.memory(m))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	head, card := "", func(candidate) string { return "" }
	if m.VRAM > 0 {
		head, card = "in VRAM\t", func(c candidate) string { return c.InVRAM() + "\t" }
	}
	fmt.Fprintln(t, "model\tlimits\tcontext\tmemory MiB\ton storage\t"+head+"prefill tok/s\t"+decodeHead(list)+"\ttimes as long\twait ms\tcold start s\tJ/token\tcost/M tokens\tbeats hosted from\t")
	for _, c := range list {
		if !c.Fits {
			fmt.Fprintf(t, "%s\tno\t–\t–\t–\t%s–\t–\t–\t–\t–\t–\t–\t–\t\n", c.Name, card(c))
			continue
		}
		keeps := "yes"
		if !c.Keeps {
			keeps = "no"
		}
		d := c.Typical()
		fmt.Fprintf(t, "%s\t%s\t%d\t%.0f\t%.0f\t%s%.1f\t%.2f\t%.1f\t%.2f\t%.1f\t%.2f\t%.2f\t%s\t\n", c.Name, keeps,
			c.Plan.Context(), float64(c.RAMBytes)/(1<<20), float64(c.DiskBytes)/(1<<20), card(c), c.Prefill.Rate, d.Rate, c.Slower,
			1000*time.Duration(d.Wait).Seconds(), c.Cold(), c.Cost.Energy, c.Cost.Total, c.Cost.PaysFrom())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if m.VRAM > 0 {
		fmt.Fprintf(w, "\nin VRAM: what a card of %s would hold of all that a step computes with; plume has no GPU backend yet, so all speeds are the processor's\n", sizeText(m.VRAM))
	}
	gap := "\n"
	for _, c := range list {
		if c.Reason != "" {
			fmt.Fprintf(w, "%s%s: %s\n", gap, c.Name, c.Reason)
			gap = ""
		}
	}
	_, err := fmt.Fprintf(w, "\n%s", machineText(m, int64(f.ram)))
	return err
}
