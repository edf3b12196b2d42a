package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// benchReport is what `plume bench --json` prints. Rates are per second; GB are
// 10⁹ bytes, GMAC 10⁹ multiply-adds; shares are of 1, and -1 where unknown.
type benchReport struct {
	Plume      string          `json:"plume"`
	Go         string          `json:"go"`
	System     string          `json:"system"`
	CPU        string          `json:"cpu"`
	Processors int             `json:"processors"`
	Backend    string          `json:"backend"`
	Model      benchModel      `json:"model"`
	Settings   benchSettings   `json:"settings"`
	Machine    []machineResult `json:"machine"`
	Prefill    []prefillResult `json:"prefill"`
	Decode     []decodeResult  `json:"decode"`
	Greedy     []greedyResult  `json:"greedy,omitempty"`
	Drafts     []draftsResult  `json:"drafts,omitempty"`
	Compare    *compareResult  `json:"compare,omitempty"`
	Energy     string          `json:"energy"`            // what counts joules, or why nothing does
	PeakMemory int64           `json:"peak_memory_bytes"` // without the memory streamed through; 0: unknown
}

type benchModel struct {
	Path     string  `json:"path"`
	Name     string  `json:"name"`
	Layers   int     `json:"layers"`
	Resident int64   `json:"resident_bytes"`
	Load     float64 `json:"load_seconds"`
}

type benchSettings struct {
	Threads   []int  `json:"threads"`
	Prompts   []int  `json:"prompts"`
	Contexts  []int  `json:"contexts"`
	Batches   []int  `json:"batches"`
	Tokens    int    `json:"tokens"`
	Repeat    int    `json:"repeat"`
	Chunk     int    `json:"chunk"`
	KVType    string `json:"kv_type"`
	StreamMiB int    `json:"stream_mib"`
}

func (f *benchFlags) settings() benchSettings {
	return benchSettings{f.threads, f.prompts, f.contexts, f.batches, f.tokens, f.repeat, f.chunk, f.kvType, f.streamMiB}
}

// spread is the middle and the ends of a series.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func newSpread(v []float64) spread {
	if len(v) == 0 {
		return spread{}
	}
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return spread{(v[(n-1)/2] + v[n/2]) / 2, v[0], v[n-1]}
}

type machineResult struct {
	Threads int    `json:"threads"`
	Stream  spread `json:"stream_gb_s"`
	Int8    spread `json:"int8_gmac_s"`
	F32     spread `json:"f32_gmac_s"`
}

// benchResult is what prefill and decoding share.
type benchResult struct {
	Threads   int          `json:"threads"`
	Rate      spread       `json:"tok_s"`
	Rates     []float64    `json:"tok_s_blocks"`
	Blocks    int          `json:"blocks"`
	Disturbed int          `json:"disturbed_blocks"`
	Others    float64      `json:"others_cpu_max"` // share of all processors in the worst block
	PLEWait   float64      `json:"ple_wait_seconds_per_step"`
	PLEBytes  float64      `json:"ple_bytes_per_token"`
	Joules    *spread      `json:"joules_per_token,omitempty"` // nil: not counted
	Time      []classShare `json:"time"`
}

// classShare is the share of the time that a class of operations took.
type classShare struct {
	Class string  `json:"class"`
	Share float64 `json:"share"`
}

type prefillResult struct {
	Prompt int `json:"tokens"`
	benchResult
	MACs     float64 `json:"macs_per_token"`
	GMACs    spread  `json:"gmac_s"`
	Peak     spread  `json:"int8_peak_gmac_s"`
	OfPeak   spread  `json:"share_of_int8_peak"`
	Products spread  `json:"products_share_of_int8_peak"`
	OfStream float64 `json:"share_of_stream"` // of what --threads read, measured at the start
	OfF32    float64 `json:"attention_share_of_f32_peak"`
}

type decodeResult struct {
	Context int `json:"context"`
	Batch   int `json:"batch"`
	benchResult
	WeightBytes float64 `json:"weight_bytes_per_step"`
	KVBytes     float64 `json:"kv_bytes_per_step"`
	GBs         spread  `json:"gb_s"`
	Stream      spread  `json:"stream_gb_s"`
	OfStream    spread  `json:"share_of_stream"`
	OfPeak      float64 `json:"share_of_int8_peak"` // products', of the peak measured at the start
	OfF32       float64 `json:"attention_share_of_f32_peak"`
	OfFirst     *spread `json:"of_first_context,omitempty"` // speed against the first context's, block by block
	Mallocs     float64 `json:"allocations_per_token"`
}

type greedyResult struct {
	Context  int       `json:"context"`
	Threads  int       `json:"threads"`
	Rate     spread    `json:"tok_s"`
	Rates    []float64 `json:"tok_s_blocks"`
	OfLimit  *spread   `json:"share_of_limit,omitempty"` // tokens at stream read, one a step; nil: unknown
	Drafted  int       `json:"drafted_tokens"`
	Accepted int       `json:"accepted_tokens"`
	Mallocs  float64   `json:"allocations_per_token"`
}

type compareResult struct {
	Command string `json:"command"`
	Of      string `json:"of"`
	Threads int    `json:"threads"`
	Prompt  int    `json:"prompt,omitempty"`
	Context int    `json:"context,omitempty"`
	Pairs   []pair `json:"pairs"`
	Ratio   spread `json:"ratio"`
}

type pair struct {
	Ours         float64 `json:"ours_tok_s"`
	Theirs       float64 `json:"theirs_tok_s"`
	Ratio        float64 `json:"ratio"`
	OfLimit      float64 `json:"ours_share_of_limit"` // what the memory (of prefill, the multipliers) allow
	OursOthers   float64 `json:"ours_others_cpu"`
	TheirsOthers float64 `json:"theirs_others_cpu"`
}

// print writes the report for people.
func (b *benchReport) print(out io.Writer) error {
	m := &b.Model
	fmt.Fprintf(out, "%s, %s of weights in memory, loaded in %.1f s, at most %s in all\n", cmp.Or(m.Name, m.Path), sizeText(m.Resident), m.Load, sizeText(b.PeakMemory))
	fmt.Fprintf(out, "%s on %s, %d processors; K/V %s; median (least–greatest) of %d blocks\n", b.Backend, b.CPU, b.Processors, b.Settings.KVType, b.Settings.Repeat)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\nmachine\tthreads\tstream read GB/s\tint8 GMAC/s\tf32 GMAC/s\t\n")
	for _, r := range b.Machine {
		fmt.Fprintf(w, "\t%d\t%s\t%s\t%s\t\n", r.Threads, r.Stream, r.Int8, r.F32)
	}
	if len(b.Prefill) > 0 {
		fmt.Fprintf(w, "\nprefill\tthreads\ttok/s\tJ/token\tMMAC/token\tGMAC/s\tof int8 peak\tproducts alone\tof stream\tattention of f32 peak\tothers' CPU\t\n")
	}
	for _, r := range b.Prefill {
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%.1f\t%s\t%s\t%s\t%s\t%s\t%s\t\n", r.Prompt, r.Threads, r.Rate, r.joules(), r.MACs/1e6, r.GMACs, r.OfPeak.percent(), r.Products.percent(), known(r.OfStream), known(r.OfF32), r.load())
	}
	if len(b.Decode) > 0 {
		fmt.Fprintf(w, "\ndecode at\tbatch\tthreads\ttok/s\tJ/token\tMB/step\tGB/s\tstream GB/s\tof stream\tof int8 peak\tattention of f32 peak\tof first\tallocs/token\tothers' CPU\t\n")
	}
	for _, r := range b.Decode {
		bytes := r.WeightBytes + r.KVBytes + r.PLEBytes*float64(r.Batch)
		fmt.Fprintf(w, "%d\t%d\t%d\t%s\t%s\t%.1f\t%s\t%s\t%s\t%s\t%s\t%s\t%.3g\t%s\t\n", r.Context, r.Batch, r.Threads, r.Rate, r.joules(), bytes/1e6, r.GBs, r.Stream, r.OfStream.percent(), known(r.OfPeak), known(r.OfF32), r.ofFirst(), r.Mallocs, r.load())
	}
	if len(b.Greedy) > 0 {
		fmt.Fprintf(w, "\ngenerate at\tthreads\ttok/s\tof limit\tdrafted\taccepted\tallocs/token\t\n")
	}
	for _, r := range b.Greedy {
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%d\t%d\t%.3g\t\n", r.Context, r.Threads, r.Rate, r.ofLimit(), r.Drafted, r.Accepted, r.Mallocs)
	}
	b.printTime(w)
	b.printDrafts(w)
	b.printPairs(w)
	if err := w.Flush(); err != nil {
		return err
	}
	return b.printNotes(out)
}

func (d *decodeResult) ofFirst() string {
	if d.OfFirst == nil {
		return "–"
	}
	return d.OfFirst.String()
}

func (g *greedyResult) ofLimit() string {
	if g.OfLimit == nil {
		return "–"
	}
	return g.OfLimit.percent()
}

// printTime says where the time of each result went, in percent.
func (b *benchReport) printTime(w io.Writer) {
	head := true
	line := func(name string, r *benchResult) {
		if head {
			fmt.Fprint(w, "\ntime, %\tthreads\t")
			for _, c := range r.Time {
				fmt.Fprintf(w, "%s\t", c.Class)
			}
			fmt.Fprint(w, "all but products\t")
			head = false
		}
		fmt.Fprintf(w, "\n%s\t%d\t", name, r.Threads)
		other := 0.0
		for _, c := range r.Time {
			fmt.Fprintf(w, "%.1f\t", 100*c.Share)
			if !slices.Contains(products, c.Class) && c.Class != "float products" {
				other += c.Share
			}
		}
		fmt.Fprintf(w, "%.1f\t", 100*other)
	}
	for i := range b.Prefill {
		line(fmt.Sprint("prefill ", b.Prefill[i].Prompt), &b.Prefill[i].benchResult)
	}
	for i := range b.Decode {
		d := &b.Decode[i]
		name := fmt.Sprint("decode ", d.Context)
		if d.Batch > 1 {
			name += fmt.Sprint(" × ", d.Batch)
		}
		line(name, &d.benchResult)
	}
	fmt.Fprintln(w)
}

func (b *benchReport) printPairs(w io.Writer) {
	c := b.Compare
	if c == nil {
		return
	}
	fmt.Fprintf(w, "\npair\tours tok/s\ttheirs tok/s\tratio\tours of limit\tothers' CPU\t\n")
	for i, p := range c.Pairs {
		fmt.Fprintf(w, "%d\t%.2f\t%.2f\t%.2f\t%s\t%s, %s\t\n", i+1, p.Ours, p.Theirs, p.Ratio, known(p.OfLimit), percent(p.OursOthers), percent(p.TheirsOthers))
	}
	fmt.Fprintf(w, "median\t\t\t%s\t\t\t\n", c.Ratio)
}

// printNotes says what the tables leave open.
func (b *benchReport) printNotes(out io.Writer) error {
	notes := []string{"energy: " + b.Energy}
	if c := b.Compare; c != nil {
		notes = append(notes, fmt.Sprintf("pairs: %s, %d threads, against: %s", c.Of, c.Threads, c.Command))
	}
	if len(b.Decode) > 0 && b.Decode[0].PLEBytes > 0 {
		notes = append(notes, fmt.Sprintf("MB/step holds %.0f B of the per-layer table for each token", b.Decode[0].PLEBytes))
	}
	if b.Model.Resident < 256<<20 {
		notes = append(notes, "weights of this size may stay in the processor's caches, so stream read is no limit")
	}
	n := 0
	for _, r := range b.Prefill {
		n += r.Disturbed
	}
	for _, r := range b.Decode {
		n += r.Disturbed
	}
	if n > 0 {
		notes = append(notes, fmt.Sprintf("%d blocks were disturbed: others used more than %.0f %% of the processors", n, 100*disturbed))
	}
	_, err := fmt.Fprintf(out, "\n%s\n", strings.Join(notes, "\n"))
	return err
}

// String prints a spread with three digits or so: "24.1 (22.0–25.3)".
func (s spread) String() string {
	if s == (spread{}) {
		return "–"
	}
	digits := 2
	if s.Max >= 100 {
		digits = 0
	} else if s.Max >= 10 {
		digits = 1
	}
	return fmt.Sprintf("%.*f (%.*f–%.*f)", digits, s.Median, digits, s.Min, digits, s.Max)
}

// percent is String for shares.
func (s spread) percent() string {
	if s == (spread{}) {
		return "–"
	}
	return fmt.Sprintf("%.0f %% (%.0f–%.0f)", 100*s.Median, 100*s.Min, 100*s.Max)
}

func percent(v float64) string {
	if v < 0 {
		return "?"
	}
	return fmt.Sprintf("%.0f %%", 100*v)
}

// known is percent for what is 0 where there is nothing to compare with.
func known(v float64) string {
	if v == 0 {
		return "–"
	}
	return percent(v)
}

// load is the column about others.
func (r *benchResult) load() string {
	if r.Disturbed == 0 {
		return percent(r.Others)
	}
	return fmt.Sprintf("%s, %d of %d disturbed", percent(r.Others), r.Disturbed, r.Blocks)
}

// joules is the column about energy.
func (r *benchResult) joules() string {
	if r.Joules == nil {
		return "–"
	}
	return r.Joules.String()
}
