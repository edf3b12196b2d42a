package main

import (
	"fmt"
	"math"
	"strings"
)

// Colours that can be told apart, on light and on dark ground.
var palette = []string{"#3b76d6", "#d9822b", "#3f9b57", "#c2445e", "#8a63c9", "#2a9d9d", "#a8782c", "#7a8794", "#d06bb0", "#6aa31f"}

// Sizes of plots, in units of the viewBox.
const (
	plotWidth, plotHeight = 720, 340
	plotLeft, plotRight   = 64, 170
	plotTop, plotBottom   = 36, 44
)

type point struct{ x, y float64 }

// line is a named series.
type line struct {
	name   string
	points []point
}

// lines is a plot of series over one axis.
type lines struct {
	title, x, y string
	logX, logY  bool
	series      []line
}

// axis maps values to places.
type axis struct {
	low, high float64
	from, to  float64
	log       bool
}

func (a *axis) place(v float64) float64 {
	low, high := a.low, a.high
	if a.log {
		low, high, v = math.Log(low), math.Log(high), math.Log(max(v, a.low))
	}
	if high == low {
		return a.from
	}
	return a.from + (v-low)/(high-low)*(a.to-a.from)
}

// ticks are round values along the axis.
func (a *axis) ticks() []float64 {
	var out []float64
	if a.log {
		for e := math.Floor(math.Log10(a.low)); e <= math.Ceil(math.Log10(a.high)); e++ {
			for _, m := range []float64{1, 2, 5} {
				if v := m * math.Pow(10, e); v >= a.low*0.999 && v <= a.high*1.001 {
					out = append(out, v)
				}
			}
		}
		return out
	}
	step := niceStep((a.high - a.low) / 5)
	for v := math.Ceil(a.low/step) * step; v <= a.high*1.0001; v += step {
		out = append(out, v)
	}
	return out
}

// niceStep is the next of 1, 2, 5, 10, … that is not below x.
func niceStep(x float64) float64 {
	if !(x > 0) {
		return 1
	}
	base := math.Pow(10, math.Floor(math.Log10(x)))
	for _, m := range []float64{1, 2, 5, 10} {
		if m*base >= x*0.999 {
			return m * base
		}
	}
	return 10 * base
}

// number prints a tick.
func number(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%gM", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%gk", v/1e3)
	}
	return strings.TrimSuffix(fmt.Sprintf("%.4g", v), ".0")
}

// axes fits both axes to the series.
func (l *lines) axes() (x, y axis) {
	x = axis{math.Inf(1), math.Inf(-1), plotLeft, plotWidth - plotRight, l.logX}
	y = axis{0, 0, plotHeight - plotBottom, plotTop, l.logY}
	if l.logY {
		y.low = math.Inf(1)
	}
	for _, s := range l.series {
		for _, p := range s.points {
			x.low, x.high = min(x.low, p.x), max(x.high, p.x)
			y.low, y.high = min(y.low, p.y), max(y.high, p.y)
		}
	}
	if y.high <= y.low {
		y.high = y.low + 1
	}
	if !l.logY {
		y.high += 0.05 * (y.high - y.low)
	}
	return x, y
}

// svg implements drawing.
func (l *lines) svg() string {
	var b strings.Builder
	x, y := l.axes()
	begin(&b, l.title, plotHeight)
	for _, v := range x.ticks() {
		at := x.place(v)
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`, at, at, plotTop, plotHeight-plotBottom)
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`, at, plotHeight-plotBottom+16, number(v))
	}
	for _, v := range y.ticks() {
		at := y.place(v)
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`, plotLeft, plotWidth-plotRight, at, at)
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" text-anchor="end">%s</text>`, plotLeft-6, at+4, number(v))
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`, (plotLeft+plotWidth-plotRight)/2, plotHeight-8, escape(l.x))
	fmt.Fprintf(&b, `<text transform="translate(14 %d) rotate(-90)" text-anchor="middle">%s</text>`, (plotTop+plotHeight-plotBottom)/2, escape(l.y))
	for i, s := range l.series {
		colour := palette[i%len(palette)]
		var path []string
		for _, p := range s.points {
			path = append(path, fmt.Sprintf("%.1f,%.1f", x.place(p.x), y.place(p.y)))
		}
		fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>`, colour, strings.Join(path, " "))
		legend(&b, i, colour, s.name)
	}
	b.WriteString("</svg>")
	return b.String()
}

// legend names a colour at the right.
func legend(b *strings.Builder, i int, colour, name string) {
	at := plotTop + 10 + 16*i
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="10" height="10" fill="%s"/>`, plotWidth-plotRight+12, at-9, colour)
	fmt.Fprintf(b, `<text x="%d" y="%d">%s</text>`, plotWidth-plotRight+27, at, escape(name))
}

func begin(b *strings.Builder, title string, height int) {
	fmt.Fprintf(b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, plotWidth, height, escape(title))
	fmt.Fprintf(b, `<text class="title" x="%d" y="18">%s</text>`, plotLeft, escape(title))
}

// bars is a plot of stacked bars, one row each.
type bars struct {
	title, unit string
	rows        []barRow
}

type barRow struct {
	name  string
	parts []barPart
}

// barPart is one piece of a bar; apart, it stands beside the others, hollow.
type barPart struct {
	name  string
	value float64
	apart bool
}

const barHeight = 34

// least is the share of the longest bar below which a part is drawn as "other".
const least = 0.01

// svg implements drawing.
func (b *bars) svg() string {
	longest := 0.0
	for _, r := range b.rows {
		sum := 0.0
		for _, p := range r.parts {
			sum += p.value
		}
		longest = max(longest, sum)
	}
	var colours []string // names, in order of appearance
	height := plotTop + len(b.rows)*barHeight*2 + 30
	x := axis{0, longest, plotLeft, plotWidth - plotRight, false}
	var body strings.Builder
	for i, r := range b.rows {
		top := plotTop + i*2*barHeight
		fmt.Fprintf(&body, `<text x="%d" y="%d">%s</text>`, plotLeft, top+12, escape(r.name))
		at := 0.0
		for _, p := range merged(r.parts, longest*least) {
			style := `class="hollow"`
			if !p.apart {
				n := indexOrAdd(&colours, p.name)
				style = fmt.Sprintf(`fill="%s"`, palette[n%len(palette)])
			}
			fmt.Fprintf(&body, `<rect x="%.1f" y="%d" width="%.1f" height="%d" %s><title>%s: %.0f %s</title></rect>`,
				x.place(at), top+18, x.place(at+p.value)-x.place(at), barHeight-8, style, escape(p.name), p.value, b.unit)
			at += p.value
		}
	}
	var out strings.Builder
	height = max(height, plotTop+30+16*(len(colours)+1))
	begin(&out, b.title, height)
	out.WriteString(body.String())
	bottom := plotTop + len(b.rows)*barHeight*2 + 14
	for _, v := range x.ticks() {
		fmt.Fprintf(&out, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`, x.place(v), bottom, number(v))
	}
	fmt.Fprintf(&out, `<text x="%d" y="%d">%s</text>`, plotWidth-plotRight+8, bottom, escape(b.unit))
	for i, name := range colours {
		legend(&out, i, palette[i%len(palette)], name)
	}
	legend(&out, len(colours), "none", "hollow: on storage")
	out.WriteString("</svg>")
	return out.String()
}

// merged puts parts below a size together as "other", before what stands apart.
func merged(parts []barPart, below float64) []barPart {
	var out, apart []barPart
	other := barPart{name: "other"}
	for _, p := range parts {
		switch {
		case p.apart:
			apart = append(apart, p)
		case p.value < below:
			other.value += p.value
		default:
			out = append(out, p)
		}
	}
	if other.value > 0 {
		out = append(out, other)
	}
	return append(out, apart...)
}

func indexOrAdd(names *[]string, name string) int {
	for i, n := range *names {
		if n == name {
			return i
		}
	}
	*names = append(*names, name)
	return len(*names) - 1
}
