package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/plume-run/plume"
)

// tableReport is what `plume bench table --json` prints.
type tableReport struct {
	Plume    string       `json:"plume"`
	CPU      string       `json:"cpu"`
	Model    string       `json:"model"`
	File     string       `json:"table_file"`
	Bytes    int64        `json:"table_bytes"`
	RowBytes int          `json:"row_bytes"`
	Threads  int          `json:"threads"`
	Repeat   int          `json:"rounds"`
	Latency  float64      `json:"server_latency_seconds"`
	ServerBy string       `json:"server_by,omitempty"`
	Emulated string       `json:"emulated_storage,omitempty"`
	Blocks   []tableBlock `json:"blocks"`
}

// tableBlock is one way to use the table, in all places.
type tableBlock struct {
	What   string        `json:"what"`
	Decode bool          `json:"decode"`
	Places []placeResult `json:"places"`

	tokens int // of a step
}

// placeResult is one place's part in a block. Ratio is of each round, to the same
// round in place Of; Steps is the median of that of single steps.
type placeResult struct {
	Place string         `json:"place"`
	About string         `json:"about"`
	Rate  spread         `json:"tok_s"`
	Of    string         `json:"of"`
	Ratio spread         `json:"ratio"`
	Steps float64        `json:"ratio_of_steps"`
	Mark  float64        `json:"mark,omitempty"` // what Ratio should be at least; 0: nothing is promised
	Read  float64        `json:"read_p50_seconds"`
	Stats plume.PLEStats `json:"ple"`
}

// The marks: of decoding and of prompts from a local disk against RAM, and of
// decoding over HTTP against the local disk.
const (
	markDecode = 0.99
	markPrompt = 0.95
	markHTTP   = 0.97
)

// baseOf is the place that place i is set against: the local disk for a web server,
// else the first one.
func (f *tableFlags) baseOf(i int) int {
	if !onTheWeb(f.places[i]) {
		return 0
	}
	for _, local := range []string{"disk", "direct"} {
		if at := slices.Index(f.places, local); at >= 0 {
			return at
		}
	}
	return 0
}

func onTheWeb(place string) bool { return place == "http" || strings.Contains(place, "://") }

// mark is what the ratio of place i to base should be; 0: nothing is promised.
func (f *tableFlags) mark(i, base int, decode bool) float64 {
	switch {
	case i == base || f.open.emulate != "":
	case onTheWeb(f.places[i]) && decode && !onTheWeb(f.places[base]) && f.places[base] != "ram":
		return markHTTP
	case onTheWeb(f.places[i]) || f.places[base] != "ram":
	case decode:
		return markDecode
	default:
		return markPrompt
	}
	return 0
}

// rate fills in the speeds from the times of single steps, n of them in a round.
func (p *placeResult) rate(times, base []float64, n, tokens int) {
	var rates, ratios, steps []float64
	for at := 0; at < len(times); at += n {
		took, basis := total(times[at:at+n]), total(base[at:at+n])
		rates = append(rates, float64(n*tokens)/took)
		ratios = append(ratios, basis/took)
	}
	for i := range times {
		steps = append(steps, base[i]/times[i])
	}
	p.Rate, p.Ratio, p.Steps = newSpread(rates), newSpread(ratios), newSpread(steps).Median
}

func total(v []float64) float64 {
	s := 0.0
	for _, x := range v {
		s += x
	}
	return s
}

// print writes the report for people.
func (r *tableReport) print(out io.Writer) error {
	fmt.Fprintf(out, "%s: a table of %s, %d bytes a row; %d threads on %s\n", r.Model, sizeText(r.Bytes), r.RowBytes, r.Threads, r.CPU)
	fmt.Fprintf(out, "%d rounds in turn; ratios of speed: median (least–greatest) of the rounds, and the median of the single steps\n", r.Repeat)
	for _, b := range r.Blocks {
		fmt.Fprintf(out, "\n%s\n", b.What)
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprint(w, "place\ttok/s\tratio\tof\tsteps\tmark\twait p50\tp99\tread p50\thidden\trows read\t\n")
		for _, p := range b.Places {
			p.print(w)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	fmt.Fprintln(out)
	for _, p := range r.Blocks[0].Places {
		fmt.Fprintf(out, "%s: %s\n", p.Place, p.About)
	}
	if r.Emulated != "" {
		fmt.Fprintf(out, "all but ram as slow as %s\n", r.Emulated)
	}
	return nil
}

func (p *placeResult) print(w io.Writer) {
	ratio, of, steps, mark := "", "", "", ""
	if p.Of != p.Place {
		ratio, of, steps = p.Ratio.ratio(), p.Of, fmt.Sprintf("%.3f", p.Steps)
	}
	switch {
	case p.Mark == 0:
	case p.Ratio.Median >= p.Mark:
		mark = fmt.Sprintf("≥ %.2f", p.Mark)
	default:
		mark = fmt.Sprintf("< %.2f", p.Mark)
	}
	s := p.Stats
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%.0f %%\t%d of %d\t\n", p.Place, p.Rate, ratio, of, steps, mark,
		shortTime(s.WaitP50), shortTime(s.WaitP99), shortTime(s.ReadTime()), 100*s.Overlap, s.RowsRead, s.Rows)
}

// ratio is String for numbers near 1.
func (s spread) ratio() string { return fmt.Sprintf("%.3f (%.3f–%.3f)", s.Median, s.Min, s.Max) }

// shortTime is a time in two digits or three.
func shortTime(d time.Duration) string {
	if d < 10*time.Millisecond {
		return d.Round(time.Microsecond).String()
	}
	return d.Round(100 * time.Microsecond).String()
}
