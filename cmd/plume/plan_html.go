package main

import (
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/plume-run/plume"
	"github.com/plume-run/plume/internal/plot"
)

//go:embed plan.html.tmpl
var reportText string

var reportTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"mib": func(n int64) string { return fmt.Sprintf("%.0f", float64(n)/(1<<20)) },
	"f1":  func(x float64) string { return fmt.Sprintf("%.1f", x) },
	"ms":  func(s *plume.StepForecast) string { return fmt.Sprintf("%.2f", 1000*time.Duration(s.Wait).Seconds()) },
	"f2":  func(x float64) string { return fmt.Sprintf("%.2f", x) },
}).Parse(reportText))

// report is what the template shows.
type report struct {
	Made    string
	Machine *plume.Machine
	Memory  string
	Prices  plume.Prices
	RowHits float64 // percent
	Plans   []candidate
	Decode  string // heading of its rate
	Facts   []fact // of the machine
	Plots   []template.HTML
}

// writeReport writes one self-contained page: tables, and plots as inline SVG.
func writeReport(path string, m *plume.Machine, list []candidate, plots []namedPlot, f *planFlags) error {
	r := report{Made: time.Now().Format(time.DateOnly), Machine: m, Memory: f.memory(m), Prices: f.prices, RowHits: 100 * f.rowHits, Plans: list, Decode: decodeHead(list), Facts: machineFacts(m, int64(f.ram))}
	for _, p := range plots {
		r.Plots = append(r.Plots, template.HTML(plot.Inline(p.Plot))) // made here of escaped texts and numbers
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := reportTemplate.Execute(out, r); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// namedPlot is a plot and the name of its files.
type namedPlot struct {
	name string
	plot.Plot
}

// writeReports writes what --html, --svg and --png ask for.
func (f *planFlags) writeReports(m *plume.Machine, list []candidate) error {
	if f.html+f.svg+f.png == "" {
		return nil
	}
	plots, err := reportPlots(m, list, f)
	if err == nil && f.html != "" {
		err = writeReport(f.html, m, list, plots, f)
	}
	if err == nil {
		err = writePlots(plots, f.svg, f.png)
	}
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// writePlots writes each plot to a file of its own, into folders that are made; "": none.
func writePlots(plots []namedPlot, svg, png string) error {
	for _, form := range []struct {
		dir, suffix string
		write       func(w io.Writer, p plot.Plot) error
	}{
		{svg, ".svg", func(w io.Writer, p plot.Plot) error { _, err := io.WriteString(w, plot.SVG(p)+"\n"); return err }},
		{png, ".png", plot.PNG},
	} {
		if form.dir == "" {
			continue
		}
		if err := os.MkdirAll(form.dir, 0o777); err != nil {
			return err
		}
		for _, p := range plots {
			out, err := os.Create(filepath.Join(form.dir, p.name+form.suffix))
			if err != nil {
				return err
			}
			if err := errors.Join(form.write(out, p.Plot), out.Close()); err != nil {
				return err
			}
		}
	}
	return nil
}

// reportPlots draws memory, speed, cost and wait of the models that fit.
func reportPlots(m *plume.Machine, list []candidate, f *planFlags) ([]namedPlot, error) {
	var fits []candidate
	for _, c := range list {
		if c.Fits {
			fits = append(fits, c)
		}
	}
	if len(fits) == 0 {
		return nil, nil
	}
	speed := &plot.Lines{Title: "decoding against context", X: "tokens in the context", Y: "tokens per second", LogX: true}
	cost := &plot.Lines{Title: "cost against utilisation", X: "share of the time that it generates", Y: "cost of a million tokens", LogX: true, LogY: true}
	for i := range fits {
		if err := addContexts(speed, m, &fits[i], f); err != nil {
			return nil, err
		}
		if err := addUtilisation(cost, m, &fits[i], f.prices); err != nil {
			return nil, err
		}
	}
	if f.prices.Hosted > 0 {
		cost.Series = append(cost.Series, plot.Line{Name: "hosted", Points: []plot.Point{{X: 0.01, Y: f.prices.Hosted}, {X: 1, Y: f.prices.Hosted}}})
	}
	out := []namedPlot{{"memory", memoryBars(fits)}, {"context", speed}, {"cost", cost}}
	wait := &plot.Lines{Title: "wait for rows against the storage's page read time", X: "sense time, µs", Y: "wait in a decode step, ms", LogX: true}
	for i := range fits {
		if fits[i].TableBytes > 0 {
			if err := addSense(wait, m, &fits[i], f); err != nil {
				return nil, err
			}
		}
	}
	if len(wait.Series) > 0 {
		out = append(out, namedPlot{"wait", wait})
	}
	return out, nil
}

// memoryBars is memory by role, one bar for each model; what stays on storage is beside it.
func memoryBars(list []candidate) *plot.Bars {
	b := &plot.Bars{Title: "memory by use, and what stays on storage", Unit: "MiB", Apart: "on storage"}
	for _, c := range list {
		var parts []plot.Part
		for _, it := range c.Plan.Items() {
			parts = append(parts, plot.Part{Name: it.Role, Value: float64(it.Bytes) / (1 << 20)})
		}
		if c.DiskBytes > 0 {
			parts = append(parts, plot.Part{Name: "on storage", Value: float64(c.DiskBytes) / (1 << 20), Apart: true})
		}
		b.Rows = append(b.Rows, plot.Row{Name: c.Name, Parts: parts})
	}
	return b
}

func addContexts(l *plot.Lines, m *plume.Machine, c *candidate, f *planFlags) error {
	o := f.forecast(m)
	o.Contexts, o.Users = nil, []int{1}
	for n := 16; n < c.Plan.Context(); n *= 2 {
		o.Contexts = append(o.Contexts, n)
	}
	o.Contexts = append(o.Contexts, max(1, c.Plan.Context()-1)) // the axis has no 0
	fc, err := plume.MakeForecast(c.spec, o)
	if err != nil {
		return err
	}
	s := plot.Line{Name: c.Name}
	for _, d := range fc.Decode {
		s.Points = append(s.Points, plot.Point{X: float64(d.Context), Y: d.Rate})
	}
	l.Series = append(l.Series, s)
	return nil
}

func addUtilisation(l *plot.Lines, m *plume.Machine, c *candidate, p plume.Prices) error {
	s := plot.Line{Name: c.Name}
	for _, u := range []float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1} {
		p.Utilisation = u
		cost, err := m.Cost(c.Typical().Rate, 0, p)
		if err != nil {
			return err
		}
		s.Points = append(s.Points, plot.Point{X: u, Y: cost.Total})
	}
	l.Series = append(l.Series, s)
	return nil
}

func addSense(l *plot.Lines, m *plume.Machine, c *candidate, f *planFlags) error {
	s := plot.Line{Name: c.Name}
	for _, us := range []float64{20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000} {
		o := f.forecast(m)
		o.Contexts, o.Users, o.Sense = []int{min(16, c.Plan.Context())}, []int{1}, us
		fc, err := plume.MakeForecast(c.spec, o)
		if err != nil {
			return err
		}
		s.Points = append(s.Points, plot.Point{X: us, Y: 1000 * time.Duration(fc.Decode[0].Wait).Seconds()})
	}
	l.Series = append(l.Series, s)
	return nil
}
