package main

import (
	_ "embed"
	"fmt"
	"html/template"
	"os"
	"strings"
	"time"

	"github.com/plume-run/plume"
)

//go:embed plan.html.tmpl
var reportText string

var reportTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"mib": func(n int64) string { return fmt.Sprintf("%.0f", float64(n)/(1<<20)) },
	"f1":  func(x float64) string { return fmt.Sprintf("%.1f", x) },
	"f2":  func(x float64) string { return fmt.Sprintf("%.2f", x) },
}).Parse(reportText))

// report is what the template shows.
type report struct {
	Made    string
	Machine *plume.Machine
	Memory  string
	Prices  plume.Prices
	Plans   []candidate
	Plots   []template.HTML
}

// writeReport writes one self-contained page: tables, and plots as inline SVG.
func writeReport(path string, m *plume.Machine, list []candidate, f *planFlags) error {
	r := report{Made: time.Now().Format(time.DateOnly), Machine: m, Memory: f.memory(m), Prices: f.prices, Plans: list}
	plots, err := reportPlots(m, list, f)
	if err != nil {
		return err
	}
	for _, p := range plots {
		r.Plots = append(r.Plots, template.HTML(p.svg())) // made here of escaped texts and numbers
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

// drawing is something that becomes SVG.
type drawing interface{ svg() string }

// reportPlots draws memory, speed, cost and wait of the models that fit.
func reportPlots(m *plume.Machine, list []candidate, f *planFlags) ([]drawing, error) {
	var fits []candidate
	for _, c := range list {
		if c.Fits {
			fits = append(fits, c)
		}
	}
	if len(fits) == 0 {
		return nil, nil
	}
	speed := &lines{title: "decoding against context", x: "tokens in the context", y: "tokens per second", logX: true}
	cost := &lines{title: "cost against utilisation", x: "share of the time that it generates", y: "cost of a million tokens", logX: true, logY: true}
	for i := range fits {
		if err := speed.addContexts(m, &fits[i], f); err != nil {
			return nil, err
		}
		if err := cost.addUtilisation(m, &fits[i], f.prices); err != nil {
			return nil, err
		}
	}
	if f.prices.Hosted > 0 {
		cost.series = append(cost.series, line{"hosted", []point{{0.01, f.prices.Hosted}, {1, f.prices.Hosted}}})
	}
	out := []drawing{memoryBars(fits), speed, cost}
	wait := &lines{title: "wait for rows against the storage's page read time", x: "sense time, µs", y: "wait in a decode step, ms", logX: true}
	for i := range fits {
		if fits[i].TableBytes > 0 {
			if err := wait.addSense(m, &fits[i], f); err != nil {
				return nil, err
			}
		}
	}
	if len(wait.series) > 0 {
		out = append(out, wait)
	}
	return out, nil
}

// memoryBars is memory by role, one bar for each model; what stays on storage is beside it.
func memoryBars(list []candidate) *bars {
	b := &bars{title: "memory by use, and what stays on storage", unit: "MiB"}
	for _, c := range list {
		var parts []barPart
		for _, it := range c.Plan.Items() {
			parts = append(parts, barPart{it.Role, float64(it.Bytes) / (1 << 20), false})
		}
		if c.DiskBytes > 0 {
			parts = append(parts, barPart{"on storage", float64(c.DiskBytes) / (1 << 20), true})
		}
		b.rows = append(b.rows, barRow{c.Name, parts})
	}
	return b
}

func (l *lines) addContexts(m *plume.Machine, c *candidate, f *planFlags) error {
	o := f.forecast(m)
	o.Contexts, o.Users = nil, []int{1}
	for n := 16; n < c.Plan.Context(); n *= 2 {
		o.Contexts = append(o.Contexts, n)
	}
	o.Contexts = append(o.Contexts, c.Plan.Context()-1)
	fc, err := plume.MakeForecast(c.spec, o)
	if err != nil {
		return err
	}
	s := line{name: c.Name}
	for _, d := range fc.Decode {
		s.points = append(s.points, point{float64(d.Context), d.Rate})
	}
	l.series = append(l.series, s)
	return nil
}

func (l *lines) addUtilisation(m *plume.Machine, c *candidate, p plume.Prices) error {
	s := line{name: c.Name}
	for _, u := range []float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1} {
		p.Utilisation = u
		cost, err := m.Cost(c.Decode[0].Rate, 0, p)
		if err != nil {
			return err
		}
		s.points = append(s.points, point{u, cost.Total})
	}
	l.series = append(l.series, s)
	return nil
}

func (l *lines) addSense(m *plume.Machine, c *candidate, f *planFlags) error {
	s := line{name: c.Name}
	for _, us := range []float64{20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000} {
		o := f.forecast(m)
		o.Contexts, o.Users, o.Sense = []int{16}, []int{1}, us
		fc, err := plume.MakeForecast(c.spec, o)
		if err != nil {
			return err
		}
		s.points = append(s.points, point{us, 1000 * time.Duration(fc.Decode[0].Wait).Seconds()})
	}
	l.series = append(l.series, s)
	return nil
}

// escape makes a text safe inside SVG.
func escape(s string) string { return template.HTMLEscapeString(strings.TrimSpace(s)) }
